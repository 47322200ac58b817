"""What happens when the agent is gone: the engine refuses every call, and one loud command takes admission away."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shipwall.adapters.journal import Journal
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.supervise import child_pids
from shipwall.journeys.cleanup import UNDO
from shipwall.journeys.enrol import break_glass, enrol_engine, existing_target, leave_engine, private_target
from shipwall.model.errors import InputError, RemoteError

pytestmark = pytest.mark.engine

_SERVE = """
import sys
from pathlib import Path
from shipwall.adapters.engine import Engine
from shipwall.adapters.instance import Instance
from shipwall.agent.plugin import AdmissionPlugin
from shipwall.agent.promotions import Promotions
from shipwall.journeys.enrol import plugin_socket
import asyncio
instance = Instance(Path(sys.argv[1]))
plugin = AdmissionPlugin(Engine(instance.engine / "engine.sock"), Promotions(instance), set, lambda told: None, node="t")
asyncio.run(plugin.serve(plugin_socket(instance), lambda: print("ready", flush=True)))
"""


def serve(private_engine: PrivateEngine) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(private_engine.instance.state)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_plugin_that_is_gone_closes_the_door_until_the_glass_is_broken(
    private_engine: PrivateEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    instance, target = private_engine.instance, private_target(private_engine.instance)
    configuration = private_engine.configuration
    before = configuration.read_bytes()
    original = b'{ "labels" : ["a=b"],\n\t"debug":false }'
    configuration.write_bytes(original)
    with pytest.raises(RemoteError, match="does not answer"):
        enrol_engine(instance, target)
    assert configuration.read_bytes() == original
    process = serve(private_engine)
    try:
        assert enrol_engine(instance, target).state == "enrolled"
        assert enrol_engine(instance, target).state == "already enrolled"
        assert json.loads(configuration.read_bytes()) == {
            "labels": ["a=b"],
            "debug": False,
            "authorization-plugins": ["shipwall"],
        }
        with private_engine.engine() as client:
            assert client.ping()
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            calls = [("GET", "/_ping", None), ("GET", "/containers/json", None), ("POST", "/containers/create", b"{}")]
            with ThreadPoolExecutor(
                3
            ) as pool:  # the engine tries its plugin again for some seconds before it gives up, each time
                answers = list(pool.map(lambda call: client.raw(*call), calls))
            assert all(status in (403, 500) and b"plugin shipwall failed" in body for status, body in answers), answers
            # an agent that comes back opens the door again, without a new enrolment
            process.stdout.close() if process.stdout else None
            process = serve(private_engine)
            assert client.ping()
            assert client.raw("POST", "/containers/create", b"{}")[0] == 403
            process.kill()
            process.wait(10)
            with pytest.raises(InputError, match="reason"):
                break_glass(instance, target, "no")
            assert break_glass(instance, target, "the agent is gone\nand does not come back").state == "left"
            assert client.ping()
        assert configuration.read_bytes() == original
        audit = [json.loads(line) for line in (instance.agent / "audit.jsonl").read_text().splitlines()]
        assert audit[-2]["reason"] == "the agent is gone and does not come back"
        assert audit[-1]["outcome"] == "left"
        assert "BREAK-GLASS" in capsys.readouterr().err
        assert leave_engine(instance, target).state == "was not enrolled"
    finally:
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()
        leave_engine(instance, target)
        configuration.write_bytes(before)


def test_a_configuration_changed_meanwhile_is_kept(private_engine: PrivateEngine) -> None:
    instance, target = private_engine.instance, private_target(private_engine.instance)
    before = private_engine.configuration.read_bytes()
    process = serve(private_engine)
    try:
        enrol_engine(instance, target)
        changed = {**json.loads(private_engine.configuration.read_bytes()), "debug": False}
        private_engine.configuration.write_text(json.dumps(changed))
        done = leave_engine(instance, target)
        assert "changed meanwhile" in done.detail
        assert json.loads(private_engine.configuration.read_bytes()) == {"debug": False}
    finally:
        leave_engine(instance, target)
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()
        private_engine.configuration.write_bytes(before)


def test_an_engine_named_by_socket_configuration_and_pid_file(private_engine: PrivateEngine, tmp_path: Path) -> None:
    """As an engine of the host would be enrolled; here it is the private one under another name."""
    pids = [pid for pid in child_pids(private_engine.running.init.pid) if Path(f"/proc/{pid}/comm").read_text() == "dockerd\n"]
    pid_file = tmp_path / "docker.pid"
    pid_file.write_text(f"{pids[0]}\n")
    target = existing_target(private_engine.socket, private_engine.configuration, pid_file, tmp_path / "plugins")
    assert target.spec is not None
    instance, before = private_engine.instance, private_engine.configuration.read_bytes()
    process = serve(private_engine)
    try:
        assert enrol_engine(instance, target).state == "enrolled"
        assert target.spec.read_text() == f"unix://{instance.state}/plugins/shipwall.sock\n"
        (entry,) = [entry for entry in Journal(instance.state / "journal.jsonl").standing() if entry.act == "enrol-engine"]
        UNDO[entry.act](instance, entry)  # what clean-up does
        Journal(instance.state / "journal.jsonl").undo(entry.key, entry.act)
        assert not target.spec.exists()
        assert private_engine.configuration.read_bytes() == before
        pid_file.write_text(str(process.pid))
        with pytest.raises(RemoteError, match="not a dockerd"):
            enrol_engine(instance, target)
        assert private_engine.configuration.read_bytes() == before
    finally:
        leave_engine(instance, private_target(instance))
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()
        private_engine.configuration.write_bytes(before)
