"""Version orders against comparisons collected by others (google/osv-scalibr): every row, both directions, and by key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shipwall.supply.versions import ORDERS, find_order

FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "versions"
ORDER_OF_FILE = {
    "alpine": "apk",
    "cran": "cran",
    "debian": "deb",
    "hackage": "hackage",
    "maven": "maven",
    "nuget": "nuget",
    "packagist": "composer",
    "pub": "pub",
    "pypi": "pypi",
    "redhat": "rpm",
    "rubygems": "gem",
    "semver": "semver",
}

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")


def read_rows(ecosystem: str) -> list[tuple[str, str, str]]:
    """Left, sign and right of every row of an ecosystem's files."""
    rows: list[tuple[str, str, str]] = []
    for path in sorted(FOLDER.glob(f"{ecosystem}-versions*.txt")):
        for line in path.read_text().splitlines():
            if line.strip() and not line.startswith(("#", "//")):
                left, sign, right = line.split()
                rows.append((left, sign, right))
    return rows


@pytest.mark.parametrize("ecosystem", ORDER_OF_FILE)
def test_every_row_in_both_directions(ecosystem: str) -> None:
    order, rows, wrong = ORDERS[ORDER_OF_FILE[ecosystem]], read_rows(ecosystem), []
    for left, sign, right in rows:
        expected = {"<": -1, "=": 0, ">": 1}[sign]
        if order.compare(left, right) != expected or order.compare(right, left) != -expected:
            wrong.append((left, sign, right))
    assert rows
    assert wrong == []


# Rows on which Maven runs in a circle, by order of the key instead (see `maven_key`); and versions that no key can place.
CIRCLES = {
    ("1.0.0-gradle-rework-beta3", "1.0.0.RC7-3"),
    ("2.9.0-1", "2.9.0.RC1"),
    ("1.1.0-01-glassfish", "1.1.0.Beta1"),
}


@pytest.mark.parametrize("ecosystem", ORDER_OF_FILE)
def test_keys_agree_with_every_row(ecosystem: str) -> None:
    order, wrong = find_order(ecosystem), []
    for left, sign, right in read_rows(ecosystem):
        if order.name == "composer" and "#" in left + right:
            continue
        a, b = order.key(left), order.key(right)
        if (a > b) - (a < b) != {"<": -1, "=": 0, ">": 1}[sign] and not (order.name == "maven" and (left, right) in CIRCLES):
            wrong.append((left, sign, right))
    assert wrong == []
