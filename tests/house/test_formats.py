"""Published formats are those of the code: schemas are generated, and the pages about them name every field."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import msgspec
import pytest

from shipwall.model.package import Inventory
from shipwall.supply import fail_on
from shipwall.supply.policy import parse_policy
from shipwall.supply.report import ScanDocument

DOCS = Path(__file__).parents[2] / "docs/formats"
SCHEMA = DOCS / "scan.schema.json"
TYPES = {"scan.schema.json": ScanDocument, "inventory.schema.json": Inventory}


@pytest.mark.parametrize("name", sorted(TYPES))
def test_the_published_schema_is_fresh(name: str) -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(TYPES[name])
    text = json.dumps(schema, indent=2) + "\n"
    if os.environ.get("SHIPWALL_RENEW_GOLDEN"):
        (DOCS / name).write_text(text)
    assert (DOCS / name).read_text() == text, "renew it: make golden"


def test_every_field_of_conditions_has_its_line() -> None:
    page = (DOCS / "conditions.md").read_text()
    named = set(re.findall(r"^\| `([a-z_.]+)`", page, re.MULTILINE))
    package = {f"finding.package.{name}" for name in fail_on.PACKAGE}
    finding = {f"finding.{name}" for name in fail_on.FINDING if name != "package"}
    assert named == {f"scan.{name}" for name in fail_on.SCAN} | finding | package
    for constant in fail_on.CONSTANTS:
        assert f"`{constant}`" in page


def test_every_condition_on_the_page_is_one() -> None:
    page = (DOCS / "conditions.md").read_text()
    shown = re.findall(r"^    shipwall image scan .*--fail-on '([^']+)'", page, re.MULTILINE)
    assert len(shown) >= 5
    for text in shown:
        fail_on.parse_fail_on(text)


def test_the_policy_on_the_page_is_one() -> None:
    page = (DOCS / "policy.md").read_text()
    shown = "\n".join(line[4:] for line in page.splitlines() if line.startswith("    "))
    files = {"accepted.yaml": b"version: 1\nignore: []", "vendor.openvex.json": b'{"@context": "https://openvex.dev/ns"}'}
    (route,) = parse_policy(shown.encode(), "policy.md", files.__getitem__).routes
    assert (len(route.vex_files), route.vex_by[0].by) == (1, ("vendor",))
