"""`shipwall up` watches, changes nothing, survives the death of its parts, and is taken away without trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shipwall.adapters.cgroup_folders import cgroup_mounts
from shipwall.adapters.engine import Engine
from shipwall.adapters.functions import write_function
from shipwall.adapters.instance import Instance
from shipwall.adapters.link import Link
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.supervise import wait_until
from shipwall.adapters.unprivileged import SERVER_ID
from shipwall.journeys.cleanup import clean_up
from shipwall.journeys.uninstall import uninstall
from shipwall.model.errors import ShipwallError
from shipwall.model.wire import Answer, Query

pytestmark = [pytest.mark.root, pytest.mark.bpf]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    found = Instance(tmp_path / "s")
    try:
        yield found
    finally:
        uninstall(found)


def _start(instance: Instance, *more: str, engine: str = "none") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "shipwall", "up", "--state", str(instance.state), "--engine", engine, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    lines = [process.stdout.readline().decode() for _ in range(2)]
    assert "one-time login: http://127.0.0.1:" in lines[1], lines
    return process


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    process.send_signal(number)
    code = process.wait(30)
    assert process.stdout is not None
    process.stdout.close()
    return code


def _pids(instance: Instance, module: str) -> list[int]:
    """Live processes of one part of the instance, zombies left out."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            continue
        if module in words and str(instance.state) in words and state != b"Z":
            found.append(int(folder.name))
    return found


def _health(instance: Instance) -> list[dict[str, object]]:
    try:
        with Link(instance.link_socket, "cli") as link:
            answer = link.ask(Query(what="health"))
    except ShipwallError:
        return []
    return list(answer.rows) if isinstance(answer, Answer) else []


def test_up_watches_and_goes_without_trace(instance: Instance) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    process = _start(instance)
    try:
        (server,) = _pids(instance, "shipwall.server")
        assert Path(f"/proc/{server}").stat().st_uid == SERVER_ID
        assert wait_until(lambda: bool(_health(instance)), 10)
        health = _health(instance)[-1]
        assert health["functions"] == {"admission": "observe", "kill": "observe", "response": "observe", "actions": "observe"}
        assert int(str(health["rss_bytes"])) < 120 * 1024 * 1024
        assert int(str(health["cost_calls"])) > 0  # the host is never still for a fifth of a second: we ask it for one
        assert 0 < float(str(health["cost_ns"])) < 100_000
        assert 0 < float(str(health["cost_share"])) < 1
    finally:
        code = _end(process, signal.SIGINT)
    assert code == 0
    assert _pids(instance, "shipwall.server") == _pids(instance, "shipwall.agent") == []
    command = [sys.executable, "-m", "shipwall", "uninstall", "--yes", "--state", str(instance.state), "--output", "json"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["done"]
    assert not instance.state.exists()
    assert Path("/proc/self/mounts").read_text() == mounts


@pytest.mark.parametrize("part", ["shipwall.agent", "shipwall.server"])
def test_a_part_that_dies_is_started_again(instance: Instance, part: str) -> None:
    process = _start(instance)
    try:
        (before,) = _pids(instance, part)
        os.kill(before, signal.SIGKILL)
        assert wait_until(lambda: _pids(instance, part) not in ([], [before]), 20)
        last = max((int(str(row["time_ns"])) for row in _health(instance)), default=0)
        assert wait_until(lambda: any(int(str(row["time_ns"])) > last for row in _health(instance)), 20)
    finally:
        _end(process, signal.SIGINT)


def test_nothing_outlives_a_killed_supervisor(instance: Instance) -> None:
    process = _start(instance)
    _end(process, signal.SIGKILL)
    assert wait_until(lambda: not _pids(instance, "shipwall.server") + _pids(instance, "shipwall.agent"), 10)
    again = _start(instance)  # and it comes up again where it was
    _end(again, signal.SIGTERM)


def test_only_one_at_a_time(instance: Instance) -> None:
    process = _start(instance)
    try:
        command = [sys.executable, "-m", "shipwall", "up", "--state", str(instance.state), "--engine", "none"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert "is already up" in done.stderr
        assert len(_pids(instance, "shipwall.agent")) == 1
    finally:
        _end(process, signal.SIGINT)


FIRST = """
- rule: First program of a container
  desc: what a container starts with
  condition: evt.type in (execve, execveat) and proc.vpid = 1 and container.id exists
  output: "%proc.cmdline"
  priority: NOTICE
"""


def _first_programs(instance: Instance) -> dict[str, str]:
    with Link(instance.link_socket, "cli") as link:
        answer = link.ask(Query(what="alerts", where={"rule": "First program of a container"}))
    assert isinstance(answer, Answer)
    return {str(row["container"]): str(row["output"]) for row in answer.rows}


@pytest.mark.engine
def test_the_first_program_of_a_container_of_an_existing_engine_is_seen(
    instance: Instance,
    private_engine: PrivateEngine,
    engine: Engine,
    busybox_image: str,
    fresh_name: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """An engine that Shipwall did not start, a container that lives for a moment, and one that the engine puts elsewhere."""
    (tmp_path / "first.yaml").write_text(FIRST)
    process = _start(instance, "--rules", str(tmp_path / "first.yaml"), engine=str(private_engine.socket))
    elsewhere = f"/shipwall-test-{os.getpid()}"
    made = {}
    try:
        log = (instance.state / "agent.log").read_text()
        assert f"containers are made below {private_engine.running.cgroup}" in log
        for number, parent in enumerate(["", "", elsewhere]):
            body = {"Image": busybox_image, "Cmd": ["true", str(number)], "HostConfig": {"CgroupParent": parent}}
            container = engine.create(fresh_name("first"), body)
            made[container] = f"true {number}"
            engine.start(container)
        assert wait_until(lambda: made.keys() <= _first_programs(instance).keys(), 15), _first_programs(instance)
        seen = _first_programs(instance)
        assert {container: seen[container] for container in made} == made
    finally:
        _end(process, signal.SIGINT)
        for container in made:
            engine.remove(container, force=True)
        for mount in cgroup_mounts():
            with suppress(FileNotFoundError):
                (mount / elsewhere.strip("/")).rmdir()


@pytest.mark.engine
def test_kill_holds_in_containers_of_an_existing_engine(
    instance: Instance, private_engine: PrivateEngine, engine: Engine, busybox_image: str, fresh_name: Callable[[str], str]
) -> None:
    """From the first instruction on below the engine's parent; in a container put elsewhere once the engine has named it its own."""
    instance.state.mkdir(mode=0o711)
    write_function(instance, "kill", "enforce")
    drop = "cp /bin/busybox /root/echo; /root/echo ran"
    elsewhere = f"/shipwall-test-{os.getpid()}"
    process = _start(instance, engine=str(private_engine.socket))
    made = []
    try:
        made.append(engine.create(fresh_name("own"), {"Image": busybox_image, "Cmd": ["sh", "-c", f"{drop}; exit $?"]}))
        engine.start(made[0])
        assert wait_until(lambda: engine.inspect_container(made[0])["State"]["Status"] == "exited", 15)
        assert engine.inspect_container(made[0])["State"]["ExitCode"] == 128 + signal.SIGKILL
        body = {"Image": busybox_image, "Cmd": ["sleep", "60"], "HostConfig": {"CgroupParent": elsewhere}}
        made.append(engine.create(fresh_name("elsewhere"), body))
        engine.start(made[1])
        assert wait_until(lambda: engine.exec_run(made[1], ["sh", "-c", drop])[0] == 128 + signal.SIGKILL, 15)
        assert engine.exec_run(made[1], ["echo", "image"])[0] == 0
    finally:
        _end(process, signal.SIGINT)
        for container in made:
            engine.remove(container, force=True)
        for mount in cgroup_mounts():
            with suppress(FileNotFoundError):
                (mount / elsewhere.strip("/")).rmdir()


DENY = """
- rule: No miner
  desc: connections to a pool
  condition: container.id != host and evt.type = connect and fd.rport = 4444
  output: "%fd.name"
  priority: ERROR
  action: deny
  mode: enforce
- rule: No accounts
  desc: the file of accounts was opened
  condition: evt.type in (open, openat, openat2) and fd.name = /etc/passwd and fd.num >= 0
  output: "%fd.name"
  priority: ERROR
  action: deny
  mode: enforce
"""


def _stopped(instance: Instance, rule: str) -> set[str]:
    """What became of the acts that the rule's alerts are about."""
    with Link(instance.link_socket, "cli") as link:
        answer = link.ask(Query(what="alerts", where={"rule": rule}))
    assert isinstance(answer, Answer)
    return {str(row["stopped"]) for row in answer.rows}


@pytest.mark.engine
def test_deny_holds_in_containers_of_an_existing_engine_and_without_the_agent(
    instance: Instance,
    private_engine: PrivateEngine,
    engine: Engine,
    busybox_image: str,
    fresh_name: Callable[[str], str],
    tmp_path: Path,
) -> None:
    instance.state.mkdir(mode=0o711)
    write_function(instance, "actions", "enforce")
    (tmp_path / "deny.yaml").write_text(DENY)
    process = _start(instance, "--rules", str(tmp_path / "deny.yaml"), engine=str(private_engine.socket))
    container = engine.create(fresh_name("deny"), {"Image": busybox_image, "Cmd": ["sleep", "120"]})

    def refused() -> bool:
        """Both acts; the shell's own errors are its business."""
        both = "cat /etc/passwd; nc 127.0.0.1 4444 < /dev/null; true"
        said = engine.exec_run(container, ["sh", "-c", both])[1].decode()
        return said.count("Operation not permitted") == 2

    try:
        engine.start(container)
        assert wait_until(refused, 15), (instance.state / "agent.log").read_text()
        assert engine.exec_run(container, ["cat", "/etc/group"])[0] == 0
        assert wait_until(lambda: bool(_stopped(instance, "No miner")), 15)  # its event says that it failed
        assert wait_until(lambda: "refused" in _stopped(instance, "No accounts"), 15)  # no event tells of it
        _end(process, signal.SIGINT)
        assert refused()
    finally:
        if process.poll() is None:
            _end(process, signal.SIGINT)
        engine.remove(container, force=True)
        report = clean_up(instance)
    assert {"guard-network", "guard-files"} <= {done.act for done in report.done}
    assert report.left == ()
