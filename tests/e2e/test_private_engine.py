"""The private engine: forwards, walls and a clean end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shipwall.adapters.cgroup_folders import cgroup_folders
from shipwall.adapters.engine import Engine
from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Journal
from shipwall.adapters.private_engine import MARK, PrivateEngine
from shipwall.adapters.supervise import find_marked, is_alive, wait_until
from shipwall.journeys.cleanup import clean_up
from shipwall.model.errors import RemoteError

pytestmark = [pytest.mark.engine]
Fresh = Callable[[str], str]


def read_all(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.settimeout(5)
        client.sendall(request)
        parts = b""
        while part := client.recv(4096):
            parts += part
    return parts


def test_published_port_is_reached_through_a_forward(
    private_engine: PrivateEngine, engine: Engine, busybox_image: str, fresh_name: Fresh
) -> None:
    body = {
        "Image": busybox_image,
        "Cmd": ["sh", "-c", "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
        "ExposedPorts": {"8080/tcp": {}},
        "HostConfig": {"PortBindings": {"8080/tcp": [{"HostPort": "18080"}]}},
    }
    container = engine.create(fresh_name("web"), body)
    port = private_engine.forward(0, 18080)
    try:
        engine.start(container)

        def answers() -> bool:
            try:
                return read_all(port, b"GET /index.html HTTP/1.0\r\n\r\n").endswith(b"hello\n")
            except OSError:
                return False

        assert wait_until(answers, 10)
        assert private_engine.unforward(port)
        assert not private_engine.unforward(port)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), 5).close()
    finally:
        engine.remove(container, force=True)


def test_registry_is_out_of_reach_of_containers(
    private_engine: PrivateEngine, engine: Engine, busybox_image: str, fresh_name: Fresh
) -> None:
    port = private_engine.registry.rpartition(":")[2]
    answer = private_engine.run_inside(["ss", "-ltn"]).stdout.decode()
    assert f":{port} " in answer
    container = engine.create(fresh_name("wall"), {"Image": busybox_image, "Cmd": ["sleep", "300"]})
    try:
        engine.start(container)
        for address in (private_engine.running.gateway, "10.0.2.100", "10.0.2.2"):
            code, output = engine.exec_run(container, ["wget", "-T", "3", "-q", "-O", "-", f"http://{address}:{port}/v2/"])
            assert code != 0, output
        # the wall is for the registry: other ports of the gateway are open
        listener = subprocess.Popen(
            private_engine.inside(["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", LISTENER]),
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        try:
            assert listener.stdout is not None
            open_port = int(listener.stdout.readline())
            code, output = engine.exec_run(container, ["nc", "-w", "3", private_engine.running.gateway, str(open_port)])
            assert (code, output) == (0, b"through\n")
        finally:
            listener.kill()
            listener.communicate()
    finally:
        engine.remove(container, force=True)


LISTENER = """
import socket
with socket.create_server(("0.0.0.0", 0)) as server:
    print(server.getsockname()[1], flush=True)
    server.accept()[0].sendall(b"through\\n")
"""


@pytest.fixture
def short_state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        try:
            yield Path(folder)
        finally:
            assert not clean_up(Instance(Path(folder))).left


STARTER = """
import os, sys, time
from pathlib import Path
from shipwall.adapters.instance import Instance
from shipwall.adapters.private_engine import PrivateEngine
engine = PrivateEngine(Instance(Path(sys.argv[1])))
if sys.argv[2] == "half":
    engine._network.forward = lambda *_: print("half", flush=True) or time.sleep(100)
running = engine.start()
with engine.engine() as client:
    assert client.ping()
print("whole", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("moment", ["half", "whole"])
def test_cleanup_after_kill_9_of_the_starter(short_state: Path, moment: str) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(short_state), moment], stdout=subprocess.PIPE)
    try:
        assert starter.stdout is not None
        assert starter.stdout.readline().strip() == moment.encode()
    finally:
        os.kill(starter.pid, signal.SIGKILL)
        starter.communicate()
    instance = Instance(short_state)
    (entry,) = [entry for entry in Journal(short_state / "journal.jsonl").standing() if entry.act == "start-private-engine"]
    assert find_marked(MARK, entry.key)
    report = clean_up(instance)
    assert report.done
    assert not report.left
    assert not find_marked(MARK, entry.key)
    assert not cgroup_folders(entry.facts["cgroup"])
    assert not instance.engine.exists()
    again = clean_up(instance)
    assert not again.done
    assert not again.left


def test_a_frozen_container_does_not_hold_the_end_up(short_state: Path, busybox_rootfs: bytes) -> None:
    private = PrivateEngine(Instance(short_state), dies_with_us=True)
    try:
        running = private.start()
        with private.engine() as engine:
            image = engine.import_rootfs([busybox_rootfs], "frozen", "1")
            container = engine.create("frozen", {"Image": image, "Cmd": ["/bin/sleep", "300"]})
            engine.start(container)
            engine.pause(container)
    finally:
        private.take_away()
        private.remove_data()
    assert not is_alive(running.init)
    assert not cgroup_folders(running.cgroup)


def test_started_twice_is_found_and_kept_data_is_there_again(short_state: Path, busybox_rootfs: bytes) -> None:
    private = PrivateEngine(Instance(short_state), dies_with_us=True)
    try:
        first = private.start()
        assert PrivateEngine(Instance(short_state)).start() == first
        with private.engine() as engine:
            image = engine.import_rootfs([busybox_rootfs], "kept", "1")
        private.stop()
        assert private.status() is None
        with pytest.raises(RemoteError, match="is not running"):
            private.forward(0, 1)
        second = private.start()
        assert second.id != first.id
        with private.engine() as engine:
            assert engine.inspect_image("kept:1")["Id"] == image
    finally:
        private.stop()
        private.remove_data()
