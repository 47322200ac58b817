"""What the agent does about plans, without an engine or a kernel: what waits, what is only told, what a wrong policy changes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.responders import lone_responder

from shipwall.adapters.functions import keep_response_policy, response_policy_path
from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Journal
from shipwall.agent.acting import Acting
from shipwall.agent.shell import Agent, Settings
from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.model.errors import InputError
from shipwall.model.event import Exec
from shipwall.model.wire import AlertRaised, Message, ResponseStep
from shipwall.response.policy import parse_response_policy

EVENT = Exec(seq=1, time_ns=1, cgroup_id=1, pid=9, tid=9, ppid=1, ns_pid=2, uid=0, gid=0, comm="sh", path="/bin/sh")
ALERT = Alert(
    id="a1",
    node="n",
    time_ns=1,
    raised_ns=2,
    rule="R",
    priority="Error",
    output="o",
    action="freeze",
    event=EVENT,
    container="c1",
)
FACTS = ContainerFacts(id="c1", name="shop", image_ref="shop", image_config="", state="running")


class House:
    def __init__(self, folder: Path) -> None:
        self.told: list[Message] = []
        self.later: list[str] = []
        self.said: list[str] = []
        self.acting = Acting(self.told.append, self.said.append, lambda plan, _alert: self.later.append(plan.id), lambda ns: ns)
        self.acting.functions = {"response": "enforce"}
        self.acting.responder = lone_responder(folder, self.told.append)

    def ask(self, number: int = 0, *, is_ordered: bool = False, **changed: str) -> None:
        alert = msgspec.structs.replace(ALERT, id=f"a{number}", **changed)
        self.acting.consider(alert, msgspec.structs.replace(FACTS, id=alert.container), is_ordered=is_ordered)

    def steps(self) -> list[tuple[str, str]]:
        return [(one.step, one.status) for one in self.told if isinstance(one, ResponseStep)]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_plan_with_approval_waits_once_however_many_alerts_ask(house: House) -> None:
    house.acting.policy = parse_response_policy("responses: [{priority: error, steps: [freeze], approval: 15m}]", "p.yaml")
    for number in range(50):
        house.ask(number)
    assert house.steps() == [("approval", "waiting")]
    assert len(house.later) == 1, "its events are kept for the evidence"
    assert house.acting.counts() == ({"waiting for approval": 1, "coalesced": 49}, {})


def test_while_the_function_observes_it_is_told_once_and_nothing_is_begun(house: House, tmp_path: Path) -> None:
    house.acting.functions = {"response": "observe"}
    house.acting.policy = parse_response_policy("responses: [{priority: error, steps: [freeze, capture]}]", "p.yaml")
    for number in range(50):
        house.ask(number)
    assert house.steps() == [("freeze", "observed"), ("capture", "observed")]
    assert house.acting.counts() == ({"would freeze": 1}, {})
    assert not (tmp_path / "journal.jsonl").exists()


def test_a_rule_that_orders_a_freeze_is_obeyed_also_while_the_policy_only_observes(house: House, tmp_path: Path) -> None:
    house.acting.functions = {"response": "observe"}
    house.acting.policy = parse_response_policy("responses: [{priority: error, steps: [freeze, capture]}]", "p.yaml")
    house.ask(is_ordered=True)
    (entry,) = Journal(tmp_path / "journal.jsonl").read()
    assert (entry.act, entry.facts["plan"]["steps"]) == ("plan", ["freeze"])


def test_an_exhausted_budget_is_counted_each_time_and_told_now_and_then(house: House) -> None:
    house.acting.policy = parse_response_policy(
        "responses: [{priority: error, steps: [freeze], approval: 15m}]\nlimits: {frozen_per_service: 1}", "p.yaml"
    )
    house.ask(0)
    for number in range(1, 30):
        house.ask(number, container="c2")
    assert house.acting.counts()[1] == {"freeze: service-budget": 29}
    (told,) = [message.alert for message in house.told if isinstance(message, AlertRaised)]
    assert told.acted == "missed: 1 containers of shop are frozen or wait for approval, the limit is 1"


def test_without_an_engine_a_freeze_is_a_miss(house: House) -> None:
    house.acting.responder = None
    house.ask()
    house.ask(is_ordered=True)
    assert house.acting.counts() == ({}, {"freeze: no engine is watched": 1})


def test_a_policy_is_followed_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    keep_response_policy(instance, b"responses: [{priority: error, steps: [freeze]}]")
    agent = Agent(Settings(instance, sensor=False))
    assert len(agent.acting.policy.entries) == 1
    follow = agent._follow_policy
    path = response_policy_path(instance)
    path.write_text("responses: [{priority: error, steps: [cut]}]")
    with pytest.raises(InputError, match="first step must be freeze"):
        follow()
    follow()  # said once
    assert len(agent.acting.policy.entries) == 1
    path.write_text("responses: []  # written anew")
    follow()
    assert agent.acting.policy.entries == ()
    path.unlink()
    follow()
    path.write_text("responses: [{priority: error, steps: [cut]}]")
    with pytest.raises(InputError):
        Agent(Settings(instance, sensor=False))
