"""The process that answers when a guarded container opens a file: `python -m shipwall.kernel.file_guard_loop SOCKET`.

A process of its own, because containers wait for it: it shares no interpreter lock, opens no file of a container by itself, and goes on
when the agent is killed. It does what it is told over a socket (one packet per question, one per answer). When it ends, however it ends,
the kernel allows every open again: *on failure* open, because what waited for nobody would hang the container.

Names are judged once: an inode that no refusal is about is not asked about again (measured: 20 us for the first open, 0.3 us after).
So a file that was opened under a harmless name and is then moved to a refused one can still be opened: its content was open before.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

import msgspec

from shipwall.kernel.fanotify import Asked, Group, mount_and_links
from shipwall.kernel.rootfs import MountPoint, RootFolder, readable
from shipwall.model.errors import ShipwallError
from shipwall.runtime.file_refusals import ACCESSES, READ, WRITE, FileRefusal, Judge

PACKET_BYTES = 160 * 1024
"""The longest question or answer: what a socket takes by default, and some room."""
_ANSWER_BYTES = 100 * 1024
MAX_KNOWN = 65_536
MAX_KEPT = 10_000
MAX_SHOWN = 50
_EXECS = frozenset({59, 322, 11, 358})  # execve, execveat; the last two of 32-bit callers
_FLAGS_AT = {2: 1, 257: 2, 5: 1, 295: 2}  # open, openat → which argument holds the flags
_CREAT = 85


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question. `act`: guard, release, take, or state (of the containers whose ids come after `container`).

    `pid`: a process in the container's root; `cgroup`: its v2 path (`/docker/ID`).
    """

    act: str
    container: str = ""
    pid: int = 0
    cgroup: str = ""
    refusals: tuple[FileRefusal, ...] = ()


class Unmarked(msgspec.Struct, frozen=True):
    """A mount of a container that is not guarded, and why."""

    mount: str
    reason: str


class OpenDecision(msgspec.Struct, frozen=True):
    """An open that was refused (`denied`) or, by refusals in mode monitor, would have been."""

    container: str
    tid: int
    path: str
    denied: bool
    rules: tuple[str, ...]


class State(msgspec.Struct, frozen=True):
    """What is in force for a container. `asked` opens were judged, `ignored` inodes are not asked about any more.

    Of `rules` and `unmarked` the first 50; the last then says how many more there are.
    """

    container: str
    rules: tuple[str, ...]
    asked: int
    denied: int
    would: int
    ignored: int
    unmarked: tuple[Unmarked, ...]


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer. `error`: it was not done, and why. `untold`: decisions that were not kept, since nobody took them."""

    error: str = ""
    states: tuple[State, ...] = ()
    decisions: tuple[OpenDecision, ...] = ()
    untold: int = 0


class Guarded:
    """One container: its group, its refusals, and what was judged."""

    def __init__(self, asked: Ask, log: Log) -> None:
        self.container = asked.container
        self._cgroup = asked.cgroup
        self._judge = Judge(asked.refusals)
        self._deny = frozenset(number for number, one in enumerate(asked.refusals) if one.mode == "deny")
        self._log = log
        self._known: dict[tuple[str, bool], tuple[frozenset[int], ...]] = {}
        self._mounts: set[int] = set()
        self.asked = self.denied = self.would = self.ignored = 0
        self.group = Group()
        try:
            self.unmarked = tuple(self._mark(asked.pid))
            if not self._mounts:
                raise ShipwallError(f"container {self.container}", "none of its mounts can be guarded")
        except BaseException:
            self.group.close()
            raise

    def _mark(self, pid: int) -> list[Unmarked]:
        """The root by file system, so that no other mount of it is a way around; the rest by mount, because the host may share them."""
        unmarked = []
        ours = {int(line.split()[0]) for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()}
        with RootFolder(pid) as root:
            top = root.open("/", os.O_PATH)
            self._above = str(Path(f"/proc/self/fd/{top}").readlink()).rstrip("/")  # of a root that is only a chroot
            os.close(top)
            for mount in root.mounts():
                if not mount.is_readable:
                    unmarked.append(Unmarked(readable(mount.path)[:200], f"{mount.kind} is not asked about"))
                    continue
                try:
                    fd = root.open(mount.path, os.O_PATH)
                except OSError as error:
                    unmarked.append(Unmarked(readable(mount.path)[:200], error.strerror or str(error)))
                    continue
                try:
                    mount_id, _ = mount_and_links(fd)
                    if mount_id in ours:
                        unmarked.append(Unmarked(readable(mount.path)[:200], "it is a mount of the host itself"))
                        continue
                    self.group.mark(f"/proc/self/fd/{fd}", whole_filesystem=_is_own_root(mount, fd))
                    self._mounts.add(mount_id)
                except ShipwallError as error:
                    unmarked.append(Unmarked(readable(mount.path)[:200], error.reason))
                finally:
                    os.close(fd)
        return unmarked

    def serve(self) -> int:
        """Answer what waits, some of it; how many."""
        answered = 0
        for answered, one in enumerate(self.group.read(), 1):  # noqa: B007
            deny = True
            try:
                deny = self._decide(one)
            except OSError:  # a path longer than the kernel tells: what has no name could have any
                self.denied += 1
                self._log.keep(OpenDecision(self.container, one.tid, "", denied=True, rules=()))
            finally:
                self.group.answer(one, deny=deny)
        return answered

    def _decide(self, one: Asked) -> bool:
        self.asked += 1
        path = os.readlink(f"/proc/self/fd/{one.fd}")  # noqa: PTH115  quicker
        if self._above and f"{path}/".startswith(f"{self._above}/"):
            path = path[len(self._above) :] or "/"
        by_access = self._known.get((path, one.is_folder))
        if by_access is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            by_access = self._known[path, one.is_folder] = self._judge.judge(path, is_folder=one.is_folder)
        if not any(by_access):
            self._ignore(one)
            return False
        access = _access(one.tid)
        if access is None or not _is_inside(one.tid, self._cgroup):
            return False
        hit = by_access[ACCESSES.index(access)]
        if not hit:
            return False
        denied = bool(hit & self._deny)
        self.denied += denied
        self.would += not denied
        rules = tuple(self._judge.refusals[number].rule[:200] for number in sorted(hit)[:MAX_SHOWN])
        self._log.keep(OpenDecision(self.container, one.tid, readable(path), denied, rules))
        return denied

    def _ignore(self, one: Asked) -> None:
        """Only what was opened through the container's own mounts has the container's name, and only one name hides no other."""
        with suppress(ShipwallError):  # then it is asked about again
            mount_id, links = mount_and_links(one.fd)
            if mount_id in self._mounts and (one.is_folder or links == 1):
                self.group.ignore(one)
                self.ignored += 1

    def state(self) -> State:
        """What is in force, and what it did."""
        rules, unmarked = tuple(refusal.rule[:200] for refusal in self._judge.refusals), self.unmarked
        if len(rules) > MAX_SHOWN:
            rules = (*rules[:MAX_SHOWN], f"and {len(rules) - MAX_SHOWN} more")
        if len(unmarked) > MAX_SHOWN:
            unmarked = (*unmarked[:MAX_SHOWN], Unmarked("", f"and {len(unmarked) - MAX_SHOWN} more"))
        return State(self.container, rules, self.asked, self.denied, self.would, self.ignored, unmarked)


class Log:
    """Decisions that nobody has taken yet."""

    def __init__(self) -> None:
        self._waiting: deque[OpenDecision] = deque(maxlen=MAX_KEPT)
        self._untold = 0

    def keep(self, decision: OpenDecision) -> None:
        """Keep it, the oldest first to go."""
        self._untold += len(self._waiting) == MAX_KEPT
        self._waiting.append(decision)

    def take(self) -> tuple[tuple[OpenDecision, ...], int]:
        """Some of the oldest, and how many were lost."""
        taken: list[OpenDecision] = []
        size = 0
        while self._waiting and size < _ANSWER_BYTES:  # names are a container's choice: as long as paths may be
            taken.append(self._waiting.popleft())
            size += len(msgspec.json.encode(taken[-1]))
        untold, self._untold = self._untold, 0
        return tuple(taken), untold


class Loop:
    """All guarded containers, and those who ask about them."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._poll = select.epoll()
        self._poll.register(listener.fileno(), select.EPOLLIN)
        self._askers: dict[int, socket.socket] = {}
        self._guarded: dict[int, Guarded] = {}
        self._log = Log()

    def run(self) -> None:
        """Until nobody guards anything and whoever asked has gone."""
        while True:
            for fd, _ in self._poll.poll():
                if guarded := self._guarded.get(fd):
                    guarded.serve()
                elif fd == self._listener.fileno():
                    asker, _ = self._listener.accept()
                    self._askers[asker.fileno()] = asker
                    self._poll.register(asker.fileno(), select.EPOLLIN)
                elif fd in self._askers:  # else its group was let go for a question of the same round
                    self._hear(self._askers[fd])
                    if not self._askers and not self._guarded:
                        return

    def _hear(self, asker: socket.socket) -> None:
        try:
            packet = asker.recv(PACKET_BYTES)
        except OSError:
            packet = b""
        if not packet:
            self._poll.unregister(asker.fileno())
            del self._askers[asker.fileno()]
            asker.close()
            return
        try:
            said = self._do(msgspec.json.decode(packet, type=Ask))
        except ShipwallError as error:
            said = Said(error=error.line())
        except (OSError, msgspec.MsgspecError) as error:
            said = Said(error=str(error))
        with suppress(OSError):
            asker.send(msgspec.json.encode(said))

    def _do(self, ask: Ask) -> Said:
        if ask.act == "take":
            decisions, untold = self._log.take()
            return Said(decisions=decisions, untold=untold)
        if ask.act in {"guard", "release"}:
            fresh = Guarded(ask, self._log) if ask.act == "guard" else None
            for fd, before in list(self._guarded.items()):  # after: between the two both are asked
                if before.container == ask.container:
                    self._poll.unregister(fd)
                    while before.serve():
                        pass
                    before.group.close()
                    del self._guarded[fd]
            if fresh is not None:
                self._guarded[fresh.group.fd] = fresh
                self._poll.register(fresh.group.fd, select.EPOLLIN)
                return Said(states=(fresh.state(),))
            return Said()
        states: list[State] = []
        size = 0
        for guarded in sorted(self._guarded.values(), key=lambda one: one.container):
            if guarded.container > ask.container and size < _ANSWER_BYTES:
                states.append(guarded.state())
                size += len(msgspec.json.encode(states[-1]))
        return Said(states=tuple(states))


def _access(tid: int) -> int | None:
    """For what the thread opens, READ and WRITE added up; None for an exec, which is no open. What cannot be told is both: refused."""
    try:
        words = Path(f"/proc/{tid}/syscall").read_bytes().split()
        number = int(words[0])
        if number in _EXECS:
            return None
        if number == _CREAT:
            return WRITE
        flags = int(words[1 + _FLAGS_AT[number]], 16)
    except (OSError, ValueError, KeyError, IndexError):  # openat2 keeps its flags in memory that may change, io_uring elsewhere
        return READ | WRITE
    return {os.O_RDONLY: READ, os.O_WRONLY: WRITE}.get(flags & os.O_ACCMODE, READ | WRITE)


def _is_inside(tid: int, cgroup: str) -> bool:
    """Whether the thread is the container's; one that has gone or hides is taken for it."""
    try:
        lines = Path(f"/proc/{tid}/cgroup").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return True
    paths = [line.removeprefix("0::") for line in lines if line.startswith("0::")]
    return not paths or any(path == cgroup or path.startswith(f"{cgroup}/") for path in paths)


def _is_own_root(mount: MountPoint, fd: int) -> bool:
    """Whether it is a container's own file system: an overlay at its root that holds nothing of this process."""
    if mount.path != "/" or mount.kind != "overlay" or mount.source_root != "/":
        return False
    device = os.fstat(fd).st_dev
    return device not in {os.stat(place).st_dev for place in ("/", "/proc/self/exe", __file__)}  # noqa: PTH116


def main() -> None:
    """Serve the socket that standard input is, until nobody needs it."""
    with suppress(OSError):  # whoever opens a file waits for this process: it goes before what only computes
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    gc.freeze()
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as listener:
        Loop(listener).run()


if __name__ == "__main__":
    main()
