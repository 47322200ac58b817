"""Findings equal those that Trivy's own integration tests expect, from the same packages and the same fixture database.

The fixtures are dumps of a key-value store whose values each distribution's scanner reads its own way; what a value means is said in
`CASES`. Names of releases: the store's bucket → our scope.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tests.advisories import inventory_of, make_database

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.finding import Finding, FixState, Severity
from shipwall.model.package import Distribution, Package
from shipwall.supply.ecosystems import is_by_source
from shipwall.supply.match_advisories import match_advisories

FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "trivy"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")

SEVERITIES = (Severity.UNKNOWN, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)
STATES = {5: FixState.WILL_NOT_FIX, 7: FixState.END_OF_LIFE}


class Case(NamedTuple):
    """`packages`: the golden package list. `findings`: the golden findings. `products`: Red Hat's product numbers of the image."""

    packages: str
    findings: str
    fixture: str
    bucket: str
    distribution: Distribution
    scope: str
    products: frozenset[int] = frozenset()


def _case(packages: str, findings: str, fixture: str, bucket: str, ident: str, version: str, scope: str, *products: int) -> Case:
    return Case(packages, findings, fixture, bucket, Distribution(id=ident, version_id=version), scope, frozenset(products))


CASES = [
    _case("alpine-310", "alpine-310", "alpine", "alpine 3.10", "alpine", "3.10.2", "Alpine:v3.10"),
    _case("amazon-2", "amazon-2", "amazon", "amazon linux 2", "amzn", "2", "Amazon Linux:2"),
    _case("centos-6", "centos-6", "redhat", "Red Hat", "centos", "6.10", "Red Hat:6", 857),
    _case("debian-buster", "debian-buster", "debian", "debian 10", "debian", "10.1", "Debian:10"),
    _case("opensuse-leap-151", "opensuse-leap-151", "opensuse", "openSUSE Leap 15.1", "opensuse-leap", "15.1", "openSUSE:Leap 15.1"),
    _case(
        "opensuse-tumbleweed", "opensuse-tumbleweed", "opensuse", "openSUSE Tumbleweed", "opensuse-tumbleweed", "20240607",
        "openSUSE:Tumbleweed",
    ),
    _case("oraclelinux-8-slim", "oraclelinux-8", "oracle", "Oracle Linux 8", "ol", "8.0", "Oracle Linux:8"),
    _case("photon-30", "photon-30", "photon", "Photon OS 3.0", "photon", "3.0", "Photon OS:3.0"),
    _case("ubi-7", "ubi-7", "redhat", "Red Hat", "rhel", "7.7", "Red Hat:7", 869),
    _case("ubuntu-18.04", "ubuntu-1804", "ubuntu", "ubuntu 18.04", "ubuntu", "18.04", "Ubuntu:18.04"),
]  # fmt: skip


def buckets(fixture: str, bucket: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(package, id, value) of one release's bucket."""
    for release in yaml.safe_load((FOLDER / "fixtures/db" / f"{fixture}.yaml").read_text()):
        if release["bucket"] == bucket:
            for package in release["pairs"]:
                for pair in package["pairs"]:
                    yield package["bucket"], pair["key"], pair["value"]


def advisories(case: Case) -> Iterator[Advisory]:
    for package, name, value in buckets(case.fixture, case.bucket):
        for one, fixes in entries(case, package, value):
            ids = [] if name.startswith("CVE-") else fixes
            yield Advisory(feed=case.fixture, id=name, fixes=tuple(ids), affected=(one,))


def entries(case: Case, package: str, value: dict[str, Any]) -> Iterator[tuple[Affected, list[str]]]:
    """What a value says, and the CVEs it names. Values of Red Hat hold several, each for some products."""
    by_source = is_by_source(case.scope) and case.fixture != "opensuse"  # openSUSE's are by binary package in this store
    severity = SEVERITIES[int(value.get("Severity", 0))]
    if "Entries" not in value:
        yield affected(case, package, value.get("FixedVersion", ""), severity, value, by_source), []
        return
    for entry in value["Entries"]:
        if "Affected" in entry and not case.products & set(entry["Affected"]):
            continue
        cves = entry.get("Cves", [])
        severities = [SEVERITIES[int(one.get("Severity", 0))] for one in cves] or [severity]
        yield (
            affected(case, package, entry.get("FixedVersion", ""), severities[0], entry, by_source),
            [one["ID"] for one in cves if "ID" in one],
        )


def affected(case: Case, package: str, fixed: str, severity: Severity, value: dict[str, Any], by_source: bool) -> Affected:
    return Affected(
        scope=case.scope,
        name=package,
        ranges=(Range(fixed=fixed),) if fixed else (Range(),),
        by_source=by_source,
        arches=tuple(value.get("Arches", ())),
        severity=severity,
        state=FixState.FIXED if fixed else STATES.get(value.get("Status", 2), FixState.NOT_FIXED),
    )


def packages(case: Case, ecosystem: Callable[[str], str]) -> list[Package]:
    rows = json.loads((FOLDER / "packages/goldens/packages" / f"{case.packages}.json.golden").read_text())
    return [
        Package(
            ecosystem=ecosystem(case.distribution.id),
            name=row["Name"],
            version=full_version(row, ""),
            arch=row.get("Arch", ""),
            source=row.get("SrcName", ""),
            source_version=full_version(row, "Src") if row.get("SrcVersion") else "",
        )
        for row in rows
    ]


def full_version(row: dict[str, Any], head: str) -> str:
    version, release, epoch = row[f"{head}Version"], row.get(f"{head}Release"), row.get(f"{head}Epoch")
    return (f"{epoch}:" if epoch else "") + version + (f"-{release}" if release else "")


def ecosystem_of(distribution: str) -> str:
    return {"alpine": "apk", "debian": "deb", "ubuntu": "deb"}.get(distribution, "rpm")


def findings_of(case: Case, folder: Path) -> list[Finding]:
    path = make_database(folder / "advisories.sqlite", {case.fixture: advisories(case)})
    with AdvisoryDb(path) as database:
        found, _skipped = match_advisories(inventory_of(case.distribution, *packages(case, ecosystem_of)), database)
    return found


def golden(name: str) -> list[dict[str, Any]]:
    results = json.loads((FOLDER / f"{name}.json.golden").read_text())["Results"]
    return [row for result in results if result.get("Class") == "os-pkgs" for row in result.get("Vulnerabilities", [])]


def without_epoch_0(version: str) -> str:
    return version.removeprefix("0:")


@pytest.mark.parametrize("case", CASES, ids=[case.packages for case in CASES])
def test_the_same_findings(case: Case, tmp_path: Path) -> None:
    found = findings_of(case, tmp_path)
    wanted = {
        (row["VulnerabilityID"], row["PkgName"], row["InstalledVersion"], row.get("FixedVersion", ""))
        for row in golden(case.findings)
    }
    assert wanted
    assert {(one.id, one.package.name, one.package.version, without_epoch_0(one.fixed_version)) for one in found} == wanted
    assert len(found) == len(wanted)


STATUSES = {
    "fixed": FixState.FIXED, "affected": FixState.NOT_FIXED, "will_not_fix": FixState.WILL_NOT_FIX, "end_of_life": FixState.END_OF_LIFE,
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.packages for case in CASES])
def test_the_same_fix_states_and_the_distributions_severities(case: Case, tmp_path: Path) -> None:
    states = {(row["VulnerabilityID"], row["PkgName"]): STATUSES[row["Status"]] for row in golden(case.findings)}
    severities = {
        (row["VulnerabilityID"], row["PkgName"]): row["Severity"].lower()
        for row in golden(case.findings)
        if row.get("SeveritySource") == case.fixture and case.fixture == "redhat"
    }
    found = findings_of(case, tmp_path)
    assert {(one.id, one.package.name): one.state for one in found} == states
    assert {
        (one.id, one.package.name): one.severity.value for one in found if (one.id, one.package.name) in severities
    } == severities
