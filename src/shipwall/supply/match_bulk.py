"""Many packages against many advisories at once: the matcher's meaning, lowered to whole numbers.

Every version that bounds a range gets an odd number in its order, 1, 3, 5, ...; any other version falls on the even number between its
neighbours. Then "from introduced to before fixed" is `low <= rank < high` on arrays. What numbers cannot say (versions that cannot be
placed, builds of modules whose stream is not known, entries for some architectures only) is left to the slow matcher, name by name.

Law: the same verdicts as `match_advisories.judge` (tests/laws/test_advisory_laws.py).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shipwall.model.advisory import Affected
from shipwall.model.errors import InputError
from shipwall.model.package import Package
from shipwall.supply.ecosystems import order_of
from shipwall.supply.match_advisories import Entry, Judgement, earliest_builds, judge, names_in
from shipwall.supply.modules import Stream
from shipwall.supply.versions import find_order

Ids = NDArray[np.int32]

_END = np.iinfo(np.int32).max
_UNSEEN = -2
NO_NAME = 0
"""The id of names that no advisory speaks of."""


class Case(NamedTuple):
    """What one advisory says of one name of a scope."""

    number: int
    affected: tuple[Affected, ...]


class Hits(NamedTuple):
    """`rows` are places in what was asked, `cases` places in `BulkIndex.cases`; pairs of them that are affected."""

    rows: NDArray[np.int64]
    cases: Ids


class _Key(NamedTuple):
    """What packages and cases meet under."""

    scope: str
    name: str
    by_source: bool


class BulkIndex:
    """Advisories made ready for matching. Built once for a database; asking changes only its memory of versions."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        grouped: dict[_Key, dict[int, list[Affected]]] = {}
        for number, affected in entries:
            key = _Key(affected.scope, affected.name, affected.by_source)
            grouped.setdefault(key, {}).setdefault(number, []).append(affected)
        self.cases: list[Case] = []
        self._by_key = {
            key: [Case(number, tuple(affected)) for number, affected in by_number.items()] for key, by_number in grouped.items()
        }
        self._slow: dict[_Key, list[Case]] = {}
        self._names: dict[_Key, int] = {}
        self._bounds, self._ranks = _find_bounds(self._by_key)
        self._texts: dict[tuple[str, bool], dict[str, int]] = {}
        self._build()

    def _build(self) -> None:
        tops = [0]
        first: list[tuple[int, int, int]] = []  # (name, high, case) of spans that begin with the first version: nearly all
        other: list[tuple[int, int, int, int]] = []
        for key, cases in self._by_key.items():
            name, top = len(tops), 0
            for case in cases:
                spans = self._spans(order_of(key.scope), case)
                if spans is None:
                    self._slow.setdefault(key, []).append(case)
                    continue
                for low, high in spans:
                    top = max(top, high)
                    if low == 0:
                        first.append((name, high, len(self.cases)))
                    else:
                        other.append((name, low, high, len(self.cases)))
                self.cases.append(case)
            self._names[key] = name
            self._texts.setdefault((key.scope, key.by_source), {})[key.name] = name
            tops.append(top)
        # The highest end of each name: most packages of most images are past it, and need no look at single spans.
        self._top = np.array(tops, np.int32)
        self._first, self._other = _FirstSpans(first, len(tops)), _OtherSpans(other, len(tops))

    def _spans(self, order: str, case: Case) -> list[tuple[int, int]] | None:
        """The ranks that a build outside modules is affected at, as disjoint spans; None when numbers cannot say it."""
        own = [one for one in case.affected if not one.module or order != "rpm"]
        if any(one.arches for one in own):
            return None
        if order == "rpm":
            try:
                own = earliest_builds(own, order)
            except InputError:
                return None
        spans: list[tuple[int, int]] = []
        for one in own:
            for span in one.ranges:
                low = self.rank(order, span.introduced) if span.introduced else 0
                high = self.rank(order, span.fixed) if span.fixed else _END
                last = self.rank(order, span.last_affected) if span.last_affected else _END
                if min(low, high, last) < 0:
                    return None
                spans.append((low, min(high, last + 1 if last < _END else _END)))
            for version in one.versions:
                rank = self.rank(order, version)
                if rank < 0:
                    return None
                spans.append((rank, rank + 1))
        return _merged(spans)

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._first.cases) + len(self._other.cases)

    def name_id(self, scope: str, name: str, *, by_source: bool = False) -> int:
        """The id of a name as advisories of `scope` write it; NO_NAME when none speaks of it."""
        return self._names.get(_Key(scope, name, by_source), NO_NAME)

    def names(self, scope: str) -> dict[str, bool]:
        """The names that advisories of `scope` speak of, and whether numbers say all of it about a build outside modules."""
        known = {key for key in self._by_key if key.scope == scope}
        # Of RPM builds the earliest of all that one advisory names counts, be it by the package's name and by its source's.
        twice = order_of(scope) == "rpm"
        odd = {key.name for key in known if key in self._slow or (twice and key._replace(by_source=not key.by_source) in known)}
        return {key.name: key.name not in odd for key in known}

    def rank(self, order: str, version: str) -> int:
        """The place of `version` among all bounds of `order`, -1 when it cannot be placed."""
        known = self._ranks.setdefault(order, {})
        if version not in known:
            self._place(order, (version,))
        return known[version]

    def _place(self, order: str, versions: Iterable[str]) -> None:
        """Find the ranks of versions that were not seen before."""
        known, bounds, find = self._ranks[order], self._bounds.get(order, []), find_order(order).key
        end = len(bounds)
        for version in versions:
            try:
                key = find(version)
            except InputError:
                known[version] = -1
                continue
            place = bisect.bisect_left(bounds, key)
            known[version] = 2 * place + (place < end and bounds[place] == key)

    def match_ids(self, names: Ids, ranks: Ids) -> Hits:
        """The affected among pairs of name id and rank. Shape: two arrays of one length. Ranks of -1 are never affected here."""
        rows = np.flatnonzero((ranks < self._top[names]) & (ranks >= 0))
        names, ranks = names[rows], ranks[rows]
        first, other = self._first.find(names, ranks), self._other.find(names, ranks)
        if not len(other.rows):
            return Hits(rows[first.rows], first.cases)
        return Hits(rows[np.concatenate((first.rows, other.rows))], np.concatenate((first.cases, other.cases)))

    def match_texts(self, scope: str, names: Sequence[str], versions: Sequence[str], *, by_source: bool = False) -> Hits:
        """The affected among packages of `scope` by name and version as texts: builds outside modules, of any architecture."""
        order = order_of(scope)
        known, texts = self._ranks.setdefault(order, {}), self._texts.get((scope, by_source), {})
        count = len(names)
        ids = np.fromiter(map(texts.get, names, itertools.repeat(NO_NAME)), np.int32, count)
        ranks = np.fromiter(map(known.get, versions, itertools.repeat(_UNSEEN)), np.int32, count)
        unseen = np.flatnonzero((ranks == _UNSEEN) & (ids != NO_NAME))
        if len(unseen):
            fresh = [versions[place] for place in unseen.tolist()]
            self._place(order, dict.fromkeys(fresh))
            ranks[unseen] = [known[version] for version in fresh]
        return self.match_ids(ids, ranks)

    def match_packages(self, packages: Sequence[tuple[Package, str]]) -> list[tuple[int, int, Judgement]]:
        """For each (package, scope) the advisories that affect it or cannot be decided: (place in `packages`, number, judgement).

        What the numbers find is judged once more by `judge`, so that fixed version and reason are the slow matcher's own.
        """
        rows, names, ranks = [], [], []
        candidates: set[tuple[int, int]] = set()
        for row, (package, scope) in enumerate(packages):
            order = order_of(scope)
            modular = order == "rpm" and Stream.of(package).modular
            for key, version in _asked(package, scope):
                candidates |= {(row, case.number) for case in self._slow.get(key, ())}
                number = self._names.get(key, NO_NAME)
                rank = self.rank(order, version) if number != NO_NAME else -1
                if rank >= 0 and not modular:
                    rows.append(row)
                    names.append(number)
                    ranks.append(rank)
                else:
                    candidates |= {(row, case.number) for case in self._by_key.get(key, ())}
        hits = self.match_ids(np.array(names, np.int32), np.array(ranks, np.int32))
        candidates |= {
            (rows[place], self.cases[case].number) for place, case in zip(hits.rows.tolist(), hits.cases.tolist(), strict=True)
        }
        judged = ((row, number, self._judge(*packages[row], number)) for row, number in sorted(candidates))
        return [one for one in judged if one[2].affected is not None or one[2].undecided]

    def _judge(self, package: Package, scope: str, number: int) -> Judgement:
        affected = [
            one
            for key, _version in _asked(package, scope)
            for case in self._by_key.get(key, ())
            if case.number == number
            for one in case.affected
        ]
        return judge(package, scope, affected)


def _asked(package: Package, scope: str) -> tuple[tuple[_Key, str], tuple[_Key, str]]:
    """The two ways in which an advisory may speak of `package`, each with the version that counts."""
    binary, source = names_in(package, scope)
    return (_Key(scope, binary, False), package.version), (_Key(scope, source, True), package.source_version or package.version)


class _FirstSpans:
    """Spans from the first version on: sorted by name and end, so that those a version lies in are the tail of its name's."""

    def __init__(self, spans: list[tuple[int, int, int]], names: int) -> None:
        rows = np.array(sorted(spans), np.int64).reshape(-1, 3)
        self._places = (rows[:, 0] << 32) + rows[:, 1]
        self._ends = np.searchsorted(rows[:, 0], np.arange(names), side="right")
        self.cases = rows[:, 2].astype(np.int32)

    def find(self, names: Ids, ranks: Ids) -> Hits:
        """By place in `names`, the spans whose end is above the rank."""
        begins = np.searchsorted(self._places, (names.astype(np.int64) << 32) + ranks, side="right")
        counts = self._ends[names] - begins
        return Hits(np.repeat(np.arange(len(names)), counts), self.cases[_runs(begins, counts)])


class _OtherSpans:
    """Spans with a beginning: all of a name's are looked at."""

    def __init__(self, spans: list[tuple[int, int, int, int]], names: int) -> None:
        rows = np.array(sorted(spans), np.int64).reshape(-1, 4)
        self._begins = np.searchsorted(rows[:, 0], np.arange(names))
        self._counts = np.searchsorted(rows[:, 0], np.arange(names), side="right") - self._begins
        self._low, self._high, self.cases = (rows[:, column].astype(np.int32) for column in (1, 2, 3))

    def find(self, names: Ids, ranks: Ids) -> Hits:
        """By place in `names`, the spans the rank lies in."""
        asked = np.flatnonzero(self._counts[names])
        counts = self._counts[names[asked]]
        places = _runs(self._begins[names[asked]], counts)
        rows = np.repeat(asked, counts)
        wanted = ranks[rows]
        inside = np.flatnonzero((self._low[places] <= wanted) & (wanted < self._high[places]))
        return Hits(rows[inside], self.cases[places[inside]])


def _runs(begins: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`begin, begin + 1, ...` for each begin, as many as its count, one after another."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(begins - ends + counts, counts)


def _find_bounds(by_key: dict[_Key, list[Case]]) -> tuple[dict[str, list[bytes]], dict[str, dict[str, int]]]:
    """By order, the sorted keys of all versions that bound a range or are listed, and the ranks of these versions."""
    texts: dict[str, set[str]] = {}
    for key, cases in by_key.items():
        own = texts.setdefault(order_of(key.scope), set())
        for case in cases:
            for one in case.affected:
                for span in one.ranges:
                    own.update((span.introduced, span.fixed, span.last_affected))
                own.update(one.versions)
    bounds: dict[str, list[bytes]] = {}
    ranks: dict[str, dict[str, int]] = {}
    for order, versions in texts.items():
        keys: dict[str, bytes] = {}
        find = find_order(order).key
        ranks[order] = known = {}
        for version in versions - {""}:
            try:
                keys[version] = find(version)
            except InputError:
                known[version] = -1
        bounds[order] = sorted(set(keys.values()))
        places = {key: 2 * place + 1 for place, key in enumerate(bounds[order])}
        known |= {version: places[key] for version, key in keys.items()}
    return bounds, ranks


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """`spans` without overlaps, sorted; empty ones fall away."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if low >= high:
            continue
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        else:
            merged.append((low, high))
    return merged
