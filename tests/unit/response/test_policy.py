"""Which alert a policy speaks of, what it asks for, and what its dry run says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from shipwall.cli.response import app
from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.model.errors import InputError
from shipwall.model.event import Exec
from shipwall.response.plan import Declined, Past, Plan, plan_response, render_plan
from shipwall.response.policy import ResponsePolicy, parse_response_policy
from shipwall.response.rehearse import rehearse

SECOND = 1_000_000_000
NOW = 10**12
EVENT = Exec(seq=1, time_ns=1, cgroup_id=1, pid=9, tid=9, ppid=1, ns_pid=2, uid=0, gid=0, comm="sh", path="/bin/sh")
ALERT = Alert(
    id="a1", node="n", time_ns=1, raised_ns=NOW, rule="Reverse shell", priority="Critical", output="o", action="freeze", event=EVENT,
    container="c1", tags=("T1059.004", "mitre_execution"),
)  # fmt: skip
FACTS = ContainerFacts(
    id="c1", name="/shop-1", image_ref="127.0.0.1:5000/prod/shop:1.2", image_config="sha256:" + "1" * 64, promotion="promoted",
    labels={"shipwall.service": "shop", "shipwall.environment": "production"},
)  # fmt: skip


def _policy(entry: str, limits: str = "{}") -> ResponsePolicy:
    return parse_response_policy(f"responses: [{{steps: [freeze], {entry}}}]\nlimits: {limits}", "p.yaml")


def _plan(policy: ResponsePolicy, *past: Past, is_ordered: bool = False, **changed: Any) -> Plan | str:
    made = plan_response(msgspec.structs.replace(ALERT, **changed), policy, FACTS, NOW, past, is_ordered=is_ordered)
    return made.reason.code if isinstance(made, Declined) else made


@pytest.mark.parametrize(
    ("entry", "applies"),
    [
        ("rules: [Reverse shell]", True),
        ("tags: [T1059.*]", True),
        ("tags: [T1060]", False),
        ("tags: [T1060], rules: [Reverse shell]", True),
        ("actions: [freeze]", True),
        ("actions: [kill, stop, deny]", False),
        ("priority: error", True),
        ("priority: Critical", True),
        ("priority: alert", False),
        ("rules: [Reverse shell], priority: emergency", False),
        ("priority: error, images: ['*/prod/*']", True),
        ("priority: error, images: ['*/test/*']", False),
        ("priority: error, services: [shop, cart]", True),
        ("priority: error, services: [cart]", False),
        ("priority: error, environments: [production]", True),
        ("priority: error, environments: [staging]", False),
        ("priority: error, containers: [shop-*]", True),
        ("priority: error, containers: [cart-*]", False),
    ],
)
def test_every_condition_of_an_entry_counts(entry: str, applies: bool) -> None:
    assert isinstance(_plan(_policy(entry)), Plan) is applies


def test_a_rule_that_orders_a_freeze_needs_no_entry_but_keeps_to_the_budgets() -> None:
    nothing = ResponsePolicy(frozen_per_node=1)
    assert _plan(nothing) == "no-entry"
    made = _plan(nothing, is_ordered=True)
    assert isinstance(made, Plan)
    assert (made.steps, made.entry_line) == (("freeze",), 0)
    held = Past(plan="x", container="other", service="other", created_ns=1, is_frozen=True)
    assert _plan(nothing, held, is_ordered=True) == "node-budget"


def test_plans_in_a_time_and_the_cool_down_of_a_rule_in_a_container() -> None:
    def past(ago_s: float, rule: str = "Reverse shell", container: str = "c1") -> Past:
        when = int(NOW - ago_s * SECOND)
        return Past(plan=f"{ago_s}", container=container, service=f"s{ago_s}", created_ns=when, is_frozen=False, rule=rule)

    few = _policy("priority: error", "{plans: {count: 2, per: 10m}, rule_cooldown_s: 120}")
    assert isinstance(_plan(few, past(599, container="x")), Plan)
    assert _plan(few, past(599, container="x"), past(1, container="y")) == "plan-budget"
    assert isinstance(_plan(few, past(600, container="x"), past(1, container="y")), Plan)
    assert _plan(few, past(119)) == "rule-cool-down"
    assert isinstance(_plan(few, past(119, rule="Other")), Plan)
    assert isinstance(_plan(few, past(120)), Plan)


def test_what_waits_for_approval_holds_its_place() -> None:
    policy = _policy("priority: error, approval: 15m", "{frozen_per_service: 1, cooldown_s: 0}")
    made = _plan(policy)
    assert isinstance(made, Plan)
    assert made.expires_ns == NOW + 900 * SECOND
    assert f"shipwall response approve {made.id}" in render_plan(made)
    waiting = Past(plan=made.id, container="c1", service="shop", created_ns=1, is_frozen=False, is_waiting=True)
    assert _plan(policy, waiting, id="a2") == "in-plan"
    assert _plan(policy, msgspec.structs.replace(waiting, container="c2"), id="a2") == "service-budget"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("responses:\n- steps: [freeze]\n  prioritiy: error", "p.yaml:3:3: unknown key 'prioritiy'; did you mean 'priority'?"),
        ("responses:\n- steps: [freeze]\n  priority: eror", "p.yaml:3:13: 'eror' is not a priority; did you mean 'Error'?"),
        ("responses:\n- steps: [freeze]\n  priority: error\n  approval: soon", "p.yaml:4:13: 'soon' is not a length of time"),
        ("responses:\n- steps: [freeze]\n  actions: [frieze]", "did you mean 'freeze'?"),
        ("responses:\n- steps: [freeze]\n  priority: error\n  images: []", "p.yaml:4:11: an empty list matches nothing"),
        ("responses:\n- steps: [freeze]\n  images: [x]", "names neither rules nor actions, tags or a priority"),
        ("limits: {plans: {count: 0, per: 10m}}", "p.yaml:1:25: count is 0, outside 1"),
        ("limits: {plans: 3}", "expected keys and values"),
    ],
)
def test_mistakes_are_shown_at_their_place(text: str, said: str) -> None:
    with pytest.raises(InputError) as wrong:
        parse_response_policy(text, "p.yaml")
    assert said in wrong.value.line()


def test_a_dry_run_names_containers_and_what_is_left() -> None:
    policy = parse_response_policy(
        "responses: [{priority: error, steps: [freeze, cut, replace]}]\n"
        "limits: {frozen_per_service: 2, cooldown_s: 10, plans: {count: 9, per: 10m}}",
        "p.yaml",
    )
    facts = {f"c{n}": msgspec.structs.replace(FACTS, id=f"c{n}", name=f"shop-{n}") for n in range(5)}
    alerts = [msgspec.structs.replace(ALERT, id=f"a{n}", container=f"c{n % 5}", raised_ns=NOW + n * SECOND) for n in range(40)]
    seen = rehearse(policy, reversed(alerts), facts, NOW + 40 * SECOND)
    assert [(plan.container_name, plan.created_ns) for plan in seen.plans] == [("shop-0", NOW), ("shop-1", NOW + 11 * SECOND)]
    assert seen.alerts == 40
    assert sum(seen.declined.values()) == 38
    assert set(seen.declined) == {"in-plan", "cool-down", "service-budget"}
    assert (seen.left.services, seen.left.node, seen.left.plans) == ({"shop": 0}, 6, 7)


def test_set_show_and_check(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    file = tmp_path / "response.yaml"
    file.write_text("responses:\n- {priority: critical, steps: [freeze, capture], approval: 15m}\n")
    run = CliRunner().invoke
    assert isinstance(run(app, ["show", "--state", state]).exception, InputError)
    done = run(app, ["set", str(file), "--state", state], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "1 entries in force, function response is observe: plans are only told" in done.output
    assert run(app, ["show", "--state", state]).output == file.read_text()
    assert run(app, ["check", "--state", state]).exit_code == 0
    file.write_text("responses:\n- {priority: critical, steps: [cut]}\n")
    refused = run(app, ["set", str(file), "--state", state])
    assert refused.exit_code == 3
    assert "response.yaml:2:31: the first step must be freeze" in refused.output
    assert "[cut]" in refused.output
    assert "approval" in run(app, ["show", "--state", state]).output, "a wrong policy replaces nothing"
