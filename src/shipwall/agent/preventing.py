"""Rules with `action: deny`, put in force for each container as the agent learns of it, and told when something was refused.

From when the engine has told of a container on, not before: what its first programs do meanwhile is seen, and not refused. *On failure*:
open, said once for each container, and counted as missed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from shipwall.adapters.instance import Instance
from shipwall.agent.acting import Acting
from shipwall.journeys.prevent import Preventer, Refused
from shipwall.lang.condition import fields_of
from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.model.errors import ShipwallError
from shipwall.model.event import Connect, Event, Open
from shipwall.runtime.prevention import Prevention, Wanted, plan_prevention
from shipwall.runtime.rules import Rule

_RESULTS = frozenset({"evt.rawres", "evt.res", "fd.num", "evt.failed"})
_AGAIN_NS = 10_000_000_000
_EPERM = -1


class Preventing:
    """Keeps what is refused in step with containers, rules and modes. `meet` and `tick` may be called from different threads."""

    def __init__(
        self,
        instance: Instance,
        rules: Iterable[Rule],
        mode_of: Callable[[str, str], str],
        acting: Acting,
        raised: Callable[[Alert], None],
        say: Callable[[str], None],
    ) -> None:
        self._instance = instance
        self._rules = {rule.name: rule for rule in rules if rule.enabled and rule.action == "deny" and not rule.sequence}
        # An act that was refused has no result: a rule about successes does not match its event, so the alert comes from here.
        self._silent = {name for name, rule in self._rules.items() if _RESULTS & {one.name for one in fields_of(rule.condition)}}
        self._mode_of = mode_of
        self._acting = acting
        self._raised = raised
        self._say = say
        self._lock = threading.Lock()
        self._preventer: Preventer | None = None
        self._met: dict[str, ContainerFacts] = {}
        self._planned: dict[str, tuple[ContainerFacts, tuple[str, ...]]] = {}
        self._put: dict[str, Prevention] = {}
        self._told: dict[tuple[str, str, str], int] = {}
        self._put_ns = -_AGAIN_NS

    def settle(self, running: Mapping[str, int]) -> None:
        """Containers that run now, id → cgroup id: what an earlier agent put in force for others ends. Raises KernelError."""
        with self._lock:
            if self._instance.network_guard.exists() or self._instance.file_guard.exists():
                self._need().keep_only(running)

    def meet(self, facts: ContainerFacts) -> None:
        """News about a container."""
        with self._lock:
            if facts.state in {"exited", "gone"}:
                self._forget(facts.id)
            elif facts.state == "running" and facts.cgroup_id and facts.pid:
                self._met[facts.id] = facts
                self._plan(facts)

    def tick(self, node: str, running: Collection[str], now_ns: int) -> None:
        """Follow modes, let go of containers that ended, tell what was refused."""
        with self._lock:
            for container in set(self._met) - set(running):
                self._forget(container)
            self._put_again(now_ns)
            for facts in self._met.values():
                self._plan(facts)
            refused = list(self._preventer.refused()) if self._preventer is not None else []
        for one in refused:
            self._acting.count("deny" if one.denied else "would deny")
            self._tell(one, node, now_ns)

    def close(self) -> None:
        """Let go; what is in force stays in force."""
        with self._lock:
            if self._preventer is not None:
                self._preventer.close()

    def _plan(self, facts: ContainerFacts) -> None:
        if not self._rules:
            return
        modes = tuple(self._mode_of(name, facts.id) for name in self._rules)
        if self._planned.get(facts.id) == (facts, modes):
            return
        self._planned[facts.id] = (facts, modes)
        wanted = (
            Wanted(rule.name, rule.condition, "deny" if mode == "enforce" else "monitor")
            for rule, mode in zip(self._rules.values(), modes, strict=True)
        )
        plan = plan_prevention(wanted, facts)
        if plan == self._put.get(facts.id, Prevention((), (), plan.left)):
            return
        self._put[facts.id] = plan
        try:
            missing = self._need().put(facts, plan)
        except ShipwallError as error:
            self._say(f"nothing is refused in {facts.name}: {error.line()}")
            self._acting.miss("deny", error.reason)
            return
        for one in missing:
            if one.what in {"all", "network", "files"}:
                self._say(f"not refused in {facts.name}: {one.what}: {one.reason}")
                self._acting.miss("deny", f"{one.what} cannot be guarded")

    def _put_again(self, now_ns: int) -> None:
        """When the file guard has gone, all containers are without it: put everything in force anew, once in a while."""
        preventer = self._preventer
        if preventer is None or not preventer.files_lost or now_ns - self._put_ns < _AGAIN_NS:
            return
        self._say(f"no file was refused any more: the file guard {preventer.files_lost}; it is started again")
        self._acting.miss("deny", "the file guard ended")
        preventer.files_lost = ""
        self._put_ns = now_ns
        self._planned.clear()
        self._put.clear()

    def _forget(self, container: str) -> None:
        self._met.pop(container, None)
        self._planned.pop(container, None)
        if self._put.pop(container, None) is not None and self._preventer is not None:
            self._preventer.take_off(container)

    def _need(self) -> Preventer:
        if self._preventer is None:
            self._preventer = Preventer(self._instance)
        return self._preventer

    def _tell(self, one: Refused, node: str, now_ns: int) -> None:
        for name in one.rules:
            key = (one.container, name, one.what)
            if name in self._silent and one.denied and now_ns - self._told.get(key, 0) > _AGAIN_NS:
                if len(self._told) > 10_000:
                    self._told.clear()
                self._told[key] = now_ns
                self._raised(alert_of(one, self._rules[name], node, now_ns))


def alert_of(one: Refused, rule: Rule, node: str, now_ns: int) -> Alert:
    """The alert about a refused act. Its event is what the hook knew; what only the sensor could know is 0 or empty."""
    known: dict[str, Any] = {
        "seq": 0, "time_ns": now_ns, "cgroup_id": 0, "pid": one.tid, "tid": one.tid, "ppid": 0, "ns_pid": 0, "uid": 0, "gid": 0,
        "comm": "", "ret": _EPERM, "container": one.container,
    }  # fmt: skip
    event: Event
    if one.call == "open":
        event = Open(**known, syscall="openat", path=one.what, asked=one.what, flags=0, resolved=True)
    else:
        protocol, address, port = one.what.split(" ")
        family = "ipv6" if ":" in address else "ipv4"
        event = Connect(**known, syscall=one.call, family=family, protocol=protocol, address=address, port=int(port))
    return Alert(
        id=f"{now_ns:016x}-deny-{one.container[:12]}-{one.tid}",
        node=node,
        time_ns=now_ns,
        raised_ns=now_ns,
        rule=rule.name,
        priority=rule.priority,
        output=f"{one.call} of {one.what} was refused",
        action=rule.action,
        event=event,
        container=one.container,
        stopped="refused",
        tags=rule.tags,
    )
