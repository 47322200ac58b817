"""The self-test: harmless acts of every class against a throw-away container, first without any guard, then with all of them.

Everything is made for the test and gone afterwards: a cgroup, namespaces, a root in memory; sensor and guards are instances of their own,
of the same programs that guard this node. What a run that was killed leaves behind is in the journal (`shipwall cleanup`).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Entry, Journal
from shipwall.adapters.supervise import wait_until
from shipwall.journeys import file_guard
from shipwall.journeys.file_guard import FileGuard
from shipwall.kernel import attack, network_guard
from shipwall.kernel.cgroups import read_id, unified_mount
from shipwall.kernel.network_guard import NetworkGuard
from shipwall.kernel.sensor import CHILDREN, EVENTS, KILL_DRIFT, Sensor
from shipwall.model.errors import KernelError, ShipwallError, UnsupportedError
from shipwall.model.selftest import OPEN, PREVENTED, STOPPED, Leak, SelfTest
from shipwall.runtime.file_refusals import FileRefusal
from shipwall.runtime.network_tables import Refusal

ACT = "selftest"
CONTROLS = 5
UNPROMISED_ATTEMPTS = 200
_RULE = "self-test"


class Promise(NamedTuple):
    """What is promised of an action, by which hook, and which guard has to be in force for it."""

    claim: str
    hook: str
    guard: str


PROMISES = {
    "exec-dropped": Promise(STOPPED, "SIGKILL at tp_btf/sched_process_exec", "sensor"),
    "exec-memfd": Promise(STOPPED, "SIGKILL at tp_btf/sched_process_exec", "sensor"),
    "open": Promise(PREVENTED, "fanotify FAN_OPEN_PERM", "files"),
    "connect": Promise(PREVENTED, "cgroup/connect4", "network"),
    "bind": Promise(PREVENTED, "cgroup/bind4", "network"),
    "sendto": Promise(PREVENTED, "cgroup/sendmsg4", "network"),
    "script-shebang": Promise(OPEN, "none: its interpreter is of the image", ""),
    "script-interpreter": Promise(OPEN, "none: the interpreter only reads it", ""),
    "mmap-exec": Promise(OPEN, "none: no hook for a mapping loads everywhere", ""),
}


def run_selftest(instance: Instance, node: str, attempts: int, only: tuple[str, ...] = ()) -> SelfTest:
    """The leak rate of every action, `attempts` times each (at most 200 where nothing is promised).

    Raises KernelError when the container cannot be made, UnsupportedError.
    """
    if os.geteuid() != 0:
        raise UnsupportedError("the self-test", "needs root for kernel and cgroups", "run it with sudo")
    wanted = [name for name in PROMISES if not only or name in only]
    with _container(instance) as attacked, contextlib.ExitStack() as stack:
        controls = {name: attacked.attack(name, CONTROLS) for name in wanted}
        refused = _put_guards(stack, attacked, {PROMISES[name].guard for name in wanted})
        leaks = tuple(_measure(attacked, name, attempts, controls[name], refused) for name in wanted)
    return SelfTest(
        node=node, kernel=platform.release(), time_ns=time.time_ns(), kept=not any(leak.is_broken for leak in leaks), leaks=leaks
    )


def _measure(attacked: _Attacked, name: str, attempts: int, control: dict[str, Any], refused: dict[str, str]) -> Leak:
    promise = PROMISES[name]
    without = f"{control['completed']} of {CONTROLS}"
    leak = Leak(action=name, claim=promise.claim, hook=promise.hook, without_guard=without)
    if control["completed"] != CONTROLS:
        why = f"without any guard it does not work here either ({without}) {control['error']}".strip()
        return replace(leak, unmeasured=why)
    if why := refused.get(promise.guard, ""):
        return replace(leak, unmeasured=f"the guard is not in force: {why}")
    attempts = min(attempts, UNPROMISED_ATTEMPTS) if promise.claim == OPEN else attempts
    said = attacked.attack(name, attempts)
    if said["error"]:
        return replace(leak, unmeasured=str(said["error"]))
    return replace(leak, attempts=attempts, completed=int(said["completed"]))


class _Attacked:
    """The throw-away container: its cgroup, its first process, and its answers."""

    def __init__(self, cgroup: Path, base: Path) -> None:
        self.cgroup = cgroup
        self.base = base
        command = [sys.executable, "-I", "-S", attack.__file__, str(base / "root"), str(cgroup / "cgroup.procs")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self._line() != "ready\n":
            _, words = self.process.communicate()
            raise KernelError(
                "self-test", f"its container cannot be made: {words.strip().splitlines()[-1:]}", "see: shipwall doctor"
            )

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def attack(self, action: str, attempts: int) -> dict[str, Any]:
        """How often it had its effect (`completed`), and what kept it from being tried (`error`). Raises KernelError."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"action": action, "attempts": attempts}) + "\n")
        self.process.stdin.flush()
        line = self._line()
        if not line:
            raise KernelError("self-test", f"its container ended during {action}", "the kernel's log may say why")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        """End its first process; what it started is the cgroup's to end."""
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def _container(instance: Instance) -> Iterator[_Attacked]:
    base = Path(tempfile.mkdtemp(prefix="shipwall-selftest-"))
    cgroup = unified_mount() / base.name
    journal = Journal(instance.state / "journal.jsonl")
    journal.begin(str(cgroup), ACT, base=str(base))
    try:
        cgroup.mkdir()
        (base / "root").mkdir()
        attacked = _Attacked(cgroup, base)
        try:
            yield attacked
        finally:
            attacked.end()
    finally:
        _take_away(cgroup, base)
        journal.undo(str(cgroup), ACT)


def undo_selftest(entry: Entry) -> list[str]:
    """Lines saying what was taken away of a run that was killed."""
    base = Path(entry.facts["base"])
    was_there = base.exists() or Path(entry.key).exists()
    _take_away(Path(entry.key), base)
    return ["took the container of a self-test away"] if was_there else []


def _take_away(cgroup: Path, base: Path) -> None:
    file_guard.take_away(base / "files")
    network_guard.take_away(base / "network")
    if cgroup.exists():
        (cgroup / "cgroup.kill").write_text("1")
        if not wait_until(lambda: _removed(cgroup), 10):
            raise KernelError(f"cgroup {cgroup}", "does not end", "look for processes in it")
    shutil.rmtree(base, ignore_errors=True)


def _removed(cgroup: Path) -> bool:
    with contextlib.suppress(OSError):
        cgroup.rmdir()
    return not cgroup.exists()


def _put_guards(stack: contextlib.ExitStack, attacked: _Attacked, wanted: set[str]) -> dict[str, str]:
    """Put the guards in force; guard → why it is not."""
    refused = {}
    puts = {"sensor": _watch, "network": _guard_network, "files": _guard_files}
    for name in sorted(wanted & set(puts)):
        try:
            puts[name](stack, attacked)
        except ShipwallError as error:
            refused[name] = error.line()
    return refused


def _watch(stack: contextlib.ExitStack, attacked: _Attacked) -> None:
    sensor = stack.enter_context(Sensor())
    sensor.watch_parent(attacked.cgroup)
    sensor.set_flags(read_id(attacked.cgroup), EVENTS | CHILDREN | KILL_DRIFT)


def _guard_network(stack: contextlib.ExitStack, attacked: _Attacked) -> None:
    loopback = (ipaddress.ip_network("127.0.0.0/8"),)
    ports = {"connect": attack.CONNECT_PORT, "bind": attack.BIND_PORT, "sendmsg": attack.DATAGRAM_PORT}
    guard = stack.enter_context(NetworkGuard(attacked.base / "network"))
    guard.apply(
        attacked.cgroup,
        tuple(
            Refusal(rule=_RULE, hooks=frozenset({hook}), within=loopback, ports=((port, port),)) for hook, port in ports.items()
        ),
    )


def _guard_files(stack: contextlib.ExitStack, attacked: _Attacked) -> None:
    guard = stack.enter_context(FileGuard(attacked.base / "files"))
    condition = "fd.name = /data/secret"
    guard.guard(_RULE, attacked.process.pid, f"/{attacked.cgroup.name}", (FileRefusal(rule=_RULE, condition=condition),))
