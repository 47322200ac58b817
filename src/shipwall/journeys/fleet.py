"""The fleet's life: an image is kept when it is listed, all are judged anew when advisories change, and anybody may ask which has what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.fleet import HELD, NOT_HELD, SCORES, Fleet, FleetImage
from shipwall.adapters.instance import Instance
from shipwall.adapters.inventories import Inventories
from shipwall.adapters.registry import Registry
from shipwall.adapters.report import Reporter, no_report
from shipwall.journeys.keep import keep_image
from shipwall.journeys.scan import list_image, silent
from shipwall.model.digest import parse_digest
from shipwall.model.errors import InputError, ShipwallError
from shipwall.model.finding import Finding
from shipwall.model.image import parse_image_ref
from shipwall.model.package import Package, Skipped
from shipwall.model.wire import ImageStep, Message
from shipwall.supply.fleet import (
    Change,
    Query,
    Touched,
    compare_findings,
    group_by_image,
    judge_components,
    parse_query,
)

_NOTHING_SAID = b"-"
_MAX_TOLD = 1000


class Added(NamedTuple):
    """What became of one image: `new`, known (neither), or the `error` (one line) that kept it from being listed."""

    source: str
    manifest: str
    new: bool
    error: str = ""
    exit_code: int = 0


def add_images(
    path: Path, sources: Iterable[str], now_ns: int, *, engine_socket: Path | None = None, allow_http: bool = False,
    platform: str = "", inventories: Inventories | None = None, say: Callable[[str], None] = silent,
) -> list[Added]:  # fmt: skip
    """List each image and keep it; one that fails does not stop the rest."""
    added: list[Added] = []
    for source in sources:
        say(source)
        try:
            inventory = list_image(
                source, engine_socket=engine_socket, allow_http=allow_http, platform=platform, inventories=inventories, say=say
            )
            if inventory.image is None:
                raise InputError(source, "is a plain folder, which has no digest to keep it under", "name an image")
            added.append(Added(source, inventory.image.manifest, keep_image(path, inventory, source, now_ns)))
        except ShipwallError as error:
            added.append(Added(source, "", new=False, error=error.line(), exit_code=error.exit_code))
    return added


def list_tags(repository: str, *, allow_http: bool = False) -> list[str]:
    """Every tag of `REGISTRY/REPOSITORY`, as references. *Raises* InputError, RemoteError."""
    ref = parse_image_ref(repository)
    if not ref.registry or ref.tag or ref.digest:
        raise InputError(f"repository {repository[:200]!r}", "is not REGISTRY/REPOSITORY", "leave the tag out")
    with Registry(ref.registry, allow_http=allow_http) as registry:
        return [f"{ref.name}:{tag}" for tag in sorted(registry.tags(ref.repository))]


def judge_fleet(instance: Instance, database: Path, now_ns: int) -> Rejudged:
    """Judge the instance's fleet by `database`, and tell its console what is new."""
    with Fleet(instance.fleet, write=True) as fleet, AdvisoryDb(database) as advisories:
        return rejudge(fleet, advisories, now_ns, Reporter(instance.link_socket))


def find_image(fleet: Fleet, text: str) -> FleetImage:
    """The kept image that `text` (a digest, or a name it was seen under) means. *Raises* InputError."""
    if text.startswith("sha256:") and (image := fleet.image(parse_digest(text))) is not None:
        return image
    named = [image for image in fleet.images() if text in image.names]
    if not named:
        raise InputError(f"image {text[:200]!r}", "is not kept", "shipwall fleet list")
    return named[0]


class Count(NamedTuple):
    """Of one image: findings as last judged, and `unjudged`: packages of which nothing is known. Without findings it is then not clean."""

    findings: int
    unjudged: int


def count_findings(fleet: Fleet, images: Iterable[FleetImage]) -> dict[int, Count]:
    """By image number, what is known of its components."""
    counts, unjudged = fleet.verdict_counts(), fleet.unjudged()
    found: dict[int, Count] = {}
    for image in images:
        numbers = fleet.numbers_of(image.number)
        found[image.number] = Count(sum(counts.get(one, 0) for one in numbers), sum(one in unjudged for one in numbers))
    return found


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
    marks: dict[str, dict[str, bytes]] = {}
    asking: set[int] = fleet.never_judged()
    first = set(asking)
    for scope, known in fleet.questions().items():
        now = advisories.marks(scope, known)
        changed = {name: mark for name, before in known.items() if (mark := now.get(name, _NOTHING_SAID)) != before}
        marks[scope] = changed | {"": HELD if advisories.holds(scope) else NOT_HELD}
        if changed:
            asking |= fleet.asking(scope, changed)
    marks[SCORES] = {"": advisories.vectors_mark()}
    if fleet.mark(SCORES, "") != marks[SCORES][""]:
        scores = fleet.scores()
        now_scored = _score_marks(advisories, scores)
        rescored = {name: now_scored[name] for name, before in scores.items() if now_scored[name] != before}
        marks[SCORES] |= rescored
        asking |= fleet.having(name for name in rescored if scores[name])
    numbers = sorted(asking)
    components = fleet.components(numbers)
    found, skipped = judge_components([components[number] for number in numbers], advisories)
    after: dict[int, list[Finding]] = {number: [] for number in numbers}
    for index, finding in found:
        after[numbers[index]].append(finding)
    marks[SCORES] |= _score_marks(advisories, {finding.id for own in after.values() for finding in own})
    before = fleet.verdicts(numbers)
    changes = [
        change
        for number in numbers
        if number not in first
        for change in compare_findings(number, before.get(number, ()), after[number])
    ]
    images = fleet.images_with({change.component for change in changes})
    counted = [(change, len(images[change.component])) for change in changes]
    moved = {number: own for number, own in after.items() if number in first or own != before.get(number, [])}
    fleet.judge(moved, marks, counted, str(advisories.path), now_ns)
    touched = group_by_image([images[change.component].to_array() for change in changes])
    _tell(fleet, touched, changes, now_ns, report)
    return Rejudged(len(numbers), counted, touched, skipped)


def _score_marks(advisories: AdvisoryDb, ids: Iterable[str]) -> dict[str, bytes]:
    """By id, what tells whether the vectors that any feed gives for it have changed."""
    wanted = list(ids)
    vectors = advisories.vectors(wanted)
    return {name: "\n".join(sorted(vectors.get(name, ()))).encode() or _NOTHING_SAID for name in wanted}


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


class Found(NamedTuple):
    """`images` that have `package`."""

    package: Package
    images: list[FleetImage]


class Answer(NamedTuple):
    """What a query found, and packages of that name whose version could not be compared."""

    query: Query
    found: list[Found]
    skipped: list[Skipped]


def find_images(fleet: Fleet, text: str) -> Answer:
    """Which images have a package, as `log4j-core < 2.17` asks. *Raises* InputError for what is no query."""
    query = parse_query(text)
    wanted: dict[int, Package] = {}
    skipped: list[Skipped] = []
    for number, component in fleet.called(query.name).items():
        try:
            if query.holds(component.package):
                wanted[number] = component.package
        except InputError as error:
            skipped.append(Skipped(what=f"{component.package.name} {component.package.version}", reason=error.line()))
    having = fleet.images_with(wanted)
    by_number = {image.number: image for image in fleet.images(_union(having.values()))}
    found = [
        Found(package, [by_number[number] for number in having[component] if number in by_number])
        for component, package in wanted.items()
        if having[component]
    ]
    found.sort(key=lambda one: (one.package.ecosystem, one.package.name, one.package.version, one.package.arch))
    return Answer(query, found, skipped)


def _union(sets: Iterable[Iterable[int]]) -> set[int]:
    return {number for one in sets for number in one}


def explain_image(fleet: Fleet, image: FleetImage, before: AdvisoryDb, after: AdvisoryDb) -> list[Change]:
    """What `after` says otherwise than `before` about the packages of `image`, and why."""
    components = fleet.components_of(image.number)
    numbers = sorted(components)
    both: list[dict[int, list[Finding]]] = []
    for advisories in (before, after):
        found, _ = judge_components([components[number] for number in numbers], advisories)
        verdicts: dict[int, list[Finding]] = {}
        for index, finding in found:
            verdicts.setdefault(numbers[index], []).append(finding)
        both.append(verdicts)
    return [change for number in numbers for change in compare_findings(number, both[0].get(number, ()), both[1].get(number, ()))]
