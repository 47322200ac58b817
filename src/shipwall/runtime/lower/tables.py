"""What the kernel part reads: for each system call a program, made of tests of numbers, an automaton over strings, and clauses.

Every event has up to 64 *atoms*, each true or false. What is known of them are two masks: `may` (not certainly false) and `must` (certainly
true). A clause is satisfied when all atoms it needs may be true and none it forbids must be; an event is delivered when one is.
"""

from __future__ import annotations

from typing import NamedTuple

from shipwall.abi.schema import CONSTANTS

DELIVER = CONSTANTS["FILTER_DELIVER"]
DROP = CONSTANTS["FILTER_DROP"]
UNCERTAIN = CONSTANTS["STATE_UNCERTAIN"]
DEAD = CONSTANTS["STATE_DEAD"]
RANGE, EQUALS = CONSTANTS["TEST_RANGE"], CONSTANTS["TEST_EQUALS"]
CERTAIN, SIGNED = CONSTANTS["TEST_CERTAIN"], CONSTANTS["TEST_SIGNED"]
LOOKED_AT, BEGIN, ASK = (CONSTANTS[f"READS_{name}"] for name in ("LOOKED_AT", "BEGIN", "ASK"))
ATOMS = 64
ALL = (1 << ATOMS) - 1


class Test(NamedTuple):
    """Sets atom `bit` (numbered from 0) when number `number` lies in low..high (RANGE) or has exactly `high` among the bits `low` (EQUALS).

    `bits`: CERTAIN when the atom then holds, else it only may; SIGNED when the low 32 bits are meant, with their sign.
    """

    number: int
    kind: int
    low: int
    high: int
    bit: int
    bits: int


class Clause(NamedTuple):
    """Atoms that must all be possible, and atoms of which none may be certain."""

    need: int
    forbid: int


class Program(NamedTuple):
    """How the events of some calls are judged. `strings` by source (FIRST, SECOND, PATH): the state in which the automaton starts and the
    atoms it decides (none: nothing is read). `floating`: atoms of the path that may hold whatever the path begins with. `reads`: what every
    read-only open needs at least (READS_LOOKED_AT, READS_BEGIN, READS_ASK), so that most are dismissed by one word of their path."""

    tests: tuple[Test, ...]
    strings: tuple[tuple[int, int], ...]
    floating: int
    reads: int
    clauses: tuple[Clause, ...]


class Automaton(NamedTuple):
    """One deterministic automaton over bytes, the terminating zero included, with many starts. `cells[state * width + class]` is the next
    state, doubled, plus one when reaching it tells atoms (`may`, `must` by state)."""

    width: int
    classes: bytes
    cells: tuple[int, ...]
    may: tuple[int, ...]
    must: tuple[int, ...]


class KernelFilter(NamedTuple):
    """`calls`: number of the system call → DELIVER, DROP or the number of one of `programs` (which begin at 2); others are delivered.

    `words`: with what the paths begin that any program asks for, as `abi.words` takes them; `read_words`: those it asks of read-only
    opens. `widened`: rules of which a part was left out
    because it did not fit.
    """

    calls: dict[int, int]
    programs: tuple[Program, ...]
    automaton: Automaton
    words: tuple[bytes, ...]
    read_words: tuple[bytes, ...]
    widened: tuple[str, ...] = ()
