"""The fleet, as pages show it. Reads the file that the root side keeps; a missing one is an empty fleet, not an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from shipwall.adapters.fleet import NO_LAYER, Fleet, FleetImage
from shipwall.journeys.fleet import count_findings, find_images
from shipwall.model.digest import parse_digest
from shipwall.model.errors import InputError
from shipwall.model.finding import Finding, Severity
from shipwall.supply.fleet import Component
from shipwall.supply.layer_owners import command_of, layers_below, mended_by

SHOWN_IMAGES = 200
SHOWN_NEWS = 40
_ORDER = list(reversed(Severity))
Row = dict[str, Any]


def show_fleet(path: Path, query: str) -> Row:
    """The kept images (those that have what `query` asks for, if anything), and what is new. `wrong`: why the query is none."""
    if not path.is_file():
        return {"images": [], "found": [], "news": [], "judged": None, "wrong": "", "skipped": 0, "total": 0}
    wrong, found, skipped = "", [], 0
    with Fleet(path) as fleet:
        images = fleet.images(limit=SHOWN_IMAGES)
        if query:
            try:
                answer = find_images(fleet, query)
            except InputError as error:
                wrong = error.line()
            else:
                skipped = len(answer.skipped)
                found = [
                    {"package": msgspec.to_builtins(one.package), "images": [_image(image) for image in one.images[:SHOWN_IMAGES]],
                     "count": len(one.images)}
                    for one in answer.found
                ]  # fmt: skip
        counts = count_findings(fleet, images)
        news = [
            {"kind": one.kind, "id": one.finding.id, "package": one.finding.package.name, "version": one.finding.package.version,
             "images": one.images, "why": one.why, "time_ns": one.time_ns, "severity": one.finding.severity.value}
            for one in fleet.news(SHOWN_NEWS)
        ]  # fmt: skip
        judged = fleet.judged()
        return {
            "images": [_image(image) | counts[image.number]._asdict() for image in images],
            "found": found, "news": news, "judged": judged, "wrong": wrong, "skipped": skipped, "total": fleet.counts()["images"],
        }  # fmt: skip


def show_image(path: Path, digest: str) -> Row | None:
    """One kept image: its base, its layers with what each brought and who can mend it, its findings by severity; None when not kept."""
    try:
        wanted = parse_digest(digest)
    except InputError:
        return None
    if not path.is_file():
        return None
    with Fleet(path) as fleet:
        image = fleet.image(wanted)
        if image is None:
            return None
        base = fleet.base_of(image.identity)
        components = fleet.components_of(image.number)
        history, places = fleet.layers_of(image.number)
        verdicts = fleet.verdicts(components)
        news = [
            {"kind": one.kind, "id": one.finding.id, "why": one.why, "time_ns": one.time_ns}
            for one in fleet.news(20, image.number)
        ]
        judged, unjudged = fleet.judged(), len(fleet.unjudged().intersection(components))
    below = layers_below(image.identity, base.identity if base is not None else None)
    findings = [_finding(finding, places.get(number, NO_LAYER), below) for number, own in verdicts.items() for finding in own]
    findings.sort(key=lambda one: (_ORDER.index(Severity(one["severity"])), one["package"], one["id"]))
    return _image(image) | {
        "base": _image(base) if base is not None else None,
        "layers": _layers(image, below, history, places, components, verdicts),
        "findings": findings,
        "severities": {one.value: sum(row["severity"] == one.value for row in findings) for one in _ORDER},
        "news": news,
        "judged": judged,
        "unjudged": unjudged,
    }


def _layers(
    image: FleetImage, below: int | None, history: tuple[str, ...], places: dict[int, int], components: dict[int, Component],
    verdicts: dict[int, list[Finding]],
) -> list[Row]:  # fmt: skip
    rows = []
    for index, diff_id in enumerate(image.identity.diff_ids):
        own = [number for number, place in places.items() if place == index]
        names = sorted({components[number].package.name for number in own})
        rows.append(
            {"index": index + 1, "diff_id": diff_id, "command": command_of(history[index]) if history else "",
             "of": "not known" if below is None else "base" if index < below else "this image", "packages": len(own), "names": names[:8],
             "findings": sum(len(verdicts.get(number, ())) for number in own)}
        )  # fmt: skip
    return rows


def _finding(finding: Finding, layer: int, below: int | None) -> Row:
    package = finding.package
    return {
        "id": finding.id, "severity": finding.severity.value, "score": finding.score, "package": package.name,
        "version": package.version, "type": package.ecosystem, "fixed": finding.fixed_version, "state": finding.state.value,
        "summary": finding.summary, "reason": finding.reason, "source": finding.source, "aliases": finding.aliases,
        "layer": None if layer == NO_LAYER else layer + 1, "mended_by": mended_by(finding, None if layer == NO_LAYER else layer, below),
    }  # fmt: skip


def _image(image: FleetImage) -> Row:
    distribution = " ".join(filter(None, (image.distribution.id, image.distribution.version_id)))
    return {
        "digest": image.identity.manifest, "names": list(reversed(image.names)), "name": image.names[-1] if image.names else "",
        "distribution": distribution, "created": image.created, "listed_ns": image.listed_ns, "packages": image.components,
    }  # fmt: skip
