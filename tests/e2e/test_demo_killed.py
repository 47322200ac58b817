"""The whole demo killed at an arbitrary instant: a clean-up, or a second run, leaves nothing of it on the host.

Instants are drawn anew in each run, within the step named (a heading on standard error says that it has begun).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipwall.adapters.cgroup_folders import cgroup_folders
from shipwall.adapters.instance import Instance
from shipwall.adapters.supervise import read_process, wait_until
from shipwall.journeys.uninstall import uninstall

pytestmark = [pytest.mark.engine, pytest.mark.bpf, pytest.mark.archive]
MARK = "SHIPWALL_TEST_DEMO"
_NR_BPF, _PROG_GET_NEXT_ID, _LINK_GET_NEXT_ID = 321, 11, 31  # include/uapi/linux/bpf.h


@pytest.fixture
def instance() -> Iterator[Instance]:
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        found = Instance(Path(folder) / "s")
        try:
            yield found
        finally:
            uninstall(found)


class Telling:
    """One `shipwall demo`, and everything by which its traces are known: a variable all its processes inherit, its engines' names."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.mark = secrets.token_hex(8)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shipwall", "demo", "--no-keep", "--state", str(instance.state)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, MARK: self.mark},
        )
        self.told = ""

    def wait_for_step(self, number: int) -> None:
        assert self.process.stderr is not None
        while not re.search(rf"^ *{number}\. ", self.told, re.MULTILINE):
            line = self.process.stderr.readline().decode()
            assert line, f"the demo ended before step {number}: {self.told[-2000:]}"
            self.told += line

    def end(self, number: signal.Signals) -> int:
        assert self.process.stderr is not None
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process.stderr.close()
        return code

    def namespaces(self) -> set[str]:
        """Network namespaces of its processes, the host's own left out."""
        own = str(Path("/proc/self/ns/net").readlink())
        found = set()
        for pid in self.processes():
            with contextlib.suppress(OSError):
                found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
        return found - {own}

    def processes(self) -> list[int]:
        """Live processes that inherited its mark, or that run in a cgroup of its engines (containers inherit nothing)."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and read_process(int(folder.name)) is not None:
                with contextlib.suppress(OSError):
                    cgroups = (folder / "cgroup").read_text()
                    marked = wanted in (folder / "environ").read_bytes().split(b"\0")
                    if marked or any(name in cgroups for name in self.cgroups()):
                        found.append(int(folder.name))
        return found

    def cgroups(self) -> set[str]:
        """The cgroup of every engine its journal ever named."""
        with contextlib.suppress(FileNotFoundError):
            return set(re.findall(r"/shipwall-[0-9a-f]{12}", (self.instance.state / "journal.jsonl").read_text()))
        return set()


class Host:
    """What a host has, apart from processes: taken before, compared after."""

    def __init__(self) -> None:
        self.mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        self.bpf = {kind: bpf_ids(command) for kind, command in BPF_KINDS.items()}
        self.pins = sorted(str(path) for path in Path("/sys/fs/bpf").rglob("*"))
        self.named_namespaces = sorted(path.name for path in Path("/run/netns").glob("*"))
        self.links = sorted(path.name for path in Path("/sys/class/net").iterdir())
        self.rules = {program: firewall_rules(program) for program in ("iptables-save", "ip6tables-save")}

    def left(self, before: Host) -> dict[str, Any]:
        """What is there now and was not before. BPF objects that a living process holds are that process's, not left ones."""
        held = held_bpf_ids()
        found: dict[str, Any] = {kind: sorted(ids - before.bpf[kind] - held[kind]) for kind, ids in self.bpf.items()}
        for name in ("mounts", "pins", "named_namespaces", "links"):
            found[name] = [one for one in getattr(self, name) if one not in getattr(before, name)]
        found["rules"] = [program for program, rules in self.rules.items() if rules != before.rules[program]]
        return {name: what for name, what in found.items() if what}


BPF_KINDS = {"prog_id": _PROG_GET_NEXT_ID, "link_id": _LINK_GET_NEXT_ID}


def bpf_ids(command: int) -> set[int]:
    """Ids of all loaded programs, or of all links, on this kernel."""
    library = ctypes.CDLL(None, use_errno=True)
    found: set[int] = set()
    attributes = (ctypes.c_uint32 * 16)()
    while library.syscall(_NR_BPF, command, attributes, 64) == 0:
        found.add(attributes[1])
        attributes[0] = attributes[1]
    return found


def held_bpf_ids() -> dict[str, set[int]]:
    """Ids of the programs and links to which some process has a descriptor."""
    held: dict[str, set[int]] = {kind: set() for kind in BPF_KINDS}
    for folder in Path("/proc").glob("[0-9]*/fdinfo"):
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                with contextlib.suppress(OSError):
                    for kind, number in re.findall(r"^(prog_id|link_id):\s*(\d+)", path.read_text(), re.MULTILINE):
                        held[kind].add(int(number))
    return held


def firewall_rules(program: str) -> list[str]:
    """The host's rules and chains, without comments and counters."""
    done = subprocess.run([program], capture_output=True, text=True, check=True, timeout=20)
    return [re.sub(r"\[\d+:\d+\]", "", line) for line in done.stdout.splitlines() if not line.startswith("#")]


def assert_nothing_is_left(before: Host, telling: Telling, cgroups: set[str], namespaces: set[str]) -> None:
    assert wait_until(lambda: not telling.processes(), 10), [
        Path(f"/proc/{pid}/cmdline").read_bytes() for pid in telling.processes()
    ]
    # the kernel lets go of programs, mounts and namespaces a moment after the last process
    assert wait_until(lambda: not Host().left(before), 10, 0.5), Host().left(before)
    for cgroup in cgroups:
        assert cgroup_folders(cgroup) == []
    living = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            living.add(str(path.readlink()))
    assert not living & namespaces


def clean_up(instance: Instance) -> None:
    command = [sys.executable, "-m", "shipwall", "cleanup", "--state", str(instance.state), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["left"] == []


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("number", "step", "within_s"), [(signal.SIGKILL, 1, 5.0), (signal.SIGINT, 2, 12.0), (signal.SIGKILL, 9, 1.5)]
)
def test_nothing_is_left_of_a_killed_demo(
    instance: Instance, number: signal.Signals, step: int, within_s: float, record_property: Any
) -> None:
    seed = secrets.randbelow(2**31)
    after_s = random.Random(seed).uniform(0, within_s)  # an instant, no secret
    record_property("seed", seed)
    record_property("killed_after_s", round(after_s, 3))
    before = Host()
    telling = Telling(instance)
    telling.wait_for_step(step)
    time.sleep(after_s)  # the instant itself is what is tried
    cgroups, namespaces = telling.cgroups(), telling.namespaces()
    code = telling.end(number)
    if step == 9:  # there was something to leave behind
        assert cgroups
        assert namespaces
    if number == signal.SIGINT:  # the demo took everything away itself
        assert code != 0
        assert_nothing_is_left(before, telling, cgroups, namespaces)
    clean_up(instance)
    assert_nothing_is_left(before, telling, cgroups, namespaces)


@pytest.mark.timeout(200)
def test_a_second_run_takes_away_what_the_killed_first_left(instance: Instance) -> None:
    before = Host()
    first = Telling(instance)
    first.wait_for_step(2)
    cgroups, namespaces = first.cgroups(), first.namespaces()
    assert cgroups
    first.end(signal.SIGKILL)
    second = Telling(instance)
    second.wait_for_step(2)
    assert wait_until(lambda: not first_remains(first, cgroups), 10), first.processes()
    cgroups |= second.cgroups()
    namespaces |= second.namespaces()
    second.end(signal.SIGINT)
    assert_nothing_is_left(before, second, cgroups, namespaces)


def first_remains(first: Telling, cgroups: set[str]) -> bool:
    wanted = f"{MARK}={first.mark}".encode()
    for folder in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in folder.read_bytes().split(b"\0"):
                return True
    return any(cgroup_folders(cgroup) for cgroup in cgroups)
