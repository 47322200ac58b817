"""`shipwall rule`, as a person types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shipwall.adapters.instance import Instance
from shipwall.adapters.rule_modes import read_rule_modes
from shipwall.cli.rule import app
from shipwall.model.errors import InputError

GOLDEN = Path(__file__).parents[2] / "golden/rules"


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_list_shows_every_shipped_rule() -> None:
    code, said = _run("list", "--output", "json")
    listed = json.loads(said)
    assert code == 0
    assert len(listed["rules"]) >= 10
    assert listed["skipped"] == []
    assert "Sensitive file read" in _run("list")[1]


def test_list_shows_what_rules_cost_an_agent(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    instance.agent.mkdir()
    instance.rule_costs.write_text('{"Sensitive file read": {"runs": 1200, "matches": 3, "ns": 2400000}}')
    said = _run("list", "--state", str(tmp_path))[1]
    assert re.search(r"Sensitive file read .*1,200 +3 +2,000 ns", said)
    listed = json.loads(_run("list", "--output", "json", "--state", str(tmp_path))[1])
    assert [rule["cost"] for rule in listed["rules"] if rule["cost"]] == [{"runs": 1200, "matches": 3, "ns": 2400000}]
    instance.rule_costs.write_text("damaged")
    assert "2,000 ns" not in _run("list", "--state", str(tmp_path))[1]


def test_check_points_at_the_mistake(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(
        "- rule: X\n  desc: d\n  condition: >\n    evt.type = execve and\n    proc.nme = foo\n  output: o\n  priority: ERROR\n"
    )
    code, said = _run("check", str(file))
    assert code == 3
    assert "my.yaml:5:5: unknown field 'proc.nme'; did you mean 'proc.name'?" in said
    assert "      proc.nme = foo\n      ^\n" in said


def test_check_names_what_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("- rule: X\n  desc: d\n  condition: fd.cproto != 0\n  output: o\n  priority: ERROR\n")
    code, said = _run("check", "--alone", str(file))
    assert code == 0
    assert "X: skipped, the sensor does not tell fd.cproto" in said
    assert "0 rules loaded, 1 skipped" in said


def test_explain_writes_the_condition_out() -> None:
    code, said = _run("explain", "change to root")
    assert code == 0
    assert "shipwall.old_uid: user id before the act" in said
    assert "container.id != host" in said


def test_test_passes_and_fails(tmp_path: Path) -> None:
    scene = GOLDEN / "change_to_root.json"
    code, said = _run("test", str(scene), "--output", "json")
    assert code == 0
    assert [alert["rule"] for alert in json.loads(said)[0]["alerts"]] == ["Change to root", "Change to root"]
    changed = json.loads(scene.read_text()) | {"expect": ["Sensitive file read"]}
    (tmp_path / "wrong.json").write_text(json.dumps(changed))
    code, said = _run("test", str(tmp_path / "wrong.json"))
    assert code == 1
    assert "missing: Sensitive file read" in said
    assert "too many: Change to root" in said


@pytest.mark.parametrize("command", ["list", "check", "explain", "test"])
def test_help_has_examples(command: str) -> None:
    assert "Examples" in _run(command, "--help")[1]


def test_coverage_of_the_shipped_rules_is_whole() -> None:
    code, said = _run("coverage", "--output", "json")
    assert code == 0
    assert all(one["positive"] and one["negative"] for one in json.loads(said)["rules"])
    code, said = _run("coverage")
    assert "techniques" in said
    assert "T1611 privilege escalation · Escape to Host: Kernel code loaded" in said


def test_the_node_sets_modes_of_rules_that_act(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path))
    shipped = "Program not in the image executed"
    assert "every rule has the mode of its own file" in _run("mode", *state)[1]
    assert _run("mode", shipped.lower(), "enforce", *state) == (0, f"enforce  {shipped}\n")
    assert json.loads(_run("mode", "--output", "json", *state)[1]) == {shipped: {"": "enforce"}}
    said = _run("mode", shipped, "monitor", "--environment", "production", *state)[1]
    assert said == f"enforce  {shipped}\nmonitor  {shipped} in production\n"
    assert read_rule_modes(Instance(tmp_path)) == {shipped: {"": "enforce", "production": "monitor"}}
    assert _run("mode", shipped, "default", "--environment", "production", *state) == (0, f"enforce  {shipped}\n")
    for words, said in (
        ((shipped, "enforced"), "did you mean 'enforce'?"),
        (("Sensitive file read", "enforce"), "has no action"),
        (("Program not in the imag executed", "enforce"), "did you mean"),
    ):
        refused = CliRunner().invoke(app, ["mode", *words, *state])
        assert isinstance(refused.exception, InputError), words
        assert said in refused.exception.line()
    assert _run("mode", shipped, "default", *state)[0] == 0
    assert read_rule_modes(Instance(tmp_path)) == {}
    (tmp_path / "rule-modes.json").write_text('{"X": {"": "perhaps"}}')
    with pytest.raises(InputError, match="perhaps"):
        read_rule_modes(Instance(tmp_path))
