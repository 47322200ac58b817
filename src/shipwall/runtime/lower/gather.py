"""Clauses of many rules → few. Clauses that differ in one comparison only become one, with a variable that is true when any of those
comparisons holds: so ten thousand rules about ten thousand paths are one clause, and the automaton does the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from shipwall.runtime.lower.clauses import Leaf

Key = tuple[Leaf, ...]
"""The comparisons of a variable: it is true when any of them holds."""

_OFTEN = 8  # a comparison in an eighth of the clauses is worth keeping


class Known(NamedTuple):
    """A conjunction of variables the kernel decides, by their numbers: those that are true, and those that are false."""

    true: frozenset[int]
    false: frozenset[int]


class Keys:
    """Numbers variables. `group_of` says of what kind a comparison is, None where the kernel cannot tell: only one kind is ever joined."""

    def __init__(self, group_of: Callable[[Leaf], object | None]) -> None:
        self._group_of = group_of
        self._numbers: dict[Key, int] = {}
        self.keys: list[Key] = []
        self.groups: list[object | None] = []

    def number(self, key: Key) -> int:
        """The number of the variable with these comparisons."""
        number = self._numbers.setdefault(key, len(self.keys))
        if number == len(self.keys):
            self.keys.append(key)
            self.groups.append(self._group_of(key[0]))
        return number


def gathered(clauses: Iterable[Known], keys: Keys, most: int) -> list[Known]:
    """Clauses of which one holds whenever one of `clauses` does.

    Where more than `most` are left, comparisons of numbers that are rare leave the clauses that also ask for a string.
    """
    found = _joined(clauses, keys)
    if len(found) <= most:
        return found
    often = Counter(key for clause in found for key in (*clause.true, *clause.false))
    kept = {key for key, count in often.items() if count * _OFTEN >= len(found)}
    shorter = []
    for clause in found:
        strings = {key for key in clause.true if keys.groups[key] != "number"}
        shorter.append(Known(clause.true & (kept | strings), clause.false & kept) if strings else clause)
    return _joined(shorter, keys)


def _joined(clauses: Iterable[Known], keys: Keys) -> list[Known]:
    distinct = list(dict.fromkeys(clauses))
    often = Counter(key for clause in distinct for key in clause.true)
    groups: dict[tuple[frozenset[int], frozenset[int], object], dict[Leaf, None]] = {}
    alone: list[Known] = []
    for clause in distinct:
        if not clause.true:
            alone.append(clause)
            continue
        chosen = min(clause.true, key=lambda key: (keys.groups[key] == "number", often[key], key))
        place = clause.true - {chosen}, clause.false, keys.groups[chosen]
        groups.setdefault(place, {}).update(dict.fromkeys(keys.keys[chosen]))
    return alone + [Known(true | {keys.number(tuple(leaves))}, false) for (true, false, _), leaves in groups.items()]
