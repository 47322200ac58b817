"""Recording what containers do to a file, with a sensor of its own.

Of its own, because it wants more than the agent's (every file that is opened, not only what the agent's rules ask about), must not fill the
agent's ring, and works where no agent runs. Facts about containers come from the engine in another thread, as they do to the agent.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from shipwall import __version__
from shipwall.adapters.captures import CaptureFile
from shipwall.kernel.cgroups import read_pids, unified_mount
from shipwall.kernel.process_details import read_details
from shipwall.kernel.processes import read_processes
from shipwall.kernel.rootfs import read_accounts
from shipwall.kernel.sensor import CHILDREN, EVENTS, Sensor
from shipwall.model.container import ContainerFacts, Process
from shipwall.model.errors import KernelError, ShipwallError
from shipwall.model.event import AnyEvent, Cgroup, Exec, Lost
from shipwall.runtime.capture import End, Header, Known, Record
from shipwall.runtime.decode import container_of_cgroup

POLL_MS = 100
FLUSH_S = 1.0


@dataclass
class Wanted:
    """What to record: `folders` of control groups, or every container (`everything`); for how long and at most how much.

    `facts_of` asks the engine about a container; None when it has none of that id.
    """

    node: str
    seconds: float
    folders: dict[Path, str] = field(default_factory=dict)
    everything: bool = False
    facts_of: Callable[[str], ContainerFacts | None] = lambda _id: None


class Recorder:
    """Turns what the sensor tells into records: gives events their container, reads about a process when it executes a program."""

    def __init__(self, wanted: Wanted, put: Callable[[Record], None], met: Callable[[int, str], None]) -> None:
        self._wanted = wanted
        self._put = put
        self._met = met
        self._cgroups: dict[int, str] = {}

    def begin(self, processes: Iterable[Process], cgroups: dict[int, str], watched: set[int]) -> None:
        """Record the start: processes that are there, details of those that are watched, users of the host."""
        self._cgroups |= cgroups
        known = tuple(processes)
        self._put(Known(processes=known))
        if (host := read_accounts(os.getpid())) is not None:
            self._put(Known(accounts=host))
        for process in known:
            if process.pid in watched:
                self._details(process)

    def take(self, event: AnyEvent) -> None:
        """Record one event."""
        if isinstance(event, Cgroup):
            container = container_of_cgroup(event.path)
            if event.act == "made" and container:
                is_first = container not in self._cgroups.values()
                self._cgroups[event.made_id] = container
                if is_first:
                    self._met(event.made_id, container)
            return
        if event.cgroup_id not in self._cgroups and not self._wanted.folders:
            return
        container = self._cgroups.get(event.cgroup_id, "")
        if container and event.container != container:
            event = msgspec.structs.replace(event, container=container)
        if isinstance(event, Exec) and event.ret >= 0:
            self._details(_process_of(event))
        self._put(event)

    def calls_by_container(self, counted: Mapping[int, Mapping[str, object]]) -> dict[str, tuple[str, ...]]:
        """Names of calls counted by control group → by container; those of several groups of one container together."""
        found: dict[str, set[str]] = {}
        for cgroup_id, calls in counted.items():
            if cgroup_id in self._cgroups:
                found.setdefault(self._cgroups[cgroup_id], set()).update(calls)
        return {container: tuple(sorted(calls)) for container, calls in found.items()}

    def _details(self, process: Process) -> None:
        details = read_details(process)
        if details is not None:
            self._put(Known(pid=process.pid, details=details))


def record_capture(wanted: Wanted, file: CaptureFile, stopped: Callable[[], bool]) -> End:
    """Record into `file` until the time is over, the file full, or `stopped` says so. Raises KernelError when the sensor cannot run."""
    news: queue.SimpleQueue[Record] = queue.SimpleQueue()
    asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    file.put(Header(version=__version__, node=wanted.node, began_ns=time.time_ns(),
                    containers=tuple(sorted(filter(None, wanted.folders.values())))))  # fmt: skip
    asking = threading.Thread(target=_ask, args=(wanted.facts_of, asked, news), daemon=True)
    asking.start()
    lost: dict[str, int] = {}
    with Sensor() as sensor:

        def meet(cgroup_id: int, container: str) -> None:
            if wanted.everything:
                sensor.set_flags(cgroup_id, EVENTS | CHILDREN)
            asked.put(container)

        def take(event: AnyEvent) -> None:
            if isinstance(event, Lost):
                lost[event.of] = lost.get(event.of, 0) + event.count
            recorder.take(event)

        recorder = Recorder(wanted, file.put, meet)
        cgroups, watched = _watch(sensor, wanted)
        recorder.begin(read_processes(), cgroups, watched)
        for container in sorted(set(filter(None, cgroups.values()))):  # before their first event: the ring keeps those meanwhile
            for record in _answer(wanted.facts_of, container):
                file.put(record)
        file.flush()
        reason = _follow(sensor, take, file, news, time.monotonic() + wanted.seconds, stopped)
        lost = sensor.counters().lost or lost
        calls = recorder.calls_by_container(sensor.calls())
    asked.put(None)
    end = End(ended_ns=time.time_ns(), events=file.events, lost=lost, reason=reason, calls=calls)
    file.finish(end)
    return end


def _follow(
    sensor: Sensor,
    take: Callable[[AnyEvent], None],
    file: CaptureFile,
    news: queue.SimpleQueue[Record],
    until_s: float,
    stopped: Callable[[], bool],
) -> str:
    """Record until there is a reason to end, which is returned."""
    flushed_s = time.monotonic()
    while True:
        sensor.poll(POLL_MS, take)
        while not news.empty():
            file.put(news.get())
        now_s = time.monotonic()
        if now_s - flushed_s >= FLUSH_S:
            file.flush()
            flushed_s = now_s
        if file.is_full:
            return "the file is full"
        if now_s >= until_s:
            return "the time is over"
        if stopped():
            return "it was stopped"


def _watch(sensor: Sensor, wanted: Wanted) -> tuple[dict[int, str], set[int]]:
    """Watch what is wanted: cgroup id → container of what is there, and the processes in it."""
    sensor.set_open_prefixes(["/"])
    cgroups: dict[int, str] = {}
    watched: set[int] = set()
    if wanted.everything:
        sensor.watch_parent(unified_mount(), CHILDREN)
    for folder, container in wanted.folders.items():
        cgroups[sensor.watch_parent(folder)] = container
        for below in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            try:
                watched |= set(read_pids(below))
            except (KernelError, OSError):
                continue  # gone meanwhile
    return cgroups, watched


def _ask(
    facts_of: Callable[[str], ContainerFacts | None], asked: queue.SimpleQueue[str | None], news: queue.SimpleQueue[Record]
) -> None:
    """Answer questions about containers, one after the other; what the engine does not know stays unknown."""
    while (container := asked.get()) is not None:
        for record in _answer(facts_of, container):
            news.put(record)


def _answer(facts_of: Callable[[str], ContainerFacts | None], container: str) -> list[Record]:
    """What there is to know about a container now."""
    try:
        facts = facts_of(container)
    except (ShipwallError, OSError):
        return []
    if facts is None:
        return []
    return [Known(container=facts, container_id=container, accounts=read_accounts(facts.pid) if facts.pid else None)]


def _process_of(event: Exec) -> Process:
    return Process(
        pid=event.pid, ppid=event.ppid, ns_pid=event.ns_pid, start_ns=event.time_ns, uid=event.uid, gid=event.gid, comm=event.comm,
        path=event.path, argv=event.argv, container=event.container, origin=event.origin,
    )  # fmt: skip
