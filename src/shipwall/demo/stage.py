"""The stage: what is up while the story is told, and what every step asks of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from shipwall.adapters.debian_archive import DebianArchive
from shipwall.adapters.engine import Engine
from shipwall.adapters.instance import Instance
from shipwall.adapters.inventories import Inventories
from shipwall.adapters.keys import Keys
from shipwall.adapters.link import Link
from shipwall.adapters.loopback_registry import LoopbackRegistry
from shipwall.adapters.private_engine import PrivateEngine, Running
from shipwall.adapters.registry import Registry
from shipwall.adapters.report import Reporter
from shipwall.adapters.supervise import wait_until
from shipwall.demo import attacks
from shipwall.demo.plan import Plan
from shipwall.demo.scenario import Scenario
from shipwall.demo.story import Story
from shipwall.journeys.serve import Node, Serving
from shipwall.journeys.uninstall import uninstall
from shipwall.model.errors import RemoteError
from shipwall.model.wire import Answer, Query

RESPONSE = """responses:
  - rules: ["{rule}"]
    containers: ["{container}*"]
    steps: [freeze, cut, capture, replace]
limits:
  cooldown_s: 0
"""


class Stage:
    """`set_up` puts everything up that `plan` allows, `close` takes all of it down. `engine` and `running` only where an engine can run."""

    engine: Engine
    running: Running
    registry: Registry

    def __init__(self, instance: Instance, scenario: Scenario, story: Story, plan: Plan) -> None:
        self.instance = instance
        self.scenario = scenario
        self.story = story
        self.plan = plan
        self.private = PrivateEngine(instance, dies_with_us=True)
        self.node: Node | None = None
        self.port = 0
        """Where the shop is published on the host, once it runs."""
        self.keys = Keys(instance.keys)
        self.inventories = Inventories(instance.state / "inventories")
        self.report = Reporter(instance.link_socket)
        self._closing = ExitStack()

    def set_up(self) -> None:
        """Everything fresh: state of an earlier telling is taken away first."""
        uninstall(self.instance)
        self.archive = self._closing.enter_context(DebianArchive(report=self.story.working))
        if self.plan.engine:
            self._start_engine()
        else:
            address = self._closing.enter_context(LoopbackRegistry(self.instance)).start()
            self.registry = self._closing.enter_context(Registry(address))
            self.story.fact(f"registry {address}, content in {self.instance.state}")
            self._start_server(Serving(self.instance))

    def _start_engine(self) -> None:
        self.running = self.private.start()
        self.engine = self._closing.enter_context(self.private.engine())
        self.registry = self._closing.enter_context(Registry(self.running.registry))
        response = self.instance.state / "response.yaml"
        response.write_text(RESPONSE.format(rule=attacks.RULES["reverse-shell"], container=self.scenario.container))
        version = self.engine.version()
        self.story.fact(
            f"Docker Engine {version.get('Version')}, registry {self.running.registry}, containers in {self.running.bridge}"
        )
        self._start_server(
            Serving(
                self.instance,
                engine=self.private.socket,
                cgroup=self.running.cgroup,
                response=response,
                sensor=self.plan.sensor,
            )
        )

    def _start_server(self, serving: Serving) -> None:
        if not self.plan.server:
            return
        self.node = Node(serving)
        self.node.start(self.story.working, agent=False)  # builds install packages: nothing to be alarmed about
        self.story.fact(f"console {self.node.console}; nothing is enforced yet")

    def close(self) -> None:
        """End agent, server, engine and registry; the state folder stays for whoever wants to look."""
        if self.node is not None:
            self.node.stop()
            self.node = None
        self._closing.close()
        if self.plan.engine:
            self.private.take_away()

    def show_console(self) -> None:
        """Where a person sees all of it."""
        assert self.node is not None
        shown = "journey, sensor, containers, alerts, frozen, evidence" if self.plan.sensor else "journey"
        self.story.fact(f"{self.node.console}: {shown}")

    # -- what steps ask -------------------------------------------------------------------------------------------------

    def rows(self, what: str, **where: str) -> list[dict[str, Any]]:
        """What the server has stored."""
        with Link(self.instance.link_socket, "cli") as link:
            answer = link.ask(Query(what=what, where=where))
        if not isinstance(answer, Answer) or answer.error:
            raise RemoteError("server", str(getattr(answer, "error", "answered something else")))
        return [dict(row) for row in answer.rows]

    def functions(self) -> dict[str, str]:
        """The modes the agent told last."""
        rows = self.rows("health")
        return dict(rows[-1]["functions"]) if rows else {}

    def container(self, container: str) -> dict[str, Any]:
        """The container as the server knows it, empty when it does not."""
        found = self.rows("containers", id=container)
        return found[-1] if found else {}

    def alert(self, rule: str, since_ns: int) -> dict[str, Any]:
        """The first alert of `rule` since then, empty when none comes in time."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [row for row in self.rows("alerts", rule=rule) if row["event"]["time_ns"] >= since_ns]
            return bool(found)

        return found[0] if wait_until(is_there, 5) else {}

    def confirmed(self, alert: str) -> set[str]:
        """The steps of the response to `alert` that are done."""
        return {row["step"] for row in self.rows("responses", alert=alert) if row["status"] == "confirmed"}

    def answers(self) -> bool:
        """Whether the shop answers on its published port."""
        return attacks.send(self.port, "/public", timeout_s=1.0)[0] == 200

    def refused(self, what: str, act: Callable[[], object]) -> None:
        """Do `act`, and see that admission refuses it."""
        began = time.monotonic_ns()
        try:
            act()
        except RemoteError as error:
            took = (time.monotonic_ns() - began) / 1e6
            self.story.fact(f"{what}: refused in {took:.0f} ms: {error.reason[:150]}")
            self.story.expect("shipwall" in error.reason, f"it is admission that refuses to {what}", error.reason)
            return
        self.story.expect(False, f"admission refuses to {what}")

    def listen(self, gateway: str) -> subprocess.Popen[bytes]:
        """The intruder's listener on the bridge's gateway address."""
        program = (
            "import socket,sys; s=socket.create_server((sys.argv[1],int(sys.argv[2]))); print('listening',flush=True);"
            "c,_=s.accept(); print(c.recv(100),flush=True); c.recv(100)"
        )
        argv = self.private.inside(["/usr/bin/python3", "-c", program, gateway, str(self.scenario.listener_port)])
        listener = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert listener.stdout is not None
        self._closing.callback(listener.stdout.close)
        self._closing.callback(listener.kill)
        self.story.expect(listener.stdout.readline() == b"listening\n", "the intruder's listener listens")
        return listener
