"""Rebuild: a base was replaced, so what lies on it is found by its layers, built again in order, listed, scanned and compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from shipwall.adapters.report import no_report
from shipwall.model.digest import ImageIdentity
from shipwall.model.errors import InputError
from shipwall.model.finding import ScanResult
from shipwall.model.package import Inventory
from shipwall.model.wire import ImageStep, Message
from shipwall.supply.difference import InventoryDifference, ScanDifference, difference_of_inventories, difference_of_scans
from shipwall.supply.lineage import RebuildPlan, RebuildStep, plan_rebuild

Build = Callable[[RebuildStep, ImageIdentity], ImageIdentity]
"""Builds the image of a step again on the given new parent; gives the image it made."""


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """An image's list and scan."""

    inventory: Inventory
    scan: ScanResult


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """One image built again: what it became, and what changed."""

    step: RebuildStep
    image: ImageIdentity
    after: Examined
    packages: InventoryDifference
    findings: ScanDifference


def rebuild_children(
    old: ImageIdentity,
    new: ImageIdentity,
    known: Iterable[ImageIdentity],
    build: Build,
    examine: Callable[[ImageIdentity], Examined],
    name_of: Callable[[ImageIdentity], str] = lambda image: image.manifest,
    report: Callable[[Message], None] = no_report,
) -> tuple[RebuildPlan, tuple[Rebuilt, ...]]:
    """The plan for replacing base `old` by `new`, and what became of each image of `known` that lies on it, in dependency order.

    `examine` lists and scans an image (asked for each old and each new one). Trust: a built image that does not carry the layers of its new
    parent is refused, however it was built. Raises InputError, and what `build` and `examine` raise; images built before stay built.
    """
    plan = plan_rebuild(old, new, known)
    became = {old.manifest: new}
    rebuilt = []
    for step in plan.steps:
        started = time.monotonic_ns()
        parent = became[step.parent.manifest]
        before = examine(step.image)
        image = build(step, parent)
        if not image.is_child_of(parent):
            raise InputError(
                f"image {image.manifest}", f"was not built on {parent.manifest}", "does its FROM name the rebuilt base?"
            )
        became[step.image.manifest] = image
        after = examine(image)
        one = Rebuilt(
            step=step,
            image=image,
            after=after,
            packages=difference_of_inventories(before.inventory, after.inventory),
            findings=difference_of_scans(before.scan, after.scan),
        )
        rebuilt.append(one)
        report(
            ImageStep(
                digest=image.manifest,
                image=name_of(step.image),
                step="rebuilt",
                time_ns=time.time_ns(),
                duration_ns=time.monotonic_ns() - started,
                summary=render_summary(one.packages, one.findings),
                facts={"instead-of": step.image.manifest, "old-parent": step.parent.manifest},
                parent=parent.manifest,
            )
        )
    return plan, tuple(rebuilt)


def render_summary(packages: InventoryDifference, findings: ScanDifference) -> str:
    """Both differences in one line."""
    return (
        f"packages: {len(packages.packages.added)} added, {len(packages.packages.removed)} removed, "
        f"{len(packages.packages.changed)} changed; findings: {len(findings.findings.added)} added, "
        f"{len(findings.findings.removed)} removed, {len(findings.findings.changed)} changed"
    )
