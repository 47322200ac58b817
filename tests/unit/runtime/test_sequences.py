"""Rules that ask for several acts in order, and the annotations beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shipwall.cli.rule import app
from shipwall.lang.diagnostic import SourceError
from shipwall.model.event import Call, Connect, Exec
from shipwall.runtime import sequences
from shipwall.runtime.facts import Context
from shipwall.runtime.lower import lower
from shipwall.runtime.lower.simulate import passes, view_of
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.rules.calls import read_calls
from shipwall.runtime.watch import Watch

SECOND = 1_000_000_000
STEPS = """
- {rule: Tool run, desc: d, condition: evt.type = execve and proc.name = tool, output: t, priority: DEBUG, enabled: false}
- {rule: Mapped, desc: d, condition: evt.type = mmap, output: m, priority: DEBUG, enabled: false}
- {rule: Called out, desc: d, condition: evt.type = connect and fd.rport = 443, output: c, priority: DEBUG, enabled: false}
"""
WHOLE = (
    STEPS
    + """
- rule: Tool, then call
  desc: d
  sequence: [Tool run, Called out]
  within: 30s
  output: "%fd.rport"
  priority: CRITICAL
  action: freeze
  mode: enforce
"""
)


class _Nobody(Context):
    pass


def _exec(at_s: float, name: str = "tool", container: str = "a") -> Exec:
    return Exec(**_header(at_s, container), path=f"/tmp/{name}", argv=(name,), syscall="execve")


def _connect(at_s: float, port: int = 443, container: str = "a") -> Connect:
    return Connect(**_header(at_s, container), family="ipv4", protocol="tcp", address="10.0.0.9", port=port)


def _header(at_s: float, container: str) -> dict[str, Any]:
    return {"seq": 1, "time_ns": int(at_s * SECOND), "cgroup_id": 1, "pid": 9, "tid": 9, "ppid": 1, "ns_pid": 9, "uid": 0, "gid": 0,
            "comm": "tool", "container": container}  # fmt: skip


def _fired(text: str, *events: Exec | Connect, first_match: bool = False) -> list[tuple[str, float]]:
    watch = Watch(parse_rules(text, "r.yaml"), "n", first_match=first_match)
    return [(alert.rule, alert.time_ns / SECOND) for event in events for alert in watch.handle(event, _Nobody(), event.time_ns)]


@pytest.mark.parametrize("first_match", [False, True])
def test_in_order_in_one_container_and_in_time(first_match: bool) -> None:
    def fired(*events: Exec | Connect) -> list[tuple[str, float]]:
        return _fired(WHOLE, *events, first_match=first_match)

    assert fired(_exec(1), _connect(31)) == [("Tool, then call", 31.0)]
    assert fired(_exec(1), _connect(31.001)) == []
    assert fired(_connect(1), _exec(2)) == []
    assert fired(_exec(1), _connect(2, container="b")) == []
    assert fired(_exec(1, container=""), _connect(2, container="")) == [], "the host is no container"
    assert fired(_exec(1), _exec(20), _connect(40)) == [("Tool, then call", 40.0)], "the attempt that began last counts"
    assert fired(_exec(1), _connect(2), _connect(3), _exec(4), _connect(5)) == [
        ("Tool, then call", 2.0),
        ("Tool, then call", 5.0),
    ]


def test_the_alert_holds_every_act() -> None:
    watch = Watch(parse_rules(WHOLE, "r.yaml"), "n")
    begun, ended = _exec(1), _connect(2)
    assert watch.handle(begun, _Nobody(), 0) == []
    (alert,) = watch.handle(ended, _Nobody(), 0)
    assert [(step.rule, step.event) for step in alert.sequence] == [("Tool run", begun), ("Called out", ended)]
    assert (alert.action, alert.output) == ("freeze", "443")
    assert "fd.rport = 443" in [why.condition for why in alert.why]
    assert len(watch.sequences) == 0


def test_three_steps_and_the_same_rule_twice() -> None:
    three = WHOLE.replace("[Tool run, Called out]", "[Tool run, Tool run, Called out]")
    assert _fired(three, _exec(1), _connect(2)) == []
    assert _fired(three, _exec(1), _exec(2), _connect(3)) == [("Tool, then call", 3.0)]
    twice = WHOLE.replace("[Tool run, Called out]", "[Tool run, Tool run]").replace("%fd.rport", "x")
    assert _fired(twice, *(_exec(n) for n in range(1, 6))) == [("Tool, then call", 2.0), ("Tool, then call", 4.0)]


def test_its_own_condition_is_asked_of_the_last_act() -> None:
    narrower = WHOLE.replace("  within: 30s\n", '  within: 30s\n  condition: fd.rip = "10.0.0.9"\n')
    assert _fired(narrower, _exec(1), _connect(2)) == [("Tool, then call", 2.0)]
    assert _fired(narrower.replace("10.0.0.9", "10.0.0.8"), _exec(1), _connect(2)) == []


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "MAX_PLACES", 10)
    watch = Watch(parse_rules(WHOLE, "r.yaml"), "n")
    for number in range(50):
        watch.handle(_exec(number / 100, container=f"c{number}"), _Nobody(), 0)
    assert (len(watch.sequences), watch.sequences.forgotten) == (10, 40)


def test_a_rule_that_is_off_is_read_for_the_sequence_only() -> None:
    named = WHOLE.replace("[Tool run, Called out]", "[Mapped, Called out]")
    assert "mmap" in read_calls(parse_rules(named, "r.yaml"))
    assert "mmap" not in read_calls(parse_rules(WHOLE, "r.yaml"))
    assert "mmap" not in read_calls(parse_rules(named + "  enabled: false\n", "r.yaml"))


def test_a_sequence_of_a_skipped_rule_is_skipped() -> None:
    found = parse_rules(WHOLE.replace("fd.rport = 443", "proc.vmsize > 1 and thread.cpu > 1"), "r.yaml")
    assert "rule 'Called out' of its sequence is skipped" in found.skipped[-1].reason


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[Tool run, Called out]", "[Tool runs, Called out]", "r.yaml:8:14: rule 'Tool runs' is not defined; did you mean 'Tool run'?"),
        ("[Tool run, Called out]", "[Tool run]", "r.yaml:8:13: a sequence of 1 rules"),
        ("[Tool run, Called out]", '["Tool, then call", Tool run]', "is a sequence itself"),
        ("  within: 30s\n", "", "r.yaml:8:13: a sequence without `within`"),
        ("within: 30s", "within: 30", "r.yaml:9:11: '30' is not a duration"),
        ("within: 30s", "within: 2h", "r.yaml:9:11: longer than 1h"),
        ("  sequence: [Tool run, Called out]\n", "", "key 'condition' is missing"),
        ("  sequence: [Tool run, Called out]\n", "  condition: evt.type = connect\n", "r.yaml:9:11: `within` without a sequence"),
        ("mode: enforce", "mode: enforced", "r.yaml:13:9: 'enforced' is not one of monitor, enforce; did you mean 'enforce'?"),
        ("action: freeze", "action: freez", "did you mean 'freeze'?"),
        ("within: 30s", "withn: 30s", "unknown key 'withn'; did you mean 'within'?"),
    ],
)  # fmt: skip
def test_mistakes_are_shown_at_their_place(old: str, new: str, said: str) -> None:
    assert old in WHOLE
    with pytest.raises(SourceError) as wrong:
        parse_rules(WHOLE.replace(old, new), "r.yaml")
    assert said in wrong.value.line()


def test_an_override_changes_mode_action_and_sequence() -> None:
    changed = (
        WHOLE
        + """
- {rule: "Tool, then call", mode: monitor, action: kill, within: 5s, override: {mode: replace, action: replace, within: replace}}
- {rule: Called out, action: stop, override: {action: replace}}
"""
    )
    rules = parse_rules(changed, "r.yaml")
    whole, step = rules.find("Tool, then call"), rules.find("Called out")
    assert whole is not None
    assert step is not None
    assert (whole.mode, whole.action, whole.within_ns) == ("monitor", "kill", 5 * SECOND)
    assert (step.mode, step.action, step.action_at[0]) == ("monitor", "stop", 16)
    with pytest.raises(SourceError, match="without `within`"):
        parse_rules(WHOLE + '- {rule: "Tool, then call", within: null, override: {within: replace}}\n', "r.yaml")


def test_list_and_explain_show_them(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(WHOLE)
    run = CliRunner().invoke
    listed = json.loads(run(app, ["list", "--alone", "--rules", str(file), "--output", "json"]).output)["rules"]
    assert {key: listed[-1][key] for key in ("action", "mode", "sequence", "within_s")} == {
        "action": "freeze", "mode": "enforce", "sequence": ["Tool run", "Called out"], "within_s": 30.0,
    }  # fmt: skip
    said = run(app, ["explain", "Tool, then call", "--alone", "--rules", str(file)], env={"COLUMNS": "200"}).output
    assert "within 30 s: Tool run → Called out" in said


def test_the_kernels_filter_lets_the_steps_pass_though_they_are_off() -> None:
    def is_passed(text: str) -> bool:
        return passes(lower(parse_rules(text, "r.yaml")), view_of(Call(**_header(1, "a"), syscall="chmod", raw=(0,) * 6)))

    off = "- {rule: Changed, desc: d, condition: evt.type = chmod, output: c, priority: DEBUG, enabled: false}\n"
    whole = WHOLE.replace("[Tool run, Called out]", "[Changed, Called out]")
    assert not is_passed(off + STEPS)
    assert is_passed(off + whole)
