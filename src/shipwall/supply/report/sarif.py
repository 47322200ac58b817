"""A scan as SARIF 2.1.0, for code scanning pages and editors. Source: OASIS SARIF 2.1.0; GitHub, "SARIF support for code scanning".

One rule per problem, one result per problem and package. The place of a result is the file that says the package is there.
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

from shipwall import __version__
from shipwall.model.finding import Finding, Severity, Suppressed
from shipwall.supply.report.actions import order_findings
from shipwall.supply.report.document import Report
from shipwall.supply.report.links import address_of
from shipwall.supply.sbom.purls import render_purl

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.UNKNOWN: "warning"}
# Pages order by this number; where no CVSS score is known it is the middle of the severity's range.
_SCORES = {Severity.CRITICAL: 9.5, Severity.HIGH: 8.0, Severity.MEDIUM: 5.5, Severity.LOW: 2.0, Severity.NEGLIGIBLE: 0.1}


def render_sarif(report: Report) -> dict[str, Any]:
    """`report` as SARIF. Findings set aside are results with a suppression."""
    findings = order_findings(report.result.findings)
    everything = [*((finding, None) for finding in findings), *((one.finding, one) for one in report.result.suppressed)]
    numbers: dict[str, int] = {}
    rules: list[dict[str, Any]] = []
    for finding, _aside in everything:
        if finding.id not in numbers:
            numbers[finding.id] = len(rules)
            rules.append(_rule(finding))
    image = report.inventory.image
    properties = {"source": report.source, "advisories": report.result.advisories} | (
        {"manifest": image.manifest} if image else {}
    )
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "Shipwall", "version": __version__, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, aside, numbers[finding.id], report) for finding, aside in everything],
        "invocations": [
            {
                "executionSuccessful": not report.unjudged,
                "toolExecutionNotifications": [
                    {"level": "warning", "message": {"text": text}}
                    for text in (
                        *([f"findings unknown: {report.unjudged}"] if report.unjudged else []),
                        *report.result.notices,
                        *(f"skipped: {one.what}: {one.reason}" for one in (*report.inventory.skipped, *report.result.skipped)),
                    )
                ],
            }
        ],
        "properties": properties,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(finding: Finding) -> dict[str, Any]:
    properties: dict[str, Any] = {"tags": ["security", "vulnerability", finding.severity.value]}
    score = finding.score if finding.score is not None else _SCORES.get(finding.severity)
    if score is not None:
        properties["security-severity"] = f"{score:.1f}"
    short = finding.summary.split("\n")[0][:200] or f"{finding.id} in {finding.package.name}"
    rule: dict[str, Any] = {
        "id": finding.id,
        "shortDescription": {"text": short},
        "fullDescription": {"text": finding.summary[:1000] or short},
        "defaultConfiguration": {"level": _LEVELS.get(finding.severity, "note")},
        "properties": properties,
    }
    if address := address_of(finding.id):
        rule["helpUri"] = address
    return rule


def _result(finding: Finding, aside: Suppressed | None, number: int, report: Report) -> dict[str, Any]:
    package = finding.package
    purl = render_purl(package, report.inventory.distribution)
    fix = f"fixed in {finding.fixed_version}" if finding.fixed_version else f"fix: {finding.state.value}"
    marks = " (known exploited)" if finding.exploited.kev else ""
    text = f"{package.name} {package.version}: {finding.id}, severity {finding.severity}, {fix}{marks}"
    place: dict[str, Any] = {
        "physicalLocation": {
            # Pages want a path; for a package without evidence it is the image itself.
            "artifactLocation": {"uri": quote(package.evidence.lstrip("/") or report.source, safe="/:@._-")},
            "region": {"startLine": 1},
        }
    }
    if purl:
        place["logicalLocations"] = [{"name": package.name, "fullyQualifiedName": purl, "kind": "package"}]
    properties: dict[str, Any] = {"severity": finding.severity.value, "known-exploited": finding.exploited.kev}
    if finding.exploited.epss is not None:
        properties["epss"] = finding.exploited.epss
    seed = f"{finding.id}\n{package.ecosystem}\n{package.name}\n{package.arch}\n{package.evidence}"
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "ruleIndex": number,
        "level": _LEVELS.get(finding.severity, "note"),
        "message": {"text": text},
        "locations": [place],
        "partialFingerprints": {"shipwallFinding/v1": hashlib.sha256(seed.encode()).hexdigest()},
        "properties": properties,
    }
    if aside is not None:
        until = f" until {aside.until}" if aside.until else ""
        why = f"{aside.status}{until}: {aside.reason} ({aside.by})"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": why}]
    return result
