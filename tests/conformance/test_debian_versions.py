"""Debian version order against comparisons collected by others (google/osv-scalibr)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shipwall.supply.versions.deb import compare_versions

FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "versions"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")


@pytest.mark.parametrize("name", ["debian-versions.txt", "debian-versions-generated.txt"])
def test_every_row_in_both_directions(name: str) -> None:
    wrong = []
    rows = [line.split() for line in (FOLDER / name).read_text().splitlines() if line.strip() and not line.startswith("#")]
    for left, sign, right in rows:
        expected = {"<": -1, "=": 0, ">": 1}[sign]
        if compare_versions(left, right) != expected or compare_versions(right, left) != -expected:
            wrong.append((left, sign, right))
    assert rows
    assert wrong == []
