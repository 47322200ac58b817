"""From the offending call to the alert, to the end of the killed program, to the frozen container.

The path is the agent's: the sensor in the kernel, the shipped rules, the core, the response policy, the responder with its journal on
disk, the freezer. The containers are cgroups of our own with ordinary processes in them. A time starts with the offender's clock read
just before its call, and the sensor is asleep then, as on a quiet host.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.bench.node import Node, freezing, watching
from scripts.bench.place import Place, Places, places
from scripts.bench.table import Row, spread

from shipwall.adapters.engine import Engine
from shipwall.adapters.evidence import EvidenceStore
from shipwall.adapters.journal import Journal
from shipwall.adapters.keys import Keys
from shipwall.journeys.collect import KEY_NAME, seal_with
from shipwall.journeys.respond import Responder
from shipwall.kernel.cgroups import read_id
from shipwall.kernel.freezer import Freezer, Group
from shipwall.kernel.sensor import CHILDREN, EVENTS, KILL_DRIFT
from shipwall.kernel.signals import Signals
from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.response.plan import Declined, plan_response

COUNT = 200
SETTLE_S = 0.005
ALERTING = "Namespace made or entered"
KILLING = "Program not in the image executed"
POLICY = freezing(ALERTING)
BUSY = 4

# A new UTS namespace of its own is the offence: one call, no harm.
_OFFEND = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
os.write(1, b"ready\\n")
sys.stdin.readline() # only now inside, and so are the children
for _ in range(FILLERS):
    if not os.fork():
        libc.prctl(1, 9) # ends with its parent
        os.closerange(0, 3)
        while True: pass
os.write(1, b"inside\\n")
while sys.stdin.readline():
    os.write(1, b"%d\\n" % time.time_ns())
    libc.unshare(0x04000000)
"""

# A program that exists in memory only, run so many times from a mount namespace of its own; if it ran, it would write.
_DROP = """
import ctypes, json, os, sys, time
libc = ctypes.CDLL(None)
assert libc.unshare(0x20000) == 0
program = os.memfd_create("tool")
os.write(program, open("/bin/echo", "rb").read())
os.write(1, b"ready\\n")
sys.stdin.readline()
done = []
for _ in range(COUNT):
    back, out = os.pipe()
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(out, 1)
        try:
            os.write(tell, b"%d" % time.time_ns())
            os.execve(program, ["tool", "ran"], {})
        finally:
            os._exit(99)
    os.close(out)
    _, status = os.waitpid(pid, 0)
    done.append((pid, int(os.read(told, 32)), os.waitstatus_to_exitcode(status), os.read(back, 9).decode()))
    for fd in (back, told, tell):
        os.close(fd)
print(json.dumps(done))
"""


def measure(count: int = COUNT) -> tuple[str, list[Row]]:
    """The rows, and how they came about."""
    with places() as made, watching() as node:
        node.sensor.watch_parent(made.parent, EVENTS | CHILDREN)
        rows = [spread("call to alert", alerts(node, made, count)), spread("call to killed", kills(node, made, count))]
        rows.append(spread("call to ended by the agent, after the act", ends(node, made, count)))
        rows += freezes(node, made, count, 0)
        rows += freezes(node, made, count, BUSY)
        proof = f"sensor attached, {len(node.alerts)} alerts raised, 0 events lost"
    return f"Latency, own cgroups and the host's freezer ({proof})", rows


def alerts(node: Node, made: Places, count: int) -> list[int]:
    """Nanoseconds until the core has raised the alert."""
    taken = []
    with made.place() as place, offender(place, fillers=0) as child:
        for _ in range(count):
            settle(node)
            say(child, "go")
            alert, raised_ns = node.until_alert()
            check(alert, ALERTING, place)
            taken.append(raised_ns - int(hear(child)))
    return taken


def kills(node: Node, made: Places, count: int) -> list[int]:
    """Nanoseconds until the kernel saw the program end; none of them may have run."""
    with made.place() as place:
        node.sensor.watch_parent(read_id(place.folders[0]), EVENTS | CHILDREN | KILL_DRIFT)
        before = len(node.alerts)
        child = place.start(_DROP.replace("COUNT", str(count)))
        say(child, "go")
        node.until(lambda: child.pid in node.ended, "the end of the killed programs")
        done = json.loads(child.communicate(timeout=10)[0])
    for alert, _ in node.alerts[before:]:
        check(alert, KILLING, place)
    if len(node.alerts) - before != count or any((status, wrote) != (-9, "") for _, _, status, wrote in done):
        sys.exit("bench: a program that should have been killed was not")
    return [node.ended[pid] - began_ns for pid, began_ns, _, _ in done]


def ends(node: Node, made: Places, count: int) -> list[int]:
    """Nanoseconds until the kernel saw the process end that the agent killed for a rule with `action: kill`."""
    signals, taken = Signals(), []
    for _ in range(count):
        with made.place() as place, offender(place, fillers=0) as child:

            def act(alert: Alert) -> None:
                signals.send("kill", alert.event.pid, node.sensor.boot_ns(alert.event.time_ns))

            node.on_alert = act
            settle(node)
            say(child, "go")
            alert, _ = node.until_alert()
            node.on_alert = lambda _alert: None
            check(alert, ALERTING, place)
            node.until(lambda: child.pid in node.ended, "the end of the killed process")
            taken.append(node.ended.pop(child.pid) - int(hear(child)))
    return taken


def freezes(node: Node, made: Places, count: int, fillers: int) -> list[Row]:
    """Until the kernel confirms that all processes of the container are frozen: by alert, policy, journal and freezer."""
    taken, journalled, frozen = freeze_times(node, made, count, fillers)
    busy = f"{fillers} of {fillers + 1} processes busy" if fillers else "a quiet process"
    return [
        spread(f"call to frozen, {busy}", taken),
        spread("  of it plan written to disk, cgroup found", journalled),
        spread("  of it kernel's freezer", frozen),
    ]


def freeze_times(node: Node, made: Places, count: int, fillers: int) -> tuple[list[int], list[int], list[int]]:
    """Nanoseconds from the act to all frozen, and of it those of the journal and of the kernel's freezer."""
    taken, journalled, frozen = [], [], []
    with tempfile.TemporaryDirectory(prefix="shipwall-bench-") as folder, Engine(Path(folder) / "no-engine.sock") as engine:
        freezer = TimedFreezer()
        responder = make_responder(engine, Path(folder), freezer)
        for _ in range(count):
            with made.place() as place, offender(place, fillers) as child:
                facts = ContainerFacts(
                    id=place.id, name=place.id[:12], image_ref="", image_config="", promotion="unknown", state="running"
                )
                node.core.handle_container(facts, time.time_ns())
                freeze = Freeze(node, responder, place)
                settle(node)
                say(child, "go")
                node.until_alert()
                if not freezer.is_frozen(freeze.group):
                    sys.exit("bench: a container that should be frozen is not")
                taken.append(freeze.done_ns - int(hear(child)))
                frozen.append(freezer.last_ns)
                journalled.append(freeze.alone_ns - freezer.last_ns)
                freezer.thaw(freeze.group)
    return taken, journalled, frozen


class TimedFreezer(Freezer):
    """The freezer, and how long it took the last time."""

    last_ns = 0

    def freeze(self, group: Group) -> int:
        """As the freezer does."""
        self.last_ns = super().freeze(group)
        return self.last_ns


class Freeze:
    """Freezes `place` at the node's next alert, as the agent's sensor thread does. `done_ns` wall clock, `alone_ns` of the responder."""

    def __init__(self, node: Node, responder: Responder, place: Place) -> None:
        self.node, self.responder, self.place = node, responder, place
        self.group = responder.freezer.find(place.id)
        self.done_ns = self.alone_ns = 0
        node.on_alert = self.act

    def act(self, alert: Alert) -> None:
        """Plan and freeze."""
        check(alert, ALERTING, self.place)
        plan = plan_response(alert, POLICY, self.node.core.container(self.place.id), time.time_ns(), self.responder.history())
        if isinstance(plan, Declined):
            sys.exit(f"bench: no freeze: {plan.reason.message}")
        self.alone_ns = self.responder.freeze_now(plan, alert)
        self.done_ns = time.time_ns()
        self.node.on_alert = lambda _alert: None


@contextmanager
def offender(place: Place, fillers: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process inside `place` that offends once for each line, with so many others that are busy."""
    child = place.start(_OFFEND.replace("FILLERS", str(fillers)))
    try:
        say(child, "enter")
        if hear(child) != b"inside\n":
            sys.exit("bench: the offender did not start")
        yield child
    finally:
        child.kill()
        child.communicate()


def say(child: subprocess.Popen[bytes], line: str) -> None:
    """One line to the child."""
    assert child.stdin is not None
    child.stdin.write(line.encode() + b"\n")
    child.stdin.flush()


def hear(child: subprocess.Popen[bytes]) -> bytes:
    """One line of the child."""
    assert child.stdout is not None
    return child.stdout.readline()


def make_responder(engine: Engine, folder: Path, freezer: Freezer) -> Responder:
    """A responder as the agent has it, its journal on disk in `folder`."""
    return Responder(
        engine=engine,
        journal=Journal(folder / "journal.jsonl"),
        store=EvidenceStore(folder / "evidence"),
        sign=seal_with(Keys(folder / "keys").signer(KEY_NAME)),
        report=lambda _message: None,
        folder=folder,
        node="bench",
        freezer=freezer,
    )


def settle(node: Node) -> None:
    """Take what still waits, so that the next event finds the sensor asleep."""
    time.sleep(SETTLE_S)
    node.sensor.poll(0, node.take)


def check(alert: Alert, rule: str, place: Place) -> None:
    """End the benchmark when this is not the alert that was provoked."""
    if (alert.rule, alert.container) != (rule, place.id):
        sys.exit(f"bench: unexpected alert: {alert.rule} in {alert.container[:12] or 'no container'}: {alert.output}")
