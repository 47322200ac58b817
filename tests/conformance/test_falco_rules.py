"""Falco's public stable rule file loads unmodified; what the sensor does not tell yet is named, never evaluated as false."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shipwall.lang.condition import parse_condition, render_condition
from shipwall.lang.yaml_text import parse_yaml
from shipwall.runtime.rules import parse_rules

FILE = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "falco/falco_rules.yaml"

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")


def test_every_definition_is_read() -> None:
    definitions = [item.mapping() for item in parse_yaml(FILE.read_bytes(), FILE.name).sequence()]
    found = parse_rules(FILE.read_bytes(), FILE.name)
    assert len(found.macros) == sum("macro" in keys for keys in definitions) == 87
    assert len(found.lists) == sum("list" in keys for keys in definitions) == 49
    assert len(found.rules) + len(found.skipped) == sum("rule" in keys for keys in definitions) == 25


def test_rules_with_all_fields_have_meaning_and_the_others_say_what_is_missing() -> None:
    found = parse_rules(FILE.read_bytes(), FILE.name)
    assert {rule.name for rule in found.rules} >= {
        "Clear Log Activities",
        "Directory traversal monitored file read",
        "Drop and execute new binary in container",
        "Fileless execution via memfd_create",
        "Find AWS Credentials",
        "Netcat Remote Code Execution in Container",
        "Read sensitive file untrusted",
        "Redirect STDOUT/STDIN to Network Connection in Container",
        "Search Private Keys or Passwords",
    }
    for skipped in found.skipped:
        assert skipped.fields or skipped.reason.startswith("the sensor does not report")


def test_conditions_survive_being_rendered() -> None:
    for item in parse_yaml(FILE.read_bytes(), FILE.name).sequence():
        keys = item.mapping()
        if "condition" in keys:
            tree = parse_condition(keys["condition"].text)
            assert parse_condition(render_condition(tree)) == tree
