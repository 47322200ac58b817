"""The same freeze on a real container of a real engine, until the engine itself says that it is paused."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.bench.latency import TimedFreezer, make_responder
from scripts.bench.node import Node, freezing, watching
from scripts.bench.table import Row, spread

from shipwall.adapters.engine import Engine
from shipwall.adapters.instance import Instance
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.supervise import wait_until
from shipwall.adapters.tools import unpack_package
from shipwall.agent.facts import facts_of
from shipwall.journeys.respond import Responder
from shipwall.kernel.sensor import CHILDREN, EVENTS
from shipwall.model.alert import Alert
from shipwall.response.plan import Declined, plan_response

COUNT = 20
IMAGE = "shipwall-bench/busybox"
RULE = "Sensitive file read"
POLICY = freezing(RULE)
MAIN = "mkfifo /run/in; while :; do read -r line < /run/in && cat /etc/shadow > /dev/null; done"


def measure() -> tuple[str, list[Row]]:
    """The rows, and how they came about."""
    frozen, agreed = [], []
    with private_engine() as private, private.engine() as engine, watching() as node, tempfile.TemporaryDirectory() as folder:
        node.sensor.watch_containers([private.running.cgroup], EVENTS | CHILDREN, 0)
        container = start_container(engine, MAIN)
        try:
            freezer = TimedFreezer()
            responder = make_responder(engine, Path(folder), freezer)
            node.core.handle_container(
                facts_of(engine.inspect_container(container), image_digest=None, promotion="unknown"), time.time_ns()
            )
            fifo = Path(f"/proc/{freezer.pids(freezer.find(container))[0]}/root/run/in")
            if not wait_until(fifo.exists, 10):
                sys.exit("bench: the container did not start")
            for _ in range(COUNT):
                kernel_ns, engine_ns = freeze_once(node, responder, engine, container, fifo)
                frozen.append(kernel_ns)
                agreed.append(engine_ns)
        finally:
            engine.remove(container, force=True)
    rows = [spread("call's end to frozen", frozen), spread("call's end to frozen and paused for the engine", agreed)]
    return "Latency, a container of a private engine (times from the end of the offending call, as the kernel stamped it)", rows


def freeze_once(node: Node, responder: Responder, engine: Engine, container: str, fifo: Path) -> tuple[int, int]:
    """Nanoseconds from the offending call until frozen, and until the engine agrees; the container runs on afterwards."""
    done: list[tuple[int, int]] = []

    def respond(alert: Alert) -> None:
        node.on_alert = lambda _alert: None
        plan = plan_response(alert, POLICY, node.core.container(container), time.time_ns(), responder.history())
        if isinstance(plan, Declined):
            sys.exit(f"bench: no freeze: {plan.reason.message}")
        if not responder.freeze_now(plan, alert):
            sys.exit("bench: the container was not frozen")
        kernel_ns = time.time_ns() - alert.time_ns
        outcome = responder.carry_out(plan, alert)
        if not outcome.done:
            sys.exit(f"bench: the engine was not told: {outcome.steps}")
        done.append((kernel_ns, time.time_ns() - alert.time_ns))

    node.on_alert = respond
    time.sleep(0.02)
    node.sensor.poll(0, node.take)
    fifo.write_text("go\n")
    node.until(lambda: bool(done), "the alert of the container")
    if engine.inspect_container(container)["State"]["Status"] != "paused":
        sys.exit("bench: the engine does not know that the container is frozen")
    responder.thaw(container, "bench", "the next round")
    return done[0]


@contextmanager
def private_engine() -> Iterator[PrivateEngine]:
    """A private engine with a busybox image, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="shipwall-bench-", dir="/tmp") as folder:  # short: unix sockets lie below
        private = PrivateEngine(Instance(Path(folder)), dies_with_us=True)
        try:
            private.start()
            with private.engine() as engine:
                engine.import_rootfs([busybox()], IMAGE, "1", ["ENV PATH=/bin"])
            yield private
        finally:
            private.stop()
            private.remove_data()


def start_container(engine: Engine, script: str) -> str:
    """Id of a running container of our image."""
    container = engine.create(
        f"bench-{time.time_ns()}", {"Image": f"{IMAGE}:1", "Cmd": ["sh", "-c", script], "HostConfig": {"Tmpfs": {"/run": ""}}}
    )
    engine.start(container)
    return container


def busybox() -> bytes:
    """The tar of a root file system with Debian's static busybox."""
    program = unpack_package("busybox-static") / "bin/busybox"
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("bin", "etc", "dev", "proc", "sys", "run"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, data, mode in (("bin/busybox", program.read_bytes(), 0o755), ("etc/shadow", b"root:*:1::::::\n", 0o600)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
        for applet in set(applets) - {"busybox"}:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return buffer.getvalue()
