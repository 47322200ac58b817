"""Judging a fleet anew when advisories changed, without opening an image.

What two databases say otherwise is found by the marks of their entries, and components are judged by the advisories that came, went or
changed alone; by everything only where these share a problem with others. Law: the verdicts are those of judging everything anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.advisory_db.form import MARK_BYTES, MARK_ID_BYTES, hash_id, split_marks
from shipwall.adapters.fleet import HELD, NOT_HELD, SCORES, Fleet, Judgement
from shipwall.adapters.instance import Instance
from shipwall.adapters.report import Reporter, no_report
from shipwall.model.finding import Finding
from shipwall.model.package import Skipped
from shipwall.model.wire import ImageStep, Message
from shipwall.supply.advisory_ids import is_cve
from shipwall.supply.fleet import Change, Component, Touched, compare_findings, find_part, group_by_image, judge_components

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
    components = fleet.components(asked.whole | asked.partly)
    before = fleet.verdicts(asked.whole | asked.partly)
    after, skipped = _judge(asked.partly, components, advisories, _moved_numbers(asked, components, advisories))
    parts = {number: find_part(before.get(number, ()), after.get(number, ()), asked.is_moved) for number in asked.partly}
    whole = asked.whole | {number for number, part in parts.items() if part is None}
    again, more = _judge(whole, components, advisories)
    changes: list[Change] = []
    put: list[tuple[int, Finding]] = []
    gone: list[tuple[int, str]] = []
    for number in sorted(components):
        part = parts.get(number)
        old, new = (before, again) if part is None else ({number: part}, after)
        held = {one.id: one for one in old.get(number, ())}
        own = new.get(number, [])
        put += [(number, one) for one in own if one != held.get(one.id)]
        gone += [(number, name) for name in held.keys() - {one.id for one in own}]
        if number not in asked.first:
            changes += compare_findings(number, held.values(), own)
    asked.marks[SCORES] |= _score_marks(advisories, {_problem(finding) for _number, finding in put})
    images = fleet.images_with({change.component for change in changes})
    counted = [(change, len(images[change.component])) for change in changes]
    fleet.judge(Judgement(asked.first, put, gone, asked.marks, counted), str(advisories.path), now_ns)
    touched = group_by_image([images[change.component].to_array() for change in changes])
    _tell(fleet, touched, changes, now_ns, report)
    return Rejudged(len(components), counted, touched, list(dict.fromkeys((*skipped, *more))))


class _Asked(NamedTuple):
    """Components to judge: `whole` by everything (of them the `first` for the first time), `partly` by the advisories that came, went or
    changed: `ids` are the beginnings of their marks. `marks`: by scope and name, what is known from now on.
    """

    first: set[int]
    whole: set[int]
    partly: set[int]
    ids: set[bytes]
    marks: dict[str, dict[str, bytes]]

    def is_moved(self, statement: str) -> bool:
        """Whether the advisory `feed:id` may be one of those that came, went or changed."""
        return hash_id(statement) in self.ids


def _find_asked(fleet: Fleet, advisories: AdvisoryDb) -> _Asked:
    first = fleet.never_judged()
    asked = _Asked(first, set(first), set(), set(), {})
    for scope, known in fleet.questions().items():
        now = advisories.marks(scope, known)
        moved = {name: mark for name, before in known.items() if (mark := now.get(name, _NOTHING_SAID)) != before}
        asked.marks[scope] = moved | {"": HELD if advisories.holds(scope) else NOT_HELD}
        said: list[str] = []
        for name, mark in moved.items():
            old, new = _entries(known[name]), _entries(mark)
            if old is None or new is None:
                asked.whole.update(fleet.asking(scope, (name,)))
            elif old != new:
                said.append(name)
                asked.ids.update(one[:MARK_ID_BYTES] for one in old ^ new)
        asked.partly.update(fleet.asking(scope, said))
    asked.whole.update(_rescored(fleet, advisories, asked.marks))
    asked.partly.difference_update(asked.whole)
    return asked


def _moved_numbers(asked: _Asked, components: dict[int, Component], advisories: AdvisoryDb) -> set[int]:
    """The moved advisories as they are now: with all they say of the components, also where that has not changed."""
    names: dict[str, set[str]] = {}
    for number in asked.partly:
        for scope, name in components[number].names():
            names.setdefault(scope, set()).add(name)
    return {number for scope, own in names.items() for number in advisories.numbers(scope, own, asked.ids)}


def _entries(mark: bytes) -> set[bytes] | None:
    """The marks of the entries that `mark` was made of; None when it is not known (never judged, or kept by another version)."""
    if mark == _NOTHING_SAID:
        return set()
    return set(split_marks(mark)) if mark and not len(mark) % MARK_BYTES else None


def _rescored(fleet: Fleet, advisories: AdvisoryDb, marks: dict[str, dict[str, bytes]]) -> set[int]:
    """The components with a problem that some feed gives another CVSS vector for than before; what is known now goes to `marks`."""
    marks[SCORES] = {"": advisories.vectors_mark()}
    if fleet.mark(SCORES, "") == marks[SCORES][""]:
        return set()
    known = fleet.scores()
    now = _score_marks(advisories, known)
    moved = {problem: mark for problem, mark in now.items() if mark != known[problem]}
    marks[SCORES] |= moved
    return fleet.having(problem.partition(" ")[0] for problem in moved)


def _problem(finding: Finding) -> str:
    """All names under which feeds may give vectors for it."""
    return " ".join((finding.id, *(name for name in finding.aliases if is_cve(name))))


def _score_marks(advisories: AdvisoryDb, problems: Iterable[str]) -> dict[str, bytes]:
    """By problem, what tells whether the vectors that any feed gives for it have changed."""
    wanted = {problem: problem.split(" ") for problem in problems}
    vectors = advisories.vectors({name for names in wanted.values() for name in names})
    said = {
        problem: "\n".join(sorted({one for name in names for one in vectors.get(name, ())})) for problem, names in wanted.items()
    }
    return {problem: vectors.encode() or _NOTHING_SAID for problem, vectors in said.items()}


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
