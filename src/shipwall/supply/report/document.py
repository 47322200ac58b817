"""A scan as one document: what every form is rendered from, and its JSON, described in docs/formats/scan.md."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from shipwall.model.digest import ImageIdentity
from shipwall.model.finding import Finding, ScanResult, Severity, Suppressed
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.supply.report.actions import Action, list_actions, order_findings


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A scan of `source`. `unjudged`: why no finding could be looked for, empty when it could."""

    source: str
    inventory: Inventory
    result: ScanResult
    unjudged: str = ""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts. `severities` has every severity, also those with 0. `packages_affected`: packages with at least one finding.

    `judged`: whether findings could be looked for at all; when false, no findings means nothing. `skipped`: parts that could not be read
    or judged. `packages_unjudged`: packages of which something is not known: no advisories judge them, or one could not be decided.
    """

    packages: int
    packages_affected: int
    findings: int
    with_fix: int
    severities: dict[Severity, int]
    severity_unknown: int
    known_exploited: int
    highest_epss: float | None
    suppressed: int
    skipped: int
    packages_unjudged: int
    judged: bool


class ScanDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON form of a scan. Equal scans are equal texts: nothing in it depends on when or how fast it was made.

    `actions`: what to do, the most useful first. `packages` and those in findings come without their `files`. `unjudged`: why no
    finding could be looked for. `notices`: what the reader must know besides, one line each.
    """

    format: Literal["shipwall-scan/1"] = "shipwall-scan/1"
    source: str
    image: ImageIdentity | None
    distribution: Distribution
    advisories: str
    advisories_time_ns: int
    unjudged: str
    summary: Summary
    notices: tuple[str, ...]
    actions: tuple[Action, ...]
    findings: tuple[Finding, ...]
    suppressed: tuple[Suppressed, ...]
    packages: tuple[Package, ...]
    skipped: tuple[Skipped, ...]


def summarise(report: Report) -> Summary:
    """The counts of `report`."""
    findings, packages = report.result.findings, len(report.inventory.packages)
    severities = dict.fromkeys(reversed(Severity), 0)
    for finding in findings:
        severities[finding.severity] += 1
    return Summary(
        packages=packages,
        packages_affected=len(
            {(one.package.ecosystem, one.package.name, one.package.arch, one.package.version) for one in findings}
        ),
        findings=len(findings),
        with_fix=sum(bool(finding.fixed_version) for finding in findings),
        severities=severities,
        severity_unknown=severities[Severity.UNKNOWN],
        known_exploited=sum(finding.exploited.kev for finding in findings),
        highest_epss=max((one.exploited.epss for one in findings if one.exploited.epss is not None), default=None),
        suppressed=len(report.result.suppressed),
        skipped=len(report.inventory.skipped) + len(report.result.skipped),
        packages_unjudged=packages if report.unjudged else report.result.unjudged_of(packages),
        judged=not report.unjudged,
    )


def make_document(report: Report) -> ScanDocument:
    """`report` as its JSON says it."""
    inventory, result = report.inventory, report.result
    return ScanDocument(
        source=report.source,
        image=inventory.image,
        distribution=inventory.distribution,
        advisories=result.advisories,
        advisories_time_ns=result.advisories_time_ns,
        unjudged=report.unjudged,
        summary=summarise(report),
        notices=result.notices,
        actions=list_actions(result.findings),
        findings=tuple(_bare(finding) for finding in order_findings(result.findings)),
        suppressed=tuple(replace(one, finding=_bare(one.finding)) for one in result.suppressed),
        packages=tuple(replace(package, files=()) if package.files else package for package in inventory.packages),
        skipped=(*inventory.skipped, *result.skipped),
    )


def _bare(finding: Finding) -> Finding:
    return replace(finding, package=replace(finding.package, files=())) if finding.package.files else finding
