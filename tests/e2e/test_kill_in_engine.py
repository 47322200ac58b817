"""In a real container: what the image brought runs, what was dropped is killed before its first instruction, the engine is left alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shipwall.adapters.engine import Engine
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.kernel.cgroups import unified_mount
from shipwall.kernel.sensor import CHILDREN, EVENTS, KILL_DRIFT, Sensor
from shipwall.model.event import AnyEvent, Cgroup, Exec, Exit
from shipwall.runtime.decode import container_of_cgroup

pytestmark = [pytest.mark.engine, pytest.mark.bpf]

# Each line drops the same program somewhere and runs it; what it says would be the name of the place.
DROPPED = """
cp /bin/busybox /tmp/echo; /tmp/echo tmpfs; echo $?
cp /bin/busybox /root/echo; /root/echo upper; echo $?
/bin/echo image; echo $?
"""


def test_dropped_programs_die_and_the_image_lives(
    private_engine: PrivateEngine, engine: Engine, busybox_image: str, fresh_name: Callable[[str], str]
) -> None:
    running = private_engine.running
    folder = unified_mount() / running.cgroup.strip("/")
    folder.mkdir(exist_ok=True)
    events: list[AnyEvent] = []
    with Sensor() as sensor:
        sensor.leave_mount_namespace(Path(f"/proc/{running.init.pid}/ns/mnt").stat().st_ino)
        sensor.watch_parent(folder, EVENTS | CHILDREN | KILL_DRIFT)
        body = {"Image": busybox_image, "Cmd": ["sh", "-c", "sleep 60"], "HostConfig": {"Tmpfs": {"/tmp": "exec"}, "Init": False}}
        container = engine.create(fresh_name("kill"), body)
        try:
            engine.start(container)
            code, output = engine.exec_run(container, ["sh", "-c", DROPPED])
        finally:
            engine.remove(container, force=True)
        deadline = time.monotonic() + 30
        while not any(isinstance(event, Cgroup) and event.act == "removed" for event in events) and time.monotonic() < deadline:
            sensor.poll(50, events.append)
        counters = sensor.counters()
    assert code == 0
    words = output.decode().split()
    assert [word for word in words if word != "Killed"] == ["137", "137", "image", "0"]
    (made,) = {event.made_id for event in events if isinstance(event, Cgroup) and container_of_cgroup(event.path) == container}
    execs = [event for event in events if isinstance(event, Exec) and event.cgroup_id == made]
    dropped = {(run.path, run.origin) for run in execs if run.killed}
    assert dropped == {("/tmp/echo", "tmpfs"), ("/root/echo", "upper")}
    first = next(event for event in events if event.cgroup_id == made)
    assert first.seq < execs[0].seq or first is execs[0]
    assert {run.origin for run in execs if not run.killed and run.path.startswith("/bin/")} == {"image"}
    assert any(run.ns_pid == 1 and run.argv == ("sh", "-c", "sleep 60") for run in execs)
    assert any(isinstance(event, Exit) and event.cgroup_id == made for event in events)
    assert counters.lost == {}
    assert counters.helper_errors == {}
