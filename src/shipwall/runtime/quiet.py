"""Which records need not be decoded, because one like them raised nothing and changed nothing.

A service does the same things again and again. What is remembered is exact, not a guess: a record is "like" an earlier one when all its
bytes from the cgroup's id on are the same, that is everything but time, sequence and who acted; and while the rules were judged `Facts`
noted whether who acted, or more, was asked for (ASKED_*). A verdict that asked for the process or its ancestors holds for that process
only, and only while it and they are what they were; one that asked for more is not remembered. Nor is anything that teaches the process
table something. Laws hold both ways equal (`tests/laws/test_quiet_laws.py`).

What is remembered is bounded; when it is too much it is forgotten and learnt anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from shipwall.abi.schema import HEADER
from shipwall.model.container import Process
from shipwall.model.event import AnyEvent, Cgroup, Connect, Exec, Exit, Fork, Lost, Privilege
from shipwall.runtime.facts import ASKED_LINEAGE, ASKED_MORE
from shipwall.runtime.processes import ProcessTable

WHO = slice(HEADER.offsets["pid"], HEADER.offsets["ret"])
WHAT = slice(HEADER.offsets["cgroup_id"], None)
TEACHING = (Fork, Exit, Exec, Connect, Privilege, Cgroup, Lost)
"""Events that change what is known of processes or containers (a connection that was refused changes nothing, and is rare)."""
MAX_VERDICTS = 10_000
MAX_BYTES = 1024
"""Longer records are not remembered: whoever writes long paths or buffers must not fill the memory."""

_NOTHING = (-1, b"", b"")
Skimmed = tuple[bytes, int, int]
"""A record that was not decoded, its number among the events, and the offset of its clock."""
Kept = deque[Any]
"""Where a container's go."""


class _Verdicts:
    """What is known of one cgroup: the bytes of a quiet record → whether that depends on who acted."""

    __slots__ = ("container", "kept", "quiet")

    def __init__(self, container: str, kept: Kept) -> None:
        self.container = container
        self.kept = kept
        self.quiet: dict[bytes, bool] = {}


class _Actor:
    """A thread that acted, as it was then; `own` are the records that are quiet because it is this one."""

    __slots__ = ("known", "lineage", "own", "pid", "ppid", "verdicts", "version")

    def __init__(self, event: AnyEvent, verdicts: _Verdicts) -> None:
        self.pid, self.ppid = event.pid, event.ppid
        self.verdicts = verdicts
        self.own: set[bytes] = set()
        self.version = -1
        self.known: tuple[object, ...] = ()
        self.lineage: tuple[Process, ...] | None = None


class Quiet:
    """What one node remembers. `kept_of` gives the place where the last records of a container are kept."""

    def __init__(self, table: ProcessTable, kept_of: Callable[[str], Kept] = lambda _container: deque(maxlen=0)) -> None:
        self.kept_of = kept_of
        self._table = table
        self._actors: dict[bytes, _Actor] = {}
        self._cgroups: dict[int, _Verdicts] = {}
        self._count = 0
        self._pending = _NOTHING

    def skim(self, records: Sequence[bytes], at: int, seq: int, wall_offset_ns: int) -> int:
        """The first of `records` from `at` on that must be decoded and judged; all before it are quiet, and kept.

        `seq` is the number of the last event. The one found is remembered if `settle` is told so next.
        """
        actors, version = self._actors, self._table.version
        for index in range(at, len(records)):
            data = records[index]
            who, what = data[WHO], data[WHAT]
            actor = actors.get(who)
            if actor is not None and (actor.version == version or self._is_unchanged(who, actor)):
                verdicts = actor.verdicts
                by_actor = verdicts.quiet.get(what)
                if by_actor is False or (by_actor and what in actor.own):
                    seq += 1
                    verdicts.kept.append((data, seq, wall_offset_ns))
                    continue
            self._pending = (seq + 1, who, what) if len(what) <= MAX_BYTES else _NOTHING
            return index
        return len(records)

    def settle(self, event: AnyEvent, asked: int) -> None:
        """`event` raised nothing, and `asked` was asked for to know: remember it, if it is of the record that `skim` found last."""
        seq, who, what = self._pending
        self._pending = _NOTHING
        if event.seq != seq or asked & ASKED_MORE or isinstance(event, TEACHING):
            return
        if not self._table.is_settled(event.pid, event.ppid, event.container):
            return
        if self._count >= MAX_VERDICTS:
            self.forget_all()
        actor = self._actors.get(who)
        if actor is None or (actor.version != self._table.version and not self._is_unchanged(who, actor)):
            actor = self._actors[who] = self._meet(event)
            self._count += 1
        if asked:
            if asked & ASKED_LINEAGE and actor.lineage is None:
                actor.lineage = self._table.lineage(actor.pid)
            actor.own.add(what)
        actor.verdicts.quiet[what] = asked != 0
        self._count += 1

    def _meet(self, event: AnyEvent) -> _Actor:
        verdicts = self._cgroups.get(event.cgroup_id)
        if verdicts is None:
            verdicts = self._cgroups[event.cgroup_id] = _Verdicts(event.container, self.kept_of(event.container))
        actor = _Actor(event, verdicts)
        actor.known = self._table.known(event.pid)
        actor.version = self._table.version
        return actor

    def _is_unchanged(self, who: bytes, actor: _Actor) -> bool:
        """Whether the actor is still known as it was; what is known of it alone is forgotten where it, or an ancestor, is another."""
        table = self._table
        if not table.is_settled(actor.pid, actor.ppid, actor.verdicts.container):
            del self._actors[who]
            return False
        known = table.known(actor.pid)
        lineage = None if actor.lineage is None else table.lineage(actor.pid)
        if known != actor.known or lineage != actor.lineage:
            actor.own.clear()
            actor.known, actor.lineage = known, None
        actor.version = table.version
        return True

    # what is known beside the events has changed

    def forget_cgroup(self, cgroup_id: int) -> None:
        """Another container, or none, is known for this cgroup."""
        verdicts = self._cgroups.pop(cgroup_id, None)
        if verdicts is not None:
            self._actors = {who: actor for who, actor in self._actors.items() if actor.verdicts is not verdicts}

    def forget_container(self, container: str) -> None:
        """Other facts are known about this container."""
        for cgroup_id in [cgroup_id for cgroup_id, verdicts in self._cgroups.items() if verdicts.container == container]:
            self.forget_cgroup(cgroup_id)

    def forget_all(self) -> None:
        """Everything."""
        self._actors.clear()
        self._cgroups.clear()
        self._count = 0
