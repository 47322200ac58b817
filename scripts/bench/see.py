"""What seeing every call costs, and how much is seen: the table of the issue's measures, in one interleaved run.

Three tracers take turns in every round: none, empty programs at the same hooks (the floor), the sensor with the shipped rules' calls and
prefixes, read by another process as the agent reads. The sensor proves itself in each round: its own act comes back before, and every
program the measured child starts is counted after. Costs are the least of all rounds, because other work only adds; Redis by the best.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from scripts.bench import cost, dropped, latency
from scripts.bench.node import stable_rules, watching
from scripts.bench.place import places
from scripts.bench.table import Row, spread

from shipwall.agent.asking import ask_kernel
from shipwall.agent.core import Act, Core
from shipwall.kernel.cgroups import join, unified_mount
from shipwall.kernel.priority import Priority
from shipwall.kernel.sensor import CHILDREN, EVENTS, Sensor
from shipwall.model.event import AnyEvent, Lost
from shipwall.runtime.watch import Watch

ROUNDS = 8
REDIS = Path("/usr/bin/redis-check-rdb")  # the server itself, when called by the server's name
REDIS_REQUESTS = 100_000
HOGS, CALLS = 8, 200
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
            with ThreadPoolExecutor(1) as pool:  # a thread of its own, as the agent's
                rows += pool.submit(delays).result()
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
    """How many calls a second are counted, and how many events a second are read and judged as the agent does, none lost."""
    node = Path(program.parent / "useradd")
    shutil.copy(program, node)  # a program that may ask for the passwords
    with Sensor(ring_bytes=64 * 1024 * 1024) as sensor:
        rules, which = stable_rules()
        ask_kernel(sensor, rules)
        cgroup_id = sensor.watch_parent(folder, EVENTS | CHILDREN)
        if not sensor.self_check(lambda _event: None):
            sys.exit("bench: the sensor did not see its own act: nothing was measured")
        made = [child.communicate(timeout=60)[0].split() for child in flooders(folder, program, "g")]
        counted = sensor.calls()[cgroup_id]["getppid"].calls
        if counted != sum(int(calls) for calls, _, _ in made):
            sys.exit(f"bench: {counted} calls were counted, not {made}: nothing was measured")
        rate, most = (sum(int(one[0]) / float(one[by]) * 1e9 for one in made) for by in (2, 1))
        core = Core("bench", Watch(rules, "bench"), lambda _digest: None)
        core.cgroup_known(cgroup_id, "ab" * 32)
        rows = [
            judge(sensor, core, flooders(folder, node, how), f"delivered and judged, {what} ({which})")
            for how, what in (("j", "the same refused open"), ("d", "refused opens that all differ"))
        ]
    said = f"{rate:,.0f} calls/s, exact ({most:,.0f} by the processor time they had)"
    return [Row("counted, all CPUs", said, "at least 2,000,000/s (spike 3,000,000)", most >= 2_000_000), *rows]


def delays() -> list[Row]:
    """From the call, by the kernel's clock, to the alert; on a quiet host and beside busy processes that would take all processors."""
    Priority(lambda line: sys.exit(f"bench: {line}")).hurry()
    rules, which = stable_rules()
    rows = []
    with places() as made, watching(rules) as node:
        node.sensor.watch_parent(made.parent, EVENTS | CHILDREN)
        for hogs, beside in ((0, "idle"), (HOGS, f"{HOGS} hogs")):
            taken = []
            with made.place() as place, latency.offender(place, hogs) as child:
                for _ in range(CALLS):
                    latency.settle(node)
                    latency.say(child, "go")
                    alert, raised_ns = node.until_alert()
                    latency.check(alert, latency.ALERTING, place)
                    latency.hear(child)
                    taken.append(raised_ns - alert.time_ns)
            rows.append(spread(f"call to alert, {beside} ({which})", taken, (0.2, 0.6)))
    return rows


def flooders(folder: Path, program: Path, how: str) -> list[subprocess.Popen[bytes]]:
    """One for each CPU, told to go."""
    children = [start(folder, str(program), how) for _ in range(os.cpu_count() or 1)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.flush()
    return children


def judge(sensor: Sensor, core: Core, children: list[subprocess.Popen[bytes]], what: str) -> Row:
    """A second of the flood, read and judged while it lasts, and what it left afterwards."""
    lost = [0]
    alerts = [0]

    def take(event: AnyEvent) -> None:
        if isinstance(event, Lost):
            lost[0] += event.count
        alerts[0] += sum(isinstance(effect, Act) for effect in core.handle_event(event, event.time_ns))

    handled = 0
    began, used = time.monotonic(), time.thread_time()
    while any(child.poll() is None for child in children):
        handled += sensor.poll(10, take, core.skim)
    while more := sensor.poll(0, take, core.skim):
        handled += more
    spent, used = time.monotonic() - began, time.thread_time() - used
    made = sum(int(child.communicate()[0].split()[0]) for child in children)
    time.sleep(1.1)
    sensor.poll(0, take)  # losses are told once a second
    if handled + lost[0] < made or alerts[0]:
        sys.exit(f"bench: {made} events were made, {handled} read, {lost[0]} lost, {alerts[0]} alerted: nothing was measured")
    said = f"{handled / used:,.0f}/s of the reader's processor time ({handled / spent:,.0f}/s came, {lost[0]:,} of {made:,} lost, told)"
    return Row(what, said, "at least 250,000/s, none lost", handled / used >= 250_000 and not lost[0])


TRACERS: dict[str, Callable[[Path], AbstractContextManager[None]]] = {
    "none": cost.nothing,
    "empty": cost.empty,
    "sensor": cost.sensor,
}
