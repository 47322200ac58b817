"""Containers of an engine whose parent cgroup nobody told: known by name when their cgroup is made, before anybody is in it."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kernel.conftest import empty

from shipwall.kernel.cgroups import join, list_cgroups, read_id, unified_mount
from shipwall.kernel.sensor import CHILDREN, EVENTS, KILL_DRIFT, Sensor
from shipwall.model.event import AnyEvent, Cgroup, Exec
from shipwall.runtime.decode import container_of_cgroup

pytestmark = [pytest.mark.root, pytest.mark.bpf]


@pytest.fixture
def parent() -> Iterator[str]:
    """Path below the v2 mount of a parent that does not exist yet."""
    name = f"shipwall-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        yield f"/{name}"
    finally:
        if (unified_mount() / name).exists():
            empty(unified_mount() / name)


def act_in(folder: Path) -> None:
    """One exec of a process that is in `folder` when it does it."""
    script = "echo ready; read line; exec true"
    with subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"  # its own exec is told only after Popen has returned
        join(folder, child.pid)
        child.communicate(b"go\n")


def gather(sensor: Sensor) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    while sensor.poll(50, events.append):
        pass
    return events


@pytest.mark.parametrize("name", ["{}", "docker-{}.scope", "cri-containerd-{}.scope"])
def test_the_first_exec_is_seen_though_nobody_answers(objects: Path, parent: str, name: str) -> None:
    """User space takes nothing from the ring until all is over, and the parent is made after the sensor was told of it."""
    own_id, other_id = secrets.token_hex(32), secrets.token_hex(32)
    top = unified_mount() / parent.strip("/")
    own, beside, other = top / name.format(own_id), top / "builder", top / "apps.slice" / name.format(other_id)
    with Sensor() as sensor:
        assert own_id not in sensor.watch_containers([parent], EVENTS | CHILDREN | KILL_DRIFT, EVENTS | CHILDREN)
        for folder in (top, own, beside, other.parent, other):
            folder.mkdir()
        for folder in (own, beside, other):
            act_in(folder)
        ids = {read_id(folder) for folder in (own, other)}
        events = [event for event in gather(sensor) if event.cgroup_id in ids or isinstance(event, Cgroup)]
        made = [event for event in events if isinstance(event, Cgroup) and event.path.startswith(parent)]
        assert [container_of_cgroup(event.path) for event in made] == [own_id, other_id]
        for event, folder in zip(made, (own, other), strict=True):
            assert event.made_id == read_id(folder)
            (run,) = [one for one in events if isinstance(one, Exec) and one.cgroup_id == event.made_id]
            assert run.path.endswith("/true")
            assert event.seq < run.seq
        assert sensor.flags(read_id(own)) == EVENTS | CHILDREN | KILL_DRIFT
        assert sensor.flags(read_id(other)) == EVENTS | CHILDREN  # not of our engine: seen, never killed
        assert sensor.flags(read_id(beside)) == 0
        found = sensor.watch_containers([parent], EVENTS, EVENTS | CHILDREN)  # and those that are there are found
        assert {own_id, other_id} <= set(found)
        assert sensor.flags(found[own_id]) == EVENTS
        assert sensor.counters().helper_errors == {}


def test_a_sensor_not_told_to_watches_no_container(sensor: Sensor, parent: str) -> None:
    folder = unified_mount() / parent.strip("/") / secrets.token_hex(32)
    folder.mkdir(parents=True)
    assert sensor.flags(read_id(folder)) == 0


_hex = st.text("0123456789abcdef", min_size=64, max_size=64)
_names = st.one_of(
    st.tuples(
        st.text("abcxyz-", max_size=23),
        st.sampled_from(["", "-", "--"]),
        _hex,
        st.sampled_from(["", ".scope", ".scop", ".scope."]),
    ).map("".join),
    st.tuples(st.text("0123456789abcdefg.", min_size=60, max_size=70), st.sampled_from(["", ".scope"])).map("".join),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=_names.filter(lambda name: name not in {".", ".."}))
def test_the_kernel_knows_a_container_as_the_definition_does(watching: Sensor, top: Path, name: str) -> None:
    folder = top / name
    folder.mkdir()
    try:
        assert bool(watching.flags(read_id(folder))) == bool(container_of_cgroup(name))
        assert [found.container for found in list_cgroups(folder, ())] == [container_of_cgroup(name)] * bool(
            container_of_cgroup(name)
        )
    finally:
        folder.rmdir()
        watching.poll(0, lambda _: None)


@pytest.fixture
def top(parent: str) -> Path:
    folder = unified_mount() / parent.strip("/")
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def watching(objects: Path) -> Iterator[Sensor]:
    with Sensor() as running:
        running.watch_containers([], EVENTS, EVENTS)
        yield running
