"""Which processes there are, and who started whom.

Pure state, fed with a snapshot at start and with every event after it. A process that has ended stays known as the ancestor of those it
left behind, so a lineage survives `setsid` and double forks; a pid used again is another process.

The engine's runtime (runc) works inside the container's cgroup before and while it starts a program there: it makes namespaces, mounts and
executes a copy of itself from memory. Such a process came from outside: its fork was never seen in a container. It and its children count
as the runtime until they execute something else; an intruder's own processes are forked in the container and never do.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterable

import msgspec

from shipwall.model.container import Process, ProcessDetails
from shipwall.model.event import Connect, Event, Exec, Exit, Fork, Privilege

MAX_PROCESSES = 65_536
MAX_LINEAGE = 64
MAX_CONNECTIONS = 32

INHERITED, TOLD, LEARNT = range(3)
"""Details of a process: from what started it or from before its exec; told by its exec; looked up since."""

_RUNTIME_COPY = "runc_cloned"  # how runc names the sealed copy of itself (libcontainer/nsenter/cloned_binary.c)
_RUNTIMES = {"runc", "crun", "exe"}  # `exe`: executed through /proc/self/exe, as a descriptor's number through /proc/self/fd


class _Entry:
    """A process and the entry of the one that started it, alive or not."""

    __slots__ = ("connections", "depth", "details", "is_runtime", "knowledge", "parent", "process")

    def __init__(self, process: Process, parent: _Entry | None, *, is_runtime: bool = False) -> None:
        self.process = process
        self.is_runtime = is_runtime
        self.details: ProcessDetails | None = None
        self.knowledge = INHERITED
        self.connections: deque[tuple[str, int, str]] | None = None
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        if self.depth >= 2 * MAX_LINEAGE:  # a chain of fork and exit would otherwise keep all its dead alive
            last: _Entry | None = self
            for _step in range(MAX_LINEAGE - 1):
                last = last.parent if last is not None else None
            if last is not None:
                last.parent = None
            self.depth = MAX_LINEAGE


class ProcessTable:
    """At most `limit` living processes; the one known longest is forgotten first and counted in `forgotten`.

    `version` grows whenever a process, or what is known of it, is another than before.
    """

    def __init__(self, limit: int = MAX_PROCESSES) -> None:
        self._alive: dict[int, _Entry] = {}
        self._limit = limit
        self.forgotten = 0
        self.version = 0

    def __len__(self) -> int:
        return len(self._alive)

    def load(self, snapshot: Iterable[Process]) -> None:
        """Take what was running before the first event; a process an event has already told of is kept as told."""
        self.version += 1
        entries: dict[int, _Entry] = {}
        for process in snapshot:
            if process.pid not in self._alive:
                entries[process.pid] = self._enter(_Entry(process, None))
        for entry in entries.values():  # parents may stand anywhere in the snapshot
            parent = self._alive.get(entry.process.ppid)
            if parent is not None and parent is not entry and not _descends(parent, entry):
                entry.parent = parent
                entry.depth = min(parent.depth + 1, MAX_LINEAGE)

    def get(self, pid: int) -> Process | None:
        """The living process `pid`."""
        entry = self._alive.get(pid)
        return None if entry is None else entry.process

    def details(self, pid: int) -> tuple[ProcessDetails | None, int]:
        """What is known of the living process `pid`, and how good that is: INHERITED, TOLD or LEARNT."""
        entry = self._alive.get(pid)
        return (None, LEARNT) if entry is None else (entry.details, entry.knowledge)

    def known(self, pid: int) -> tuple[Process | None, ProcessDetails | None, int, bool]:
        """All that is known of the living process `pid` alone, without its ancestors and connections."""
        entry = self._alive.get(pid)
        return (None, None, LEARNT, False) if entry is None else (entry.process, entry.details, entry.knowledge, entry.is_runtime)

    def learn(self, pid: int, details: ProcessDetails | None) -> None:
        """Remember what was found out about the program `pid` runs now, or that nothing was."""
        entry = self._alive.get(pid)
        if entry is not None:
            entry.details, entry.knowledge = details, LEARNT
            self.version += 1

    def lineage(self, pid: int) -> tuple[Process, ...]:
        """The process and its ancestors, nearest first, at most MAX_LINEAGE; empty when `pid` is not known.

        Where the container's processes descend from the runtime's, the lineage ends.
        """
        chain: list[Process] = []
        entry = self._alive.get(pid)
        while entry is not None and len(chain) < MAX_LINEAGE and not (chain and entry.is_runtime):
            chain.append(entry.process)
            entry = entry.parent
        return tuple(chain)

    def is_settled(self, pid: int, ppid: int, container: str) -> bool:
        """Whether an event of these, which is no exec, would tell `before` nothing new."""
        entry = self._alive.get(pid)
        return (
            entry is not None
            and container in {"", entry.process.container}
            and (ppid in {0, entry.process.ppid} or self._is_reparented(entry))
        )

    def is_runtime(self, pid: int) -> bool:
        """Whether `pid` still runs the engine's runtime, which is about to become a process of the container."""
        entry = self._alive.get(pid)
        return entry is not None and entry.is_runtime

    def has_connected(self, pid: int, address: str, port: int) -> bool:
        """Whether the process or an ancestor in its container asked for a connection to there, among its last MAX_CONNECTIONS.

        A connection in hand for which nobody asked was accepted.
        """
        return self.protocol_of(pid, address, port) is not None

    def protocol_of(self, pid: int, address: str, port: int) -> str | None:
        """The protocol of that connection, None when nobody asked for it."""
        entry, step = self._alive.get(pid), 0
        while entry is not None and step < MAX_LINEAGE:
            for known_address, known_port, protocol in entry.connections or ():
                if (known_address, known_port) == (address, port):
                    return protocol
            entry, step = entry.parent, step + 1
        return None

    def before(self, event: Event) -> None:
        """Learn what must be known while `event` is judged: the process that acts and, after an exec, its new program."""
        entry = self._alive.get(event.pid)
        if entry is None or not self._is_same(entry, event):
            parent = self._alive.get(event.ppid)
            entry = self._enter(_Entry(_from_header(event), parent, is_runtime=self._is_from_outside(event, parent)))
        if isinstance(event, Exec) and event.ret >= 0:
            self.version += 1
            entry.is_runtime = entry.is_runtime and _is_runtime_file(event.path)
            entry.details = _told(event, entry.details)
            entry.knowledge = INHERITED if entry.details is None or entry.details.cap_effective is None else TOLD
            entry.process = msgspec.structs.replace(
                entry.process,
                ppid=event.ppid,
                ns_pid=event.ns_pid,
                uid=event.uid,
                gid=event.gid,
                comm=_name_of(event),
                path=event.path,
                argv=event.argv,
                container=event.container or entry.process.container,
                origin=event.origin,
            )
        elif event.container and not entry.process.container:
            self.version += 1
            entry.process = msgspec.structs.replace(entry.process, container=event.container)

    def after(self, event: Event) -> None:
        """Learn what `event` changed: children, new identities, ends."""
        entry = self._alive.get(event.pid)
        if isinstance(event, Fork):
            parent = entry.process if entry is not None else _from_header(event)
            child = msgspec.structs.replace(
                parent, pid=event.child_pid, ppid=event.pid, ns_pid=event.child_ns_pid, start_ns=event.time_ns
            )
            made = self._enter(_Entry(child, entry, is_runtime=entry is not None and entry.is_runtime))
            if entry is not None:
                made.details, made.knowledge = entry.details, entry.knowledge
        elif isinstance(event, Exit):
            self._alive.pop(event.pid, None)
            self.version += 1
        elif isinstance(event, Connect):
            if entry is not None and event.port and (event.ret >= 0 or event.ret == -errno.EINPROGRESS):
                if entry.connections is None:
                    entry.connections = deque(maxlen=MAX_CONNECTIONS)
                entry.connections.append((event.address, event.port, event.protocol))
        elif isinstance(event, Privilege) and event.ret >= 0 and entry is not None:
            uid = event.new_uid if event.new_uid >= 0 else entry.process.uid
            gid = event.new_gid if event.new_gid >= 0 else entry.process.gid
            if (uid, gid) != (entry.process.uid, entry.process.gid):
                entry.process = msgspec.structs.replace(entry.process, uid=uid, gid=gid)
                self.version += 1

    def _is_from_outside(self, event: Event, parent: _Entry | None) -> bool:
        """Whether the unknown process of `event` was put into its container by the runtime. Never once processes were forgotten."""
        comm = event.comm
        if not event.container or self.forgotten or not (comm in _RUNTIMES or comm.startswith("runc:[") or comm.isdigit()):
            return False
        return parent is None or parent.is_runtime or parent.process.container != event.container

    def _is_same(self, entry: _Entry, event: Event) -> bool:
        """Whether `entry` can be the process of `event`, in case an exit and a fork were lost and the pid was used again.

        A process never changes its container once in one, and changes its parent only when that one ends.
        """
        known = entry.process
        if known.container and event.container and known.container != event.container:
            return False
        return event.ppid in {0, known.ppid} or self._is_reparented(entry)

    def _is_reparented(self, entry: _Entry) -> bool:
        """Whether the parent it was started by is no more."""
        recorded = self._alive.get(entry.process.ppid)
        return recorded is None or entry.parent is not recorded

    def _enter(self, entry: _Entry) -> _Entry:
        pid = entry.process.pid
        self.version += 1
        self._alive.pop(pid, None)
        self._alive[pid] = entry
        if len(self._alive) > self._limit:
            del self._alive[next(iter(self._alive))]
            self.forgotten += 1
        return entry


def _descends(entry: _Entry, ancestor: _Entry) -> bool:
    """Whether `ancestor` is above `entry` (a snapshot torn by pid reuse can claim a circle)."""
    seen = 0
    at: _Entry | None = entry
    while at is not None and seen <= MAX_PROCESSES:
        if at is ancestor:
            return True
        at = at.parent
        seen += 1
    return False


def _told(event: Exec, before: ProcessDetails | None) -> ProcessDetails | None:
    """What an exec tells about its process; from a sensor that tells only the program, what of `before` outlives it."""
    if not event.session:
        return _after_exec(before)
    known = before is not None and before.sid == event.session
    return ProcessDetails(
        tty=event.tty,
        sid=event.session,
        ns_sid=event.ns_pid if event.session == event.pid else (before.ns_sid if known and before is not None else None),
        pgid=event.group,
        ns_pgid=event.ns_group,
        loginuid=event.login_uid,
        cwd=event.cwd or None,
        env=event.environment or None,
        cap_effective=event.cap_effective,
        cap_permitted=event.cap_permitted,
        cap_inheritable=event.cap_inheritable,
        exe_inode=event.inode,
        exe_ctime_ns=event.ctime_ns,
        exe_mtime_ns=event.mtime_ns,
        exe_writable=event.user_writable,
    )


def _after_exec(details: ProcessDetails | None) -> ProcessDetails | None:
    """What of `details` outlives the execution of another program."""
    if details is None:
        return None
    return ProcessDetails(
        tty=details.tty,
        sid=details.sid,
        ns_sid=details.ns_sid,
        pgid=details.pgid,
        ns_pgid=details.ns_pgid,
        loginuid=details.loginuid,
        cwd=details.cwd,
    )


def _is_runtime_file(path: str) -> bool:
    return _RUNTIME_COPY in path or path.rpartition("/")[2] in _RUNTIMES


def _name_of(event: Exec) -> str:
    """The name of the new program. Executed through /proc (as busybox runs its tools) it would be called `exe` or a number: then the first
    word of its command line says more."""
    if event.argv and event.asked.startswith("/proc/") and (event.comm == "exe" or event.comm.isdigit()):
        return event.argv[0].rpartition("/")[2][:15] or event.comm
    return event.comm


def _from_header(event: Event) -> Process:
    """What an event's header tells about a process not met before."""
    return Process(
        pid=event.pid,
        ppid=event.ppid,
        ns_pid=event.ns_pid,
        start_ns=event.time_ns,
        uid=event.uid,
        gid=event.gid,
        comm=event.comm,
        path="",
        argv=(),
        container=event.container,
    )
