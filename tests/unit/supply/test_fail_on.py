"""Conditions over scans: the fields they read, and what is absent."""

from __future__ import annotations

import pytest

from shipwall.lang.cel import Type
from shipwall.lang.diagnostic import SourceError
from shipwall.model.finding import Exploited, Finding, FixState, ScanResult, Severity, Suppressed
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.supply.fail_on import DECLARED, FINDING, PACKAGE, SCAN, find_failure, finding_facts, parse_fail_on, scan_facts

SSL = Package(ecosystem="deb", name="libssl3", version="3", source="openssl", evidence="/var/lib/dpkg/status")
BARE = Finding(id="CVE-1", package=SSL)
FULL = Finding(
    id="CVE-2", package=SSL, severity=Severity.HIGH, fixed_version="4", aliases=("GHSA-2",), state=FixState.FIXED, score=7.5,
    exploited=Exploited(epss=0.2, percentile=0.9, kev=True, kev_due="2026-01-01"), in_use=True,
)  # fmt: skip
SCAN_RESULT = ScanResult(
    findings=(BARE, FULL),
    advisories="feed",
    skipped=(Skipped(what="a", reason="b"),),
    suppressed=(Suppressed(finding=BARE, by="x", status="ignored", reason="r"),),
)
INVENTORY = Inventory(image=None, distribution=Distribution(), packages=(SSL,))


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("finding.severity >= HIGH && finding.fixed", ["CVE-2"]),
        ("finding.kev", ["CVE-2"]),
        ("finding.epss > 0.1", ["CVE-2"]),
        ("!has(finding.epss) && finding.epss == 0.0 && !has(finding.in_use)", ["CVE-1"]),
        ("finding.severity == UNKNOWN", ["CVE-1"]),
        ("finding.severity < LOW && finding.state != FIXED", ["CVE-1"]),
        ("finding.state == FIXED && finding.kev_due < '2026-02-01'", ["CVE-2"]),
        ("finding.aliases.exists(a, a.startsWith('GHSA-'))", ["CVE-2"]),
        ("finding.package.source == 'openssl' && scan.findings == 2", ["CVE-1", "CVE-2"]),
        ("finding.package.path.matches('^/var/')", ["CVE-1", "CVE-2"]),
        ("scan.unknown > 0", []),
        ("scan.unknown == 1 && scan.high == 1 && scan.critical == 0 && scan.fixable == 1 && scan.kev == 1", []),
        ("scan.suppressed == 1 && scan.skipped == 1 && scan.packages == 1 && scan.packages_unjudged == 0 && scan.judged", []),
    ],
)
def test_what_fails(text: str, hit: list[str]) -> None:
    failure = find_failure(parse_fail_on(text), SCAN_RESULT, INVENTORY)
    assert failure is not None
    assert [one.id for one in failure.findings] == hit


@pytest.mark.parametrize("text", ["finding.severity > HIGH", "scan.critical > 0", "false"])
def test_what_passes(text: str) -> None:
    assert find_failure(parse_fail_on(text), SCAN_RESULT, INVENTORY) is None


def test_every_declared_field_has_a_value_of_its_type() -> None:
    kinds: dict[str, type] = {"bool": bool, "int": int, "double": float, "string": str, "list": tuple, "enum": int}

    def check(fields: dict[str, Type], values: dict[str, object]) -> None:
        assert set(fields) == set(values)
        for name, type_ in fields.items():
            if type_.kind == "object":
                continue
            assert values[name] is None or type(values[name]) is kinds[type_.kind], name

    for finding in SCAN_RESULT.findings:
        facts = dict(finding_facts(finding))
        check(FINDING, facts)
        check(PACKAGE, facts["package"])
    check(SCAN, dict(scan_facts(SCAN_RESULT, INVENTORY)))
    assert set(DECLARED) == {"finding", "scan"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("finding.severity >= 'HIGH'", "written without quotes"),
        ("finding.severty >= HIGH", "did you mean 'severity'?"),
        ("finding.severity >= high", "did you mean 'HIGH'?"),
        ("scan.unknwon > 0", "did you mean 'unknown'?"),
        ("finding.state == HIGH", "cannot be compared"),
    ],
)
def test_mistakes_are_found_before_a_scan(text: str, words: str) -> None:
    with pytest.raises(SourceError, match="--fail-on:1:") as caught:
        parse_fail_on(text)
    assert words in caught.value.line()
    assert "^" in caught.value.excerpt
