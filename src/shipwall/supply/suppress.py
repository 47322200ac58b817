"""What people said about findings, applied: first VEX statements, then the ignore file."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from shipwall.model.finding import ScanResult
from shipwall.model.package import Inventory
from shipwall.supply.ignore import Ignore, apply_ignores
from shipwall.supply.vex import VexStatement, apply_statements


def suppress(
    scan: ScanResult,
    inventory: Inventory,
    source: str,
    statements: Sequence[VexStatement],
    ignores: tuple[Ignore, ...],
    now_ns: int,
) -> ScanResult:
    """`scan` with what was set aside under `suppressed`, and a notice for every statement and entry that did nothing."""
    kept, aside, notices = apply_statements(scan.findings, statements, inventory, source)
    kept, ignored, more = apply_ignores(kept, ignores, inventory.distribution, now_ns)
    return replace(
        scan,
        findings=tuple(kept),
        suppressed=(*scan.suppressed, *aside, *ignored),
        notices=(*scan.notices, *notices, *more),
    )
