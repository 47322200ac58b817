"""What the sensor costs and what a scan needs, measured in one run: `make bench`. Needs root.

Each cost is the best of interleaved rounds, because other work on the machine only ever adds. The sensor is proved to be attached and
delivering in the same run (its marker event comes back, and the watched child's opens are counted).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipwall.adapters.base_system import find_pockets, make_base_system
from shipwall.adapters.rule_files import load_rules
from shipwall.kernel.bpf import BpfObject
from shipwall.kernel.cgroups import join, unified_mount
from shipwall.kernel.sensor import CHILDREN, EVENTS, OBJECTS, Sensor
from shipwall.runtime.rules.paths import read_paths

ROUNDS = 7
_LOOPS = """
import json, os, subprocess, sys, time
sys.stdin.readline()
def timed(act, count):
    began = time.perf_counter_ns()
    for _ in range(count):
        act()
    return (time.perf_counter_ns() - began) / count
def opened():
    os.close(os.open("/usr/lib/os-release", os.O_RDONLY))
def spawned():
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
print(json.dumps({"getppid": timed(os.getppid, 200_000), "open+close": timed(opened, 50_000), "spawn": timed(spawned, 200)}))
"""


def main() -> None:
    """Measure and print."""
    folder = unified_mount() / f"shipwall-bench-{os.getpid()}"
    folder.mkdir()
    best: dict[str, dict[str, float]] = {}
    try:
        for _ in range(ROUNDS):
            for name, tracer in (("none", nothing), ("empty program", empty), ("sensor, watched", sensor)):
                with tracer(folder):
                    found = measure(folder)
                kept = best.setdefault(name, found)
                best[name] = {what: min(kept[what], ns) for what, ns in found.items()}
    finally:
        folder.rmdir()
    print(f"{'nanoseconds per act':24}" + "".join(f"{what:>16}" for what in best["none"]))
    for name, found in best.items():
        print(f"{name:24}" + "".join(f"{ns:16.0f}" for ns in found.values()))
    for name in ("empty program", "sensor, watched"):
        print(f"{'+ by ' + name:24}" + "".join(f"{ns - best['none'][what]:16.0f}" for what, ns in best[name].items()))
    scan()


def measure(folder: Path) -> dict[str, float]:
    """Nanoseconds per act of a child inside the cgroup."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", _LOOPS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
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
    ready, told = os.pipe()
    reader = os.fork()
    if not reader:
        with Sensor() as found:
            found.set_open_prefixes(read_paths(load_rules()).prefixes)
            found.watch_parent(folder, EVENTS | CHILDREN)
            os.write(told, b"y" if found.self_check(lambda _event: None) else b"n")
            parent = os.getppid()
            while os.getppid() == parent:
                found.poll(50, lambda _event: None)
        os._exit(0)
    try:
        if os.read(ready, 1) != b"y":
            sys.exit("bench: the sensor did not answer: nothing was measured")
        yield
    finally:
        os.kill(reader, 15)
        os.waitpid(reader, 0)
        os.close(ready)
        os.close(told)


def scan() -> None:
    """Seconds and peak memory of scanning a base system twice, advisories from the cache the second time."""
    system = make_base_system(find_pockets(security=False), ())
    for turn in ("first", "again"):
        began = time.monotonic()
        command = [sys.executable, "-m", "shipwall", "image", "scan", str(system.path), "--output", "json"]
        done = subprocess.run(command, capture_output=True, check=False)
        seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        size = system.path.stat().st_size / 1e6
        print(f"scan of {size:.0f} MB, {turn}: {seconds:.2f} s, largest child so far {peak:.0f} MB, exit {done.returncode}")


if __name__ == "__main__":
    main()
