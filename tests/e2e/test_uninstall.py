"""Uninstalled from an engine of the host: its configuration as it was, nothing frozen left. The private engine plays the host's."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shipwall.adapters.engine import Engine
from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Journal
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.supervise import child_pids, wait_until
from shipwall.journeys.enrol import enrol_engine, existing_target
from shipwall.journeys.release import list_frozen, release_frozen
from shipwall.journeys.uninstall import uninstall
from shipwall.kernel.freezer import Freezer
from shipwall.model.errors import RemoteError

pytestmark = [pytest.mark.root, pytest.mark.bpf, pytest.mark.engine]

BEAT = "while :; do echo x >> /run/beat; done"


@dataclass
class Host:
    """An installation beside the engine that plays the host's, enrolled there, and a container of it that beats."""

    engine: PrivateEngine
    instance: Instance
    configuration: bytes
    container: str
    name: str

    def shipwall(self, *words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "shipwall", *words, "--state", str(self.instance.state)]
        return subprocess.run(command, input=answer, capture_output=True, text=True, timeout=120, check=False)

    def status(self) -> str:
        """Of the container, empty when it is gone."""
        with self.engine.engine() as client:
            try:
                return str(client.inspect_container(self.container)["State"]["Status"])
            except RemoteError:
                return ""

    def beats(self) -> bool:
        """Whether its process goes on."""
        freezer = Freezer()
        pid = freezer.pids(freezer.find(self.container))[0]
        beat = Path(f"/proc/{pid}/root/run/beat")
        before = beat.stat().st_size
        return wait_until(lambda: beat.stat().st_size > before, 5)

    def freeze(self) -> None:
        done = self.shipwall("container", "freeze", self.name, "--reason", "a test of uninstall")
        assert done.returncode == 0, done.stderr
        assert self.status() == "paused"

    def is_as_before(self) -> bool:
        with self.engine.engine() as client:
            return client.ping() and self.engine.configuration.read_bytes() == self.configuration


@pytest.fixture
def host(private_engine: PrivateEngine, busybox_image: str, fresh_name: Callable[[str], str]) -> Iterator[Host]:
    name = fresh_name("shop")
    before = private_engine.configuration.read_bytes()
    with private_engine.engine() as client:
        container = client.create(
            name, {"Image": busybox_image, "Cmd": ["sh", "-c", BEAT], "HostConfig": {"Tmpfs": {"/run": ""}}}
        )
        client.start(container)
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        instance = Instance(Path(folder) / "s")
        (instance.state / "plugins").mkdir(parents=True, mode=0o700)
        # the engine looks for plugins in its own /run/docker/plugins: for the time of the test that is the installation's
        assert (
            private_engine.run_inside(["mount", "--bind", str(instance.state / "plugins"), "/run/docker/plugins"]).returncode == 0
        )
        command = [sys.executable, "-m", "shipwall", "up", "--state", str(instance.state), "--engine", str(private_engine.socket)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            assert "watching" in process.stdout.readline()
            pids = [
                pid for pid in child_pids(private_engine.running.init.pid) if Path(f"/proc/{pid}/comm").read_text() == "dockerd\n"
            ]
            pid_file = Path(folder) / "docker.pid"
            pid_file.write_text(f"{pids[0]}\n")
            target = existing_target(private_engine.socket, private_engine.configuration, pid_file, Path(folder) / "plugins")
            assert enrol_engine(instance, target).state == "enrolled"
            yield Host(private_engine, instance, before, container, name)
        finally:
            uninstall(instance)
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()
            private_engine.run_inside(["umount", "/run/docker/plugins"])
            with Engine(private_engine.socket) as client:
                if any(found["Id"] == container for found in client.containers()):
                    client.remove(container, force=True)


def test_what_is_frozen_is_thawed_aloud_and_the_engine_is_as_it_was(host: Host) -> None:
    host.freeze()
    done = host.shipwall("uninstall", answer="n\n")
    assert done.returncode == 1
    assert f"frozen container {host.name} will be THAWED" in done.stderr
    assert host.status() == "paused"
    done = host.shipwall("uninstall", "--yes", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert f"RELEASE: frozen container {host.name}" in done.stderr
    assert any(line.startswith(f"container {host.name}: thawed by ") for line in json.loads(done.stdout)["done"])
    assert host.status() == "running"
    assert host.beats()
    assert host.is_as_before()
    assert not host.instance.state.exists()


def test_what_is_frozen_is_destroyed_when_asked(host: Host) -> None:
    host.freeze()
    done = host.shipwall("uninstall", "--yes", "--destroy-frozen")
    assert done.returncode == 0, done.stderr
    assert "is destroyed" in done.stderr
    assert host.status() == ""
    assert host.is_as_before()
    assert not host.instance.state.exists()


def test_an_engine_that_does_not_answer_keeps_nobody_frozen(host: Host) -> None:
    host.freeze()
    assert host.shipwall("down").returncode == 0
    journal = Journal(host.instance.state / "journal.jsonl")
    silent = str(host.instance.state / "no.sock")
    for entry in journal.last().values():  # as if the engine had moved away
        journal.undo(entry.key, entry.act, **({"engine": silent} if entry.act == "serve" else {"socket": silent}))
    with pytest.raises(RemoteError, match=f"{host.name} .*is not destroyed"):
        release_frozen(host.instance, destroy=True, reason="a test")
    assert [plan.container for plan in list_frozen(host.instance)] == [host.container]
    (line,) = release_frozen(host.instance, destroy=False, reason="a test")
    assert "thawed by the kernel alone" in line
    assert list_frozen(host.instance) == []
    assert host.beats()
    last = Journal(host.instance.agent / "journal.jsonl").read()[-1]
    assert (last.act, last.status) == ("freeze", "undone")
    assert "a test" in last.facts["why"]
    host.engine.configuration.write_bytes(host.configuration)
    host.engine.reload()
