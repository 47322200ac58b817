"""The fleet's life: an image is kept when it is listed, all are judged anew when advisories change, and anybody may ask which has what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.fleet import Fleet, FleetImage
from shipwall.adapters.inventories import Inventories
from shipwall.adapters.registry import Registry
from shipwall.journeys.keep import keep_image
from shipwall.journeys.scan import list_image, silent
from shipwall.model.digest import parse_digest
from shipwall.model.errors import InputError, ShipwallError
from shipwall.model.finding import Finding
from shipwall.model.image import parse_image_ref
from shipwall.model.package import Package, Skipped
from shipwall.supply.fleet import (
    Change,
    Query,
    compare_findings,
    judge_components,
    parse_query,
)


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
