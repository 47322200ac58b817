"""The agent's hands: feeds `core` with what the kernel, the engine and the server say, and performs its effects.

Threads: the sensor's (events; freezes at once), one for slow responses, two following the engine, one speaking to the server, and the main
thread with the admission plugin and the housekeeping. The core is entered by one thread at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from shipwall.adapters.engine import Engine
from shipwall.adapters.engine_cgroups import daemon_pid, read_parents
from shipwall.adapters.evidence import EvidenceStore
from shipwall.adapters.files import Stamp, stamp_of, write_whole
from shipwall.adapters.functions import read_functions, response_policy_path
from shipwall.adapters.instance import Instance
from shipwall.adapters.inventories import Inventories
from shipwall.adapters.journal import Journal
from shipwall.adapters.keys import Keys
from shipwall.adapters.link import node_name
from shipwall.adapters.names import resolve_names
from shipwall.adapters.observed import Observed
from shipwall.adapters.profiles import ProfileStore
from shipwall.adapters.registry import Registry
from shipwall.adapters.rule_files import load_rules
from shipwall.adapters.rule_modes import read_rule_modes
from shipwall.agent.acting import Acting
from shipwall.agent.acts import Acts
from shipwall.agent.asking import ask_kernel
from shipwall.agent.core import Act, Core, Effect, Enforce, LookUp, Send
from shipwall.agent.engine_watch import EngineWatch
from shipwall.agent.outbox import Outbox
from shipwall.agent.plugin import AdmissionPlugin
from shipwall.agent.preventing import Preventing
from shipwall.agent.profiles import ProfileKeeper
from shipwall.agent.promotions import AdmissionPolicies, Promotions
from shipwall.agent.sweep import Sweep
from shipwall.journeys.collect import KEY_NAME, seal_with
from shipwall.journeys.promote import recover_promotions
from shipwall.journeys.respond import Responder
from shipwall.kernel.cgroups import find_path, list_containers, list_descendants, read_pids, unified_mount
from shipwall.kernel.cost import Cost
from shipwall.kernel.priority import Priority
from shipwall.kernel.process_details import read_details
from shipwall.kernel.processes import read_mapped, read_processes
from shipwall.kernel.pulse import Pulse
from shipwall.kernel.rootfs import read_accounts
from shipwall.kernel.sensor import CHILDREN, EVENTS, KILL_DRIFT, NOTHING_COUNTED, UNFILTERED, Sensor
from shipwall.kernel.signals import Signals
from shipwall.model.alert import Alert
from shipwall.model.container import Accounts, ContainerFacts
from shipwall.model.digest import ImageIdentity
from shipwall.model.errors import InputError, KernelError, ShipwallError
from shipwall.model.event import AnyEvent
from shipwall.model.wire import AlertRaised, AnyMessage, Command, CommandResult, Health, SilenceSet
from shipwall.response.plan import Plan
from shipwall.response.policy import ResponsePolicy, parse_response_policy
from shipwall.runtime.rule_costs import RuleCosts
from shipwall.runtime.rules.calls import read_calls
from shipwall.runtime.rules.paths import read_paths
from shipwall.runtime.watch import Watch

HEALTH_S = 2.0
COST_S = 30.0
OBSERVED_S = 10.0  # whole files are written and synced, so not for every new program of a busy container
PROFILES_S = 60.0  # the events wait while what is learnt is written down; killed, the agent forgets so much
RESUME_S = 5.0
REGISTRY_S = 60.0
BLIND_S = 6.0  # without a self-check for so long, the node counts as blind
NAMES_S = 300.0
GIL_S = 0.0005  # for how long another thread may keep the sensor's waiting


@dataclass
class Settings:
    """What one agent is told at its start."""

    instance: Instance
    engine: Path | None = None
    cgroup: str = ""
    rules: list[Path] = field(default_factory=list)
    response: Path | None = None
    reader_group: int | None = None
    sensor: bool = True
    """Without it nothing is observed, killed or answered; admission and commands work, and the health says so."""


class Agent:
    """One node's agent. `run` returns after SIGTERM."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.instance = settings.instance
        self.node = node_name()
        self.started_ns = time.time_ns()
        self.functions = read_functions(self.instance)
        self.inventories = Inventories(self.instance.state / "inventories")
        self.promotions = Promotions(self.instance)
        self.observed = Observed(self.instance.observed)
        costs = RuleCosts(time.perf_counter_ns)
        watch = Watch(load_rules(*settings.rules), self.node, boot=f"{self.started_ns:x}", costs=costs)
        self.core = Core(self.node, watch, self.inventories.get, read_details)
        self._core_lock = threading.RLock()
        self._prefixes = read_paths(watch.rules).prefixes
        store, calls = ProfileStore(self.instance.profiles), read_calls(watch.rules)
        self.keeper = ProfileKeeper(store, self.core, self._core_lock, self._prefixes, calls, say)
        self._jobs: queue.Queue[tuple[Plan, Alert, tuple[AnyEvent, ...]] | Command | None] = queue.Queue()
        self.outbox = Outbox(self.instance.link_socket, self.instance.agent / "outbox", self._received, say)
        self.sensor = Sensor() if settings.sensor else None
        self.pulse: Pulse | None = None
        self.acts = Acts()
        self.acting = Acting(self.outbox.put, say, self._later, self._boot_ns)
        self.preventing = Preventing(self.instance, watch.rules.rules, self._mode_of, self.acting, self._refused, say)
        self.policy_file = settings.response or response_policy_path(self.instance)
        self._policy_stamp: Stamp | None = None
        self.responder: Responder | None = None
        self.engine_watch: EngineWatch | None = None
        self.plugin: AdmissionPlugin | None = None
        self.sweep: Sweep | None = None
        self._parents: list[str] = []
        self._cost: Cost | None = None
        self._cost_due = 0.0
        self._observed_due = 0.0
        self._profiles_due = 0.0
        self._failed = {} if settings.sensor else {"sensor": "switched off at the start: nothing is observed"}
        self._going = threading.Event()
        self._going.set()
        self._follow_policy()  # a wrong one is told at once, and the agent does not start
        self._follow_modes()

    def run(self) -> None:
        """Watch until SIGTERM or SIGINT."""
        sys.setswitchinterval(GIL_S)
        with contextlib.ExitStack() as stack:
            if self.sensor is not None:
                stack.enter_context(self.sensor)
                self._start_pulse(self.sensor, stack)
                self._start_sensor(self.sensor)
            if self.settings.engine is not None:
                self._start_engine(self.settings.engine)
            self.outbox.start()
            sensing = None
            if self.sensor is not None:
                sensing = threading.Thread(target=self._sense, args=(self.sensor,), name="sensor", daemon=True)
                sensing.start()
            threading.Thread(target=self._recover_promotions, name="promotions", daemon=True).start()
            if self.core.watch.rules.host_names:
                threading.Thread(target=self._resolve, name="names", daemon=True).start()
            jobs = threading.Thread(target=self._work, name="responses", daemon=True)
            try:
                asyncio.run(self._housekeeping(jobs))
            finally:
                self._going.clear()
                self._jobs.put(None)
                if sensing is not None:
                    sensing.join(5)
                self._keep_observed()
                self.keeper.keep()
                if jobs.ident is not None:
                    jobs.join(20)
                self.preventing.close()
                self.outbox.drain(2)
                self.outbox.stop()

    # -- start ----------------------------------------------------------------------------------------------------------

    def _start_pulse(self, sensor: Sensor, stack: contextlib.ExitStack) -> None:
        """On failure open: watching without a self-check is better than not watching, and the health says so."""
        try:
            self.pulse = stack.enter_context(Pulse(sensor))
        except KernelError as error:
            self._failed["self-check"] = error.line()
            say(f"self-check: {error.line()}")

    def _start_sensor(self, sensor: Sensor) -> None:
        self.core.processes(read_processes())
        ask_kernel(sensor, self.core.watch.rules)
        sensor.set_open_prefixes(self._prefixes)  # for cgroups that are told of unfiltered
        if (host := read_accounts(os.getpid())) is not None:
            self.core.accounts_known("", host)
        for pid in filter(None, (os.getpid(), self.settings.engine and daemon_pid(self.settings.engine))):
            sensor.leave_mount_namespace(Path(f"/proc/{pid}/ns/mnt").stat().st_ino)
        self.keeper.follow()  # before the first container is watched: a start is part of what is normal
        self._watch_containers()

    def _watch_containers(self) -> dict[str, int]:
        """Every container is watched from before its first program on: by the parent we gave its engine, else by its cgroup's name.
        Without a sensor they are only listed.

        Container id → cgroup id of those that are there.
        """
        found: dict[str, int] = {}
        if self.settings.cgroup:
            parent = unified_mount() / self.settings.cgroup.strip("/")
            parent.mkdir(exist_ok=True)
            if self.sensor is not None:
                self.sensor.watch_parent(parent, self._flags())
            found = list_containers(parent)
        elif self.settings.engine is not None and self.sensor is not None:
            found = self.sensor.watch_containers(self._parents, self._flags(), self._others_flags())
        elif self.settings.engine is not None:
            found = list_containers(unified_mount())
        with self._core_lock:
            for container, cgroup_id in found.items():
                self.core.cgroup_known(cgroup_id, container)
        return found

    def _flags(self) -> int:
        return self._others_flags() | (KILL_DRIFT if self.functions["kill"] == "enforce" else 0)

    def _others_flags(self) -> int:
        return EVENTS | CHILDREN | (UNFILTERED if self.keeper.is_used else 0)

    def _start_engine(self, socket: Path) -> None:
        journal = Journal(self.instance.agent / "journal.jsonl")
        engine = Engine(socket, 30)
        self.responder = Responder(
            engine=engine,
            journal=journal,
            store=EvidenceStore(self.instance.evidence, self.settings.reader_group),
            sign=seal_with(Keys(self.instance.keys).signer(KEY_NAME)),
            report=self.outbox.put,
            folder=self.instance.agent,
            node=self.node,
            act_headers=self.acts.headers,
            identify=self._identify,
        )
        self.acting.responder = self.responder
        self.acting.signals = Signals(filter(None, (daemon_pid(socket),)))
        self.engine_watch = EngineWatch(socket, self.promotions, self.inventories, self._learned, say)
        policies = AdmissionPolicies(self.instance, socket)
        self.plugin = AdmissionPlugin(
            Engine(socket, 5),
            self.promotions,
            self.responder.frozen,
            self.outbox.put,
            node=self.node,
            acts=self.acts,
            policy=policies,
            mode=lambda: read_functions(self.instance)["admission"],  # asked anew: `function set` counts from the next request on
        )
        self.sweep = Sweep(self.plugin, engine, self.acts, policies, self.outbox.put, self.node)

    def _meet_containers(self) -> None:
        """Containers that were there before the agent: their cgroups are watched from now on."""
        if self.settings.engine is None or self.engine_watch is None:
            return
        if not self.settings.cgroup:  # not earlier: an enrolled engine answers nobody until our plugin does
            with Engine(self.settings.engine, 10) as engine:
                self._parents = read_parents(engine, self.settings.engine)
            say(f"containers are made below {', '.join(self._parents)}")
        found = self._watch_containers()
        self.preventing.settle(found)
        for container in self.engine_watch.list_containers():
            if container in found:
                self._note_running(container, found[container])
                self.engine_watch.look_up(container, found[container])
        if self.sweep is not None:
            for alert in self.sweep(self.functions["admission"], time.time_ns()):
                say(alert.output)
                with self._core_lock:
                    effects = self.core.handle_alert(alert, time.time_ns())
                self._perform(effects)

    def _note_running(self, container: str, cgroup_id: int) -> None:
        """What a container that was there before the sensor has executed and mapped: no event will tell that."""
        folder = find_path(cgroup_id)
        if self.sensor is None or folder is None:
            return
        used = {path for below in list_descendants(folder) for pid in read_pids(below) for path in read_mapped(pid)}
        with self._core_lock:
            for path in used:
                self.core.used(container, path)

    def _identify(self, record: dict[str, Any]) -> ImageIdentity | None:
        config = str(record.get("Id", ""))
        promotion = self.promotions().get(config)
        if promotion is not None:
            return promotion.image
        inventory = self.inventories.find_by_config(config)
        return inventory.image if inventory else None

    # -- inputs ---------------------------------------------------------------------------------------------------------

    def _sense(self, sensor: Sensor) -> None:
        priority = Priority(say)
        priority.hurry()
        while self._going.is_set():
            try:
                sensor.poll(200, self._event, self._skim)
                priority.keep()
            except ShipwallError as error:
                self._failed["sensor"] = error.line()
                say(f"sensor: {error.line()}")
                return

    def _skim(self, records: Sequence[bytes], at: int, seq: int, wall_offset_ns: int) -> int:
        with self._core_lock:
            return self.core.skim(records, at, seq, wall_offset_ns)

    def _event(self, event: AnyEvent) -> None:
        with self._core_lock:
            effects = self.core.handle_event(event, time.time_ns())
        self._perform(effects)

    def _learned(self, facts: ContainerFacts, accounts: Accounts | None) -> None:
        self._guard(facts)
        with self._core_lock:
            if accounts is not None:
                self.core.accounts_known(facts.id, accounts)
            effects = self.core.handle_container(facts, time.time_ns())
        self._perform(effects)
        self.preventing.meet(facts)

    def _mode_of(self, rule: str, container: str) -> str:
        with self._core_lock:
            return self.core.mode_of(rule, container)

    def _refused(self, alert: Alert) -> None:
        """A hook refused an act of which no event will tell."""
        with self._core_lock:
            effects = self.core.handle_alert(alert, time.time_ns())
        self._perform(effects)

    def _guard(self, facts: ContainerFacts) -> None:
        """A container met by its name only is guarded like the others once its engine is known to be ours."""
        if self.sensor is not None and facts.cgroup_id and facts.state == "running" and self._flags() & KILL_DRIFT:
            with contextlib.suppress(KernelError):  # gone meanwhile
                if folder := find_path(facts.cgroup_id):
                    self.sensor.watch_parent(folder, self._flags())

    def _received(self, message: AnyMessage) -> None:
        if isinstance(message, Command):
            self._jobs.put(message)
        elif isinstance(message, SilenceSet):
            with self._core_lock:
                self.core.handle_silence(message.silence)

    # -- effects --------------------------------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        acted: dict[str, Alert] = {}
        for effect in effects:
            if isinstance(effect, Enforce):
                if (alert := self.acting.enforce(effect.decision)) is not None:
                    acted[alert.id] = alert
            elif isinstance(effect, Send):
                message = effect.message
                if isinstance(message, AlertRaised) and message.alert.id in acted:
                    message = AlertRaised(alert=acted[message.alert.id])
                self.outbox.put(message)
            elif isinstance(effect, LookUp):
                if self.engine_watch is not None:
                    self.engine_watch.look_up(effect.id, effect.cgroup_id)
            elif isinstance(effect, Act):
                self.acting.consider(effect.alert, self.core.container(effect.alert.container), is_ordered=effect.is_ordered)

    def _later(self, plan: Plan, alert: Alert) -> None:
        """Slow steps of a plan, for the other thread, with what the container did before the alert."""
        self._jobs.put((plan, alert, self.core.recorded(alert.container, time.time_ns())))

    def _boot_ns(self, time_ns: int) -> int:
        """The boot-time clock at the time of an event."""
        return self.sensor.boot_ns(time_ns) if self.sensor is not None else time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def _work(self) -> None:
        """Slow steps, one job at a time; what a crash left is finished first."""
        if self.responder is None:
            return
        self._resume()
        resumed = time.monotonic()
        while True:
            try:
                job = self._jobs.get(timeout=1.0)
            except queue.Empty:
                if time.monotonic() - resumed > RESUME_S:
                    self._resume()
                    resumed = time.monotonic()
                continue
            if job is None:
                return
            try:
                self._do(job)
                self._expire()
            except ShipwallError as error:
                say(f"response: {error.line()}")

    def _resume(self) -> None:
        assert self.responder is not None
        try:
            for outcome in self.responder.resume():
                say(f"plan {outcome.plan.id}: resumed, {'done' if outcome.done else 'not done yet'}")
                self.acting.carried_out(outcome)
            self._expire()
        except ShipwallError as error:
            say(f"resume: {error.line()}")

    def _expire(self) -> None:
        """Plans that nobody approved in time."""
        assert self.responder is not None
        for plan in self.responder.expire():
            self.acting.miss("freeze", "approval expired")
            say(f"plan {plan.id} for {plan.container_name}: nobody approved it in time")

    def _resolve(self) -> None:
        """Ask for the addresses of the hosts that rules name, now and again."""
        while self._going.is_set():
            names = resolve_names(self.core.watch.rules.host_names)
            with self._core_lock:
                self.core.names_known(names)
            time.sleep(NAMES_S)

    def _recover_promotions(self) -> None:
        """Finish or undo what a crash interrupted, as soon as its registry answers."""
        while self._going.is_set():
            try:
                for one in recover_promotions(self.instance, Registry, time.time_ns(), self.outbox.put):
                    say(f"{one.outcome} the promotion of {one.plan.manifest} to {one.plan.target}: {one.why}")
            except ShipwallError as error:
                say(f"interrupted promotions: {error.line()}; asked again in {REGISTRY_S:.0f} s")
                time.sleep(REGISTRY_S)
            else:
                return

    def _do(self, job: tuple[Plan, Alert, tuple[AnyEvent, ...]] | Command) -> None:
        assert self.responder is not None
        if not isinstance(job, Command):
            plan, alert, events = job
            if plan.expires_ns:
                self.responder.keep_events(plan, alert, events)
            else:
                self.acting.carried_out(self.responder.carry_out(plan, alert, events))
            return
        if job.plan:
            result, outcome = self.responder.decide(job)
            if outcome is not None:
                self.acting.carried_out(outcome)
            self.outbox.put(result)
            return
        facts = self.core.container(job.target) or (self.engine_watch.find(job.target) if self.engine_watch else None)
        if facts is None:
            self.outbox.put(CommandResult(id=job.id, done=False, detail=f"no container {job.target[:12]} on this node"))
            return
        self.outbox.put(self.responder.command(job, facts))

    # -- housekeeping ---------------------------------------------------------------------------------------------------

    async def _housekeeping(self, responding: threading.Thread) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        place = self.instance.state / "plugins" / "shipwall.sock"
        answering = asyncio.Event()
        serving = asyncio.create_task(self.plugin.serve(place, answering.set)) if self.plugin is not None else None
        if serving is None:
            answering.set()
        else:
            serving.add_done_callback(lambda _: answering.set())
        try:
            await answering.wait()  # an enrolled engine refuses every call, ours too, until the plugin answers
            if self.engine_watch is not None:
                self.engine_watch.start()
            responding.start()
            await asyncio.to_thread(self._meet_safely)
            await asyncio.to_thread(write_whole, self.instance.agent / "ready", json.dumps({"pid": os.getpid()}).encode(), 0o600)
            say(f"watching as {self.node}")
            while not stop.is_set():
                if serving is not None and serving.done():
                    serving.result()
                    raise InputError("admission plugin", "ended by itself", "look at the lines above")
                await asyncio.to_thread(self._tick)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), HEALTH_S / 2)
        finally:
            if serving is not None and self.plugin is not None:
                self.plugin.stop()
                await asyncio.gather(serving, return_exceptions=True)

    def _meet_safely(self) -> None:
        try:
            self._meet_containers()
        except ShipwallError as error:
            say(f"containers of the engine: {error.line()}")

    def _tick(self) -> None:
        for follow in (self._follow_functions, self._follow_policy, self._follow_modes):
            try:
                follow()
            except ShipwallError as error:  # what was in force stays
                say(error.line())
        if time.monotonic() >= self._observed_due:
            self._keep_observed()
            self._compare_counted()
        if time.monotonic() >= self._profiles_due:
            self._profiles_due = time.monotonic() + PROFILES_S
            self.keeper.keep()
        self._follow_profiles()
        self._check_pulse()
        with self._core_lock:
            running = tuple(self.core.containers)
        self.preventing.tick(self.node, running, time.time_ns())
        self._measure_cost()
        self.outbox.put(self.health())

    def _keep_observed(self) -> None:
        self._observed_due = time.monotonic() + OBSERVED_S
        with self._core_lock:
            changed = self.core.in_use.take_changed()
        try:
            for image, paths in changed.items():
                self.observed.add(image, paths, time.time_ns())
        except ShipwallError as error:
            say(f"what is in use is not kept: {error.line()}")

    def _follow_profiles(self) -> None:
        """With a profile to learn or compare, what no rule asks about is told too: of every container, for who is who is known too late."""
        was_used = self.keeper.is_used
        self.keeper.follow()
        if self.keeper.is_used != was_used:
            self._watch_containers()
            self._meet_safely()

    def _compare_counted(self) -> None:
        if self.sensor is None or not self.core.profiles:
            return
        try:
            counted = self.sensor.calls()
        except KernelError as error:
            say(f"counted calls: {error.line()}")
            return
        with self._core_lock:
            effects = self.core.handle_counted(counted, time.time_ns())
        self._perform(effects)

    def _follow_functions(self) -> None:
        functions = read_functions(self.instance)
        if functions == self.functions:
            return
        self.functions = functions
        say(f"functions: {functions}")
        self._watch_containers()  # whatever the engine says
        self._meet_safely()

    def _follow_policy(self) -> None:
        """The response policy, read anew when its file is another one. One that is wrong changes nothing, and is said once."""
        stamp = _stamp(self.policy_file)
        if stamp == self._policy_stamp:
            return
        self._policy_stamp = stamp
        self.acting.policy = _read_policy(self.policy_file, is_needed=self.settings.response is not None)
        if stamp is not None:
            say(f"response policy {self.policy_file}: {len(self.acting.policy.entries)} entries")

    def _follow_modes(self) -> None:
        """Which rules may act, and in which mode: by functions and the node's own modes."""
        self.acting.functions = self.functions
        own = read_rule_modes(self.instance)
        with self._core_lock:
            self.core.modes_known(own, is_enforcing=self.functions["actions"] == "enforce")

    def _check_pulse(self) -> None:
        """Let our own act happen, and say so while those before it do not come back: never silently blind."""
        if self.pulse is None:
            return
        self.pulse.beat()
        silence_s = self.pulse.silence_s()
        if silence_s <= BLIND_S:
            if self._failed.pop("self-check", None):
                say("self-check: the sensor sees its own acts again")
        else:
            if "self-check" not in self._failed:
                say(f"self-check: no act of our own seen for {silence_s:.0f} s: the sensor is blind")
            self._failed["self-check"] = f"no act of our own seen for {silence_s:.0f} s"

    def _measure_cost(self) -> None:
        """Sample the sensor's cost when it is due. The counting is on for a fifth of a second of each half minute."""
        if self.sensor is None or time.monotonic() < self._cost_due:
            return
        self._cost_due = time.monotonic() + COST_S
        self._keep_rule_costs()
        try:
            self._cost = self.sensor.cost()
        except KernelError as error:
            self._cost = None
            say(f"cost of the sensor: {error.line()}")

    def _keep_rule_costs(self) -> None:
        if self.core.watch.costs is None:
            return
        with self._core_lock:
            costs = self.core.watch.costs.costs()
        try:
            write_whole(self.instance.rule_costs, msgspec.json.encode(costs), 0o600)
        except ShipwallError as error:
            say(f"what rules cost is not kept: {error.line()}")

    def health(self) -> Health:
        """The sensor's and the agent's state, now."""
        counters = self.sensor.counters() if self.sensor else NOTHING_COUNTED
        cost = self._cost or Cost(0, 0, 1)
        acts, missed = self.acting.counts()
        return Health(
            node=self.node,
            time_ns=time.time_ns(),
            started_ns=self.started_ns,
            delivered=counters.delivered,
            filtered=counters.filtered,
            lost=counters.lost
            | {f"{kind} over budget": n for kind, n in counters.over.items()}
            | ({"outbox": self.outbox.lost} if self.outbox.lost else {}),
            helper_errors=counters.helper_errors,
            containers=len(self.core.containers),
            rss_bytes=_rss_bytes(),
            cpu_ns=int(1e9 * sum(resource.getrusage(resource.RUSAGE_SELF)[:2])),
            cost_ns=cost.per_call_ns,
            cost_calls=cost.calls,
            cost_share=cost.run_ns / cost.window_ns / (os.cpu_count() or 1),
            ring_bytes=counters.pending_bytes,
            acts=acts,
            missed=missed,
            functions={**self.functions, **self.keeper.told(), **{name: f"failed: {why}" for name, why in self._failed.items()}},
        )


def say(line: str) -> None:
    """One line of the agent's log, on standard error."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} agent: {' '.join(line.split())}\n")
    sys.stderr.flush()


def _stamp(path: Path) -> Stamp | None:
    """None when there is no such file."""
    try:
        return stamp_of(path)
    except OSError:
        return None


def _read_policy(path: Path, *, is_needed: bool) -> ResponsePolicy:
    try:
        text = path.read_bytes()
    except OSError as error:
        if is_needed or not isinstance(error, FileNotFoundError):
            raise InputError(f"response policy {path}", error.strerror or str(error)) from error
        return ResponsePolicy()
    return parse_response_policy(text, str(path))


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
