"""The shipped rules on a real engine and kernel: silent while a container is made and serves, loud when it is broken into."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from shipwall.adapters.engine import Engine
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.rule_files import load_rules
from shipwall.adapters.supervise import wait_until
from shipwall.agent.asking import ask_kernel
from shipwall.agent.core import Core, Effect, Send
from shipwall.kernel.cgroups import unified_mount
from shipwall.kernel.processes import read_processes
from shipwall.kernel.sensor import Sensor
from shipwall.model.alert import Alert
from shipwall.model.event import AnyEvent, Exec
from shipwall.model.wire import AlertRaised
from shipwall.runtime.watch import Watch

pytestmark = [pytest.mark.engine, pytest.mark.bpf]

SERVE = """
mkdir -p /tmp/www/cgi-bin
printf '#!/bin/sh\\necho; echo; cat /etc/passwd\\n' > /tmp/www/cgi-bin/hole
chmod 755 /tmp/www/cgi-bin/hole
echo hello > /tmp/www/index.html
exec httpd -f -p 8080 -h /tmp/www
"""


class Node:
    """Sensor and core together, as the agent runs them."""

    def __init__(self, sensor: Sensor) -> None:
        self.sensor = sensor
        self.core = Core("node", Watch(load_rules(), "node"), lambda _digest: None)
        self.core.processes(read_processes())
        self.alerts: list[Alert] = []

    def take(self, event: AnyEvent) -> None:
        effects: list[Effect] = self.core.handle_event(event, time.time_ns())
        self.alerts += [
            effect.message.alert for effect in effects if isinstance(effect, Send) and isinstance(effect.message, AlertRaised)
        ]

    def drain(self) -> None:
        """Take all that has happened until now."""
        while self.sensor.poll(50, self.take, self.core.skim):
            pass

    def raised(self) -> set[str]:
        self.drain()
        return {alert.rule for alert in self.alerts}


@contextmanager
def watching(private_engine: PrivateEngine) -> Iterator[Node]:
    with Sensor() as sensor:
        node = Node(sensor)
        ask_kernel(sensor, node.core.watch.rules)
        folder = unified_mount() / private_engine.running.cgroup.strip("/")
        folder.mkdir(exist_ok=True)
        sensor.watch_parent(folder)
        yield node


def ask(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.settimeout(10)
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        parts = b""
        while part := client.recv(4096):
            parts += part
    return parts


def test_silent_when_healthy_and_loud_when_broken_into(
    private_engine: PrivateEngine, engine: Engine, busybox_image: str, fresh_name: Callable[[str], str]
) -> None:
    body = {
        "Image": busybox_image,
        "Cmd": ["sh", "-c", SERVE],
        "User": "65534:65534",
        "ExposedPorts": {"8080/tcp": {}},
        "HostConfig": {
            "PortBindings": {"8080/tcp": [{"HostPort": "18099"}]},
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Tmpfs": {"/tmp": "mode=1777,exec"},
        },
    }
    with watching(private_engine) as node:
        container = engine.create(fresh_name("web"), body)
        port = private_engine.forward(0, 18099)
        try:
            engine.start(container)

            def answers() -> bool:
                try:
                    return ask(port, "/index.html").endswith(b"hello\n")
                except OSError:
                    return False

            assert wait_until(answers, 15)
            assert engine.exec_run(container, ["true"])[0] == 0
            assert node.raised() == set(), [(alert.rule, alert.output, alert.event) for alert in node.alerts]
            assert any(isinstance(event, Exec) for event in node.core.recorded(container, time.time_ns()))

            ask(port, "/cgi-bin/hole")
            engine.exec_run(container, ["sh", "-c", "echo 'sh:*' | cat /etc/shadow"])
            engine.exec_run(container, ["sh", "-c", "cp /bin/busybox /tmp/tool && /tmp/tool id"])
            engine.exec_run(container, ["sh", "-c", "unshare -U true; mount -t tmpfs none /tmp; nc -w 1 192.0.2.1 9 </dev/null"])
            engine.exec_run(container, ["sh", "-c", "echo x > /bin/added"])
            engine.exec_run(container, ["sh", "-c", ": > /tmp/plain; /tmp/plain"])
            wanted = {
                "Shell started by a service",
                "Program not in the image executed",
                "Execution refused",
                "Namespace made or entered",
                "Mount in a container",
                "Connection by a shell or a foreign program",
                "Program folder or package database written",
            }
            assert wait_until(lambda: wanted <= node.raised(), 10), wanted - node.raised()
            (shell,) = [alert for alert in node.alerts if alert.rule == "Shell started by a service"]
            assert shell.lineage[1].comm == "httpd"
            assert all(alert.container == container for alert in node.alerts)
        finally:
            private_engine.unforward(port)
            engine.remove(container, force=True)
