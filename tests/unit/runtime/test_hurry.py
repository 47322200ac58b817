"""What no rule can turn into an alert can wait."""

from __future__ import annotations

import pytest

from shipwall.abi.schema import KINDS
from shipwall.adapters.rule_files import load_rules
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.rules.hurry import Unhurried, find_unhurried


def _of(condition: str, enabled: str = "true") -> Unhurried:
    return find_unhurried(
        parse_rules(f"- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n  enabled: {enabled}\n", "r")
    )


def test_the_shipped_rules_act_upon_neither_plain_forks_nor_exits_nor_mapped_libraries() -> None:
    found = find_unhurried(load_rules())
    assert {"fork", "exit"} <= found.kinds
    assert "exec" not in found.kinds
    assert "mmap" in found.calls


# A refused fork is a call.
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
    assert set(KINDS) - _of(condition).kinds == hurries | {"cgroup"}
    assert set(KINDS) - _of(condition, "false").kinds == {"cgroup"}


def test_a_call_hurries_when_a_rule_can_match_it() -> None:
    found = _of("evt.type in (mkdir, openat, kill) and proc.name = x")
    assert {"mkdir", "kill"}.isdisjoint(found.calls)
    assert {"mmap", "rmdir", "bind"} <= found.calls
    assert "call" not in found.kinds
    assert not _of("proc.name = x").calls
