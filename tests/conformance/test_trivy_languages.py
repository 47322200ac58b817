"""Findings equal those of Trivy's own integration tests for language packages: the golden's packages, judged by the fixture database."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.advisories import inventory_of, make_database

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.package import Distribution, Package
from shipwall.supply.match_advisories import match_advisories
from shipwall.supply.purl import parse_purl

FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "trivy"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")

# The fixture and our scope, by package type. CocoaPods and Conan name no order of versions, so nothing here judges them.
STORES = {
    "cargo": ("rust", "crates.io"), "composer": ("composer", "Packagist"), "hex": ("erlang", "Hex"), "npm": ("nodejs", "npm"),
    "nuget": ("nuget", "NuGet"), "pub": ("pub", "Pub"), "pypi": ("python", "PyPI"), "swift": ("swift", "SwiftURL"),
}  # fmt: skip


def results() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(golden, package type, result) of all that list language packages and findings."""
    for path in sorted(FOLDER.glob("*.json.golden")):
        for result in json.loads(path.read_text()).get("Results") or []:
            listed = [row["Identifier"]["PURL"] for row in result.get("Packages") or [] if "PURL" in row.get("Identifier", {})]
            if listed and result.get("Vulnerabilities"):
                yield path.name.removesuffix(".json.golden"), parse_purl(listed[0]).type, result


CASES = [found for found in results() if found[1] in STORES] if FOLDER.exists() else []


def read_range(text: str) -> Range:
    """`< 2`, `<= 2`, `>= 1, < 2`, `>= 1`: all the forms of these fixtures."""
    ends = {}
    for part in text.split(","):
        mark, version = part.split()
        ends[mark] = version
    assert set(ends) <= {">=", "<", "<="}, text
    return Range(introduced=ends.get(">=", ""), fixed=ends.get("<", ""), last_affected=ends.get("<=", ""))


def advisories(fixture: str, scope: str) -> Iterator[Advisory]:
    for bucket in yaml.safe_load((FOLDER / "fixtures/db" / f"{fixture}.yaml").read_text()):
        for package in bucket["pairs"]:
            for pair in package["pairs"]:
                if ranges := pair["value"].get("VulnerableVersions"):
                    affected = Affected(scope=scope, name=package["bucket"], ranges=tuple(map(read_range, ranges)))
                    yield Advisory(feed=fixture, id=pair["key"], affected=(affected,))


def test_no_ecosystem_is_left_out_unseen() -> None:
    assert {"composer", "hex", "npm", "nuget", "pub", "pypi", "swift"} <= {kind for _name, kind, _result in CASES}
    assert {kind for _name, kind, _result in results()} - set(STORES) <= {"cocoapods", "conan"}


@pytest.mark.parametrize(("name", "kind", "result"), CASES, ids=[f"{name}-{kind}" for name, kind, _result in CASES])
def test_the_same_findings(name: str, kind: str, result: dict[str, Any], tmp_path: Path) -> None:
    fixture, scope = STORES[kind]
    packages = [
        Package(ecosystem=kind, name=row["Name"], version=row["Version"]) for row in result["Packages"] if row.get("Version")
    ]
    path = make_database(tmp_path / "advisories.sqlite", {fixture: advisories(fixture, scope)})
    with AdvisoryDb(path) as database:
        found, _skipped = match_advisories(inventory_of(Distribution(), *packages), database)
    wanted = {(row["VulnerabilityID"], row["PkgName"], row["InstalledVersion"]) for row in result["Vulnerabilities"]}
    assert {(one.id, one.package.name, one.package.version) for one in found} == wanted, name
