"""`--fail-on` and the policy's `findings: {deny: […]}`: conditions in CEL over a scan, and the findings they hit.

A condition that reads `finding` is asked of each finding that is not set aside; one that reads only `scan` is asked once. All names and
types are checked when the condition is parsed, before anything is scanned. Absent is absent: `finding.epss` and `finding.score` read as
0.0 where nobody gave a figure, and `has(finding.epss)` tells; a severity nobody gave is UNKNOWN, which is below all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from shipwall.lang.cel import BOOL, DOUBLE, INT, STRING, Condition, Type, compile_condition, enum_type, list_of, object_type
from shipwall.lang.cel_syntax import Fail
from shipwall.model.finding import Finding, FixState, ScanResult, Severity
from shipwall.model.package import Inventory, Package

SEVERITY, STATE = enum_type("severity"), enum_type("fix state")

PACKAGE: dict[str, Type] = {
    "ecosystem": STRING,
    "name": STRING,
    "version": STRING,
    "arch": STRING,
    "source": STRING,
    "license": STRING,
    "owner": STRING,
    "path": STRING,
}
FINDING: dict[str, Type] = {
    "id": STRING,
    "aliases": list_of(STRING),
    "severity": SEVERITY,
    "score": DOUBLE,
    "fixed": BOOL,
    "fixed_version": STRING,
    "state": STATE,
    "epss": DOUBLE,
    "percentile": DOUBLE,
    "kev": BOOL,
    "kev_due": STRING,
    "in_use": BOOL,
    "source": STRING,
    "summary": STRING,
    "package": object_type("package", PACKAGE),
}
SCAN: dict[str, Type] = {
    "findings": INT,
    **{severity.value: INT for severity in Severity},
    "fixable": INT,
    "kev": INT,
    "suppressed": INT,
    "skipped": INT,
    "packages": INT,
    "packages_unjudged": INT,
    "judged": BOOL,
}
DECLARED = {"finding": object_type("finding", FINDING), "scan": object_type("scan", SCAN)}
_ORDER = {severity: number for number, severity in enumerate(Severity)}
_STATES = {state: number for number, state in enumerate(FixState)}
CONSTANTS: dict[str, tuple[Type, int]] = {severity.name: (SEVERITY, number) for severity, number in _ORDER.items()} | {
    # UNKNOWN is a severity; of a state nothing is known when it is none of these.
    state.name: (STATE, number)
    for state, number in _STATES.items()
    if state is not FixState.UNKNOWN
}


class Failure(NamedTuple):
    """A condition that is true of a scan: of `findings`, or, when there are none, of the scan as a whole."""

    condition: Condition
    findings: tuple[Finding, ...]


def parse_fail_on(text: str, name: str = "--fail-on", fail: Fail | None = None) -> Condition:
    """The condition `text` is. Total. Raises InputError with a caret; see `compile_condition`."""
    return compile_condition(text, DECLARED, CONSTANTS, name, fail)


def find_failure(condition: Condition, scan: ScanResult, inventory: Inventory) -> Failure | None:
    """Where `condition` is true of `scan` (of `inventory`); None where it is not. Raises InputError when it cannot be computed."""
    values: dict[str, Any] = {"scan": scan_facts(scan, inventory)}
    if "finding" not in condition.names:
        return Failure(condition, ()) if condition.holds(values) else None
    hit = tuple(finding for finding in scan.findings if condition.holds({**values, "finding": finding_facts(finding)}))
    return Failure(condition, hit) if hit else None


def scan_facts(scan: ScanResult, inventory: Inventory) -> Mapping[str, Any]:
    """What `scan` is in a condition."""
    counts = dict.fromkeys(Severity, 0)
    for finding in scan.findings:
        counts[finding.severity] += 1
    return {
        "findings": len(scan.findings),
        **{severity.value: count for severity, count in counts.items()},
        "fixable": sum(bool(finding.fixed_version) for finding in scan.findings),
        "kev": sum(finding.exploited.kev for finding in scan.findings),
        "suppressed": len(scan.suppressed),
        "skipped": len(inventory.skipped) + len(scan.skipped),
        "packages": len(inventory.packages),
        "packages_unjudged": scan.unjudged_of(len(inventory.packages)),
        "judged": bool(scan.advisories),
    }


def finding_facts(finding: Finding) -> Mapping[str, Any]:
    """What `finding` is in a condition."""
    return {
        "id": finding.id,
        "aliases": finding.aliases,
        "severity": _ORDER[finding.severity],
        "score": finding.score,
        "fixed": bool(finding.fixed_version),
        "fixed_version": finding.fixed_version or None,
        "state": _STATES[finding.state],
        "epss": finding.exploited.epss,
        "percentile": finding.exploited.percentile,
        "kev": finding.exploited.kev,
        "kev_due": finding.exploited.kev_due or None,
        "in_use": finding.in_use,
        "source": finding.source,
        "summary": finding.summary or None,
        "package": _package_facts(finding.package),
    }


def _package_facts(package: Package) -> Mapping[str, Any]:
    return {
        "ecosystem": package.ecosystem,
        "name": package.name,
        "version": package.version,
        "arch": package.arch or None,
        "source": package.source or None,
        "license": package.license or None,
        "owner": package.owner or None,
        "path": package.evidence or None,
    }
