"""A long list of names and versions of one scope against all its advisories: whole numbers first, the slow matcher for the rest.

Law: the ids are those of the advisories that `match_advisories.judge` finds for each package alone (tests/laws/test_advisory_laws.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from shipwall.model.advisory import Advisory
from shipwall.model.package import Package
from shipwall.supply.ecosystems import order_of, parse_name
from shipwall.supply.match_advisories import Entry, is_told
from shipwall.supply.match_bulk import BulkIndex
from shipwall.supply.modules import is_modular


class Answer(NamedTuple):
    """`ids` of the advisories that affect a package, sorted; `undecided`: of those of which nobody can say, and why."""

    ids: tuple[str, ...] = ()
    undecided: tuple[tuple[str, str], ...] = ()


class ListMatcher:
    """The advisories of `scope`, made ready once. `advisory` gives one by its number."""

    def __init__(self, scope: str, entries: Iterable[Entry], advisory: Callable[[int], Advisory]) -> None:
        self._scope, self._order = scope, order_of(scope)
        self._index = BulkIndex(entries)
        self._names = self._index.names(scope)
        self._advisory = advisory

    def match(self, asked: Sequence[tuple[str, str]]) -> list[Answer]:
        """For each (name, version) what affects it. A name is a package's own and its source's at once, of any architecture."""
        index, scope = self._index, self._scope
        names = [parse_name(scope, name) for name, _version in asked]
        versions = [version for _name, version in asked]
        found: dict[int, set[int]] = {}
        for by_source in (False, True):
            hits = index.match_texts(scope, names, versions, by_source=by_source)
            for row, case in zip(hits.rows.tolist(), hits.cases.tolist(), strict=True):
                found.setdefault(row, set()).add(index.cases[case].number)
        undecided: dict[int, list[tuple[str, str]]] = {}
        slow = [row for row, (name, version) in enumerate(zip(names, versions, strict=True)) if self._is_slow(name, version)]
        packages = [(Package(ecosystem="", name=asked[row][0], version=versions[row]), scope) for row in slow]
        for row in slow:
            found.pop(row, None)
        for place, number, judgement in index.match_packages(packages):
            if judgement.affected is not None:
                found.setdefault(slow[place], set()).add(number)
            elif is_told(advisory := self._advisory(number)):
                undecided.setdefault(slow[place], []).append((advisory.id, judgement.undecided))
        return [Answer(self._ids(found.get(row, ())), tuple(sorted(undecided.get(row, ())))) for row in range(len(asked))]

    def _is_slow(self, name: str, version: str) -> bool:
        """Whether only the slow matcher can say."""
        plain = self._names.get(name)
        if plain is None:  # no advisory speaks of it
            return False
        return not plain or self._index.rank(self._order, version) < 0 or (self._order == "rpm" and is_modular(version))

    def _ids(self, numbers: Iterable[int]) -> tuple[str, ...]:
        told = (self._advisory(number) for number in numbers)
        return tuple(sorted({one.id for one in told if is_told(one)}))
