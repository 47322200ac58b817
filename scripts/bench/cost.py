"""What the sensor costs an act of a watched process, against no tracer and against empty programs at the same hooks.

CPU time of the process and its children, so that waiting for a CPU that others use is not counted; and the best of interleaved rounds,
because other work on the machine only ever adds. The sensor is proved to be attached and
delivering in the same run: it sees its own act at the start of a round, and every program the measured child starts.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.bench.node import stable_rules
from scripts.bench.table import Row

from shipwall.agent.asking import ask_kernel
from shipwall.agent.core import Core
from shipwall.kernel.bpf import OBJECTS, BpfObject
from shipwall.kernel.cgroups import join, unified_mount
from shipwall.kernel.sensor import CHILDREN, EVENTS, Sensor
from shipwall.model.event import AnyEvent, Exec
from shipwall.runtime.watch import Watch

ROUNDS = 15
SPAWNS = 50
# What Falco's modern probe (scap-open, about 73 calls) cost a quiet machine, by the wall clock.
TARGETS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "getppid": (lambda none, traced: traced - none < 180, "under +180 ns"),
    "open+close": (lambda none, traced: traced - none < 1600, "under +1,600 ns"),
    "spawn": (lambda none, traced: traced / none < 1.27, "under +27 %"),
}
_LOOPS = """
import json, os, resource, sys
sys.stdin.readline()
def spent():
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found) * 1e9
def timed(act, count):
    began = spent()
    for _ in range(count):
        act()
    return (spent() - began) / count
def opened():
    os.close(os.open("/usr/lib/os-release", os.O_RDONLY))
def spawned():
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
print(json.dumps({"getppid": timed(os.getppid, 50_000), "open+close": timed(opened, 10_000), "spawn": timed(spawned, SPAWNS)}))
"""


def measure() -> tuple[str, list[Row]]:
    """The rows, and how they came about."""
    folder = unified_mount() / f"shipwall-bench-{os.getpid()}"
    folder.mkdir()
    best: dict[str, dict[str, float]] = {}
    try:
        for _ in range(ROUNDS):
            for name, tracer in (("none", nothing), ("empty", empty), ("sensor", sensor)):
                with tracer(folder):
                    found = act(folder)
                kept = best.setdefault(name, found)
                best[name] = {what: min(kept[what], ns) for what, ns in found.items()}
    finally:
        folder.rmdir()
    rows = []
    for what, (limit, text) in TARGETS.items():
        none, floor, traced = (best[name][what] for name in ("none", "empty", "sensor"))
        rows.append(Row(f"{what}, no tracer", f"{none:,.0f} ns", "the base line"))
        rows.append(Row(f"{what}, empty programs", f"{floor - none:+,.0f} ns", "the floor"))
        rows.append(
            Row(f"{what}, sensor", f"{traced - none:+,.0f} ns ({(traced / none - 1) * 100:+.0f} %)", text, limit(none, traced))
        )
    return f"Cost of the sensor in a watched container, CPU time per act (best of {ROUNDS} interleaved rounds)", rows


def act(folder: Path) -> dict[str, float]:
    """Nanoseconds per act of a child inside the cgroup."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LOOPS.replace("SPAWNS", str(SPAWNS))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        join(folder, child.pid)
        output, _ = child.communicate(b"go\n", timeout=120)
    return dict(json.loads(output))


@contextmanager
def nothing(_folder: Path) -> Iterator[None]:
    """No tracer."""
    yield


@contextmanager
def empty(_folder: Path) -> Iterator[None]:
    """The floor: programs that do nothing at the sensor's hooks."""
    with BpfObject(OBJECTS / "empty.bpf.o") as loaded:
        for name in loaded.programs():
            loaded.attach(name)
        yield


@contextmanager
def sensor(folder: Path) -> Iterator[None]:
    """The sensor with the shipped rules' prefixes, its events read by a second process as the agent would."""
    (told, tell), (stopped, stop) = os.pipe(), os.pipe()
    reader = os.fork()
    if not reader:
        os.close(stop)
        try:
            read_events(folder, tell, stopped)
        finally:
            os._exit(0)
    os.close(tell)
    os.close(stopped)
    try:
        if os.read(told, 1) != b"y":
            sys.exit("bench: the sensor did not see its own act: nothing was measured")
        yield
    finally:
        os.close(stop)
        seen = int(os.read(told, 20) or b"0")
        os.close(told)
        os.waitpid(reader, 0)
    if seen < SPAWNS:
        sys.exit(f"bench: the sensor saw {seen} of {SPAWNS} programs: nothing was measured")


def read_events(folder: Path, tell: int, stopped: int) -> None:
    """Take events as the agent does until `stopped` ends, then tell how many programs were seen to start in `folder`."""
    seen = [0]

    def take(event: AnyEvent) -> None:
        seen[0] += isinstance(event, Exec) and event.cgroup_id == cgroup_id
        core.handle_event(event, event.time_ns)

    with Sensor() as found:
        rules, _ = stable_rules()
        ask_kernel(found, rules)
        core = Core("bench", Watch(rules, "bench"), lambda _digest: None)
        cgroup_id = found.watch_parent(folder, EVENTS | CHILDREN)
        core.cgroup_known(cgroup_id, "ab" * 32)
        os.write(tell, b"y" if found.self_check(take) else b"n")
        while not select.select([stopped], [], [], 0)[0]:
            found.poll(50, take, core.skim)
        while found.poll(0, take, core.skim):
            pass
        os.write(tell, b"%d" % seen[0])
