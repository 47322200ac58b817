"""Which cgroups are watched, what a full ring costs, and that nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.kernel.conftest import Box

from shipwall.abi.btf import parse_object_btf
from shipwall.abi.layouts import find_differences
from shipwall.abi.schema import CONSTANTS, PROGRAMS, WATCH
from shipwall.kernel import features
from shipwall.kernel.bpf import BpfObject, program_ids
from shipwall.kernel.cgroups import find_path, join, read_id, read_pids, unified_mount
from shipwall.kernel.priority import Priority
from shipwall.kernel.pulse import Pulse
from shipwall.kernel.sensor import CHILDREN, DEFAULT_CALLS, EVENTS, Sensor
from shipwall.model.errors import InputError, KernelError
from shipwall.model.event import AnyEvent, Cgroup, Exec, Exit, Fork, Lost, Open

pytestmark = [pytest.mark.root, pytest.mark.bpf]


def _prog_ids_of(fds: list[int]) -> set[int]:
    lines = [line for fd in fds for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()]
    return {int(line.split()[1]) for line in lines if line.startswith("prog_id:")}


def test_every_object_loads_and_leaves_nothing(objects: Path) -> None:
    for path in sorted(objects.glob("*.bpf.o")):
        if path.name == "names.bpf.o" and not features.probe_features(("lsm",))["lsm"]:  # an optional group
            with pytest.raises(KernelError, match="not permitted"):
                BpfObject(path)
            continue
        with BpfObject(path) as loaded:
            ids = _prog_ids_of(list(loaded.programs().values()))
            assert ids
            assert ids <= set(program_ids())
        _wait(lambda ids=ids: not ids & set(program_ids()))


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30  # programs are freed after a grace period
    while not done():
        assert time.monotonic() < deadline


def test_layouts_agree_with_the_objects_types(objects: Path) -> None:
    btf = parse_object_btf((objects / "sensor.bpf.o").read_bytes())
    assert find_differences(btf) == []
    structs = btf.structs | {"shipwall_open": btf.structs["shipwall_exec"]}
    wrong = btf._replace(structs=structs, enumerators=btf.enumerators | {"SHIPWALL_KIND_OPEN": 99})
    differences = find_differences(wrong)
    assert any(line.startswith("struct shipwall_open has") for line in differences)
    assert "SHIPWALL_KIND_OPEN is 99, not 4" in differences


def test_a_sensor_of_other_layouts_does_not_start(objects: Path, tmp_path: Path) -> None:
    other = tmp_path / "sensor.bpf.o"
    other.write_bytes((objects / "sensor.bpf.o").read_bytes().replace(b"ns_pid\0", b"ns_bad\0"))
    with pytest.raises(KernelError, match="another Shipwall"):
        Sensor(object_path=other).start()


def test_self_check_sees_its_own_act_and_keeps_it_to_itself(sensor: Sensor) -> None:
    others: list[AnyEvent] = []
    assert sensor.self_check(others.append)
    assert [event for event in others if "shipwall-check" in str(event)] == []
    sensor.set_calls([])
    try:
        assert not sensor.self_check(others.append, timeout_ms=300)
    finally:
        sensor.set_calls(DEFAULT_CALLS)


def test_the_pulse_beats_while_the_sensor_sees_and_only_then(sensor: Sensor) -> None:
    others: list[AnyEvent] = []
    with Pulse(sensor) as pulse:
        folder = pulse._folder
        assert not sensor.pulse_seen_ns
        pulse.beat()
        _wait(lambda: sensor.poll(50, others.append) >= 0 and bool(sensor.pulse_seen_ns))
        first = sensor.pulse_seen_ns
        assert pulse.silence_s() < 10
        sensor.set_calls([])  # blind to every act
        try:
            began = time.monotonic()
            while time.monotonic() - began < 0.5:
                pulse.beat()
                sensor.poll(50, others.append)
            assert pulse.silence_s() > 0.3
        finally:
            sensor.set_calls(DEFAULT_CALLS)
        pulse.beat()
        _wait(lambda: sensor.poll(50, others.append) >= 0 and sensor.pulse_seen_ns > first)
        cgroup_id = read_id(folder)
    assert not folder.exists()
    assert [event for event in others if event.cgroup_id == cgroup_id and not isinstance(event, Lost)] == []


def test_what_a_killed_pulse_left_is_removed(sensor: Sensor) -> None:
    left = unified_mount() / "shipwall-pulse-4194999-1"  # above the greatest pid
    left.mkdir()
    with Pulse(sensor):
        assert not left.exists()


def test_a_container_is_watched_from_its_first_breath(box: Box) -> None:
    """Nobody in user space acts between the making of the cgroup and its first event; nested ones inherit."""
    inner = box.folder / "container" / "nested"
    box.sensor.set_flags(box.id, CHILDREN)
    for folder in (inner.parent, inner):
        folder.mkdir()
    inner_id, own_id = read_id(inner), read_id(inner.parent)
    box.events.clear()
    box.sensor.set_flags(box.id, CHILDREN | EVENTS)
    (box.folder / "late").mkdir()
    late_id = read_id(box.folder / "late")
    events: list[AnyEvent] = []
    with subprocess.Popen(["/bin/sh", "-c", "read line; exec true"], stdin=subprocess.PIPE) as child:
        join(box.folder / "late", child.pid)
        child.communicate(b"go\n")
    (box.folder / "late").rmdir()
    box.until(lambda: bool(box.sensor.poll(0, events.append)) or any(isinstance(event, Exit) for event in events))
    made = [event for event in box.events if isinstance(event, Cgroup)]
    events += box.events
    assert {event.made_id for event in made if event.act == "made"} | {
        event.made_id for event in events if isinstance(event, Cgroup)
    } >= {own_id, inner_id, late_id}
    assert any(isinstance(event, Exec) and event.cgroup_id == late_id for event in events)


def test_cgroup_events_carry_path_and_id(sensor: Sensor, folder: Path) -> None:
    sensor.watch_parent(folder)
    events: list[AnyEvent] = []
    inner = folder / "in"
    inner.mkdir()
    inner_id = read_id(inner)
    assert find_path(inner_id) == inner
    assert read_pids(inner) == []
    inner.rmdir()
    assert find_path(inner_id) is None
    deadline = time.monotonic() + 30
    while len(events) < 2 and time.monotonic() < deadline:
        sensor.poll(50, lambda event: events.append(event) if isinstance(event, Cgroup) and event.made_id == inner_id else None)
    assert [(event.act, event.path) for event in events] == [
        ("made", f"/{folder.name}/in"),
        ("removed", f"/{folder.name}/in"),
    ]
    sensor.unwatch(read_id(folder))


def test_an_unwatched_cgroup_produces_nothing(sensor: Sensor, folder: Path) -> None:
    box = Box(sensor, folder)
    box.run("os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)", poll=False)
    for _ in range(3):
        sensor.poll(20, box._take)
    assert [event for event in box.events if event.cgroup_id == box.id] == []


def test_colliding_cgroup_ids_are_told_apart(sensor: Sensor, folder: Path) -> None:
    """Two ids that want the same slot, and a third that is not watched."""
    box = Box(sensor, folder)
    slots = CONSTANTS["WATCH_SLOTS"]
    other = box.id + slots * 3
    sensor.set_flags(other, EVENTS)  # takes the slot
    sensor.set_flags(box.id, EVENTS)
    assert box.id in sensor.counters().issued
    box.run("os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)")
    assert len(box.seen(Exec)) == 1
    sensor.unwatch(other)
    sensor.unwatch(box.id)
    deadline = time.monotonic() + 30
    while {other, box.id} & set(sensor.counters().issued):
        assert time.monotonic() < deadline
        sensor.poll(10, lambda _: None)


def test_losses_are_counted_to_the_last_one(objects: Path, folder: Path) -> None:
    """The consumer stands still: every call is delivered or counted as lost, by class and cgroup; a quiet neighbour loses none."""
    calls = 4000
    flood, quiet = folder / "flood", folder / "quiet"
    with Sensor(ring_bytes=64 * 1024) as sensor:
        sensor.watch_parent(folder)
        flood.mkdir()
        quiet.mkdir()
        box, other = Box(sensor, flood), Box(sensor, quiet)
        code = "os.setresuid(65534, 65534, 65534)\nfor _ in range({}): call(2, b'/etc/shadow', 0)\n"
        box.run(code.format(calls), poll=False)
        other.run(code.format(20), poll=False)
        events: list[AnyEvent] = []
        before = sensor.counters()
        while sensor.poll(0, events.append):
            pass
        _wait(lambda: sensor.poll(0, events.append) == 0 and any(isinstance(event, Lost) for event in events))
        after = sensor.counters()
        opens = [event for event in events if isinstance(event, Open)]
        delivered = sum(event.cgroup_id == box.id for event in opens)
        over = after.over_by_cgroup[box.id]["open"]
        assert over > 0
        assert delivered + over == calls
        assert after.lost == {}  # half the ring is the most that one may hold
        told = [event for event in events if isinstance(event, Lost) and event.of == "open"]
        assert {event.cause for event in told} == {"budget"}
        assert sum(event.count for event in told) == over
        assert sum(event.cgroup_id == other.id for event in opens) == 20
        assert other.id not in after.over_by_cgroup
        assert before.issued[box.id] == after.delivered_by_cgroup[box.id] + sum(after.over_by_cgroup[box.id].values())
        assert after.delivered == len([event for event in events if not isinstance(event, Lost)])
        assert after.undecodable == 0
        # once read, its credit is whole again
        box.run("call(2, b'/etc/hostname', 1)")
        assert sensor.counters().over_by_cgroup[box.id]["open"] == over


def test_many_flooders_leave_room_for_a_quiet_one(objects: Path, folder: Path) -> None:
    """Four containers that each would fill the ring, nobody reading: what the quiet one says afterwards all arrives, and all is counted."""
    calls, flooders = 2000, 4
    with Sensor(ring_bytes=64 * 1024, credit_bytes=64 * 1024) as sensor:
        sensor.watch_parent(folder)
        boxes = []
        for name in ("a", "b", "c", "d", "quiet"):
            (folder / name).mkdir()
            boxes.append(Box(sensor, folder / name))
        for number, box in enumerate(boxes):
            many = 10 if number == flooders else calls
            box.run(f"os.setresuid(65534, 65534, 65534)\nfor _ in range({many}): call(2, b'/etc/shadow', 0)\n", poll=False)
        events: list[AnyEvent] = []
        while sensor.poll(0, events.append):
            pass
        after = sensor.counters()
        for number, box in enumerate(boxes):
            delivered = sum(isinstance(event, Open) and event.cgroup_id == box.id for event in events)
            untold = sum(by.get(box.id, {}).get("open", 0) for by in (after.lost_by_cgroup, after.over_by_cgroup))
            assert delivered + untold == (10 if number == flooders else calls)
            assert bool(untold) == (number != flooders)
            assert sum(by.get(box.id, {}).get("exit", 0) for by in (after.lost_by_cgroup, after.over_by_cgroup)) <= (
                number != flooders
            )


def test_an_event_that_was_refused_by_the_handler_does_not_stop_the_next(box: Box) -> None:
    box.run("os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)", poll=False)

    def refuse(event: AnyEvent) -> None:
        raise RuntimeError("handler")

    with pytest.raises(RuntimeError, match="handler"):
        box.sensor.poll(1000, refuse)
    box.until(lambda: bool(box.seen(Exec)) and len(box.seen(Exit)) == 2)


def test_cost_is_measured_for_a_moment_and_nothing_stays_on(box: Box) -> None:
    """Once with calls of our own in the window, which the kernel must have counted, and with the descriptor gone afterwards."""
    setting = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = setting.read_text()
    calls = 20_000

    def act(_seconds: float) -> None:
        assert [link for link in _own_links() if "bpf-stats" in link]
        for _ in range(calls):
            os.getppid()

    cost = box.sensor.cost(act)
    if cost is None:
        pytest.skip("this kernel gives no run-time statistics")
    assert cost.calls >= calls
    assert 0 < cost.per_call_ns < 100_000
    assert cost.run_ns < cost.window_ns * (os.cpu_count() or 1)
    assert [link for link in _own_links() if "bpf-stats" in link] == []
    assert setting.read_text() == before
    assert set(PROGRAMS) - {"dispatch"} <= {name.removeprefix("on_").replace("_made", "") for name in box.sensor._run_stats()}
    assert box.sensor.counters().helper_errors == {}


def _own_links() -> list[str]:
    """What this process's descriptors are."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists them
            found.append(str(fd.readlink()))
    return found


def test_wrong_use_is_refused(objects: Path, tmp_path: Path, sensor: Sensor) -> None:
    with pytest.raises(InputError, match="power of two"):
        Sensor(ring_bytes=5000)
    with pytest.raises(KernelError, match="not running"):
        Sensor().poll(0, lambda _: None)
    with pytest.raises(InputError, match="cgroup id"):
        sensor.set_flags(0, EVENTS)
    with pytest.raises(InputError, match="the sensor can read"):
        sensor.set_calls(["no_such_call"])
    with pytest.raises(KernelError, match="make bpf"):
        Sensor(object_path=tmp_path / "none.o").start()
    (tmp_path / "bad.o").write_bytes(b"\x7fELF nothing")
    with pytest.raises(InputError, match="BPF object"):
        Sensor(object_path=tmp_path / "bad.o").start()


def test_the_verifiers_words_reach_the_error(tmp_path: Path, objects: Path) -> None:
    source = tmp_path / "bad.bpf.c"
    source.write_text(
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
        'char programs_license[] SEC("license") = "GPL";\n'
        'SEC("tp_btf/sys_exit") int wild(unsigned long long *c) { return *(int *)c[1]; }\n'
    )
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding-none", "-O2", "-g", "-idirafter"]
    command += ["/usr/include/x86_64-linux-gnu", "-idirafter", "/usr/include", "-c", str(source), "-o", str(tmp_path / "bad.o")]
    subprocess.run(command, check=True, timeout=120)
    with pytest.raises(KernelError, match=r"bad\.o: load") as caught:
        BpfObject(tmp_path / "bad.o")
    assert caught.value.errno
    assert "wild" in caught.value.log
    assert "invalid mem access" in caught.value.log


def test_features_are_found_by_loading_and_nothing_stays(objects: Path) -> None:
    host = features.probe_host()
    found = {feature.name: feature for feature in host.features}
    assert found["sensor"].present, found["sensor"].detail
    assert found["tp_btf"].present
    assert found["cgroup_v2"].present == unified_mount().exists()
    assert all(feature.present is not None for feature in host.features)
    assert all(feature.cost for feature in host.features)


def test_only_what_hurries_wakes_the_sleeping_reader_and_much_of_the_rest(objects: Path, folder: Path) -> None:
    """The reader's mark is set by hand, so that nothing depends on when it is scheduled."""
    with Sensor(ring_bytes=256 * 1024) as sensor:
        sensor.set_unhurried(["fork", "exit"])
        sensor.watch_parent(folder)
        (folder / "a").mkdir()
        box = Box(sensor, folder / "a")
        while sensor.poll(0, lambda _event: None):
            pass

        def marks(code: str) -> int:
            sensor._asleep[0] = 1
            box.run(code, poll=False)
            return sensor._asleep[0]

        one = "if not (pid := os.fork()): os._exit(0)\nos.waitpid(pid, 0)\n"
        assert marks(one) == 1
        assert marks(f"for _ in range(100):\n{''.join(f'  {line}' + chr(10) for line in one.splitlines())}") == 0
        while sensor.poll(0, box._take):
            pass
        assert (
            marks("call(56, 0x04000000 | 17, 0, 0, 0, 0) or os._exit(0)\nos.wait()\n") == 0
        )  # clone with a namespace of its own
        assert marks("os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)") == 0
        while sensor.poll(0, box._take):
            pass
        counters = sensor.counters()
        assert counters.lost == counters.over == counters.helper_errors == {}
        assert len(box.seen(Fork)) == len(box.seen(Exit)) - 4 == 103
        assert counters.issued[box.id] == counters.delivered_by_cgroup[box.id]
        at = sensor._loaded.map("watches").lookup((box.id % CONSTANTS["WATCH_SLOTS"]).to_bytes(4, "little"), WATCH.size_bytes)
        assert at is not None
        produced, consumed = (
            WATCH.layout.unpack(at)[list(WATCH.offsets).index(f"{name}_bytes")] for name in ("produced", "consumed")
        )
        assert produced == consumed > 0  # the empty records that wake are nobody's


def test_what_does_not_hurry_comes_when_the_time_of_a_poll_is_over(box: Box) -> None:
    box.sensor.set_unhurried(["fork", "exit"])
    box.run("if not (pid := os.fork()): os._exit(0)\nos.waitpid(pid, 0)\n")
    assert [type(event) for event in box.events if isinstance(event, Fork | Exit)] == [Fork, Exit, Exit]


def test_the_sensors_thread_may_go_first_and_back() -> None:
    said: list[str] = []

    def policies() -> list[int]:
        priority = Priority(said.append)
        found = []
        for act in (priority.hurry, priority.hurry, priority.relax):
            act()
            found.append(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)
        return found

    before = os.sched_getscheduler(0)
    with ThreadPoolExecutor(1) as pool:  # a thread of its own: the test's keeps its priority
        found = pool.submit(policies).result()
    assert found == ([os.SCHED_RR, os.SCHED_RR, os.SCHED_OTHER] if not said else [os.SCHED_OTHER] * 3)
    assert len(said) <= 1
    assert os.sched_getscheduler(0) == before


def test_a_thread_that_uses_much_of_its_processor_does_not_go_first() -> None:
    said: list[str] = []

    def policies() -> list[int]:
        priority = Priority(said.append)
        priority.hurry()
        found = []
        for use in (lambda: None, lambda: time.sleep(0.01)):  # busy until it is relaxed, then idle until it may go first again
            deadline = time.monotonic() + 30
            before = os.sched_getscheduler(0)
            while os.sched_getscheduler(0) == before and time.monotonic() < deadline and not said:
                use()
                priority.keep()
            found.append(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)
        priority.relax()
        return found

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(policies).result()
    assert found == ([os.SCHED_OTHER, os.SCHED_RR] if not said else [os.SCHED_OTHER] * 2)
