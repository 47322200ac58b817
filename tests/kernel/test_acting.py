"""What the agent does about alerts, on real processes in cgroups of our own: the sensor sees the act, rules judge it, the agent acts."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.responders import lone_responder

from shipwall.adapters.journal import Journal
from shipwall.agent.acting import Acting
from shipwall.agent.core import Act, Core, Enforce, Send
from shipwall.kernel.cgroups import join, read_id, unified_mount
from shipwall.kernel.freezer import Freezer
from shipwall.kernel.sensor import Sensor
from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.model.event import AnyEvent, Exec
from shipwall.model.wire import AlertRaised, Message
from shipwall.response.policy import parse_response_policy
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.watch import Watch

pytestmark = [pytest.mark.root, pytest.mark.bpf]

RULE = """
- rule: Namespace
  desc: d
  condition: evt.type = unshare and container.id != host
  output: o
  priority: ERROR
  action: ACTION
  mode: MODE
"""
OFFEND = """
import ctypes, sys
libc = ctypes.CDLL(None)
print("ready", flush=True)
for line in sys.stdin:
    libc.unshare(0x04000000)
    print("went on", flush=True)
"""


class Place:
    """The cgroups of a container, in every hierarchy that is needed, and the process in it."""

    def __init__(self, parent: str, script: str) -> None:
        self.id = secrets.token_hex(32)
        freezing = [mount for mount, version in Freezer().hierarchies if version == 1]
        self.folders = [mount / parent / self.id for mount in (unified_mount(), *freezing)]
        for folder in self.folders:
            folder.mkdir(parents=True)
        self.child = subprocess.Popen([sys.executable, "-I", "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == b"ready\n"
        for folder in self.folders:
            join(folder, self.child.pid)
        self.facts = ContainerFacts(
            id=self.id,
            name=f"shop-{self.id[:6]}",
            image_ref="shop",
            image_config="",
            state="running",
            labels={"shipwall.service": "shop"},
        )

    def offend(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(b"go\n")
        self.child.stdin.flush()

    def close(self) -> None:
        with contextlib.suppress(Exception):
            Freezer().thaw(Freezer().find(self.id))
        self.child.kill()
        self.child.communicate()
        deadline = time.monotonic() + 30
        for folder in self.folders:
            while folder.exists():
                assert time.monotonic() < deadline
                with contextlib.suppress(OSError):
                    folder.rmdir()


@pytest.fixture
def parent() -> Iterator[str]:
    """A cgroup of our own above the places, in every hierarchy."""
    name = f"shipwall-test-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    for mount in (unified_mount(), *(mount for mount, version in Freezer().hierarchies if version == 1)):
        with contextlib.suppress(FileNotFoundError):
            (mount / name).rmdir()


class Agent:
    """Core and acting as the agent has them; slow steps are only noted, for there is no engine."""

    def __init__(self, rules: str, folder: Path, sensor: Sensor | None = None) -> None:
        self.told: list[Message] = []
        self.later: list[str] = []
        self.core = Core("n", Watch(parse_rules(rules, "r.yaml"), "n"), lambda _digest: None)
        self.core.modes_known({}, is_enforcing=True)
        boot_ns = sensor.boot_ns if sensor is not None else lambda time_ns: time_ns
        self.acting = Acting(self.told.append, lambda _line: None, lambda plan, _alert: self.later.append(plan.id), boot_ns)
        self.acting.responder = lone_responder(folder, self.told.append)

    def take(self, event: AnyEvent) -> None:
        acted = {}
        for effect in self.core.handle_event(event, time.time_ns()):
            if isinstance(effect, Enforce) and (alert := self.acting.enforce(effect.decision)) is not None:
                acted[alert.id] = alert
            elif isinstance(effect, Act):
                self.acting.consider(effect.alert, self.core.container(effect.alert.container), is_ordered=effect.is_ordered)
            elif isinstance(effect, Send) and isinstance(effect.message, AlertRaised):
                self.told.append(AlertRaised(alert=acted.get(effect.message.alert.id, effect.message.alert)))

    def alerts(self) -> list[Alert]:
        return [message.alert for message in self.told if isinstance(message, AlertRaised)]


@pytest.mark.parametrize(
    ("action", "mode"), [("kill", "enforce"), ("stop", "enforce"), ("freeze", "enforce"), ("kill", "monitor")]
)
def test_from_the_act_to_its_end(sensor: Sensor, parent: str, tmp_path: Path, action: str, mode: str) -> None:
    agent = Agent(RULE.replace("ACTION", action).replace("MODE", mode), tmp_path, sensor)
    place = Place(parent, OFFEND)
    try:
        sensor.watch_parent(unified_mount() / parent)
        agent.core.cgroup_known(read_id(place.folders[0]), place.id)
        agent.core.handle_container(place.facts, time.time_ns())
        place.offend()
        deadline = time.monotonic() + 30
        while not agent.alerts():
            assert time.monotonic() < deadline
            sensor.poll(50, agent.take)
        (alert,) = agent.alerts()
        acts, missed = agent.acting.counts()
        assert missed == {}
        if mode == "monitor":
            assert (alert.acted, alert.stopped, acts) == ("would have: kill", "", {"would kill": 1})
            assert place.child.stdout is not None
            assert place.child.stdout.readline() == b"went on\n"
        elif action == "kill":
            assert place.child.wait(10) == -signal.SIGKILL
            assert (alert.acted, alert.stopped, acts) == ("killed after the act", "killed after the act", {"kill": 1})
        elif action == "stop":
            assert os.waitid(os.P_PID, place.child.pid, os.WSTOPPED) is not None
            assert (alert.stopped, acts) == ("stopped after the act", {"stop": 1})
        else:
            assert Freezer().is_frozen(Freezer().find(place.id))
            assert (acts, len(agent.later)) == ({"freeze": 1}, 1)
    finally:
        sensor.unwatch(read_id(unified_mount() / parent))
        place.close()


def test_a_process_that_is_gone_is_a_miss(parent: str, tmp_path: Path) -> None:
    agent = Agent(RULE.replace("ACTION", "kill").replace("MODE", "enforce").replace("unshare", "execve"), tmp_path)
    place = Place(parent, OFFEND)
    try:
        agent.core.cgroup_known(7, place.id)
        place.child.kill()
        place.child.wait(10)
        agent.take(_exec(place, 1))
        (alert,) = agent.alerts()
        assert alert.acted == "missed: the process is gone"
        assert agent.acting.counts() == ({}, {"kill: the process is gone": 1})
    finally:
        place.close()


def test_a_thousand_alerts_a_second_that_ask_for_freezes(parent: str, tmp_path: Path) -> None:
    """One plan and one freeze for a container however many ask, never more than the budget, and nobody waits for it."""
    agent = Agent(RULE.replace("ACTION", "freeze").replace("MODE", "enforce").replace("unshare", "execve"), tmp_path)
    agent.acting.policy = parse_response_policy("limits: {frozen_per_service: 2, cooldown_s: 0, rule_cooldown_s: 0}", "p.yaml")
    places = [Place(parent, OFFEND) for _ in range(4)]
    try:
        for number, place in enumerate(places):
            agent.core.cgroup_known(7 + number, place.id)
            agent.core.handle_container(msgspec.structs.replace(place.facts, cgroup_id=7 + number), time.time_ns())
        events = [_exec(places[number % 4], number, 7 + number % 4) for number in range(1000)]
        began = time.monotonic()
        for event in events:
            agent.take(event)
        taken = time.monotonic() - began
        frozen = [Freezer().is_frozen(Freezer().find(place.id)) for place in places]
        assert frozen == [True, True, False, False]
        assert len(agent.later) == len(set(agent.later)) == 2
        acts, missed = agent.acting.counts()
        assert acts == {"freeze": 2, "coalesced": 498}
        assert missed == {"freeze: service-budget": 500}
        assert [entry.act for entry in Journal(tmp_path / "journal.jsonl").read()] == ["plan", "plan"]
        assert len({alert.id for alert in agent.alerts()}) == 1000, "each alert is told"
        assert len(agent.alerts()) <= 1004, "a refusal is told once for each container and while, not a thousand times"
        assert taken < 30, f"a second's alerts took {taken:.1f} s"
    finally:
        for place in places:
            place.close()


def _exec(place: Place, number: int, cgroup_id: int = 7) -> Exec:
    pid = place.child.pid
    return Exec(seq=number, time_ns=time.time_ns(), cgroup_id=cgroup_id, pid=pid, tid=pid, ppid=os.getpid(), ns_pid=2, uid=0, gid=0,
                comm="x", path="/x", syscall="execve")  # fmt: skip
