"""Sensor, rules and the agent's core together, in this process, as the agent runs them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shipwall.adapters.rule_files import load_rules
from shipwall.agent.asking import ask_kernel
from shipwall.agent.core import Core, Send
from shipwall.kernel.processes import read_processes
from shipwall.kernel.sensor import Sensor
from shipwall.model.alert import Alert
from shipwall.model.event import AnyEvent, Exit
from shipwall.model.wire import AlertRaised
from shipwall.response.policy import Entry, ResponsePolicy
from shipwall.runtime.rules import RuleSet
from shipwall.runtime.watch import Watch


class Node:
    """`on_alert` is called the moment an alert is raised. `ended`: pid → when the kernel saw it end (wall clock, ns)."""

    def __init__(self, sensor: Sensor, rules: RuleSet) -> None:
        self.sensor = sensor
        self.core = Core("bench", Watch(rules, "bench"), lambda _digest: None)
        self.core.processes(read_processes())
        self.alerts: list[tuple[Alert, int]] = []
        self.ended: dict[int, int] = {}
        self.on_alert: Callable[[Alert], None] = lambda _alert: None

    def take(self, event: AnyEvent) -> None:
        """Handle one event as the agent's sensor thread does."""
        if isinstance(event, Exit):
            self.ended[event.pid] = event.time_ns
        for effect in self.core.handle_event(event, time.time_ns()):
            if isinstance(effect, Send) and isinstance(effect.message, AlertRaised):
                self.alerts.append((effect.message.alert, time.time_ns()))
                self.on_alert(effect.message.alert)

    def until_alert(self) -> tuple[Alert, int]:
        """The next alert, and when it was raised."""
        before = len(self.alerts)
        self.until(lambda: len(self.alerts) > before, "an alert")
        return self.alerts[before]

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Take events until `done`; ends the benchmark when it does not come within ten seconds."""
        deadline = time.monotonic() + 10
        while not done():
            if time.monotonic() > deadline:
                sys.exit(f"bench: {what} did not come: nothing was measured")
            self.sensor.poll(200, self.take, self.core.skim)


def stable_rules() -> tuple[RuleSet, str]:
    """Falco's stable rules and the shipped ones, or these alone where the conformance data is not there; and which."""
    data = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance"))
    stable = data / "falco/falco_rules.yaml"
    rules = load_rules(*([stable] if stable.exists() else []))
    return rules, f"{len(rules.rules)} rules" + ("" if stable.exists() else ": the stable ones are not here")


def freezing(rule: str) -> ResponsePolicy:
    """Freezes at every alert of `rule`, without the limits that spare a node."""
    return ResponsePolicy(
        entries=(Entry(steps=("freeze",), rules=(rule,)),),
        frozen_per_service=10**6,
        frozen_per_node=10**6,
        plans=10**6,
        cooldown_ns=0,
        rule_cooldown_ns=0,
    )


@contextmanager
def watching(rules: RuleSet | None = None) -> Iterator[Node]:
    """A node whose sensor has just proved that it is attached and delivers, and has lost nothing at the end."""
    with Sensor() as sensor:
        node = Node(sensor, rules or load_rules())
        ask_kernel(sensor, node.core.watch.rules)
        if not sensor.self_check(node.take):
            sys.exit("bench: the sensor did not see its own act: nothing was measured")
        yield node
        counters = sensor.counters()
        if counters.lost or counters.helper_errors:
            sys.exit(f"bench: events were lost: {counters.lost} {counters.helper_errors}")
