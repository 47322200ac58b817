"""Judging a fleet anew when advisories changed, without opening an image.

What two databases say otherwise is found by the marks of their entries. Where something was only added to what is said of a package, its
components are judged by what was added alone; where anything went or changed, and where what was added speaks of a problem that the
component has already, by everything. Law: the verdicts are those of judging everything anew (tests/laws/test_fleet_laws.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.advisory_db.form import split_marks
from shipwall.adapters.fleet import HELD, NOT_HELD, SCORES, Fleet, Judgement
from shipwall.adapters.instance import Instance
from shipwall.adapters.report import Reporter, no_report
from shipwall.model.finding import Finding
from shipwall.model.package import Skipped
from shipwall.model.wire import ImageStep, Message
from shipwall.supply.fleet import Change, Component, Touched, compare_findings, group_by_image, judge_components

_NOTHING_SAID = b"-"
_MAX_TOLD = 1000
Verdicts = dict[int, list[Finding]]


def judge_fleet(instance: Instance, database: Path, now_ns: int) -> Rejudged:
    """Judge the instance's fleet by `database`, and tell its console what is new."""
    with Fleet(instance.fleet, write=True) as fleet, AdvisoryDb(database) as advisories:
        return rejudge(fleet, advisories, now_ns, Reporter(instance.link_socket))


class Rejudged(NamedTuple):
    """What judging anew did. `components`: how many were judged, `changes` with the number of images each is in.

    `touched`: the changes (indexes into `changes`) by image number. `skipped`: what could not be judged.
    """

    components: int
    changes: list[tuple[Change, int]]
    touched: Touched
    skipped: list[Skipped]


def rejudge(fleet: Fleet, advisories: AdvisoryDb, now_ns: int, report: Callable[[Message], None] = no_report) -> Rejudged:
    """Judge again every component about which `advisories` says something else than before; no image is opened.

    A component judged for the first time makes no news. Images that something new hits are told to the console by `report`.
    """
    asked = _find_asked(fleet, advisories)
    components = fleet.components(asked.whole | asked.added)
    came, skipped = _judge(asked.added, components, advisories, asked.numbers)
    known = fleet.named(came)
    met = {number for number, own in came.items() if any(not known.get(number, set()).isdisjoint(_names(one)) for one in own)}
    whole = asked.whole | met
    after, more = _judge(whole, components, advisories)
    before = fleet.verdicts(whole - asked.first)
    changes: list[Change] = []
    put: list[tuple[int, Finding]] = []
    gone: list[tuple[int, str]] = []
    for number in sorted(components):
        own = came.get(number, []) if number not in whole else after.get(number, [])
        old = {one.id: one for one in before.get(number, ())}
        put += [(number, one) for one in own if one != old.get(one.id)]
        gone += [(number, name) for name in old.keys() - {one.id for one in own}]
        if number not in asked.first:
            changes += compare_findings(number, old.values(), own)
    asked.marks[SCORES] |= _score_marks(advisories, {finding.id for _number, finding in put})
    images = fleet.images_with({change.component for change in changes})
    counted = [(change, len(images[change.component])) for change in changes]
    fleet.judge(Judgement(asked.first, put, gone, asked.marks, counted), str(advisories.path), now_ns)
    touched = group_by_image([images[change.component].to_array() for change in changes])
    _tell(fleet, touched, changes, now_ns, report)
    return Rejudged(len(components), counted, touched, list(dict.fromkeys((*skipped, *more))))


class _Asked(NamedTuple):
    """Components to judge: `whole` by everything (of them the `first` for the first time), `added` by the advisories `numbers` alone.

    `marks`: by scope and name, what is known from now on.
    """

    first: set[int]
    whole: set[int]
    added: set[int]
    numbers: set[int]
    marks: dict[str, dict[str, bytes]]


def _find_asked(fleet: Fleet, advisories: AdvisoryDb) -> _Asked:
    first = fleet.never_judged()
    asked = _Asked(first, set(first), set(), set(), {})
    for scope, known in fleet.questions().items():
        now = advisories.marks(scope, known)
        moved = {name: mark for name, before in known.items() if (mark := now.get(name, _NOTHING_SAID)) != before}
        asked.marks[scope] = moved | {"": HELD if advisories.holds(scope) else NOT_HELD}
        changed: list[str] = []
        came: dict[str, set[bytes]] = {}
        for name, mark in moved.items():
            old, new = _entries(known[name]), _entries(mark)
            if not known[name] or not old <= new:
                changed.append(name)
            elif old != new:
                came[name] = new - old
        asked.whole.update(fleet.asking(scope, changed))
        asked.added.update(fleet.asking(scope, came))
        asked.numbers.update(advisories.numbers(scope, came))
    asked.whole.update(_rescored(fleet, advisories, asked.marks))
    asked.added.difference_update(asked.whole)
    return asked


def _entries(mark: bytes) -> set[bytes]:
    """The marks of the entries that `mark` was made of."""
    return set() if mark == _NOTHING_SAID else set(split_marks(mark))


def _rescored(fleet: Fleet, advisories: AdvisoryDb, marks: dict[str, dict[str, bytes]]) -> set[int]:
    """The components with a problem that some feed gives another CVSS vector for than before; what is known now goes to `marks`."""
    marks[SCORES] = {"": advisories.vectors_mark()}
    if fleet.mark(SCORES, "") == marks[SCORES][""]:
        return set()
    known = fleet.scores()
    now = _score_marks(advisories, known)
    moved = {name: now[name] for name, before in known.items() if now[name] != before}
    marks[SCORES] |= moved
    return fleet.having(name for name in moved if known[name])


def _score_marks(advisories: AdvisoryDb, ids: Iterable[str]) -> dict[str, bytes]:
    """By id, what tells whether the vectors that any feed gives for it have changed."""
    wanted = list(ids)
    vectors = advisories.vectors(wanted)
    return {name: "\n".join(sorted(vectors.get(name, ()))).encode() or _NOTHING_SAID for name in wanted}


def _judge(
    numbers: Iterable[int], components: dict[int, Component], advisories: AdvisoryDb, only: set[int] | None = None
) -> tuple[Verdicts, list[Skipped]]:
    """The findings of the components `numbers`, those that have any."""
    wanted = sorted(numbers)
    found, skipped = judge_components([components[number] for number in wanted], advisories, only)
    verdicts: Verdicts = {}
    for index, finding in found:
        verdicts.setdefault(wanted[index], []).append(finding)
    return verdicts, skipped


def _names(finding: Finding) -> tuple[str, ...]:
    return finding.id, *finding.aliases


def _tell(fleet: Fleet, touched: Touched, changes: list[Change], now_ns: int, report: Callable[[Message], None]) -> None:
    """Tell the console which images something new hits, at most a thousand of them: `fleet news` has all."""
    hit: dict[int, list[Change]] = {}
    for place, image in enumerate(touched.images):
        if news := [changes[index] for index in touched.of(place) if changes[index].kind == "new"]:
            hit[int(image)] = news
            if len(hit) == _MAX_TOLD:
                break
    for known in fleet.images(hit):
        news = hit[known.number]
        first = ", ".join(f"{one.finding.id} in {one.finding.package.name}" for one in news[:3])
        more = f" and {len(news) - 3} more" if len(news) > 3 else ""
        facts = {one.finding.id: f"{one.finding.package.name} {one.finding.package.version}" for one in news[:20]}
        report(
            ImageStep(
                digest=known.identity.manifest, image=known.names[-1] if known.names else "", step="hit", time_ns=now_ns,
                summary=f"new advisories: {first}{more}", facts=facts,
            )
        )  # fmt: skip
