"""What is claimed about an action: never more than is wired in and proved."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shipwall.cli.rule import app
from shipwall.model.event import Exec
from shipwall.runtime.facts import Context
from shipwall.runtime.reach import (
    AFTER,
    BEFORE,
    HOOKS,
    NOT,
    PREVENTED,
    Hook,
    calls_of,
    features_asked,
    reach_of,
    render_reach,
)
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.rules.rule_set import Rule
from shipwall.runtime.watch import Watch

HAS = {"send_signal": True}


class _Nobody(Context):
    pass


EXEC = "evt.type in (execve, execveat)"
DRIFT = f"{EXEC} and shipwall.origin in (upper, tmpfs, memfd, deleted)"
ORIGINS = ("image", "upper", "tmpfs", "memfd", "mount", "deleted", "unknown")


def _rule(condition: str, action: str = "kill", mode: str = "enforce") -> Rule:
    text = json.dumps(
        [{"rule": "X", "desc": "d", "condition": condition, "output": "o", "priority": "ERROR", "action": action, "mode": mode}]
    )
    return parse_rules(text, "r.yaml").rules[0]


def _claim(condition: str, action: str = "kill", features: dict[str, bool | None] = HAS) -> str:  # type: ignore[assignment]
    reach = reach_of(_rule(condition, action), features)
    return "" if reach is None else reach.claim


@pytest.mark.parametrize(
    ("condition", "claim"),
    [
        (DRIFT, BEFORE),
        (f"{DRIFT} and proc.name = nc", BEFORE),
        (f"{EXEC} and (shipwall.origin = memfd or (shipwall.origin = mount and shipwall.writable_mount = true))", BEFORE),
        (f"{EXEC} and proc.is_exe_upper_layer = true", BEFORE),
        (f"{EXEC} and shipwall.origin = mount", AFTER),  # of a read-only mount it is not killed
        (f"{EXEC} and (shipwall.origin = memfd or proc.name = nc)", AFTER),
        (f"{EXEC} and not shipwall.origin = memfd", AFTER),
        (f"{EXEC} and shipwall.origin != image", AFTER),  # an unknown origin is never killed
        (f"{EXEC} and proc.name = nc", AFTER),
        ("evt.type in (execve, connect) and shipwall.origin = memfd", AFTER),
        (f"({DRIFT}) or evt.type = connect", AFTER),
        ("evt.type = openat and fd.name = /etc/shadow", AFTER),
    ],
)
def test_the_claim_for_a_kill(condition: str, claim: str) -> None:
    assert _claim(condition) == claim


def test_only_a_kill_is_made_by_the_kernel_and_only_where_it_was_probed() -> None:
    assert [_claim(DRIFT, action) for action in ("alert", "stop", "freeze", "deny")] == ["", AFTER, AFTER, NOT]
    for lacking, said in (({"send_signal": False}, "lacks send_signal"), ({"send_signal": None}, "be root"), ({}, "be root")):
        reach = reach_of(_rule(DRIFT), lacking)
        assert reach is not None
        assert {one.claim for one in reach.claims} == {AFTER}
        assert said in reach.claims[0].reason


def test_a_rule_over_several_calls_gets_the_weakest_claim_and_lists_each() -> None:
    reach = reach_of(_rule(f"({DRIFT}) or evt.type in (connect, openat)"), HAS)
    assert reach is not None
    assert reach.claim == AFTER
    assert {one.call: one.claim for one in reach.claims} == {
        "connect": AFTER, "execve": BEFORE, "execveat": BEFORE, "openat": AFTER,
    }  # fmt: skip
    assert calls_of(_rule("evt.type in (mmap, connect) and fd.num > 1")) == ("connect", "mmap")


@pytest.mark.parametrize(
    "condition",
    [DRIFT, f"{EXEC} and (shipwall.origin = memfd or (shipwall.origin = mount and shipwall.writable_mount = true))"],
)
def test_whatever_such_a_rule_matches_is_what_the_kernel_kills(condition: str) -> None:
    """The table of origins against the judge that alerts are raised with; the kernel's own are tried in tests/kernel/test_kill.py."""
    text = json.dumps([{"rule": "X", "desc": "d", "condition": condition, "output": "o", "priority": "ERROR", "action": "kill"}])
    matched = set()
    for origin, writable in itertools.product(ORIGINS, (True, False)):
        event = Exec(seq=1, time_ns=1, cgroup_id=1, pid=9, tid=9, ppid=1, ns_pid=9, uid=0, gid=0, comm="x", container="c", path="/x",
                     syscall="execve", origin=origin, writable_mount=writable)  # fmt: skip
        if Watch(parse_rules(text, "r.yaml"), "n").handle(event, _Nobody(), 1):
            matched.add((origin, writable))
    killed = {(origin, writable) for origin in ("upper", "tmpfs", "memfd", "deleted") for writable in (True, False)}
    assert matched
    assert matched <= killed | {("mount", True)}


def test_a_hook_that_refuses_makes_deny_right_for_its_calls_only() -> None:
    refuse = Hook(
        "test hook", frozenset({"deny"}), frozenset({"connect"}), PREVENTED, "refusing", lambda _condition, _call: "", "always"
    )
    reach = reach_of(_rule("evt.type = connect", "deny"), {"refusing": True}, (*HOOKS, refuse))
    assert reach is not None
    assert (reach.claim, reach.problem) == (PREVENTED, "")
    both = reach_of(_rule("evt.type in (connect, openat)", "deny"), {"refusing": True}, (*HOOKS, refuse))
    assert both is not None
    assert (both.claim, both.problem) == (NOT, "action deny: nothing here can refuse openat")
    assert "narrow `evt.type`" in both.next_step
    assert features_asked([_rule(DRIFT)]) == {"send_signal"}
    assert features_asked([_rule(DRIFT, "freeze")]) == frozenset()


def test_deny_is_claimed_only_for_what_the_hooks_decide() -> None:
    has = {**HAS, "network_guard": True, "fanotify": True}
    claims = {
        "evt.type in (connect, bind) and fd.sport = 23": "",
        "evt.type in (open, openat, openat2, creat) and fd.name startswith /etc/": "",
        "evt.type in (connect, sendto) and fd.sport = 23": "nothing here can refuse sendto",
        "evt.type = openat and fd.name = /a": "nothing here can refuse openat",
        "evt.type = unlink and proc.name = rm": "nothing here can refuse unlink",
        "evt.type = connect and fd.sport = 23 and proc.name = nc": "nothing here can refuse connect",
    }
    for condition, problem in claims.items():
        reach = reach_of(_rule(condition, "deny"), has)
        assert reach is not None
        assert reach.problem == (f"action deny: {problem}" if problem else ""), condition
    without = reach_of(_rule("evt.type = connect and fd.sport = 23", "deny"), {**has, "network_guard": False})
    assert without is not None
    assert (without.claim, without.claims[0].reason) == (NOT, "this kernel lacks network_guard")


def test_the_shipped_rules_claim_what_the_readme_says() -> None:
    from shipwall.adapters.rule_files import load_rules

    reached = [reach for rule in load_rules().rules if (reach := reach_of(rule, HAS)) is not None]
    assert [(reach.rule, reach.claim) for reach in reached] == [("Program not in the image executed", BEFORE)]
    assert render_reach(reached[0])[0] == "Program not in the image executed: kill, monitor: stopped before its effect"


def test_check_tells_it_and_refuses_what_nothing_can_deny(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(
        "- rule: X\n  desc: d\n  condition: evt.type = connect\n  output: o\n  priority: ERROR\n  action: freeze\n  mode: enforce\n"
    )
    done = CliRunner().invoke(app, ["check", "--alone", str(file), "--output", "json"])
    assert done.exit_code == 0
    (action,) = json.loads(done.output)["actions"]
    assert (action["claim"], action["claims"][0]["hook"]) == (AFTER, "cgroup freezer from the agent, the whole container")
    file.write_text(file.read_text().replace("action: freeze", "action: deny"))
    refused = CliRunner().invoke(app, ["check", "--alone", str(file)], env={"COLUMNS": "200"})
    assert refused.exit_code == 3
    assert (
        f"{file}:6:11: X: action deny: nothing here can refuse connect; use `action: kill` or `action: freeze`" in refused.output
    )
