"""What each layer of an image brought, whose it is, and who can mend which finding.

A layer belongs to the smallest known image that has it and all below it: recognised by chain ids, never by name or guess. Where no known
image lies below, nobody is said to own a layer: what is in it is mended by this image's build or by a base that is not known here.
Pure. Start here: `tell_layers`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

import msgspec

from shipwall.model.digest import Digest, ImageIdentity
from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import Inventory, Package

_NO_OPERATION = re.compile(r"^/bin/sh -c #\(nop\)\s*")


class KnownBase(msgspec.Struct, frozen=True, kw_only=True):
    """A known image all of whose layers lie below another's; `name` as it was last seen, its digest where it has none."""

    identity: ImageIdentity
    name: str


class MendableFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A finding and who can mend it, in words of `mended_by`."""

    finding: Finding
    mended_by: str


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """Layer `number` (from 1, the lowest). `command` made it, empty when the image does not say. `base` is whose it is, None for this
    image's own or, when no base is known at all, for anybody's. `packages`: those whose version it brought.
    """

    number: int
    diff_id: Digest
    chain_id: Digest
    command: str
    base: KnownBase | None
    packages: tuple[Package, ...]
    findings: tuple[MendableFinding, ...]


class LayersTold(msgspec.Struct, frozen=True, kw_only=True):
    """All layers, lowest first, and the `bases` below, nearest first. `outside`: findings whose layer is not known."""

    layers: tuple[Layer, ...]
    bases: tuple[KnownBase, ...]
    outside: tuple[MendableFinding, ...]

    @property
    def findings(self) -> tuple[tuple[Layer | None, MendableFinding], ...]:
        """Every finding with its layer, lowest first."""
        placed = [(layer, one) for layer in self.layers for one in layer.findings]
        return (*placed, *((None, one) for one in self.outside))


def tell_layers(inventory: Inventory, scan: ScanResult, bases: Iterable[KnownBase]) -> LayersTold:
    """What each layer of the image of `inventory` brought. `bases`: images known to lie below it; others are left out.

    Law: every package and every finding of `scan` stands in exactly one layer or outside. An inventory of no image has no layers.
    """
    image = inventory.image
    if image is None:
        return LayersTold(layers=(), bases=(), outside=tuple(_told(one, None, None) for one in scan.findings))
    known = {base.identity.manifest: base for base in bases if image.is_child_of(base.identity)}
    nearest = tuple(sorted(known.values(), key=lambda base: (-len(base.identity.diff_ids), base.identity.manifest)))
    below = layers_below(image, nearest[0].identity if nearest else None)
    places = {diff_id: index for index, diff_id in enumerate(image.diff_ids)}
    packages: dict[int | None, list[Package]] = defaultdict(list)
    for package in inventory.packages:
        packages[places.get(package.layer)].append(package)
    findings: dict[int | None, list[MendableFinding]] = defaultdict(list)
    for finding in scan.findings:
        index = places.get(finding.package.layer)
        findings[index].append(_told(finding, index, below))
    history = inventory.history if len(inventory.history) == len(image.diff_ids) else ("",) * len(image.diff_ids)
    layers = tuple(
        Layer(
            number=index + 1,
            diff_id=diff_id,
            chain_id=chain_id,
            command=command_of(history[index]),
            base=_owner(index, nearest),
            packages=tuple(packages[index]),
            findings=tuple(findings[index]),
        )
        for index, (diff_id, chain_id) in enumerate(zip(image.diff_ids, image.chain_ids, strict=True))
    )
    return LayersTold(layers=layers, bases=nearest, outside=tuple(findings[None]))


def command_of(history: str) -> str:
    """The command of a layer without what builders write before it."""
    return _NO_OPERATION.sub("", history)


def layers_below(image: ImageIdentity, base: ImageIdentity | None) -> int | None:
    """How many of the image's layers are its base's; None when it may have a base that is not known. A single layer has nothing below."""
    if base is not None:
        return len(base.diff_ids)
    return None if len(image.diff_ids) > 1 else 0


def mended_by(finding: Finding, layer: int | None, below: int | None) -> str:
    """Who can mend `finding`, in words. `layer`: index of its layer, None when not known. `below`: layers of the image's base, None when it
    may have one that is not known.
    """
    if not finding.fixed_version:
        return "nobody yet"
    if layer is None:
        return "not known"
    if below is None:
        return "this image's build, or its base"
    return "a newer base" if layer < below else "this image's build"


def _told(finding: Finding, index: int | None, below: int | None) -> MendableFinding:
    return MendableFinding(finding=finding, mended_by=mended_by(finding, index, below))


def _owner(index: int, nearest: tuple[KnownBase, ...]) -> KnownBase | None:
    """The smallest base that has the layer."""
    return next((base for base in reversed(nearest) if index < len(base.identity.diff_ids)), None)
