"""Agent and server of one instance, started, kept running and stopped together."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Journal
from shipwall.adapters.link import Link
from shipwall.adapters.supervise import Child, EndedError, ProcessRecord, Supervisor, is_alive, stop_process, wait_until
from shipwall.adapters.unprivileged import SERVER_ID, unprivileged_argv
from shipwall.model.errors import InputError, RemoteError, ShipwallError, UnsupportedError, error_of_exit
from shipwall.model.wire import Answer, Query

ACT = "serve"


@dataclass
class Serving:
    """What is to be started. `engine`: socket of the engine to watch, None for none. `cgroup`: parent cgroup of its containers.

    Without `sensor` the agent admits only: for kernels that take no BPF programs.
    """

    instance: Instance
    engine: Path | None = None
    cgroup: str = ""
    port: int = 0
    database: str = ""
    rules: list[Path] = field(default_factory=list)
    response: Path | None = None
    server_id: int = SERVER_ID
    sensor: bool = True


class Node:
    """The two processes of an instance. `start`, then `check` now and then, then `stop`; both are started again when they end."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.instance = serving.instance
        self._supervisor = Supervisor()
        self._journal = Journal(self.instance.state / "journal.jsonl")

    def start(self, report: Callable[[str], None] = lambda _: None, *, agent: bool = True) -> None:
        """Start both and return when both are ready. Raises UnsupportedError without root, InputError when already running.

        Without `agent` only the server: nothing is watched until `start_agent`. That much any user may start, as himself.
        """
        if agent and os.geteuid() != 0:
            raise UnsupportedError("the agent", "needs root for kernel and engine", "run: sudo shipwall up")
        if (running := serving_process(self.instance)) is not None and running.pid != os.getpid():
            raise InputError(f"instance {self.instance.state}", f"is already up (process {running.pid})", "stop it first")
        self._prepare()
        self._journal.begin(str(os.getpid()), ACT, supervisor=_own_record(), engine=str(self.serving.engine or ""))
        try:
            report("server")
            self._supervisor.add("server", self._start_server)
            if agent:
                report("agent")
                self.start_agent()
        except BaseException:
            self.stop()
            raise
        self._journal.confirm(str(os.getpid()), ACT)

    def start_agent(self) -> None:
        """Start the agent and return when it watches."""
        self._supervisor.add("agent", self._start_agent)

    def check(self) -> list[str]:
        """Names of what ended since the last call; it is started again after a pause."""
        return self._supervisor.check()

    def stop(self) -> None:
        """End both, agent first."""
        self._supervisor.stop()
        self._journal.undo(str(os.getpid()), ACT)

    @property
    def console(self) -> str:
        """Address of the console."""
        return str(json.loads((self.instance.run / "console.json").read_bytes())["url"])

    def login_link(self) -> str:
        """A one-time link into the console."""
        with Link(self.instance.link_socket, "cli") as link:
            answer = link.ask(Query(what="login-link"))
        if not isinstance(answer, Answer) or answer.error or not answer.rows:
            raise RemoteError("server", getattr(answer, "error", "") or "gave no login link", "look at its log")
        return str(answer.rows[0]["url"])

    def _prepare(self) -> None:
        agent = (os.geteuid(), os.getegid())
        server = (self.serving.server_id, self.serving.server_id) if os.geteuid() == 0 else agent
        self.instance.state.mkdir(parents=True, exist_ok=True, mode=0o711)
        self.instance.state.chmod(0o711)
        for folder, mode, owner in (
            (self.instance.agent, 0o700, agent),
            (self.instance.keys, 0o700, agent),
            (
                self.instance.evidence,
                0o710,
                (agent[0], server[1]),
            ),  # the server opens a bundle it knows the name of, and lists nothing
            (self.instance.server, 0o700, server),
            (self.instance.run, 0o755, server),
            (self.instance.fleet.parent, 0o750, (agent[0], server[1])),  # the server reads the kept images
        ):
            folder.mkdir(exist_ok=True, mode=mode)
            folder.chmod(mode)
            os.chown(folder, *owner)
        for stale in ("console.json", "link.sock"):
            (self.instance.run / stale).unlink(missing_ok=True)

    def _start_server(self) -> Child:
        argv = [sys.executable, "-m", "shipwall.server", "--state", str(self.instance.state), "--port", str(self.serving.port)]
        environment = dict(os.environ)  # a database URL may hold a password: never in argv
        if self.serving.database:
            environment["SHIPWALL_DATABASE"] = self.serving.database
        if os.geteuid() == 0:
            needs = [self.instance.server, self.instance.run, self.instance.evidence, self.instance.fleet.parent]
            argv = unprivileged_argv(argv, self.serving.server_id, needs)
        child = Child("server", argv, log=self.instance.state / "server.log", env=environment)
        return _ready(child, self._server_answers)

    def _server_answers(self) -> bool:
        try:
            with Link(self.instance.link_socket, "cli", timeout_s=2) as link:
                return isinstance(link.ask(Query(what="nodes")), Answer) and (self.instance.run / "console.json").exists()
        except RemoteError:
            return False

    def _start_agent(self) -> Child:
        argv = [sys.executable, "-m", "shipwall.agent", "--state", str(self.instance.state)]
        if self.serving.engine:
            argv += ["--engine", str(self.serving.engine)]
        if self.serving.cgroup:
            argv += ["--cgroup", self.serving.cgroup]
        if not self.serving.sensor:
            argv.append("--without-sensor")
        if self.serving.response:
            argv += ["--response", str(self.serving.response)]
        for path in self.serving.rules:
            argv += ["--rules", str(path)]
        ready = self.instance.agent / "ready"
        ready.unlink(missing_ok=True)
        child = Child("agent", argv, log=self.instance.state / "agent.log")
        return _ready(child, ready.exists)


def _ready(child: Child, check: Callable[[], bool]) -> Child:
    """`child`, when it is ready. Raises what it ended with, in its own words: a wrong policy is the user's, not the agent's."""
    try:
        child.wait_ready(check, 30)
    except EndedError as error:
        prefix = f"shipwall {child.name}: "
        kind = error_of_exit(error.code)
        if kind is ShipwallError or not error.words.startswith(prefix):
            raise
        raise kind(child.name, error.words.removeprefix(prefix)) from error
    return child


def serving_process(instance: Instance) -> ProcessRecord | None:
    """The supervisor that runs this instance, None when it is down."""
    for entry in Journal(instance.state / "journal.jsonl").standing():
        if entry.act == ACT and "supervisor" in entry.facts:
            record = ProcessRecord(**entry.facts["supervisor"])
            if is_alive(record):
                return record
    return None


def stop_serving(instance: Instance) -> bool:
    """Whether a running supervisor of the instance was ended, and with it both processes."""
    record = serving_process(instance)
    if record is None:
        return False
    stop_process(record, 15)
    return wait_until(lambda: serving_process(instance) is None, 5)


def run_until(node: Node, wanted: Callable[[], bool], report: Callable[[str], None]) -> None:
    """Keep the node running until `wanted` is false; says what ended and was started again."""
    while wanted():
        for name in node.check():
            report(f"{name} ended; starting it again")
        time.sleep(0.2)


def _own_record() -> dict[str, int]:
    from shipwall.adapters.supervise import read_process

    record = read_process(os.getpid())
    assert record is not None
    return {"pid": record.pid, "start_ticks": record.start_ticks}
