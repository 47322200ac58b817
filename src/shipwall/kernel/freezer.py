"""Freezes every process of a container where it stands, and hands the frozen container to the engine.

Mode: under a v1 freezer hierarchy (pure v1 and hybrid hosts) `freezer.state`; otherwise v2's `cgroup.freeze`.
An engine refuses to pause a container that is frozen behind its back ("container not running": its runtime takes a frozen group for a
paused one), and would then let `stop` end it. So before the engine's pause the processes move into a child group that is frozen by
itself (`hold`), the container's own group is thawed with nobody in it, the engine pauses it, and the processes move back (`release`).
No process runs a single instruction meanwhile.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shipwall.kernel.cgroups import find_container, list_below
from shipwall.model.errors import KernelError, UnsupportedError

HOLD = "shipwall-hold"
MAX_DEPTH = 8

_SETTLE_S = 0.0002


class Group(NamedTuple):
    """A container's group in the hierarchy that freezes. `version` 1 or 2."""

    path: Path
    version: int


def find_hierarchies(mountinfo: str) -> list[tuple[Path, int]]:
    """Mount points that can freeze, v1's freezer first, from the text of /proc/PID/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        path = Path(fields[4].replace("\\040", " "))
        if kind[0] == "cgroup" and "freezer" in kind[2].split(","):
            found.append((path, 1))
        elif kind[0] == "cgroup2":
            found.append((path, 2))
    return sorted(found, key=lambda one: one[1])


class Freezer:
    """The freezer of this host. `deadline_s`: how long a freeze may take until it counts as failed."""

    def __init__(self, deadline_s: float = 2.0) -> None:
        self.deadline_s = deadline_s
        self.hierarchies = find_hierarchies(Path("/proc/self/mountinfo").read_text())
        if not self.hierarchies:
            raise UnsupportedError("freezer", "no cgroup hierarchy that freezes is mounted", "mount cgroup2")

    def find(self, container: str) -> Group:
        """The group of the container with this id, wherever its engine put it. Raises KernelError when there is none."""
        for mount, version in self.hierarchies:
            if (path := find_container(mount, container)) is not None:
                return Group(path, version)
        raise KernelError(f"container {container[:12]}", "has no cgroup", "is it still running?")

    def freeze(self, group: Group) -> int:
        """Freeze all processes of `group`, groups below it included; returns nanoseconds until the kernel confirmed.

        *Raises*: KernelError when the deadline passes; what could be frozen then stays frozen.
        """
        started = time.monotonic_ns()
        _write_state(group, frozen=True)
        if group.version == 1:
            self._confirm_v1(group, started)
        else:
            self._confirm_v2(group)
        return time.monotonic_ns() - started

    def hold(self, group: Group) -> None:
        """Move the frozen processes into a group of their own, still frozen, and thaw the container's own group."""
        held = Group(group.path / HOLD, group.version)
        with suppress(FileExistsError):
            held.path.mkdir()
        for below in self._below(group):  # each by itself: thawing the group above must not reach them
            _write_state(below, frozen=True)
        _move(group, held)
        _write_state(group, frozen=False)

    def release(self, group: Group) -> None:
        """After the engine paused it: move the processes back into the container's own frozen group. Right also when nothing is held."""
        held = Group(group.path / HOLD, group.version)
        if not held.path.is_dir():
            return
        _move(held, group)
        for below in self._below(group):
            if below != held:
                _write_state(below, frozen=False)  # the group above holds them
        _remove(held.path)

    def thaw(self, group: Group) -> None:
        """Let the processes go on, whoever froze them."""
        for below in (*self._below(group), group):
            with suppress(FileNotFoundError):
                _write_state(below, frozen=False)
        held = Group(group.path / HOLD, group.version)
        if held.path.is_dir():
            _move(held, group)
            _remove(held.path)

    def is_frozen(self, group: Group) -> bool:
        """Whether the kernel says that all processes of it are frozen."""
        return _is_frozen(group)

    def is_held(self, group: Group) -> bool:
        """Whether a hold was begun and not released."""
        return (group.path / HOLD).is_dir()

    def pids(self, group: Group) -> list[int]:
        """Processes (root namespace) of it and of the groups below it, ascending. Empty when it is gone."""
        found: set[int] = set()
        for folder in (group.path, *(below.path for below in self._below(group))):
            found |= set(_pids(folder))
        return sorted(found)

    def _below(self, group: Group) -> list[Group]:
        return [Group(path, group.version) for path in list_below(group.path, MAX_DEPTH)]

    def _confirm_v1(self, group: Group, started: int) -> None:
        """v1 tells nobody when it is done: ask, pausing so that the tasks get the CPU they need to stop."""
        asked = 0
        while not _is_frozen(group):
            if time.monotonic_ns() - started > self.deadline_s * 1e9:
                raise KernelError(
                    f"freezer {group.path}", f"not frozen within {self.deadline_s:.1f} s", "a task hangs in the kernel"
                )
            time.sleep(_SETTLE_S)
            asked += 1
            if asked % 50 == 0:  # a fork at the wrong moment leaves FREEZING; asking again ends it
                _write_state(group, frozen=True)

    def _confirm_v2(self, group: Group) -> None:
        fd = os.open(group.path / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            poller = select.poll()
            poller.register(fd, select.POLLPRI)
            deadline = time.monotonic() + self.deadline_s
            while b"frozen 1" not in os.pread(fd, 256, 0):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise KernelError(f"cgroup {group.path}", f"not frozen within {self.deadline_s:.1f} s")
                poller.poll(max(1, int(left * 1000)))
        finally:
            os.close(fd)


def _write_state(group: Group, *, frozen: bool) -> None:
    name, words = ("freezer.state", (b"THAWED", b"FROZEN")) if group.version == 1 else ("cgroup.freeze", (b"0", b"1"))
    path = group.path / name
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, words[frozen])
        finally:
            os.close(fd)
    except FileNotFoundError as error:
        raise KernelError(f"cgroup {group.path}", "is gone", "the container has ended", errno=error.errno or 0) from error
    except OSError as error:
        raise KernelError(str(path), error.strerror or str(error), errno=error.errno or 0) from error


def _is_frozen(group: Group) -> bool:
    name, word = ("freezer.state", b"FROZEN") if group.version == 1 else ("cgroup.events", b"frozen 1")
    try:
        return word in (group.path / name).read_bytes()
    except OSError:
        return False


def _move(source: Group, target: Group) -> None:
    """Move all processes from one frozen group to another. Frozen ones cannot fork; one that entered meanwhile is met by the next look."""
    if target.path.name == HOLD:
        _write_state(target, frozen=True)
    for _ in range(100):
        pids = _pids(source.path)
        if not pids:
            return
        for pid in pids:
            try:
                (target.path / "cgroup.procs").write_bytes(b"%d" % pid)
            except ProcessLookupError:
                continue  # it died (by an OOM kill, say)
            except OSError as error:
                raise KernelError(f"cgroup {target.path}", error.strerror or str(error), errno=error.errno or 0) from error
    raise KernelError(f"cgroup {source.path}", "processes keep entering it")


def _remove(path: Path) -> None:
    try:
        path.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise KernelError(f"cgroup {path}", error.strerror or str(error), errno=error.errno or 0) from error


def _pids(folder: Path) -> list[int]:
    """Processes listed in the group; 0 (of a foreign PID namespace) is left out, as are groups that are gone."""
    try:
        return [pid for pid in map(int, (folder / "cgroup.procs").read_bytes().split()) if pid]
    except OSError:
        return []
