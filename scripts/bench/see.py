"""What seeing every call costs, and how much is seen: the table of the issue's measures, in one interleaved run.

Three tracers take turns in every round: none, empty programs at the same hooks (the floor), the sensor with the shipped rules' calls and
prefixes, read by another process as the agent reads. The sensor proves itself in each round: its own act comes back before, and every
program the measured child starts is counted after. Costs are the least of all rounds, because other work only adds; Redis by the best.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from scripts.bench import cost, dropped
from scripts.bench.table import Row

from shipwall.adapters.rule_files import load_rules
from shipwall.kernel.cgroups import join, unified_mount
from shipwall.kernel.sensor import CHILDREN, EVENTS, Sensor
from shipwall.model.container import ContainerFacts
from shipwall.model.digest import Digest
from shipwall.model.event import AnyEvent, Lost
from shipwall.runtime.rules.calls import read_calls
from shipwall.runtime.watch import Watch

ROUNDS = 8
REDIS = Path("/usr/bin/redis-check-rdb")  # the server itself, when called by the server's name
REDIS_REQUESTS = 100_000
MOST_SHARE = 103.0
# What it is measured over, the target, the peer's figure (Falco's modern probe) and the spike's, in ns.
TARGETS = {
    "getppid": ("empty", 30, "+92", "+21..26"),
    "read": ("empty", 40, "+62", "+26..41"),
    "open+close": ("none", 450, "+1,842", "+340..460"),
    "spawn": ("none", 50_000, "+134,000", "+35,000"),
}


def measure(rounds: int = ROUNDS) -> tuple[str, list[Row]]:
    """The rows, and how they came about."""
    folder = unified_mount() / f"shipwall-bench-see-{os.getpid()}"
    folder.mkdir()
    best: dict[str, dict[str, float]] = {}
    requests: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as made:
        program = compile_loops(Path(made))
        try:
            for _ in range(rounds):
                for name, tracer in TRACERS.items():
                    with tracer(folder):
                        found = json.loads(run(folder, program))
                        if REDIS.exists():
                            requests[name] = max(requests.get(name, 0.0), redis(folder))
                    kept = best.setdefault(name, found)
                    best[name] = {what: min(kept[what], ns) for what, ns in found.items()}
            rows = [_row(what, best) for what in TARGETS]
            rows.append(_redis_row(requests))
            rows += flood(folder, program)
            rows += dropped.measure(folder)
        finally:
            folder.rmdir()
    return f"What seeing every call costs a watched container (least of {rounds} interleaved rounds)", rows


def _row(what: str, best: dict[str, dict[str, float]]) -> Row:
    over, limit, peer, spike = TARGETS[what]
    added = best["sensor"][what] - best[over][what]
    floor = best["empty"][what] - best["none"][what]
    said = f"{added:+,.0f} ns over {over} (none {best['none'][what]:,.0f}, empty {floor:+,.0f})"
    return Row(what, said, f"at most +{limit:,} ns (peer {peer}, spike {spike})", added <= limit)


def _redis_row(requests: dict[str, float]) -> Row:
    what, target = "Redis, share of the empty-program run", "at least 97 % (peer 65-75 % of none, spike 98 %)"
    if not requests:
        return Row(what, "not measured: redis-tools is not installed", target)
    share, floor = (requests[name] / requests[over] * 100 for name, over in (("sensor", "empty"), ("empty", "none")))
    said = f"{share:.1f} % (none {requests['none']:,.0f}/s, empty {floor:.1f} % of it)"
    if share > MOST_SHARE:
        return Row(what, f"{said}: more than all, so other work disturbed it: not measured", target)
    return Row(what, said, target, share >= 97)


def compile_loops(folder: Path) -> Path:
    """The program that acts."""
    program = folder / "loops"
    source = Path(__file__).parent / "loops.c"
    subprocess.run([sys.executable, "-m", "ziglang", "cc", "-O2", "-w", str(source), "-o", str(program)], check=True)
    return program


def start(folder: Path, *command: str, name: Path | None = None) -> subprocess.Popen[bytes]:
    """A process inside `folder` from its first instruction on."""
    return subprocess.Popen(
        command,
        executable=name,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: join(folder, os.getpid()),  # noqa: PLW1509  one thread here
    )


def run(folder: Path, *command: Path | str) -> bytes:
    """What the program says when told to go."""
    with start(folder, *map(str, command)) as child:
        output, _ = child.communicate(b"go\n", timeout=300)
    return output


def redis(folder: Path) -> float:
    """Requests a second of a Redis server in `folder` on a unix socket of its own, asked by its own benchmark from outside."""
    with tempfile.TemporaryDirectory() as place:
        socket = f"{place}/s"
        options = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", place]
        with start(folder, "redis-server", *options, name=REDIS) as server:
            try:
                deadline = time.monotonic() + 10
                while not Path(socket).exists():
                    if time.monotonic() > deadline:
                        sys.exit("bench: Redis did not start")
                asking = ["redis-benchmark", "-s", socket, "-t", "get", "-n", str(REDIS_REQUESTS), "-c", "20", "--csv"]
                said = subprocess.run(asking, check=True, capture_output=True, text=True, timeout=300).stdout
            finally:
                server.terminate()
    return float(said.splitlines()[-1].split(",")[1].strip('"'))


def flood(folder: Path, program: Path) -> list[Row]:
    """How many calls a second are counted, and how many events a second are decoded and judged by the shipped rules, none lost."""
    with Sensor(ring_bytes=64 * 1024 * 1024) as sensor:
        rules = load_rules()
        sensor.set_calls(read_calls(rules))
        cgroup_id = sensor.watch_parent(folder, EVENTS | CHILDREN)
        if not sensor.self_check(lambda _event: None):
            sys.exit("bench: the sensor did not see its own act: nothing was measured")
        children = [start(folder, str(program), "g") for _ in range(os.cpu_count() or 1)]
        for child in children:
            assert child.stdin is not None
            child.stdin.write(b"go\n")
            child.stdin.flush()
        made = [child.communicate(timeout=60)[0].split() for child in children]
        counted = sensor.calls()[cgroup_id]["getppid"].calls
        if counted != sum(int(calls) for calls, _ in made):
            sys.exit(f"bench: {counted} calls were counted, not {made}: nothing was measured")
        rate = sum(int(calls) / int(ns) * 1e9 for calls, ns in made)
        seen = judge(sensor, rules_watch=Watch(rules, "bench", "bench"), act=lambda: start(folder, str(program), "m"))
    return [
        Row("counted, all CPUs", f"{rate:,.0f} calls/s, exact", "at least 2,000,000/s (spike 3,000,000)", rate >= 2_000_000),
        seen,
    ]


def judge(sensor: Sensor, *, rules_watch: Watch, act: Callable[[], subprocess.Popen[bytes]]) -> Row:
    """A second of a refused mkdir as fast as it goes, read and judged."""
    lost = [0]
    handled = [0]
    nobody = _Nobody()

    def take(event: AnyEvent) -> None:
        if isinstance(event, Lost):
            lost[0] += event.count
        else:
            handled[0] += 1
            rules_watch.handle(event, nobody, event.time_ns)

    with act() as child:
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.flush()
        began = time.monotonic()
        while child.poll() is None:
            sensor.poll(10, take)
        while sensor.poll(0, take):
            pass
        spent = time.monotonic() - began
    for _ in range(30):
        sensor.poll(50, take)
    rate = handled[0] / spent
    said = f"{rate:,.0f}/s ({handled[0]:,} judged, {lost[0]:,} lost, told)"
    return Row("delivered and judged, one reader", said, "at least 250,000/s, none lost", rate >= 250_000 and not lost[0])


class _Nobody:
    """Knows no container."""

    def container(self, container_id: str) -> ContainerFacts | None:
        return None

    def package_of(self, image_digest: Digest | None, path: str) -> str:
        return ""


TRACERS: dict[str, Callable[[Path], AbstractContextManager[None]]] = {
    "none": cost.nothing,
    "empty": cost.empty,
    "sensor": cost.sensor,
}
