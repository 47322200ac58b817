"""What the agent does about what it sees: `handle(input, now) → effects`, without touching anything.

Inputs are events of the sensor, facts about containers that arrive later, silences, and sealed inventories; effects are values that
`shell.py` performs. One caller at a time (the shell holds a lock).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from shipwall.model.alert import Alert, Silence, Why
from shipwall.model.container import Accounts, ContainerFacts, Process, ProcessDetails
from shipwall.model.digest import Digest
from shipwall.model.event import AnyEvent, Call, Cgroup, Exec, Lost
from shipwall.model.package import Inventory
from shipwall.model.wire import AlertRaised, ContainerSeen, EventsSeen, Message
from shipwall.response.act import Order, Withheld, decide_act
from shipwall.response.plan import environment_of
from shipwall.runtime.decode import container_of_cgroup, decode_record, read_time
from shipwall.runtime.facts import Context
from shipwall.runtime.observed import MAPPING_CALL, SeenInUse, mapped_path
from shipwall.runtime.profile.acts import parent_of
from shipwall.runtime.profile.judge import Anomaly, explain, subject
from shipwall.runtime.profile.node import Profiles
from shipwall.runtime.quiet import Skimmed
from shipwall.runtime.rules.calls import read_calls
from shipwall.runtime.silence import Silences
from shipwall.runtime.watch import Watch

RECORDED_NS = 30 * 1_000_000_000
RECORDED_EVENTS = 20_000
RECORDED_IN_ALL = 30_000
SWEPT_EVENTS = 10_000
WAITING_ALERTS = 1_000


_NOTHING: Skimmed = (b"", -1, 0)


class Send(msgspec.Struct, frozen=True):
    """Tell the server."""

    message: Message


class LookUp(msgspec.Struct, frozen=True):
    """Ask the engine about container `id`, whose cgroup is `cgroup_id`."""

    id: str
    cgroup_id: int


class Act(msgspec.Struct, frozen=True):
    """Consider a response to `alert` (the response policy decides). `is_ordered`: its rule asks for a freeze, and that is in force."""

    alert: Alert
    is_ordered: bool = False


class Enforce(msgspec.Struct, frozen=True):
    """Do what a rule orders, at once, or count what is withheld. The alert itself is sent after it, and says what became of it."""

    decision: Order | Withheld


Effect = Send | LookUp | Act | Enforce


class Core(Context):
    """The agent's memory: containers, processes, the last seconds of each container, alerts that wait for facts."""

    def __init__(
        self,
        node: str,
        watch: Watch,
        find_inventory: Callable[[Digest], Inventory | None],
        find_details: Callable[[Process], ProcessDetails | None] = lambda _process: None,
    ) -> None:
        self.node = node
        self.watch = watch
        self.silences = Silences()
        self.containers: dict[str, ContainerFacts] = {}
        self._find_inventory = find_inventory
        self._find_details = find_details
        self._accounts: dict[str, Accounts] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._cgroups: dict[int, str] = {}
        self._recorded: dict[str, deque[AnyEvent | Skimmed]] = {}
        self._at_hand: Skimmed = _NOTHING
        self._unswept = 0
        self._waiting: deque[Alert] = deque(maxlen=WAITING_ALERTS)
        self._owners: dict[Digest, dict[str, str]] = {}
        self._rules = watch.rules
        self._modes = {rule.name: rule.mode for rule in watch.rules.rules}
        self._own_modes: Mapping[str, Mapping[str, str]] = {}
        self._is_enforcing = False
        self.in_use = SeenInUse()
        # Where no rule asks for mappings, they are noted as use and go nowhere else: programs make many.
        self._rules_ask_mappings = MAPPING_CALL in read_calls(watch.rules)
        watch.quiet.kept_of = self._kept_of
        self._layers: dict[Digest, dict[str, Digest]] = {}
        self.profiles = Profiles()

    # what the rules may ask (runtime.watch.Context)

    def container(self, container_id: str) -> ContainerFacts | None:
        """Facts about a container, None while they are not known."""
        return self.containers.get(container_id)

    def package_of(self, image_digest: Digest | None, path: str) -> str:
        """`name version` of the package owning `path` in the image, empty when none does or the image's SBOM is not known."""
        if image_digest is None:
            return ""
        owners = self._owners.get(image_digest)
        if owners is None:
            inventory = self._find_inventory(image_digest)
            if inventory is None:
                return ""
            owners = self._owners[image_digest] = file_owners(inventory)
            self._layers[image_digest] = {f"{one.name} {one.version}": one.layer for one in inventory.packages}
        return owners.get(path, "")

    def details(self, process: Process) -> ProcessDetails | None:
        """What the system says about a living process."""
        return self._find_details(process)

    def accounts(self, container_id: str) -> Accounts | None:
        """Users and groups of a container, of the host for an empty id."""
        return self._accounts.get(container_id)

    def names_of(self, address: str) -> tuple[str, ...]:
        """The names in rules that stand for `address`."""
        return self._names.get(address, ())

    # inputs

    def accounts_known(self, container_id: str, accounts: Accounts) -> None:
        """Users and groups were read: of a container, or of the host for an empty id."""
        self._accounts[container_id] = accounts
        self.watch.quiet.forget_container(container_id)

    def names_known(self, names: dict[str, tuple[str, ...]]) -> None:
        """The hosts that rules name were resolved: address → names."""
        self._names = names
        self.watch.quiet.forget_all()

    def skim(self, records: Sequence[bytes], at: int, seq: int, wall_offset_ns: int) -> int:
        """The first of the sensor's `records` from `at` on that must be given to `handle_event`; those before it are known to raise
        nothing (`runtime.quiet`), and are among the last events of their container all the same. `seq`: number of the event before."""
        # What raises nothing by the rules may still be an act to learn, one more time, or not to know: with profiles every record is read.
        index = at if self.profiles else self.watch.quiet.skim(records, at, seq, wall_offset_ns)
        self._at_hand = (records[index], seq + index - at + 1, wall_offset_ns) if index < len(records) else _NOTHING
        self._unswept += index - at
        if self._unswept >= SWEPT_EVENTS:
            self._sweep_recorded()
        return index

    def modes_known(self, own: Mapping[str, Mapping[str, str]], *, is_enforcing: bool) -> None:
        """The modes this node sets for rules by environment (empty: all others), and whether any rule may enforce here at all."""
        self._own_modes, self._is_enforcing = own, is_enforcing

    def mode_of(self, rule: str, container: str) -> str:
        """Whether `rule` enforces or monitors on this node in the environment of `container`, now.

        A container of which the engine has not told yet is in no environment.
        """
        if not self._is_enforcing:
            return "monitor"
        if self._rules is not self.watch.rules:  # others were set
            self._rules = self.watch.rules
            self._modes = {one.name: one.mode for one in self._rules.rules}
        own = self._own_modes.get(rule, {})
        facts = self.containers.get(container)
        environment = environment_of(facts) if facts is not None else ""
        return own.get(environment) or own.get("") or self._modes.get(rule, "monitor")

    def handle_event(self, event: AnyEvent, now_ns: int) -> list[Effect]:
        """Effects of one event of the sensor."""
        effects: list[Effect] = []
        if isinstance(event, Cgroup):
            return self._cgroup_changed(event)
        container = self._cgroups.get(event.cgroup_id, "")
        if container and event.container != container:
            event = msgspec.structs.replace(event, container=container)
        if isinstance(event, Call) and event.syscall == MAPPING_CALL:
            if container and (path := mapped_path(event)):
                self.used(container, path)
            if not self._rules_ask_mappings:
                return effects
        if container and not isinstance(event, Lost):
            self._record(container, event)
        for alert in self.watch.handle(event, self, now_ns):
            effects += self._raised(alert, now_ns)
        if isinstance(event, Exec) and container:
            if event.ret >= 0:
                self.used(container, event.path)
            effects.append(Send(EventsSeen(node=self.node, events=(event,))))
        if self.profiles and container and not isinstance(event, Lost):
            for anomaly in self._compared(event):
                effects += self._raised(self._alert_of(anomaly, now_ns), now_ns)
        return effects

    def handle_counted(self, calls: Mapping[int, Collection[str]], now_ns: int) -> list[Effect]:
        """Effects of the calls that the kernel has counted until now, by cgroup: of containers whose image has a profile."""
        effects: list[Effect] = []
        for cgroup_id, names in calls.items():
            facts = self.containers.get(self._cgroups.get(cgroup_id, ""))
            if facts is not None and facts.image_digest is not None:
                for anomaly in self.profiles.take_counted(facts.id, facts.image_digest, names, now_ns):
                    effects += self._raised(self._alert_of(anomaly, now_ns), now_ns)
        return effects

    def handle_alert(self, alert: Alert, now_ns: int) -> list[Effect]:
        """Effects of an alert that no event of the sensor raised."""
        return self._raised(alert, now_ns)

    def handle_container(self, facts: ContainerFacts, now_ns: int) -> list[Effect]:
        """Effects of news about a container: told to the server, attached to alerts that were raised before."""
        known = self.containers.get(facts.id)
        if known is not None and facts.cgroup_id == 0:
            facts = msgspec.structs.replace(facts, cgroup_id=known.cgroup_id)
        if facts.state in ("gone", "exited") and facts.cgroup_id == 0:
            self.containers.pop(facts.id, None)
            self._accounts.pop(facts.id, None)
        else:
            self.containers[facts.id] = facts
            if facts.cgroup_id:
                self.cgroup_known(facts.cgroup_id, facts.id)
        if facts != known:
            self.watch.quiet.forget_container(facts.id)
        self.in_use.identified(facts.id, facts.image_digest)
        effects: list[Effect] = []
        if facts != known:
            effects.append(Send(ContainerSeen(node=self.node, time_ns=now_ns, container=facts)))
        for anomaly in self.profiles.identified(facts.id, facts.image_digest):
            effects += self._raised(self._alert_of(anomaly, now_ns), now_ns)
        for alert in [alert for alert in self._waiting if alert.container == facts.id]:
            self._waiting.remove(alert)
            effects.append(Send(AlertRaised(alert=self._with_facts(alert, facts))))
            effects.append(self._act(self._with_facts(alert, facts)))
        return effects

    def handle_silence(self, silence: Silence) -> None:
        """A silence was set, changed or ended."""
        self.silences.put(silence)

    def recorded(self, container_id: str, now_ns: int) -> tuple[AnyEvent, ...]:
        """The events of the container's last 30 seconds, oldest first."""
        events = (_read(one, container_id) for one in self._recorded.get(container_id, ()))
        return tuple(event for event in events if event.time_ns >= now_ns - RECORDED_NS)

    def processes(self, snapshot: Iterable[Process]) -> None:
        """Start-up state: processes that were there before the sensor."""
        self.watch.processes.load(snapshot)

    def used(self, container: str, path: str) -> None:
        """`path` was executed or mapped in `container`, now or before the sensor came."""
        facts = self.containers.get(container)
        self.in_use.note(container, facts.image_digest if facts is not None else None, path)

    def cgroup_known(self, cgroup_id: int, container_id: str) -> None:
        """The cgroup of a container, which may have been there before the sensor."""
        if self._cgroups.get(cgroup_id) != container_id:
            self.watch.quiet.forget_cgroup(cgroup_id)
        self._cgroups[cgroup_id] = container_id

    # inside

    def _cgroup_changed(self, event: Cgroup) -> list[Effect]:
        container = container_of_cgroup(event.path)
        if event.act == "made":
            if not container:
                return []
            self.watch.quiet.forget_cgroup(event.made_id)
            is_nested = container in self._cgroups.values()
            self._cgroups[event.made_id] = container
            return [] if is_nested else [LookUp(id=container, cgroup_id=event.made_id)]
        self.watch.quiet.forget_cgroup(event.made_id)
        gone = self._cgroups.pop(event.made_id, "")
        if not gone or gone in self._cgroups.values():
            return []
        self._recorded.pop(gone, None)
        self._accounts.pop(gone, None)
        facts = self.containers.pop(gone, None)
        if facts is None:
            return []
        facts = msgspec.structs.replace(facts, state="exited", pid=0, cgroup_id=0)
        return [Send(ContainerSeen(node=self.node, time_ns=event.time_ns, container=facts))]

    def _record(self, container: str, event: AnyEvent) -> None:
        recorded = self._kept_of(container)
        recorded.append(self._at_hand if self._at_hand[1] == event.seq else event)  # a quarter of the memory
        while _time(recorded[0]) < event.time_ns - RECORDED_NS:
            recorded.popleft()
        self._unswept += 1
        if self._unswept >= SWEPT_EVENTS:
            self._sweep_recorded()

    def _kept_of(self, container: str) -> deque[AnyEvent | Skimmed]:
        """Where the last events of a container are; of what is in none nothing is kept."""
        if not container:
            return deque(maxlen=0)
        return self._recorded.setdefault(container, deque(maxlen=RECORDED_EVENTS))

    def _sweep_recorded(self) -> None:
        """Forget what is too old, and of the containers that have most what is too much together."""
        self._unswept = 0
        newest = max((_time(recorded[-1]) for recorded in self._recorded.values() if recorded), default=0)
        for recorded in self._recorded.values():
            while recorded and _time(recorded[0]) < newest - RECORDED_NS:
                recorded.popleft()
        share = fair_share([len(recorded) for recorded in self._recorded.values()], RECORDED_IN_ALL)
        for recorded in self._recorded.values():
            while len(recorded) > share:
                recorded.popleft()

    def _raised(self, alert: Alert, now_ns: int) -> list[Effect]:
        silence = self.silences.active(alert.rule, alert.container_name, now_ns)
        if silence is not None:
            alert = msgspec.structs.replace(alert, silenced_by=silence.id)
        effects: list[Effect] = []
        decision = self._decide(alert)
        if isinstance(decision, Withheld):
            alert = msgspec.structs.replace(alert, acted=decision.text)
        if isinstance(decision, Withheld) or (decision is not None and decision.action != "freeze"):
            effects.append(Enforce(decision))  # before everything else: it is what cannot wait
        effects += [Send(AlertRaised(alert=alert)), Send(EventsSeen(node=self.node, events=(alert.event,)))]
        if alert.container and alert.container not in self.containers:
            self._waiting.append(alert)  # a response waits too: without facts there is no image to replace it from
        elif not alert.silenced_by:
            effects.append(self._act(alert))
        return effects

    def _decide(self, alert: Alert) -> Order | Withheld | None:
        is_runtime = self.watch.processes.is_runtime(alert.event.pid)
        return decide_act(alert, self.mode_of(alert.rule, alert.container), is_runtime=is_runtime)

    def _act(self, alert: Alert) -> Act:
        decision = self._decide(alert)
        return Act(alert, is_ordered=isinstance(decision, Order) and decision.action == "freeze")

    def _compared(self, event: AnyEvent) -> list[Anomaly]:
        """What of `event` is outside of the profile of its container's image. The runtime's own acts are not the container's."""
        processes, facts = self.watch.processes, self.containers.get(event.container)
        if processes.is_runtime(event.pid) or (facts is not None and facts.image_digest is None):
            return []
        parent = parent_of(event, processes) if isinstance(event, Exec) else ""
        return self.profiles.take(event, parent, facts.image_digest if facts is not None else None)

    def _alert_of(self, anomaly: Anomaly, now_ns: int) -> Alert:
        """The alert that tells an anomaly: what is new, who owns it, what other replicas and siblings do, how rare."""
        event, profile = anomaly.event, self.profiles.profile(anomaly.image)
        facts = self.containers.get(event.container)
        lineage = self.watch.processes.lineage(event.pid)
        path = subject(anomaly, lineage[0].path if lineage else "")
        package = self.package_of(anomaly.image, path)
        layer = self._layers.get(anomaly.image, {}).get(package, "")
        return Alert(
            id=self.watch.new_id(now_ns),
            node=self.node,
            time_ns=event.time_ns,
            raised_ns=now_ns,
            rule=anomaly.rule,
            priority=anomaly.priority,
            output=explain(anomaly, profile, package, layer) if profile is not None else anomaly.rule,
            action="alert",
            event=event,
            container=event.container,
            container_name=facts.name if facts is not None else "",
            image_digest=anomaly.image,
            promotion=facts.promotion if facts is not None else "unknown",
            package=package,
            lineage=lineage,
            why=(Why(condition=f"{anomaly.act.kind} in profile of {anomaly.image[:19]}", value=anomaly.act.what, result=False),),
            tags=("anomaly",),
            output_fields={
                "shipwall.anomaly.kind": anomaly.act.kind,
                "shipwall.anomaly.what": anomaly.act.what,
                "shipwall.anomaly.package": package,
                "shipwall.anomaly.layer": layer,
                "shipwall.anomaly.replicas": str(anomaly.doing),
                "shipwall.anomaly.siblings": f"{anomaly.siblings_doing} of {anomaly.siblings}",
                "shipwall.anomaly.unseen": f"{anomaly.unseen:.4f}",
            },
            suppressed=anomaly.kept_back,
        )

    def _with_facts(self, alert: Alert, facts: ContainerFacts) -> Alert:
        path = alert.event.path if isinstance(alert.event, Exec) else (alert.lineage[0].path if alert.lineage else "")
        return msgspec.structs.replace(
            alert,
            container_name=facts.name,
            image_digest=facts.image_digest,
            promotion=facts.promotion,
            package=self.package_of(facts.image_digest, path),
        )


def _time(kept: AnyEvent | Skimmed) -> int:
    return read_time(kept[0]) + kept[2] if isinstance(kept, tuple) else kept.time_ns


def _read(kept: AnyEvent | Skimmed, container: str) -> AnyEvent:
    """The event that was kept."""
    if not isinstance(kept, tuple):
        return kept
    data, seq, wall_offset_ns = kept
    return msgspec.structs.replace(decode_record(data, seq=seq, wall_offset_ns=wall_offset_ns), container=container)


def fair_share(sizes: Iterable[int], limit: int) -> int:
    """The most that each may keep so that all together keep at most `limit`: who has less leaves the rest to the others."""
    left, ordered = limit, sorted(sizes)
    for at, size in enumerate(ordered):
        share = left // (len(ordered) - at)
        if size > share:
            return share
        left -= size
    return max(ordered, default=limit)


def file_owners(inventory: Inventory) -> dict[str, str]:
    """Path → `name version` of the package that owns it. Debian lists `/bin/sh` where a merged image has `/usr/bin/sh`: both are given."""
    owners: dict[str, str] = {}
    for package in inventory.packages:
        name = f"{package.name} {package.version}"
        for path in package.files:
            owners[path] = name
            if path.startswith(("/bin/", "/sbin/", "/lib/", "/lib64/")):
                owners.setdefault("/usr" + path, name)
    return owners
