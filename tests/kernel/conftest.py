"""Cgroups, child processes inside them, and a sensor that watches them."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shipwall.kernel.bpf import OBJECTS
from shipwall.kernel.cgroups import join, list_descendants, read_id, unified_mount
from shipwall.kernel.sensor import Sensor
from shipwall.model.event import AnyEvent, Cgroup, Event, Exit

_PRELUDE = """
import ctypes, errno, os, socket, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    return libc.syscall(number, *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
print("ready", flush=True)
sys.stdin.readline()
"""


def tiny_program(text: bytes = b"x") -> bytes:
    """A static ELF program whose very first act is to write `text` to standard output."""
    code = bytes.fromhex("b801000000bf01000000488d3510000000ba") + struct.pack("<I", len(text))
    code += bytes.fromhex("0f05b83c00000031ff0f05") + text
    code = code[:13] + struct.pack("<i", len(code) - len(text) - 17) + code[17:]
    size = 64 + 56 + len(code)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, size, size, 0x1000) + code


class Box:
    """A watched cgroup in which children act, and what the sensor says of it."""

    def __init__(self, sensor: Sensor, folder: Path) -> None:
        self.sensor = sensor
        self.folder = folder
        self.id = read_id(folder)
        self.events: list[AnyEvent] = []
        self.output = b""
        self.began_ns = 0
        self.ended_ns = 0
        self.ns_pid = 0
        self.comm = ""

    def run(self, code: str, *, check: bool = True, poll: bool = True) -> int:
        """Run `code` in a child inside the cgroup; its pid. The child's own start is over before it comes in."""
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PRELUDE + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"  # not before: its exec is told only after Popen has returned
            join(self.folder, child.pid)
            status = Path(f"/proc/{child.pid}/status").read_text()
            self.ns_pid = int(next(line for line in status.splitlines() if line.startswith("NSpid")).split()[-1])
            self.comm = Path(f"/proc/{child.pid}/comm").read_text().rstrip("\n")
            self.began_ns = time.time_ns()
            self.output, _ = child.communicate(b"go\n", timeout=60)
            self.ended_ns = time.time_ns()
        assert not check or child.returncode == 0, child.returncode
        if poll:
            self.until(lambda: any(isinstance(event, Exit) and event.pid == child.pid for event in self.events))
        return child.pid

    def until(self, done: Callable[[], bool]) -> None:
        """Poll until `done`; fails after ten seconds."""
        deadline = time.monotonic() + 30
        while not done():
            assert time.monotonic() < deadline, self.events
            self.sensor.poll(50, self._take)

    def _take(self, event: AnyEvent) -> None:
        if event.cgroup_id == self.id or (isinstance(event, Cgroup) and event.path.startswith(f"/{self.folder.name}")):
            self.events.append(event)

    def seen(self, kind: type[Event]) -> list[AnyEvent]:
        """Events of `kind`, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]

    def header(self, event: Event, child: int, /, **changed: object) -> dict[str, object]:
        """The header fields an event of the child must have; `seq` and `time_ns` are the event's own, checked here."""
        assert self.began_ns - 20_000_000 <= event.time_ns <= self.ended_ns + 20_000_000
        assert event.seq > 0
        common = {
            "seq": event.seq,
            "time_ns": event.time_ns,
            "cgroup_id": self.id,
            "pid": child,
            "tid": child,
            "ppid": os.getpid(),
        }
        return common | {"ns_pid": self.ns_pid, "uid": 0, "gid": 0, "comm": self.comm, "ret": 0, "syscall": ""} | changed


def empty(folder: Path) -> None:
    """Remove `folder` and the cgroups below it, ending what still runs in them."""
    deadline = time.monotonic() + 30
    for below in reversed(list_descendants(folder)):
        with contextlib.suppress(OSError):
            (below / "cgroup.kill").write_text("1")
        while below.exists():
            try:
                below.rmdir()
            except OSError:
                assert time.monotonic() < deadline, below


@pytest.fixture(scope="session")
def objects() -> Path:
    """Where the compiled objects are."""
    if not (OBJECTS / "sensor.bpf.o").exists():
        pytest.skip("BPF objects are not built: make bpf")
    return OBJECTS


@pytest.fixture
def folder() -> Iterator[Path]:
    """A fresh cgroup below the v2 mount."""
    made = unified_mount() / f"shipwall-test-{os.getpid()}-{time.monotonic_ns()}"
    made.mkdir()
    try:
        yield made
    finally:
        empty(made)


@pytest.fixture(scope="module")
def sensor(objects: Path) -> Iterator[Sensor]:
    """A running sensor."""
    with Sensor() as running:
        yield running


@pytest.fixture
def box(sensor: Sensor, folder: Path) -> Iterator[Box]:
    """A watched cgroup."""
    sensor.watch_parent(folder)
    yield Box(sensor, folder)
    sensor.set_open_prefixes([])
    sensor.unwatch(read_id(folder))
