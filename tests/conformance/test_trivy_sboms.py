"""SBOMs that Trivy wrote (its own expected results): every package with a package URL is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from shipwall.supply.sbom import parse_sbom_text

FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "trivy"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")


CYCLONEDX = ("conda-cyclonedx", "npm-cyclonedx", "pom-cyclonedx", "conda-environment-cyclonedx", "fluentd-multiple-lockfiles.cdx")


@pytest.mark.parametrize("name", CYCLONEDX)
def test_cyclonedx(name: str) -> None:
    data = (FOLDER / f"{name}.json.golden").read_bytes()
    expected = [one["purl"] for one in json.loads(data)["components"] if "purl" in one]
    inventory = parse_sbom_text(data, name)
    assert len(inventory.packages) == len(expected) > 0
    assert inventory.skipped == ()


@pytest.mark.parametrize("name", ["conda", "julia"])
def test_spdx(name: str) -> None:
    data = (FOLDER / f"{name}-spdx.json.golden").read_bytes()
    inventory = parse_sbom_text(data, name)
    assert len(inventory.packages) == data.count(b'"purl"') > 0
    assert inventory.skipped == ()


def test_both_formats_tell_the_same() -> None:
    cyclonedx, spdx = (parse_sbom_text((FOLDER / f"conda-{one}.json.golden").read_bytes(), one) for one in ("cyclonedx", "spdx"))
    assert set(cyclonedx.packages) == set(spdx.packages)


def test_a_debian_image() -> None:
    data = (FOLDER / "fluentd-multiple-lockfiles.cdx.json.golden").read_bytes()
    inventory = parse_sbom_text(data, "fluentd")
    assert (inventory.distribution.id, inventory.distribution.version_id) == ("debian", "10")
    system = [one for one in inventory.packages if one.ecosystem == "deb"]
    assert system
    assert all(one.source and one.source_version and one.layer for one in system)
