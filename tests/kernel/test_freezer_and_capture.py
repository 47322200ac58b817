"""Freezing and capturing real processes in cgroups of our own, on each freezer this host has."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipwall.kernel.capture import find_runs, read_process, read_run, read_sockets
from shipwall.kernel.freezer import HOLD, Freezer, Group
from shipwall.kernel.rootfs import RootFolder
from shipwall.model.errors import KernelError
from shipwall.model.package import Skipped

pytestmark = pytest.mark.root

# Beats as fast as it can; one secret on the heap, one on a page made unreadable, one in a memfd, one in a file without a name.
PROCESS = """
import ctypes, mmap, os, socket, sys, tempfile
heap, hidden, unnamed, deleted = (bytes.fromhex(x) for x in sys.stdin.readline().split())
kept = bytearray(heap)
page = mmap.mmap(-1, 4096); page[:len(hidden)] = hidden
libc = ctypes.CDLL(None)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
assert libc.mprotect(ctypes.c_void_p(address), 4096, 0) == 0
fd = os.memfd_create("stash"); os.write(fd, unnamed)
file = tempfile.TemporaryFile(); file.write(deleted); file.flush()
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
beat = open(sys.argv[1], "w")
del heap, hidden, unnamed, deleted
while True:
    beat.write("x"); beat.flush()
"""


class Running:
    def __init__(self, group: Group, folder: Path) -> None:
        self.group, self.beat = group, folder / "beat"
        self.secrets = [secrets.token_bytes(24) for _ in range(4)]
        self.process = subprocess.Popen([sys.executable, "-c", PROCESS, self.beat], stdin=subprocess.PIPE, text=True)
        (group.path / "cgroup.procs").write_text(str(self.process.pid))
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(one.hex() for one in self.secrets) + "\n")
        self.process.stdin.close()
        deadline = time.monotonic() + 30
        while not self.beats():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def beats(self) -> int:
        return self.beat.stat().st_size if self.beat.exists() else 0

    def goes_on(self) -> bool:
        before, deadline = self.beats(), time.monotonic() + 30
        while self.beats() == before:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


@pytest.fixture(params=[1, 2])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    mounts = [mount for mount, version in Freezer().hierarchies if version == request.param]
    if not mounts:
        pytest.skip(f"no v{request.param} freezer on this host")
    path = mounts[0] / f"shipwall-test-{secrets.token_hex(4)}"
    path.mkdir()
    try:
        yield Group(path, request.param)
    finally:
        for folder in (path / HOLD, path / "below", path):
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()


@pytest.fixture
def running(group: Group, tmp_path: Path) -> Iterator[Running]:
    one = Running(group, tmp_path)
    try:
        yield one
    finally:
        Freezer().thaw(group)
        one.process.kill()
        one.process.wait(10)


def test_frozen_stays_frozen_while_it_is_handed_over(running: Running) -> None:
    freezer, group = Freezer(), running.group
    assert freezer.pids(group) == [running.process.pid]
    taken_ns = freezer.freeze(group)
    assert freezer.is_frozen(group)
    assert taken_ns < 1e9
    beats = running.beats()
    freezer.hold(group)
    freezer.hold(group)  # again, as after a crash
    assert (
        not freezer.is_frozen(group) or group.version == 2
    )  # v2 calls an empty thawed group with frozen ones below what it likes
    assert freezer.pids(group) == [running.process.pid]
    freezer.freeze(group)  # what the engine's pause does
    freezer.release(group)
    freezer.release(group)
    assert freezer.is_frozen(group)
    assert not freezer.is_held(group)
    assert running.beats() == beats
    freezer.thaw(group)
    assert running.goes_on()


def test_groups_below_stay_frozen_through_a_hold(running: Running) -> None:
    freezer, group = Freezer(), running.group
    below = group.path / "below"
    below.mkdir()
    (below / "cgroup.procs").write_text(str(running.process.pid))
    assert freezer.pids(group) == [running.process.pid]
    freezer.freeze(group)
    beats = running.beats()
    freezer.hold(group)
    time.sleep(0.02)
    assert running.beats() == beats
    freezer.freeze(group)
    freezer.release(group)
    assert running.beats() == beats
    freezer.thaw(group)
    assert running.goes_on()
    (group.path / "cgroup.procs").write_text(str(running.process.pid))


def test_thaw_in_the_middle_of_a_hold(running: Running) -> None:
    freezer = Freezer()
    freezer.freeze(running.group)
    freezer.hold(running.group)
    freezer.thaw(running.group)
    assert running.goes_on()
    assert not freezer.is_held(running.group)


# A chain without end: each process makes the next one and ends, so at every instant one is about to fork.
FORKING = """
import os, sys
beat = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.read(0, 1)
while True:
    if os.fork():
        os._exit(0)
    os.write(beat, b"x")
"""


def test_a_container_that_forks_while_it_is_frozen(group: Group, tmp_path: Path) -> None:
    freezer, beat = Freezer(), tmp_path / "beat"
    children = [
        subprocess.Popen([sys.executable, "-I", "-S", "-c", FORKING, beat], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for _ in range(4)
    ]
    try:
        for child in children:
            (group.path / "cgroup.procs").write_text(str(child.pid))
            assert child.stdin is not None
            child.stdin.write(b"x")
            child.stdin.close()
        deadline = time.monotonic() + 30
        for _ in range(20):
            before = beat.stat().st_size if beat.exists() else 0
            while not beat.exists() or beat.stat().st_size == before:
                assert time.monotonic() < deadline, "they do not fork"
                time.sleep(0.001)
            freezer.freeze(group)
            size, pids = beat.stat().st_size, freezer.pids(group)
            assert len(pids) >= 4
            assert freezer.is_frozen(group)
            time.sleep(0.005)
            assert (beat.stat().st_size, freezer.pids(group)) == (size, pids), "one forked although it was frozen"
            freezer.thaw(group)
    finally:
        _end_all(freezer, group)
        for child in children:
            child.wait(10)


def _end_all(freezer: Freezer, group: Group) -> None:
    """Kill everything in `group`, what forks meanwhile too: frozen first, so that nothing does."""
    deadline = time.monotonic() + 30
    while freezer.pids(group):
        assert time.monotonic() < deadline
        with contextlib.suppress(KernelError):
            freezer.freeze(group)
        for pid in freezer.pids(group):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        freezer.thaw(group)
        time.sleep(0.005)


def test_container_without_a_cgroup() -> None:
    with pytest.raises(KernelError, match="has no cgroup"):
        Freezer().find("f" * 64)


def test_memory_and_files_of_a_frozen_process(running: Running) -> None:
    freezer = Freezer()
    freezer.freeze(running.group)
    skipped: list[Skipped] = []
    pid = running.process.pid
    state = read_process(pid, skipped.append)
    assert state is not None
    assert state.argv[0] == sys.executable
    assert state.exe_sha256 == "sha256:" + hashlib.sha256(Path(f"/proc/{pid}/exe").read_bytes()).hexdigest()
    assert any(target.target.startswith("/memfd:stash") for target in state.descriptors)
    memory = b"".join(part for run in find_runs(pid, skipped.append) for part in read_run(pid, run, skipped.append))
    heap, hidden, _unnamed, _deleted = running.secrets
    assert heap in memory
    assert hidden in memory, "what hides behind PROT_NONE is memory too"
    (listening,) = [one for one in read_sockets([state], skipped.append) if one.state == "listen" and one.holders]
    assert listening.local.startswith("127.0.0.1:")
    assert skipped == []


def test_links_in_the_container_do_not_lead_out(tmp_path: Path) -> None:
    """A root folder with hostile links: absolute, climbing, and through /proc."""
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc/passwd").write_text("inside")
    (inside / "abs").symlink_to("/etc")
    (inside / "up").symlink_to("../../../../../../etc")
    (inside / "magic").symlink_to(f"/proc/{os.getpid()}/root/etc")
    os.mkfifo(inside / "pipe")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # a process whose root folder this is, doing nothing but wait
        os.close(write)
        os.chroot(inside)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    try:
        deadline = time.monotonic() + 30
        while str(Path(f"/proc/{pid}/root").readlink()) == "/":
            assert time.monotonic() < deadline
            time.sleep(0.005)
        with RootFolder(pid) as root:
            for path in ("/abs/passwd", "/up/passwd", "/etc/passwd", "/etc/../../../etc/passwd"):
                assert b"".join(root.read(path)) == b"inside", path
            with pytest.raises(OSError):
                list(root.read("/magic/passwd"))
            with pytest.raises(OSError, match="regular"):
                list(root.read("/pipe"))
            assert root.look("/abs", "/", "added").target == "/etc"
            assert root.look("/nothing", "/", "deleted").kind == "gone"
    finally:
        os.write(write, b"x")
        os.close(write)
        os.waitpid(pid, 0)
