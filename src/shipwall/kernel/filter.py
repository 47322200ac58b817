"""The filter as the kernel part reads it, and its change while the sensor runs.

There are two generations of every table. A new filter is written into the one that is not in force, then a single store makes it so; an
event that is being judged goes on with the other, which is not written again before every program that may still read it has ended.
"""

from __future__ import annotations

import array
import ctypes
import struct
import time
from collections.abc import Callable, Iterable

from shipwall.abi.schema import AUTOMATON, CONSTANTS, FILTER_PROGRAM, SETTINGS
from shipwall.abi.words import BITS, word_set
from shipwall.kernel.bpf import Map
from shipwall.runtime.lower.tables import DELIVER, DROP, Automaton, KernelFilter, Program

_NR_MEMBARRIER = 324
_MEMBARRIER_CMD_GLOBAL = 1  # waits for a grace period of RCU (kernel/sched/membarrier.c)
_LONGEST_RUN_S = 1.0
_GENERATIONS = CONSTANTS["FILTER_GENERATIONS"]
_CALLS = CONSTANTS["CALLS_MAX"]


class FilterTables:
    """Writes filters for a loaded sensor: `settings` is its mapped settings, `find` gives a map by name."""

    def __init__(self, settings: memoryview, find: Callable[[str], Map]) -> None:
        self._settings = settings
        self._find = find

    def put(self, wanted: KernelFilter | None) -> None:
        """Judge by `wanted` from now on; by nothing for None. Raises KernelError; then the former filter stays in force."""
        at = SETTINGS.offsets["filter_in_force"]
        if wanted is None:
            struct.pack_into("<I", self._settings, at, 0)
            _wait_for_readers()
            return
        (in_force,) = struct.unpack_from("<I", self._settings, at)
        generation = in_force % _GENERATIONS
        self._write(generation, wanted)
        struct.pack_into("<I", self._settings, at, generation + 1)
        _wait_for_readers()

    def _write(self, generation: int, wanted: KernelFilter) -> None:
        automaton = self._find("automata")
        automaton.update(generation.to_bytes(4, "little"), pack_automaton(wanted.automaton))
        programs = self._find("filters")
        for number, program in enumerate(wanted.programs, DROP + 1):
            key = generation * CONSTANTS["FILTER_PROGRAMS"] + number
            programs.update(key.to_bytes(4, "little"), pack_program(program))
        numbers = bytearray([DELIVER]) * _CALLS
        for call, number in wanted.calls.items():
            numbers[call] = number
        start = SETTINGS.offsets["filter_programs"] + generation * _CALLS
        self._settings[start : start + _CALLS] = numbers
        put_words(self._settings, 1 + generation, wanted.read_words)
        put_words(self._settings, 1 + _GENERATIONS + generation, wanted.words)


def put_words(settings: memoryview, place: int, prefixes: tuple[bytes, ...]) -> None:
    """Write the first words of `prefixes` as set `place` (`WORD_SETS` of the schema)."""
    lengths, words = word_set(prefixes)
    struct.pack_into(f"<{len(words)}Q", settings, SETTINGS.offsets["words"] + place * BITS // 8, *words)
    struct.pack_into("<I", settings, SETTINGS.offsets["word_lengths"] + place * 4, lengths)


def pack_program(program: Program) -> bytes:
    """The value of `filters` for it."""
    clauses, tests = CONSTANTS["FILTER_CLAUSES"], CONSTANTS["FILTER_TESTS"]
    columns = list(zip(*program.tests, strict=True)) or [()] * 6
    number, kind, low, high, bit, bits = (_filled(column, tests) for column in columns)
    return FILTER_PROGRAM.layout.pack(
        *_filled([clause.need for clause in program.clauses], clauses),
        *_filled([clause.forbid for clause in program.clauses], clauses),
        *low,
        *high,
        *(atoms for _, atoms in program.strings),
        program.floating,
        *(start for start, _ in program.strings),
        len(program.clauses),
        len(program.tests),
        program.reads,
        *map(bytes, (number, kind, bit, bits)),
    )


def pack_automaton(automaton: Automaton) -> bytes:
    """The value of `automata` for it."""
    packed = bytearray(AUTOMATON.size_bytes)
    for name, code, values in (("may", "Q", automaton.may), ("must", "Q", automaton.must), ("cells", "H", automaton.cells)):
        column = array.array(code, values).tobytes()
        start = AUTOMATON.offsets[name]
        packed[start : start + len(column)] = column
    start = AUTOMATON.offsets["classes"]
    packed[start : start + 256] = automaton.classes
    struct.pack_into("<I", packed, AUTOMATON.offsets["width"], automaton.width)
    return bytes(packed)


def _filled(values: Iterable[int], length: int) -> list[int]:
    found = list(values)
    return found + [0] * (length - len(found))


def _wait_for_readers() -> None:
    """Return once every program that ran when this was called has ended. Where the kernel has no such wait, one is slept that is longer
    than any run of a program."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(_NR_MEMBARRIER, _MEMBARRIER_CMD_GLOBAL, 0, 0) < 0:
        time.sleep(_LONGEST_RUN_S)
