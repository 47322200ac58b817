"""A rule set → the filter of the kernel part.

For each system call: the conditions that are left of all rules once its name is known become clauses; comparisons the kernel can decide
become atoms, the others count as both true and false; the clauses of all rules together are the call's program. What the agent needs for
itself, whatever the rules say, stands in `KEPT` and `DELIVERED`, here and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from shipwall.abi.calls import CALLS, Call
from shipwall.abi.schema import CONSTANTS, FILTER_NUMBERS
from shipwall.lang.condition import Compare, Condition, Field, fields_of, parse_condition
from shipwall.runtime.conditions import specialise
from shipwall.runtime.fields import KINDS
from shipwall.runtime.lower.automaton import POISON, Builder, Pattern, TooLargeError
from shipwall.runtime.lower.clauses import (
    NOTHING,
    Disjunction,
    Leaf,
    Literals,
    Variables,
    clauses_of,
    fewer,
    reduced,
)
from shipwall.runtime.lower.gather import Key, Keys, Known, gathered
from shipwall.runtime.lower.number_tests import Asked, tests_of
from shipwall.runtime.lower.string_patterns import FIRST, PATH, POISONS, Source, patterns_of, prefixes_of, source_of
from shipwall.runtime.lower.tables import (
    ASK,
    ATOMS,
    BEGIN,
    CERTAIN,
    DELIVER,
    DROP,
    EQUALS,
    LOOKED_AT,
    SIGNED,
    UNCERTAIN,
    Automaton,
    Clause,
    KernelFilter,
    Program,
    Test,
)
from shipwall.runtime.rules.rule_set import RuleSet, known_result

MAX_PROGRAMS = CONSTANTS["FILTER_PROGRAMS"]
MAX_CLAUSES = CONSTANTS["FILTER_CLAUSES"]
MAX_TESTS = CONSTANTS["FILTER_TESTS"]
PLACES = 3
CUT_STEPS = 8
_ACCESS_MODE = 3

DELIVERED = frozenset({"exec", "privilege"})
"""Families always delivered: programs and identities are what processes are known by. Forks, ends and cgroups are no calls of a family."""

KEPT: dict[str, Condition] = {
    # `ProcessTable.has_connected`: a connection nobody asked for was accepted
    "connect": parse_condition("fd.port > 0 and (evt.rawres >= 0 or evt.rawres = -115)"),
}
"""By kind: events that are delivered whatever the rules say."""


class _Drafted(NamedTuple):
    """A program whose automata are not yet built: for each place the patterns with their atoms."""

    tests: tuple[Test, ...]
    patterns: tuple[list[tuple[int, Pattern]], ...]
    atoms: tuple[int, ...]
    floating: int
    reads: int
    clauses: tuple[Clause, ...]


def lower(rules: RuleSet, always: Iterable[str] = ()) -> KernelFilter:
    """The filter for `rules`. Calls named in `always` are delivered whatever the rules say.

    Where the patterns of paths take too much room together, those that may stand anywhere in a path count as unknown, then only the
    beginnings of the others are asked, then none.
    """
    for asked in (_Strings.ALL, _Strings.BEGINNINGS, _Strings.CUT, _Strings.NONE):
        try:
            return _Lowering(rules, frozenset(always), asked).run()
        except TooLargeError:
            continue
    raise AssertionError("an automaton without patterns fits")


class _Strings:
    """Which comparisons of strings are asked."""

    ALL, BEGINNINGS, CUT, NONE = range(4)


class _Decided(NamedTuple):
    """How the kernel decides a comparison: by `tests` of numbers or `patterns` of a string. `group`: with which others it may be joined;
    None when the kernel does not decide it."""

    group: object | None
    tests: list[Asked] | None = None
    source: Source | None = None
    patterns: list[Pattern] | None = None


_UNDECIDED = _Decided(None)


class _Lowering:
    def __init__(self, rules: RuleSet, always: frozenset[str], strings: int) -> None:
        self.rules = rules
        self.always = always
        self.strings = strings
        self.widened: dict[str, None] = {}
        self.words: set[bytes] = set()
        self.read_words: set[bytes] = set()
        self.typed: dict[tuple[str, str], bool] = {}
        self.current = ""
        self.decisions: dict[tuple[str, Leaf], _Decided] = {}

    def run(self) -> KernelFilter:
        calls: dict[int, int] = {}
        drafts: dict[_Draft, _Drafted | int] = {}
        numbers: dict[_Draft, int] = {}
        used: list[_Drafted] = []
        for call in CALLS:
            if call.family in DELIVERED or call.name in self.always:
                continue
            trees = self.left_of(call)
            key = (call.family, call.name if call.family == "call" and trees else "", tuple(trees))
            if key not in drafts:
                drafts[key] = self.draft(call, trees)
            draft = drafts[key]
            if not isinstance(draft, int) and key not in numbers:
                numbers[key] = len(used) + DROP + 1
                used.append(draft)
            number = draft if isinstance(draft, int) else numbers[key]
            calls[call.number] = number if number < MAX_PROGRAMS else DELIVER
        programs, automaton = self.assembled(used)
        words, read_words = tuple(sorted(self.words)), tuple(sorted(self.read_words))
        return KernelFilter(calls, programs, automaton, words, read_words, tuple(self.widened))

    def left_of(self, call: Call) -> list[tuple[str, Condition | bool]]:
        """What is left to ask of events of `call`: names of rules with their trees."""
        kind = call.family
        found: list[tuple[str, Condition | bool]] = []
        for rule, tree in self.rules.by_event.get(KINDS[kind], ()):
            left = self.specialised(rule.name, tree, kind, call.name)
            if left is not False:
                found.append((rule.name, left))
        if kind in KEPT:
            found.append(("", KEPT[kind]))
        return found

    def specialised(self, name: str, tree: Condition | bool, kind: str, call: str) -> Condition | bool:
        if isinstance(tree, bool):
            return tree
        if (kind, name) not in self.typed:
            self.typed[kind, name] = any(used.name == "evt.type" for used in fields_of(tree))
        return specialise(tree, lambda leaf: known_result(leaf, kind, (call,))) if self.typed[kind, name] else tree

    def draft(self, call: Call, trees: list[tuple[str, Condition | bool]]) -> _Drafted | int:
        """The program for the trees, or DELIVER or DROP."""
        known: dict[Known, None] = {}
        keys = Keys(lambda leaf: self.decided(leaf, call).group)
        for name, tree in trees:
            if tree is True:
                return DELIVER
            assert not isinstance(tree, bool)
            self.current = name
            variables = Variables(lambda leaf: self.decided(leaf, call).group)
            clauses, is_widened = clauses_of(tree, variables)
            if is_widened:
                self.widened[name] = None
            numbers = [keys.number(key) for key in variables.leaves()]
            never = {one for one in numbers if keys.groups[one] == "number" and not self.tests_of(keys.keys[one], call)}
            for clause in clauses:
                true, false = (
                    frozenset(one for at, one in enumerate(numbers) if mask >> at & 1 and keys.groups[one] is not None)
                    for mask in clause
                )
                if true & never:
                    continue
                if not true and not false:
                    return DELIVER
                known[Known(true, false - never)] = None
        return self.encode(call, keys, gathered(known, keys, MAX_CLAUSES))

    # what the kernel can decide

    def decided(self, leaf: Leaf, call: Call) -> _Decided:
        """How the kernel decides a comparison of events of `call`."""
        key = (call.name if call.family == "call" else call.family, leaf)
        if key not in self.decisions:
            self.decisions[key] = self.decide(leaf, call)
        return self.decisions[key]

    def decide(self, leaf: Leaf, call: Call) -> _Decided:
        if not isinstance(leaf, Compare) or not isinstance(leaf.operand, Field):
            return _UNDECIDED
        tests = tests_of(leaf, call.family, call.name)
        if tests is not None:
            return _Decided("number", tests)
        source = source_of(leaf.operand, call.family, call.name)
        patterns = None if source is None else patterns_of(leaf, source)
        if source is None or patterns is None:
            return _UNDECIDED
        is_floating = prefixes_of(patterns) is None
        if self.strings != _Strings.ALL:
            self.widened[self.current] = None
        if self.strings == _Strings.NONE or (self.strings != _Strings.ALL and is_floating):
            return _UNDECIDED
        if self.strings == _Strings.CUT:
            patterns = [Pattern(one.steps[:CUT_STEPS], exact=False) if len(one.steps) > CUT_STEPS else one for one in patterns]
        return _Decided((source.place, is_floating), None, source, patterns)

    def tests_of(self, key: Key, call: Call) -> list[Asked]:
        return list(dict.fromkeys(test for leaf in key for test in self.decided(leaf, call).tests or ()))

    def encode(self, call: Call, keys: Keys, clauses: list[Known]) -> _Drafted | int:
        used = sorted({number for clause in clauses for numbers in clause for number in numbers})
        places = {number: place for place, number in enumerate(used)}
        masks = [Literals(*(sum(1 << places[number] for number in numbers) for numbers in clause)) for clause in clauses]
        tested: dict[int, list[Asked]] = {}
        strings: dict[int, tuple[Source, list[Pattern]]] = {}
        for number, place in places.items():
            key = keys.keys[number]
            source = self.decided(key[0], call).source
            if source is None:
                tested[place] = self.tests_of(key, call)
            else:
                patterns = dict.fromkeys(one for leaf in key for one in self.decided(leaf, call).patterns or ())
                strings[place] = source, list(patterns)
        kept = fewer(tuple(masks), MAX_CLAUSES)
        chosen = self.chosen(kept, tested)
        mask = sum(1 << number for number in chosen)
        kept = reduced(Literals(one.true & mask, one.false & mask) for one in kept)
        if not kept:
            return DROP
        if NOTHING in kept:
            return DELIVER
        return self.drafted(chosen, tested, strings, kept)

    def chosen(self, clauses: Disjunction, tested: dict[int, list[Asked]]) -> list[int]:
        """The variables that become atoms: the ones asked most often, as far as there is room."""
        often: Counter[int] = Counter()
        for clause in clauses:
            bits = clause.true | clause.false
            often.update(number for number in range(bits.bit_length()) if bits >> number & 1)
        found: list[int] = []
        room = MAX_TESTS
        for number, _ in often.most_common():
            needs = len(tested.get(number, ()))
            if len(found) < ATOMS and needs <= room:
                found.append(number)
                room -= needs
        return found

    def drafted(
        self,
        chosen: list[int],
        tested: dict[int, list[Asked]],
        strings: dict[int, tuple[Source, list[Pattern]]],
        clauses: Disjunction,
    ) -> _Drafted:
        bits = {number: bit for bit, number in enumerate(chosen)}
        tests: list[Test] = []
        patterns: tuple[list[tuple[int, Pattern]], ...] = tuple([] for _ in range(PLACES))
        atoms = [0] * PLACES
        floating = 0
        moved = tuple(Clause(_moved(one.true, bits), _moved(one.false, bits)) for one in clauses)
        writing = sum(1 << bits[number] for number, asked in tested.items() if number in bits and all(map(_is_of_writes, asked)))
        of_reads = [clause for clause in moved if not clause.need & writing]
        for number, bit in bits.items():
            for one in tested.get(number, ()):
                flags = (CERTAIN if one.certain else 0) | (SIGNED if one.signed else 0)
                tests.append(Test(one.number, one.kind, one.low, one.high, bit, flags))
            if number in strings:
                source, found = strings[number]
                patterns[source.place].extend((bit, pattern) for pattern in found)
                atoms[source.place] |= 1 << bit
                if source.is_joined and (POISON, POISONS[0]) not in patterns[source.place]:
                    patterns[source.place].extend((POISON, pattern) for pattern in POISONS)
                if source.place == PATH:
                    beginnings = prefixes_of(found)
                    floating |= 1 << bit if beginnings is None else 0
                    begun = {one[:8] for one in beginnings or ()}
                    self.words |= begun
                    if any((clause.need | clause.forbid) >> bit & 1 for clause in of_reads):
                        self.read_words |= begun
        anyhow = [clause for clause in of_reads if not clause.need & atoms[PATH] & ~floating]
        reads = LOOKED_AT if not all(clause.need & atoms[FIRST] for clause in anyhow) else ASK if anyhow else BEGIN
        return _Drafted(tuple(tests), patterns, tuple(atoms), floating, reads, moved)

    def assembled(self, drafts: list[_Drafted]) -> tuple[tuple[Program, ...], Automaton]:
        builder = Builder()
        places = [[builder.add(patterns) if patterns else -1 for patterns in draft.patterns] for draft in drafts]
        automaton, starts = builder.build()
        programs = tuple(
            Program(
                draft.tests,
                tuple(
                    (starts[place] if place >= 0 else UNCERTAIN, atoms) for place, atoms in zip(each, draft.atoms, strict=True)
                ),
                draft.floating,
                draft.reads,
                draft.clauses,
            )
            for draft, each in zip(drafts, places, strict=True)
        )
        return programs, automaton


_Draft = tuple[str, str, tuple[tuple[str, Condition | bool], ...]]


def _is_of_writes(test: Asked) -> bool:
    """Whether the test is true of no read-only open: it wants another mode of access."""
    return test.kind == EQUALS and test.number == FILTER_NUMBERS["flags"] and test.low & test.high & _ACCESS_MODE != 0


def _moved(mask: int, bits: dict[int, int]) -> int:
    """The atoms of the variables in `mask`."""
    return sum(1 << bit for number, bit in bits.items() if mask >> number & 1)
