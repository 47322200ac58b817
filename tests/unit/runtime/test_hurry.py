"""What no rule can turn into an alert can wait."""

from __future__ import annotations

import pytest

from shipwall.abi.schema import KINDS
from shipwall.adapters.rule_files import load_rules
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.rules.hurry import unhurried_kinds


def _kinds(condition: str, enabled: str = "true") -> frozenset[str]:
    return unhurried_kinds(
        parse_rules(f"- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n  enabled: {enabled}\n", "r")
    )


def test_the_shipped_rules_act_upon_neither_plain_forks_nor_exits() -> None:
    assert {"fork", "exit"} <= unhurried_kinds(load_rules())
    assert "exec" not in unhurried_kinds(load_rules())


# a refused fork is a call
@pytest.mark.parametrize(
    ("condition", "hurries"),
    [
        ("evt.type = execve", {"exec"}),
        ("evt.type = procexit", {"exit"}),
        ("evt.type in (clone, clone3) and evt.arg.flags contains CLONE_NEWUSER", {"namespace"}),
        ("evt.type = fork and evt.arg.flags contains CLONE_VFORK", {"fork", "call"}),
        ("evt.type = fork and not evt.arg.flags contains CLONE_NEWUSER", {"fork", "call"}),
        ("proc.name = x and evt.type in (fork, openat)", {"fork", "call", "open"}),
    ],
)
def test_a_kind_hurries_when_a_rule_can_match_it(condition: str, hurries: set[str]) -> None:
    assert set(KINDS) - _kinds(condition) == hurries | {"cgroup"}
    assert set(KINDS) - _kinds(condition, "false") == {"cgroup"}
