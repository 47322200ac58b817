"""A scan as an SBOM with its findings: CycloneDX with vulnerabilities, SPDX with references to advisories."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from shipwall.model.finding import Finding, Severity, Suppressed
from shipwall.model.package import Package
from shipwall.supply.report.actions import order_findings
from shipwall.supply.report.document import Report
from shipwall.supply.report.links import address_of
from shipwall.supply.sbom import render_cyclonedx, render_spdx
from shipwall.supply.sbom.cyclonedx import bom_refs

_SEVERITIES = {Severity.NEGLIGIBLE: "info"}
_METHODS = (("CVSS:4.", "CVSSv4"), ("CVSS:3.1", "CVSSv31"), ("CVSS:3.0", "CVSSv3"), ("AV:", "CVSSv2"))
_STATES = {"not_affected": "not_affected", "fixed": "resolved", "ignored": "exploitable"}
_JUSTIFICATIONS = {
    "component_not_present": "code_not_present",
    "vulnerable_code_not_present": "code_not_present",
    "vulnerable_code_not_in_execute_path": "code_not_reachable",
    "vulnerable_code_cannot_be_controlled_by_adversary": "protected_by_mitigating_control",
    "inline_mitigations_already_exist": "protected_by_mitigating_control",
}


def render_cyclonedx_report(report: Report, time_ns: int) -> dict[str, Any]:
    """`report` as CycloneDX 1.6 with `vulnerabilities`. Findings set aside carry their `analysis`, so the document is a VEX too."""
    refs: dict[Package, str] = {}
    for package, ref in zip(report.inventory.packages, bom_refs(report.inventory), strict=True):
        refs.setdefault(_key(package), ref)
    groups: dict[bytes, list[tuple[Finding, Suppressed | None]]] = defaultdict(list)
    everything: list[tuple[Finding, Suppressed | None]] = [(one, None) for one in order_findings(report.result.findings)]
    everything += [(one.finding, one) for one in report.result.suppressed]
    for finding, aside in everything:
        if _key(finding.package) in refs:
            groups[msgspec.json.encode(_vulnerability(finding, aside))].append((finding, aside))
    vulnerabilities = []
    for group in groups.values():
        affects = [{"ref": ref} for ref in dict.fromkeys(refs[_key(finding.package)] for finding, _aside in group)]
        vulnerabilities.append({**_vulnerability(*group[0]), "affects": affects})
    return {**render_cyclonedx(report.inventory, time_ns), "vulnerabilities": vulnerabilities}


def render_spdx_report(report: Report, time_ns: int) -> dict[str, Any]:
    """`report` as SPDX 2.3: packages refer to the advisories about them. What was set aside is left out: SPDX 2 cannot say it."""
    document = render_spdx(report.inventory, time_ns)
    addresses: dict[Package, dict[str, None]] = defaultdict(dict)
    for finding in order_findings(report.result.findings):
        if address := address_of(finding.id):
            addresses[_key(finding.package)][address] = None
    for package, written in zip(report.inventory.packages, document["packages"][1:], strict=True):
        found = [
            {"referenceCategory": "SECURITY", "referenceType": "advisory", "referenceLocator": address}
            for address in addresses.get(_key(package), ())
        ]
        if found:
            written["externalRefs"] = [*written.get("externalRefs", ()), *found]
    return document


def _key(package: Package) -> Package:
    return msgspec.structs.replace(package, files=()) if package.files else package


def _vulnerability(finding: Finding, aside: Suppressed | None) -> dict[str, Any]:
    """The parts that all packages with this problem share."""
    source = {"name": finding.source} if finding.source else {}
    rating: dict[str, Any] = {"severity": _SEVERITIES.get(finding.severity, finding.severity.value)}
    if finding.severity_source:
        rating["source"] = {"name": finding.severity_source}
    if finding.score is not None:
        rating["score"] = finding.score
    if finding.vector:
        rating["method"] = next((method for start, method in _METHODS if finding.vector.startswith(start)), "other")
        rating["vector"] = finding.vector
    written: dict[str, Any] = {"id": finding.id}
    if source:
        written["source"] = source
    references = [{"id": id_, "source": {"url": address_of(id_)}} for id_ in finding.aliases if address_of(id_)]
    if references:
        written["references"] = references
    written["ratings"] = [rating]
    if finding.summary:
        written["description"] = finding.summary
    if finding.fixed_version:
        written["recommendation"] = f"upgrade {finding.package.source or finding.package.name} to {finding.fixed_version}"
    if address := address_of(finding.id):
        written["advisories"] = [{"url": address}]
    if aside is not None:
        written["analysis"] = _analysis(aside)
    facts = {"fix-state": finding.state.value, "known-exploited": "true" if finding.exploited.kev else ""}
    if finding.exploited.epss is not None:
        facts["epss"] = f"{finding.exploited.epss:g}"
    written["properties"] = [{"name": f"shipwall:{name}", "value": value} for name, value in facts.items() if value]
    return written


def _analysis(aside: Suppressed) -> dict[str, Any]:
    analysis: dict[str, Any] = {"state": _STATES.get(aside.status, "in_triage")}
    justification = _JUSTIFICATIONS.get(aside.reason.partition(": ")[0])
    if justification and aside.status == "not_affected":
        analysis["justification"] = justification
    until = f"accepted until {aside.until}: " if aside.status == "ignored" and aside.until else ""
    analysis["detail"] = f"{until}{aside.reason}"
    return analysis
