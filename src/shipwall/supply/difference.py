"""What changed between two inventories or two scans.

Law: `apply_difference(difference(a, b), a) == canonical(b)`; where both are in canonical order, `== b`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from shipwall.model.errors import InputError
from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import Inventory, Package

Item = TypeVar("Item", bound=Package | Finding)


class Changed(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """The same package or finding, before and after."""

    before: Item
    after: Item


class Changes(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """Each tuple in canonical order. `changed`: what a person would call changed (version, licence, fixed version, severity, fix state).

    `moved`: only where it comes from differs (layer, evidence, files): after a rebuild of the base that is nearly everything.
    """

    added: tuple[Item, ...] = ()
    removed: tuple[Item, ...] = ()
    changed: tuple[Changed[Item], ...] = ()
    moved: tuple[Changed[Item], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether a person would say that nothing changed."""
        return not (self.added or self.removed or self.changed)


class InventoryDifference(msgspec.Struct, frozen=True, kw_only=True):
    """`rest` is the later inventory without its packages."""

    packages: Changes[Package]
    rest: Inventory


class ScanDifference(msgspec.Struct, frozen=True, kw_only=True):
    """`rest` is the later scan without its findings."""

    findings: Changes[Finding]
    rest: ScanResult


def canonical_inventory(inventory: Inventory) -> Inventory:
    """`inventory` with its packages in the order every difference uses: ecosystem, name, architecture, then the rest."""
    return msgspec.structs.replace(inventory, packages=tuple(sorted(inventory.packages, key=_package_order)))


def canonical_scan(scan: ScanResult) -> ScanResult:
    """`scan` with its findings in the order every difference uses: package, id, then the rest."""
    return msgspec.structs.replace(scan, findings=tuple(sorted(scan.findings, key=_finding_order)))


def difference_of_inventories(before: Inventory, after: Inventory) -> InventoryDifference:
    """What changed from `before` to `after`."""
    changes = _changes(before.packages, after.packages, _package_key, _package_order, _package_view)
    return InventoryDifference(packages=changes, rest=msgspec.structs.replace(after, packages=()))


def difference_of_scans(before: ScanResult, after: ScanResult) -> ScanDifference:
    """What changed from `before` to `after`."""
    changes = _changes(before.findings, after.findings, _finding_key, _finding_order, _finding_view)
    return ScanDifference(findings=changes, rest=msgspec.structs.replace(after, findings=()))


def apply_inventory_difference(change: InventoryDifference, before: Inventory) -> Inventory:
    """The later inventory, in canonical order. Raises InputError when `change` was not made from `before`."""
    packages = _apply(change.packages, before.packages, _package_order)
    return msgspec.structs.replace(change.rest, packages=packages)


def apply_scan_difference(change: ScanDifference, before: ScanResult) -> ScanResult:
    """The later scan, in canonical order. Raises InputError when `change` was not made from `before`."""
    findings = _apply(change.findings, before.findings, _finding_order)
    return msgspec.structs.replace(change.rest, findings=findings)


def _changes(
    before: Iterable[Item],
    after: Iterable[Item],
    key: Callable[[Item], tuple[str, ...]],
    order: Callable[[Item], tuple[object, ...]],
    view: Callable[[Item], tuple[object, ...]],
) -> Changes[Item]:
    old: dict[tuple[str, ...], list[Item]] = defaultdict(list)
    new: dict[tuple[str, ...], list[Item]] = defaultdict(list)
    for item in sorted(before, key=order):
        old[key(item)].append(item)
    for item in sorted(after, key=order):
        new[key(item)].append(item)
    added: list[Item] = []
    removed: list[Item] = []
    changed: list[Changed[Item]] = []
    moved: list[Changed[Item]] = []
    for name in old.keys() | new.keys():
        left, right = _without_common(old.get(name, []), new.get(name, []))
        # One package may be installed several times (versions side by side): the rest is paired in order.
        paired = min(len(left), len(right))
        for one, other in zip(left[:paired], right[:paired], strict=True):
            (changed if view(one) != view(other) else moved).append(Changed(before=one, after=other))
        removed += left[paired:]
        added += right[paired:]
    return Changes(
        added=tuple(sorted(added, key=order)),
        removed=tuple(sorted(removed, key=order)),
        changed=tuple(sorted(changed, key=lambda pair: (order(pair.before), order(pair.after)))),
        moved=tuple(sorted(moved, key=lambda pair: (order(pair.before), order(pair.after)))),
    )


def _without_common(left: list[Item], right: list[Item]) -> tuple[list[Item], list[Item]]:
    """Both lists without what they share, counted."""
    rest = list(right)
    kept = []
    for item in left:
        if item in rest:
            rest.remove(item)
        else:
            kept.append(item)
    return kept, rest


def _apply(change: Changes[Item], before: Iterable[Item], order: Callable[[Item], tuple[object, ...]]) -> tuple[Item, ...]:
    pairs: tuple[Changed[Item], ...] = change.changed + change.moved
    left = Counter(before)
    left.subtract([*change.removed, *(pair.before for pair in pairs)])
    if any(count < 0 for count in left.values()):
        raise InputError("difference", "does not start from this list", "compare again")
    return tuple(sorted([*left.elements(), *change.added, *(pair.after for pair in pairs)], key=order))


def _package_key(package: Package) -> tuple[str, ...]:
    return (package.ecosystem, package.name, package.arch)


def _package_view(package: Package) -> tuple[object, ...]:
    return (package.version, package.source, package.source_version, package.license, package.owner, package.module)


def _package_order(package: Package) -> tuple[object, ...]:
    return (
        package.ecosystem,
        package.name,
        package.arch,
        package.version,
        package.source,
        package.source_version,
        package.evidence,
        package.layer,
        package.files,
        package.license,
        package.owner,
        package.module,
    )


def _finding_key(finding: Finding) -> tuple[str, ...]:
    return (*_package_key(finding.package), finding.id)


def _finding_view(finding: Finding) -> tuple[object, ...]:
    return (finding.package.version, finding.fixed_version, finding.severity, finding.state, finding.exploited.kev)


def _finding_order(finding: Finding) -> tuple[object, ...]:
    evidence = tuple((one.kind, one.ref, one.detail) for one in finding.evidence)
    return (
        *_package_order(finding.package),
        finding.id,
        finding.severity,
        finding.fixed_version,
        finding.aliases,
        finding.source,
        evidence,
        finding.state,
        finding.severity_source,
        repr(finding.score),
        finding.vector,
        finding.summary,
        finding.reason,
        repr(finding.exploited),
        repr(finding.in_use),
    )
