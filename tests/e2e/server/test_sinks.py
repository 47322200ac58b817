"""Alerts leave a real server for real receivers: files, syslog sockets, a webhook that fails and comes back."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.server_process import NODE, PlayedAgent, ServerProcess, a_health, an_alert, running_server, wait_for

from shipwall.adapters.sinks import sign
from shipwall.adapters.unprivileged import SERVER_ID
from shipwall.agent.outbox import Outbox
from shipwall.journeys.sinks import install_sinks
from shipwall.model.wire import AlertRaised, Answer, Follow, Health
from shipwall.runtime.sinks import parse_sinks

SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


class Hook:
    """A receiver of webhooks; answers `status`."""

    def __init__(self) -> None:
        self.status = 204
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.asked += 1
                if hook.status == 204:
                    stamp = self.headers["x-shipwall-timestamp"]
                    assert self.headers["x-shipwall-signature"] == f"v1={sign(SECRET.encode(), stamp, body)}"
                    assert abs(int(stamp) - time.time()) < 60
                    hook.taken.append(json.loads(body) | {"id": self.headers["x-shipwall-alert"]})
                self.send_response(hook.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/falco"


@contextmanager
def receiving() -> Iterator[Hook]:
    hook = Hook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hook
    finally:
        hook.server.shutdown()
        thread.join()
        hook.server.server_close()


def settle(server: ServerProcess, folder: Path, text: str) -> None:
    file = folder / "sinks.yaml"
    file.write_text(text)
    names = ", ".join(one.name for one in parse_sinks(text.encode(), file.name))
    install_sinks(server.instance, file)
    wait_for(lambda: _last_named(server) == f'names="{names}"')


def _last_named(server: ServerProcess) -> str:
    """Of the sinks that were loaded last; a server also loads, and says so, when it starts."""
    return next((line.partition(" sinks ")[2] for line in reversed(server.log.read_text().splitlines()) if " sinks " in line), "")


def state_of(server: ServerProcess, name: str) -> dict[str, Any]:
    return dict(next(row for row in server.ask("sinks") if row["name"] == name))


def test_every_kind_gets_every_alert_once(server: ServerProcess, agent: PlayedAgent, tmp_path: Path) -> None:
    agent.say(AlertRaised(alert=an_alert("before", "history", 5)))
    log = server.instance.server / "alerts.jsonl"
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    tcp = socket.create_server(("127.0.0.1", 0))
    with receiving() as hook, udp, tcp:
        settle(server, tmp_path, f"""
sinks:
  - {{name: log, kind: file, path: "{log}"}}
  - {{name: udp, kind: syslog, address: "udp://127.0.0.1:{udp.getsockname()[1]}"}}
  - {{name: tcp, kind: syslog, address: "tcp://127.0.0.1:{tcp.getsockname()[1]}", min_priority: Critical}}
  - {{name: hook, kind: webhook, url: "{hook.url}", secret: {SECRET}}}
""")  # fmt: skip
        for index in range(20):
            priority = "critical" if index % 2 else "notice"
            agent.say(AlertRaised(alert=an_alert(f"s{index}", f"rule {index}", 10 + index, priority=priority)))
        agent.say(AlertRaised(alert=an_alert("s3", "rule 3", 13, stopped="frozen")))  # a later word about the same alert
        agent.say(AlertRaised(alert=an_alert("mute", "rule m", 99, silenced_by="s1")))
        wait_for(
            lambda: len(hook.taken) == 20 and state_of(server, "log")["sent"] == 20 and state_of(server, "tcp")["sent"] == 10
        )
        assert [one["id"] for one in hook.taken] == [f"s{index}" for index in range(20)]
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["rule"] for line in lines] == [f"rule {index}" for index in range(20)]
        udp.settimeout(5)
        assert [f"rule {index}:".encode() in udp.recv(65536) for index in range(20)] == [True] * 20
        tcp.settimeout(5)
        connection, _ = tcp.accept()
        with connection:
            connection.settimeout(5)
            frames = connection.recv(1 << 20)
            for index in range(1, 20, 2):
                length, _, frames = frames.partition(b" ")
                assert f"rule {index}:".encode() in frames[: int(length)]
                frames = frames[int(length) :]
        wait_for(lambda: len({row["position"] for row in server.ask("sinks")}) == 1)  # the silenced one was passed over too
        assert {**state_of(server, "hook"), "time_ns": 0, "position": 0} == {
            "name": "hook", "time_ns": 0, "position": 0, "sent": 20, "lost": 0, "failing_since_ns": 0, "error": "",
        }  # fmt: skip
        log.rename(log.with_suffix(".1"))
        agent.say(AlertRaised(alert=an_alert("rotated", "rule r", 200)))
        wait_for(log.exists)
        settle(server, tmp_path, "sinks: []\n")
        assert server.ask("sinks") == []


def test_a_failing_hook_is_tried_again_and_loses_nothing(tmp_path: Path) -> None:
    with running_server() as server, PlayedAgent(server.instance.link_socket) as agent, receiving() as hook:
        hook.status = 503
        settle(server, tmp_path, f"sinks:\n  - {{name: hook, kind: webhook, url: '{hook.url}', secret: {SECRET}}}\n")
        for index in range(5):
            agent.say(AlertRaised(alert=an_alert(f"f{index}", "failing", 10 + index)))
        wait_for(lambda: "answered 503" in str(state_of(server, "hook")["error"]))
        assert state_of(server, "hook")["failing_since_ns"] > 0
        assert hook.taken == []
        hook.status = 204
        wait_for(lambda: len(hook.taken) == 5, 20)
        assert [one["id"] for one in hook.taken] == [f"f{index}" for index in range(5)]
        wait_for(lambda: state_of(server, "hook")["error"] == "")


def test_broken_settings_leave_the_former_sinks_at_work(server: ServerProcess, agent: PlayedAgent, tmp_path: Path) -> None:
    log = server.instance.server / "kept.jsonl"
    settle(server, tmp_path, f"sinks:\n  - {{name: kept, kind: file, path: '{log}'}}\n")
    (server.instance.server / "sinks.yaml").write_text("sinks: [{name: kept, kind: fiel}]\n")
    wait_for(lambda: "sinks-not-read" in server.log.read_text())
    agent.say(AlertRaised(alert=an_alert("kept-1", "kept", 7)))
    wait_for(lambda: log.exists() and "kept" in log.read_text())
    settle(server, tmp_path, "sinks: []\n")


@pytest.mark.root
def test_the_settings_belong_to_the_server_alone(server: ServerProcess, tmp_path: Path) -> None:
    settle(server, tmp_path, f"sinks:\n  - {{name: hook, kind: webhook, url: 'https://x.invalid/', secret: {SECRET}}}\n")
    facts = (server.instance.server / "sinks.yaml").stat()
    assert (facts.st_mode & 0o777, facts.st_uid) == (0o600, SERVER_ID)
    assert SECRET not in server.log.read_text()
    settle(server, tmp_path, "sinks: []\n")


def test_following_begins_with_the_next_alert_and_says_where(server: ServerProcess, agent: PlayedAgent) -> None:
    agent.say(AlertRaised(alert=an_alert("w0", "watched", 1)))
    with server.cli() as link:
        link.send(Follow())
        begun = link.receive()
        assert isinstance(begun, Answer)
        agent.say(*(AlertRaised(alert=an_alert(f"w{index}", "watched", 1)) for index in (1, 2, 3)))
        heard = [link.receive() for _ in range(3)]
    assert [(one.number, one.alert.id) for one in heard if isinstance(one, AlertRaised)] == [
        (begun.rows[0]["position"] + index, f"w{index}") for index in (1, 2, 3)
    ]


@pytest.mark.parametrize("form", [["--falco"], ["--output", "json"], []])
def test_the_command_follows_from_where_it_was(server: ServerProcess, agent: PlayedAgent, form: list[str]) -> None:
    agent.say(*(AlertRaised(alert=an_alert(f"c{form}{index}", "followed", 1)) for index in (1, 2)))
    with server.cli() as link:
        link.send(Follow())
        begun = link.receive()
    assert isinstance(begun, Answer)
    command = [sys.executable, "-m", "shipwall", "alert", "follow", "--state", str(server.instance.state), *form]
    with subprocess.Popen(
        [*command, "--since", str(begun.rows[0]["position"] - 1)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    if form:
        told = json.loads(line)
        assert (told["output_fields"]["shipwall.alert"] if form == ["--falco"] else told["alert"]["id"]) == f"c{form}2"
    else:
        assert "followed: A shell was started" in line


_SAYS = """
import sys, time
from pathlib import Path
from shipwall.agent.outbox import Outbox
from shipwall.model.wire import AlertRaised
from tests.server_process import an_alert
outbox = Outbox(Path(sys.argv[1]), Path(sys.argv[2]), lambda _: None, lambda line: None)
outbox.start()
for index in range(500):
    outbox.put(AlertRaised(alert=an_alert(f"away-{index:03d}", "away", index)))
while outbox._fresh: time.sleep(0.01)
time.sleep(0.1)
print("spooled", flush=True)
time.sleep(60)
"""


def test_an_agent_killed_while_the_server_is_away_loses_nothing(server: ServerProcess, tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    nobody = tmp_path / "nobody.sock"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", _SAYS, str(nobody), str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "spooled\n"
        process.kill()
    outbox = Outbox(server.instance.link_socket, folder, lambda _: None, lambda _: None)
    assert outbox.waiting == 500
    outbox.put(Health(node="n", time_ns=1, started_ns=1, delivered=1))
    outbox.start()
    assert outbox.drain(20)
    outbox.stop()
    assert outbox.lost == 0
    rows = server.ask("alerts", {"rule": "away"}, 1000)
    assert [row["id"] for row in rows] == [f"away-{index:03d}" for index in range(500)]
    assert list(folder.iterdir()) == []


def test_what_is_pruned_unsent_is_counted(tmp_path: Path) -> None:
    from shipwall.adapters.store import open_store
    from shipwall.adapters.store.store import Limits

    store = open_store(f"sqlite:///{tmp_path / 's.db'}", Limits(outgoing=10))
    state = store.begin_sink("slow", 1)
    store.record([AlertRaised(alert=an_alert(f"p{index}", "r", index)) for index in range(25)])
    store.prune()
    found = store.outgoing(state.position, 100)
    assert [position for position, _ in found] == list(range(16, 26))
    assert found[0][0] - state.position - 1 == 15
    assert msgspec.structs.asdict(found[-1][1])["id"] == "p24"
    store.close()


def test_prometheus_reads_what_is_stored(server: ServerProcess, agent: PlayedAgent) -> None:
    missed = {"kill: the process is gone": 2, "freeze: service-budget": 7}
    agent.say(msgspec.structs.replace(a_health(time.time_ns(), 4711), acts={"kill": 3, "would freeze": 1}, missed=missed))
    address = f"{server.url}/metrics"
    assert httpx.get(address).status_code == 401
    token = server.instance.server / "metrics.token"
    assert httpx.get(address, headers={"authorization": "Bearer wrong"}).status_code == 401
    answer = httpx.get(address, headers={"authorization": f"Bearer {token.read_text().strip()}"})
    assert answer.status_code == 200
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    (delivered,) = families["shipwall_events_delivered"].samples
    assert (delivered.labels["node"], delivered.value) == (NODE, 4711)
    assert [(one.labels["class"], one.value) for one in families["shipwall_events_filtered"].samples] == [("open", 90_210)]
    assert {sample.labels["class"] for sample in families["shipwall_events_lost"].samples} >= {"open", "connect"}
    assert {sample.labels["act"]: sample.value for sample in families["shipwall_acts"].samples} == {"kill": 3, "would freeze": 1}
    assert {(one.labels["act"], one.labels["cause"], one.value) for one in families["shipwall_acts_missed"].samples} == {
        ("kill", "the process is gone", 2), ("freeze", "service-budget", 7),
    }  # fmt: skip
    assert families["shipwall_alerts"].samples[0].value >= 1
    assert families["shipwall_agent_up"].samples[0].value == 1
