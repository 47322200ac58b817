"""What the kernel part does with the tables, step by step: `bpf/filter.h` is the same in C.

`view_of` gives what the kernel would know of an event. Tests hold `passes` against the rules' own evaluation, and against the kernel.
"""

from __future__ import annotations

from typing import NamedTuple

from shipwall.abi.call_numbers import NUMBERS
from shipwall.abi.calls import CALLS_BY_NAME
from shipwall.abi.schema import FILTER_NUMBERS
from shipwall.abi.words import may_begin, word_set
from shipwall.model.event import Call, Connect, Event, Module, Mount, Namespace, Open
from shipwall.runtime.lower.number_tests import MISSING
from shipwall.runtime.lower.string_patterns import FIRST, PATH
from shipwall.runtime.lower.tables import (
    ASK,
    BEGIN,
    CERTAIN,
    DELIVER,
    DROP,
    RANGE,
    SIGNED,
    UNCERTAIN,
    Automaton,
    KernelFilter,
    Program,
    Test,
)

_FAMILIES = {"unix": 1, "ipv4": 2, "ipv6": 10}
_PROTOCOLS = {"tcp": 6, "udp": 17}
_FLAGS, _RET = FILTER_NUMBERS["flags"], FILTER_NUMBERS["ret"]


class View(NamedTuple):
    """What the kernel knows of an event: the number of its call (-1: none), numbers by `abi.schema.FILTER_NUMBERS`, strings by place, None
    where it is not certain what user space will make of them."""

    call: int
    numbers: dict[int, int]
    strings: tuple[bytes | None, bytes | None, bytes | None]


def view_of(event: Event) -> View:
    """What the kernel knows of `event` when it decides."""
    numbers = {
        FILTER_NUMBERS["ret"]: event.ret,
        FILTER_NUMBERS["uid"]: event.uid,
        FILTER_NUMBERS["gid"]: event.gid,
    }
    strings: list[bytes | None] = [None, None, None]
    name = event.syscall
    if isinstance(event, Open):
        numbers[FILTER_NUMBERS["flags"]] = event.flags
        numbers[FILTER_NUMBERS["fd"]] = max(event.ret, -1)
        strings[FIRST] = _bytes(event.asked)
        strings[PATH] = _bytes(event.path) if event.resolved and event.path else None
    elif isinstance(event, Connect):
        is_internet = event.family in {"ipv4", "ipv6"}
        numbers[FILTER_NUMBERS["family"]] = _FAMILIES.get(event.family, 0)
        if is_internet:
            numbers[FILTER_NUMBERS["port"]] = event.port
            numbers[FILTER_NUMBERS["local_port"]] = event.local_port
            numbers[FILTER_NUMBERS["protocol"]] = _PROTOCOLS.get(event.protocol, 0)
            if "." in event.address:
                parts = [int(part) for part in event.address.split(".")]
                numbers[FILTER_NUMBERS["ipv4"]] = int.from_bytes(bytes(parts))
    elif isinstance(event, Namespace):
        numbers[FILTER_NUMBERS["flags"]] = event.flags
    elif isinstance(event, Call):
        for index, value in enumerate(event.raw):
            numbers[FILTER_NUMBERS[f"argument_{index}"]] = value - (1 << 64) if value >> 63 else value
        described = CALLS_BY_NAME[event.syscall].of_kind("path", "text")[:2]
        for place, (asked, path, parameter) in enumerate(zip(event.asked, event.paths, described, strict=False)):
            # below a folder, after chroot even an absolute one; the automaton itself finds what is relative or to be normalised uncertain
            is_moved = parameter.kind == "path" and asked.startswith("/") and path != asked
            strings[place] = None if is_moved else _bytes(asked)
    if isinstance(event, Module | Mount | Namespace) and event.act:
        name = event.act
    return View(NUMBERS.get(name, -1), numbers, (strings[0], strings[1], strings[2]))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def passes(kernel_filter: KernelFilter, view: View) -> bool:
    """Whether the event is delivered."""
    number = kernel_filter.calls.get(view.call, DELIVER)
    if number in {DELIVER, DROP}:
        return number == DELIVER
    program = kernel_filter.programs[number - DROP - 1]
    strings = sum(atoms for _, atoms in program.strings)
    path = view.strings[PATH]
    is_read = view.numbers.get(_FLAGS, MISSING) & 3 == 0 and view.numbers[_RET] >= 0
    if path and not may_begin(path, *word_set(kernel_filter.read_words if is_read else kernel_filter.words)):
        if is_read and program.reads == BEGIN:
            return False
        if is_read and program.reads == ASK:
            start, atoms = program.strings[FIRST]
            if not _read(kernel_filter.automaton, start, view.strings[FIRST], atoms)[0]:
                return False
        strings &= ~(program.strings[PATH][1] & ~program.floating)
    may, must = _numbers(program, view.numbers)
    if not _satisfied(program, may | strings, must):
        return False
    for place, (start, atoms) in enumerate(program.strings):
        if atoms:
            told, sure = _read(kernel_filter.automaton, start, view.strings[place], atoms)
            may |= told
            must |= sure
    return _satisfied(program, may, must)


def _numbers(program: Program, numbers: dict[int, int]) -> tuple[int, int]:
    may = must = 0
    for test in program.tests:
        if _holds(test, numbers.get(test.number, MISSING)):
            may |= 1 << test.bit
            must |= 1 << test.bit if test.bits & CERTAIN else 0
    return may, must


def _holds(test: Test, value: int) -> bool:
    if test.bits & SIGNED:
        value &= 0xFFFFFFFF
        value = value - (1 << 32) if value >> 31 else value
    if test.kind == RANGE:
        return test.low <= value <= test.high
    return value & test.low == test.high


def _satisfied(program: Program, may: int, must: int) -> bool:
    return any(clause.need & ~may == 0 and clause.forbid & must == 0 for clause in program.clauses)


def _read(automaton: Automaton, start: int, text: bytes | None, atoms: int) -> tuple[int, int]:
    """The atoms that a string may have and must have; nothing is certain of an empty one, which counts as missing."""
    if text is None:
        return atoms, 0
    state, may, must = start, 0, 0
    for byte in text + b"\0":
        if byte >= 128:
            return atoms, 0
        cell = automaton.cells[state * automaton.width + automaton.classes[byte]]
        state = cell >> 1
        if cell & 1:
            may |= automaton.may[state]
            must |= automaton.must[state]
        if state == UNCERTAIN:
            return atoms, 0
    return may, must if text else 0
