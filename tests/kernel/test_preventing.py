"""The agent's part: rules with `action: deny` follow containers and modes, and what was refused is counted and told."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from tests.kernel.test_file_guard import Container
from tests.kernel.test_prevent import CONNECT, facts

from shipwall.adapters.instance import Instance
from shipwall.adapters.supervise import ProcessRecord, stop_process
from shipwall.agent.acting import Acting
from shipwall.agent.preventing import Preventing
from shipwall.journeys.cleanup import clean_up
from shipwall.model.alert import Alert
from shipwall.model.event import Open
from shipwall.response.act import decide_act
from shipwall.runtime.rules import RuleSet, parse_rules

pytestmark = [pytest.mark.root, pytest.mark.bpf]
RULES = {
    "no miner": "evt.type = connect and fd.rport = 9",
    "no secret": "evt.type in (open, openat, openat2) and fd.name = /etc/secret and fd.num >= 0",
    "cannot be": "evt.type = connect and proc.name = nc and fd.rport = 10",
}


@pytest.fixture
def container(tmp_path: Path, folder: Path, objects: Path) -> Iterator[Container]:
    """A container."""
    made = Container(tmp_path / "c", folder)
    yield made
    made.end()


@pytest.fixture
def instance() -> Iterator[Instance]:
    """An installation whose guards are gone at the end."""
    with tempfile.TemporaryDirectory() as state:
        yield Instance(Path(state))
        assert clean_up(Instance(Path(state))).left == ()


def rules() -> RuleSet:
    """Rules that deny."""
    made = [
        {
            "rule": name,
            "desc": "d",
            "condition": condition,
            "output": "o",
            "priority": "ERROR",
            "action": "deny",
            "mode": "enforce",
        }
        for name, condition in RULES.items()
    ]
    return parse_rules(json.dumps(made), "r.yaml")


def test_rules_follow_containers_and_modes(instance: Instance, container: Container, folder: Path) -> None:
    said: list[str] = []
    alerts: list[Alert] = []
    mode = ["monitor"]
    acting = Acting(lambda _message: None, said.append, lambda _plan, _alert: None, lambda now_ns: now_ns)
    known = replace(facts(container, folder), state="running")
    made = Preventing(instance, rules().rules, lambda _rule, _container: mode[0], acting, alerts.append, said.append)
    made.settle({})
    assert not instance.network_guard.exists()
    made.meet(known)
    assert (container.ask("attempt('/etc/secret')"), container.ask(CONNECT) == 1) == ("done", False)
    made.tick("n", [known.id], 1)
    assert acting.counts() == ({"would deny": 2}, {})
    mode[0] = "enforce"
    made.tick("n", [known.id], 2)
    assert (container.ask("[attempt('/etc/secret'), attempt('/etc/secret')]"), container.ask(CONNECT)) == (["EPERM", "EPERM"], 1)
    made.tick("n", [known.id], 20_000_000_000)
    assert acting.counts() == ({"would deny": 2, "deny": 3}, {})
    (alert,) = alerts  # of the connect the sensor tells; of the open, a rule about successes, nobody else would; and only once
    assert isinstance(alert.event, Open)
    assert (alert.rule, alert.stopped, alert.event.path, alert.container) == ("no secret", "refused", "/etc/secret", known.id)
    assert decide_act(alert, "enforce", is_runtime=False) is None
    made.close()
    again = Preventing(instance, rules().rules, lambda _rule, _container: "enforce", acting, alerts.append, said.append)
    again.settle({known.id: known.cgroup_id})  # the agent came back: still in force, and not twice
    assert container.ask("attempt('/etc/secret')") == "EPERM"
    again.meet(known)
    again.tick("n", [], 3)  # it has ended
    assert container.ask("attempt('/etc/secret')") == "done"
    assert container.ask(CONNECT) != 1
    again.close()
    assert said == []


def test_what_the_file_guard_refused_is_refused_again_after_it_was_killed(
    instance: Instance, container: Container, folder: Path
) -> None:
    said: list[str] = []
    acting = Acting(lambda _message: None, said.append, lambda _plan, _alert: None, lambda now_ns: now_ns)
    known = replace(facts(container, folder), state="running")
    made = Preventing(instance, rules().rules, lambda _rule, _container: "enforce", acting, lambda _alert: None, said.append)
    made.meet(known)
    assert container.ask("attempt('/etc/secret')") == "EPERM"
    guard = msgspec.json.decode((instance.file_guard / "process.json").read_bytes(), type=ProcessRecord)
    assert stop_process(guard, 0)
    assert container.ask("attempt('/etc/secret')") == "done"
    for seconds in (1, 2):  # found out, put in force again
        made.tick("n", [known.id], seconds * 1_000_000_000)
    assert container.ask("attempt('/etc/secret')") == "EPERM"
    assert container.ask(CONNECT) == 1
    made.close()
    assert len(said) == 1
    assert acting.counts()[1] == {"deny: the file guard ended": 1}
