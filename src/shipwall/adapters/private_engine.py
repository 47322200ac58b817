"""A Docker Engine and a registry of our own, in network, mount and PID namespaces of their own.

The host's engine, firewall, /run and addresses stay untouched. Egress and port forwards go through slirp4netns. The namespaces live as
long as their first process; ending that ends everything in them, so nothing can be left but empty cgroups.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from shipwall.adapters.cgroup_folders import remove_cgroups, thaw_cgroups
from shipwall.adapters.engine import Engine
from shipwall.adapters.files import locked, write_whole
from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Journal
from shipwall.adapters.private_init import INIT, REGISTRY_YML
from shipwall.adapters.private_network import HOST, UserNetwork, choose_networks, free_port
from shipwall.adapters.supervise import (
    Child,
    ProcessRecord,
    child_pids,
    find_marked,
    is_alive,
    read_process,
    signal_process,
    stop_process,
    wait_gone,
)
from shipwall.adapters.tools import find_tools, tools_environment
from shipwall.model.errors import InputError, RemoteError, UnsupportedError

ACT = "start-private-engine"
DATA_ACT = "keep-private-engine-data"
MARK = "SHIPWALL_PRIVATE_ENGINE"
TAP = "tap0"
TAP_ADDRESS = "10.0.2.100"  # slirp4netns's defaults: the namespace's own address, and its name server
NAME_SERVER = "10.0.2.3"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running private engine is to be found. `init` is the first process of its namespaces, as the host sees it.

    `registry`: `127.0.0.1:PORT`, the right name on the host and for the engine alike. `bridge`: address and width of its default network.
    `cgroup`: parent of every container's cgroup, below each cgroup mount.
    """

    id: str
    launcher: ProcessRecord
    init: ProcessRecord
    network: ProcessRecord
    registry: str
    bridge: str
    cgroup: str

    @property
    def gateway(self) -> str:
        """The bridge's own address: what containers call their gateway."""
        return self.bridge.partition("/")[0]


class PrivateEngine:
    """The private engine of `instance`; at most one. `start` is idempotent and finds one started by another process.

    `dies_with_us`: the kernel ends it with the thread that started it; otherwise it runs until `stop` or a clean-up.
    As a context manager it starts and stops. Needs root.
    """

    def __init__(self, instance: Instance, *, dies_with_us: bool = False) -> None:
        self.instance = instance
        self.dies_with_us = dies_with_us
        self.journal = Journal(instance.state / "journal.jsonl")
        self._children: list[Child] = []
        self._network = UserNetwork(instance.engine / "network.sock", TAP_ADDRESS)

    @property
    def socket(self) -> Path:
        """The engine's API socket."""
        return self.instance.engine / "engine.sock"

    @property
    def plugins(self) -> Path:
        """What the engine sees as /run/docker/plugins: put a plugin's socket here."""
        return self.instance.state / "plugins"

    @property
    def configuration(self) -> Path:
        """The engine's daemon.json; `reload` makes the engine read it again."""
        return self.instance.engine / "daemon.json"

    @property
    def running(self) -> Running:
        """Where it is. Raises RemoteError when it is not running."""
        if found := self.status():
            return found
        raise RemoteError("private engine", "is not running", "start it: shipwall engine start")

    @property
    def registry(self) -> str:
        """`127.0.0.1:PORT` of the registry."""
        return self.running.registry

    def engine(self, timeout_s: float = 60.0) -> Engine:
        """A client of it."""
        return Engine(self.socket, timeout_s)

    def status(self) -> Running | None:
        """Where it is, None when it is not running."""
        for entry in self.journal.standing():
            if entry.act == ACT and entry.status == "confirmed":
                with suppress(msgspec.ValidationError):
                    found = msgspec.convert(entry.facts["running"], Running)
                    if is_alive(found.init):
                        return found
        return None

    def start(self, timeout_s: float = 30.0) -> Running:
        """Start engine and registry, or find them running. *Raises* UnsupportedError without root, RemoteError with last words."""
        if os.geteuid() != 0:
            raise UnsupportedError("private engine", "needs root for its namespaces", "run it as root")
        self._check_paths()
        with self._alone():
            if found := self.status():
                return found
            self.take_away()
            return self._start(timeout_s)

    def stop(self) -> None:
        """Stop it gently (containers are stopped, images and registry stay on disk) and take away all that was running."""
        if any(entry.act == ACT for entry in self.journal.standing()):
            with self._alone():
                self.take_away(grace_s=10)

    def leave(self) -> None:
        """Let it run on when this process ends."""
        for child in self._children:
            child.leave()
        self._children.clear()

    def take_away(self, grace_s: float = 0.0, only: str = "") -> list[str]:
        """End everything the journal says this instance started (or engine id `only`); returns what was done. Nothing to do is no error."""
        done = []
        for entry in self.journal.standing():
            if entry.act == ACT and entry.key == (only or entry.key):
                done += self._end(entry.key, entry.facts, grace_s)
                self.journal.undo(entry.key, ACT)
        return done

    def remove_data(self, only: str = "") -> list[str]:
        """Remove images, containers and the registry's content of a stopped engine; returns what was done."""
        if self.status():
            raise RemoteError("private engine", "is running", "stop it first: shipwall engine stop")
        done = []
        for entry in self.journal.standing():
            if entry.act == DATA_ACT and entry.key == (only or entry.key):
                if self.instance.engine.is_dir():
                    shutil.rmtree(self.instance.engine)
                    done.append(f"removed {self.instance.engine}")
                with suppress(OSError):  # others may have put something there
                    self.plugins.rmdir()
                self.journal.undo(entry.key, DATA_ACT)
        return done

    def reload(self) -> None:
        """Make the engine read its daemon.json again (SIGHUP)."""
        if not signal_process(self.running.init, signal.SIGHUP):
            raise RemoteError("private engine", "ended meanwhile", "start it: shipwall engine start")

    def forward(self, host_port: int, guest_port: int) -> int:
        """Make `127.0.0.1:host_port` of the host reach `guest_port` inside; 0 picks a free port. Returns the host's port."""
        _ = self.running
        return self._network.forward(host_port, guest_port)

    def unforward(self, host_port: int) -> bool:
        """End the forward of the host's port; False when there is none."""
        return self._network.unforward(host_port)

    def inside(self, argv: list[str]) -> list[str]:
        """The command line that runs `argv` in the namespaces of the engine (network, mounts, processes)."""
        return ["nsenter", "--target", str(self.running.init.pid), "--net", "--mount", "--pid", "--", *argv]

    def run_inside(
        self, argv: list[str], timeout_s: float = 30.0, data: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `argv` in the namespaces and wait; output and errors are captured, the exit code is the caller's to judge."""
        try:
            return subprocess.run(
                self.inside(argv),
                input=data,
                stdin=None if data is not None else subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                env={**os.environ, **tools_environment()},
            )
        except subprocess.TimeoutExpired as error:
            raise RemoteError(f"{argv[0]} inside the private engine", f"did not end in {timeout_s:.0f} s") from error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # -- inside ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else starts or stops it meanwhile."""
        self.instance.engine.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.instance.engine / "lock"):
            yield

    def _check_paths(self) -> None:
        state = self.instance.state
        for hidden in (Path("/run"), Path("/var/run"), Path("/proc"), Path("/sys"), Path("/dev")):
            if state.is_relative_to(hidden) or state.resolve().is_relative_to(hidden):
                raise InputError(
                    f"state folder {state}", f"{hidden} is another one inside the engine's namespaces", "use another folder"
                )
        if len(str(self.instance.engine / "network.sock")) > 100:
            raise InputError(f"state folder {state}", "the path is too long for a unix socket in it", "use a shorter path")

    def _start(self, timeout_s: float) -> Running:
        tools = find_tools("dockerd", "containerd", "runc", "docker-proxy", "docker-registry", "slirp4netns")
        name = secrets.token_hex(6)
        port = free_port()
        bridge, pool = choose_networks(Path("/proc/net/route").read_text())
        cgroup = f"/shipwall-{name}"
        self._write_files(port)
        environment = {
            **tools_environment(),
            MARK: name,
            "SW_STATE": str(self.instance.state),
            "SW_ENGINE": str(self.instance.engine),
            "SW_PORT": str(port),
            "SW_TAP": TAP,
            "SW_REGISTRY": str(tools["docker-registry"]),
            "SW_DOCKERD": str(tools["dockerd"]),
            "SW_CGROUP": cgroup,
            "SW_BRIDGE": bridge,
            "SW_POOL": pool,
        }
        if not any(entry.act == DATA_ACT for entry in self.journal.standing()):
            self.journal.begin(str(self.instance.engine), DATA_ACT)
            self.journal.confirm(str(self.instance.engine), DATA_ACT)
        self.journal.begin(name, ACT, cgroup=cgroup)
        try:
            running = self._launch(name, f"{HOST}:{port}", bridge, cgroup, environment, tools["slirp4netns"], timeout_s)
        except BaseException:
            self._end(name, {"cgroup": cgroup}, 0)
            self.journal.fail(name, ACT)
            raise
        self.journal.confirm(name, ACT, running=msgspec.to_builtins(running))
        return running

    def _write_files(self, port: int) -> None:
        folder = self.instance.engine
        self.plugins.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "data").mkdir(exist_ok=True, mode=0o710)
        registry = folder / "registry"
        registry.mkdir(exist_ok=True, mode=0o700)
        write_whole(folder / "resolv.conf", f"nameserver {NAME_SERVER}\n".encode())
        write_whole(
            folder / "registry.yml", REGISTRY_YML.format(root=json.dumps(str(registry)), address=f"0.0.0.0:{port}").encode()
        )
        write_whole(
            self.configuration, b"{}\n"
        )  # an enrolled plugin is of the agent that enrolled it, and that one is not running now
        for left in ("engine.sock", "network.sock"):
            (folder / left).unlink(missing_ok=True)
        for log in ("dockerd.log", "registry.log", "init.log", "network.log"):
            (folder / log).unlink(missing_ok=True)

    def _launch(
        self, name: str, registry: str, bridge: str, cgroup: str, environment: dict[str, str], slirp: Path, timeout_s: float
    ) -> Running:
        folder = self.instance.engine
        unshare = [
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            INIT,
            f"shipwall-{name}",
        ]
        launcher = Child(
            "private engine", unshare, log=folder / "init.log", env=environment, folder=Path("/"), dies_with_us=self.dies_with_us
        )
        self._children.append(launcher)
        launcher.wait_ready(lambda: bool(child_pids(launcher.pid)), timeout_s)
        init = read_process(child_pids(launcher.pid)[0])
        if init is None:
            launcher.wait_ready(lambda: False, 1)
            raise RemoteError("private engine", launcher.last_words(), f"look at {launcher.log}")
        ready, told = os.pipe()
        try:
            network = Child(
                "slirp4netns",
                [
                    str(slirp),
                    "--configure",
                    "--mtu=65520",
                    "--disable-host-loopback",
                    f"--ready-fd={told}",
                    f"--api-socket={folder / 'network.sock'}",
                    str(init.pid),
                    TAP,
                ],
                log=folder / "network.log",
                env=environment,
                folder=Path("/"),
                dies_with_us=self.dies_with_us,
                pass_fds=(told,),
            )
            self._children.append(network)
            os.set_blocking(ready, False)
            network.wait_ready(lambda: _is_told(ready), timeout_s)
        finally:
            os.close(ready)
            os.close(told)
        running = Running(
            id=name, launcher=launcher.record, init=init, network=network.record, registry=registry, bridge=bridge, cgroup=cgroup
        )
        port = int(registry.rpartition(":")[2])
        self._network.forward(port, port)
        with self.engine(5) as engine:
            launcher.log = folder / "dockerd.log"
            launcher.wait_ready(lambda: engine.ping(1), timeout_s)
        launcher.log = folder / "registry.log"
        launcher.wait_ready(lambda: registry_answers(port), timeout_s)
        return running

    def _end(self, name: str, facts: dict[str, Any], grace_s: float) -> list[str]:
        """End the engine `name`. Frozen containers are thawed first: a frozen process does not die, and holds its namespace.

        Also when nothing marked lives any more: the namespaces' first process may be killed already and wait for the frozen ones.
        """
        cgroup = str(facts.get("cgroup", ""))
        thaw_cgroups(cgroup)
        done = []
        running: Running | None = None
        with suppress(msgspec.ValidationError, KeyError):
            running = msgspec.convert(facts["running"], Running)
            if grace_s and is_alive(running.init):
                signal_process(running.init, signal.SIGTERM)
                wait_gone(running.init, grace_s)
        for record in find_marked(MARK, name):
            thaw_cgroups(cgroup)
            if stop_process(record, 0):
                done.append(f"ended process {record.pid}")
        for child in self._children:
            child.stop(0)
        self._children.clear()
        done += remove_cgroups(cgroup)
        if running is not None and not wait_gone(running.init, 10):
            raise RemoteError(f"private engine {name}", "its first process does not end", "then run: shipwall cleanup")
        for left in ("engine.sock", "network.sock"):
            if (self.instance.engine / left).exists():
                (self.instance.engine / left).unlink()
                done.append(f"removed socket {left}")
        return done


def _is_told(fd: int) -> bool:
    try:
        return bool(os.read(fd, 1))
    except BlockingIOError:
        return False


def why_no_engine() -> str:
    """Why no private engine can run on this host, tried out; empty when one can."""
    if os.geteuid() != 0:
        return "not root"
    try:
        argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "true"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unshare: {error}"
    return f"no namespaces ({' '.join(done.stderr.split())[:200]})" if done.returncode else ""


def registry_answers(port: int) -> bool:
    """Whether the registry answers through the forward (slirp4netns itself accepts connections before it does)."""
    try:
        with socket.create_connection((HOST, port), 1) as client:
            client.settimeout(1)
            client.sendall(b"GET /v2/ HTTP/1.0\r\nHost: registry\r\n\r\n")
            return b" 200 " in client.recv(64)
    except OSError:
        return False
