"""Patterns of strings → one deterministic automaton that tells, in a single pass, which of them a string fits.

A pattern is a sequence of sets of bytes, some of them repeated any number of times. The string's end is a zero byte, so that a pattern that
must end there just asks for it. Bytes beyond ASCII lead to the state UNCERTAIN: text of such bytes is judged in user space.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from shipwall.abi.schema import CONSTANTS
from shipwall.model.errors import ShipwallError
from shipwall.runtime.lower.tables import DEAD, UNCERTAIN, Automaton

MAX_STATES = CONSTANTS["FILTER_STATES"]
MAX_CELLS = CONSTANTS["FILTER_CELLS"]
MAX_STEPS = 60_000
ANY = ((1 << 128) - 1) & ~1
"""Every ASCII byte but zero, as a set: bit n stands for byte n."""
SLASH = 1 << 0x2F
NO_SLASH = ANY & ~SLASH
END = 1
POISON = -1
"""The atom of patterns after which nothing certain is known."""


class Step(NamedTuple):
    """A set of bytes, met once, or any number of times when `many`."""

    bytes: int
    many: bool = False


class Pattern(NamedTuple):
    """What the string must begin with (all of it when the last step is END). `exact`: it then certainly has the atom, else it only may."""

    steps: tuple[Step, ...]
    exact: bool = True


Patterns = tuple[tuple[int, Pattern], ...]
"""Patterns with the atom of each."""


class TooLargeError(ShipwallError):
    """The automaton would not fit."""


def literal(text: str) -> tuple[Step, ...]:
    """The steps that read `text`, which is ASCII."""
    return tuple(Step(1 << byte) for byte in text.encode())


class Builder:
    """Collects automata of several sets of patterns in one table."""

    def __init__(self) -> None:
        self._sets: dict[Patterns, int] = {}

    def add(self, patterns: Iterable[tuple[int, Pattern]]) -> int:
        """Add one automaton for patterns with their atoms (POISON: of none); its number."""
        return self._sets.setdefault(tuple(patterns), len(self._sets))

    def build(self) -> tuple[Automaton, list[int]]:
        """The table, and the start of each automaton. Raises TooLargeError."""
        if sum(len(pattern.steps) for patterns in self._sets for _, pattern in patterns) > MAX_STEPS:
            raise TooLargeError("patterns of paths", f"have more than {MAX_STEPS} steps")
        classes, width = _classes(self._sets)
        table = _Table(width, [classes.index(one) if one in classes[:128] else None for one in range(width)])
        starts = [_Joined(table, patterns).write() for patterns in self._sets]
        cells = tuple(cell for row in table.rows for cell in row)
        return Automaton(width, bytes(classes), cells, tuple(table.may), tuple(table.must)), starts


class _Table:
    """The rows written so far. `samples`: a byte of each class, None for the class of bytes beyond ASCII."""

    def __init__(self, width: int, samples: list[int | None]) -> None:
        self.width = width
        self.samples = samples
        self.rows: list[list[int]] = [[UNCERTAIN * 2] * width, [DEAD * 2] * width]
        self.may = [0, 0]
        self.must = [0, 0]

    def new(self, told: int, sure: int) -> int:
        """A state that tells `told`, of it `sure` with certainty."""
        number = len(self.rows)
        if number >= MAX_STATES or (number + 1) * self.width > MAX_CELLS:
            raise TooLargeError("patterns of paths", "need more states than the kernel part has")
        self.rows.append([])
        self.may.append(told)
        self.must.append(sure)
        return number


class _Joined:
    """One set of patterns becoming states. Where reading stands in which patterns is a set of places, kept as the bits of one number: each
    pattern has a place before each of its steps and one after the last. (Rabin and Scott's construction, on bits.)"""

    def __init__(self, table: _Table, patterns: Patterns) -> None:
        self.table = table
        self.end_of: dict[int, tuple[int, Pattern]] = {}
        places = sum(len(pattern.steps) + 1 for _, pattern in patterns)
        starts, many, ends = (bytearray(places // 8 + 1) for _ in range(3))
        reading = {byte: bytearray(places // 8 + 1) for byte in table.samples if byte is not None}
        at = 0
        for bit, pattern in patterns:
            starts[at >> 3] |= 1 << (at & 7)
            for step in pattern.steps:
                many[at >> 3] |= step.many << (at & 7)
                for byte, places_of in reading.items():
                    places_of[at >> 3] |= (step.bytes >> byte & 1) << (at & 7)
                at += 1
            ends[at >> 3] |= 1 << (at & 7)
            self.end_of[at] = bit, pattern
            at += 1
        self.starts, self.many, self.ends = (int.from_bytes(bits, "little") for bits in (starts, many, ends))
        self.reading = {byte: int.from_bytes(bits, "little") for byte, bits in reading.items()}
        self.known: dict[tuple[int, int, int], int] = {}
        self.waiting: list[tuple[int, int]] = []
        self.told_at: dict[int, tuple[int, int] | None] = {}

    def write(self) -> int:
        """Write all states; the first one's number."""
        start = self.number(self.closed(self.starts) & ~self.ends, 0, 0)
        while self.waiting:
            places, number = self.waiting.pop()
            self.table.rows[number] = [UNCERTAIN * 2 if byte is None else self.cell(places, byte) for byte in self.table.samples]
        return start

    def number(self, places: int, told: int, sure: int) -> int:
        if not places and not told:
            return DEAD
        key = (places, told, sure)
        if key not in self.known:
            self.known[key] = self.table.new(told, sure)
            self.waiting.append((places, self.known[key]))
        return self.known[key]

    def cell(self, places: int, byte: int) -> int:
        """Where `byte` leads from `places`."""
        met = places & self.reading[byte]
        reached = self.closed(met & self.many | (met & ~self.many) << 1)
        tells = self.told(reached & self.ends)
        if tells is None:
            return UNCERTAIN * 2
        told, sure = tells
        return self.number(0 if byte == 0 else reached & ~self.ends, told, sure) * 2 + (1 if told else 0)

    def closed(self, places: int) -> int:
        """`places` and those reached without reading: a repeated set may be met no time at all."""
        while (more := places | (places & self.many) << 1) != places:
            places = more
        return places

    def told(self, ends: int) -> tuple[int, int] | None:
        """The atoms of the patterns that end here, possible and certain; None when nothing certain is known from here on."""
        if ends not in self.told_at:
            found, left = [], ends
            while left:
                lowest = left & -left
                found.append(self.end_of[lowest.bit_length() - 1])
                left ^= lowest
            told = sum({1 << bit for bit, _ in found if bit != POISON})
            sure = sum({1 << bit for bit, pattern in found if bit != POISON and pattern.exact})
            self.told_at[ends] = None if any(bit == POISON for bit, _ in found) else (told, sure)
        return self.told_at[ends]


def _classes(sets: Iterable[Patterns]) -> tuple[list[int], int]:
    """The class of each byte (0 beyond ASCII) and how many there are: bytes that no pattern tells apart share one."""
    distinct = {step.bytes for patterns in sets for _, pattern in patterns for step in pattern.steps}
    ordered = sorted(distinct)
    signatures: dict[tuple[int, ...], int] = {}
    classes = [0] * 256
    for byte in range(128):
        signature = (byte == 0, *(mask >> byte & 1 for mask in ordered))
        classes[byte] = signatures.setdefault(signature, len(signatures) + 1)
    return classes, len(signatures) + 1
