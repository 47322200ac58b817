"""A real server process in a temporary folder, a link client that plays the agent, and a realistic story to show.

Used by the tests of server and console, and by `scripts/screenshots.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec

from shipwall.adapters.instance import Instance
from shipwall.adapters.link import Link, node_name
from shipwall.adapters.unprivileged import SERVER_ID, unprivileged_argv
from shipwall.model.alert import Alert, Why
from shipwall.model.container import ContainerFacts, Process
from shipwall.model.digest import digest_of
from shipwall.model.errors import RemoteError
from shipwall.model.event import Connect, Exec, Open
from shipwall.model.verdict import Evidence, Reason, Verdict
from shipwall.model.wire import (
    Ack,
    Admission,
    AlertRaised,
    Answer,
    AnyMessage,
    Command,
    CommandResult,
    ContainerSeen,
    EventsSeen,
    EvidenceStored,
    Health,
    ImageStep,
    Message,
    Query,
    ResponseStep,
    SilenceSet,
)

NODE = node_name()
MS = 1_000_000
S = 1_000 * MS


class ServerProcess:
    """One running server. As root it runs as the product runs it: as a user who may do nothing else."""

    def __init__(self, instance: Instance, process: subprocess.Popen[bytes], log: Path) -> None:
        self.instance = instance
        self.process = process
        self.log = log
        self.url = str(json.loads((instance.run / "console.json").read_bytes())["url"])

    def cli(self) -> Link:
        """A command line's connection."""
        return Link(self.instance.link_socket, "cli")

    def ask(self, what: str, where: dict[str, str] | None = None, limit: int = 1000) -> list[dict[str, object]]:
        """Rows, as the command line gets them."""
        with self.cli() as link:
            answer = link.ask(Query(what=what, where=where or {}, limit=limit))
        assert isinstance(answer, Answer)
        assert not answer.error, answer.error
        return list(answer.rows)

    def login_link(self) -> str:
        """A fresh one-time link."""
        return str(self.ask("login-link")[0]["url"])

    def rss_bytes(self) -> int:
        """Resident memory of the server itself."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


@contextmanager
def running_server(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[ServerProcess]:
    """A server that ends with the block."""
    state = Path(tempfile.mkdtemp(prefix="shipwall-", dir="/tmp"))
    instance = Instance(state)
    state.chmod(0o711)
    root = os.geteuid() == 0
    shown = {instance.evidence, instance.fleet.parent}
    for folder, mode in ((instance.server, 0o700), (instance.run, 0o755), *((one, 0o750) for one in shown)):
        folder.mkdir(mode=mode)
        if root:
            os.chown(folder, 0 if folder in shown else SERVER_ID, SERVER_ID)
    argv = [sys.executable, "-m", "shipwall.server", "--state", str(state), *arguments]
    if root:
        argv = unprivileged_argv(argv, SERVER_ID, [instance.server, instance.run, *shown])
    log = state / "server.log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(argv, stderr=output, stdout=output, env={**os.environ, **(environment or {})})
        try:
            record = instance.run / "console.json"
            wait_for(lambda: record.exists() or process.poll() is not None, 30)
            assert process.poll() is None, log.read_text()
            yield ServerProcess(instance, process, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(state, ignore_errors=True)


def wait_for(happened: Callable[[], bool], seconds: float = 30) -> None:
    """Return when `happened`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class PlayedAgent:
    """A real client of the link that says what it is told, answers every command and remembers what was pushed."""

    def __init__(self, path: Path) -> None:
        self.node = NODE
        self.commands: list[Command] = []
        self.silences: list[SilenceSet] = []
        self.acknowledged = 0
        self.answering = True
        self._number = 0
        self._states: dict[str, ContainerFacts] = {}
        self._lock = threading.Lock()
        self._link = Link(path, "agent", timeout_s=None)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def say(self, *messages: Message) -> None:
        """Send `messages` and return when the server has stored them."""
        with self._lock:
            for message in messages:
                self._number += 1
                if isinstance(message, ContainerSeen):
                    self._states[message.container.id] = message.container
                self._link.send(msgspec.structs.replace(message, number=self._number))
            last = self._number
        wait_for(lambda: self.acknowledged >= last)

    def close(self) -> None:
        """Go away."""
        import socket

        with contextlib.suppress(OSError):
            self._link._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        with contextlib.suppress(RemoteError):
            while True:
                self._hear(self._link.receive())

    def _hear(self, message: AnyMessage) -> None:
        if isinstance(message, Ack):
            self.acknowledged = message.of
        elif isinstance(message, SilenceSet):
            self.silences.append(message)
        elif isinstance(message, Command):
            self.commands.append(message)
            if self.answering and message.plan:
                self._link.send(CommandResult(id=message.id, done=True, detail=f"{message.action} {message.plan}"))
            elif self.answering:
                state = {"freeze": "frozen", "thaw": "running", "destroy": "gone"}[message.action]
                facts = msgspec.structs.replace(self._states[message.target], state=state)
                with self._lock:
                    self._number += 1
                    self._link.send(ContainerSeen(number=self._number, node=self.node, time_ns=time.time_ns(), container=facts))
                    self._link.send(CommandResult(id=message.id, done=True, detail=f"{facts.name} is {state}"))


# The story


BASE, SHOP, CLEAN = (digest_of(name) for name in (b"shop 1", b"shop config", b"shop 2"))
OLD_BASE, NEW_BASE = digest_of(b"base 1"), digest_of(b"base 2")
SHOP_ID, NEXT_ID, DB_ID = ("3f9c" + "a1" * 30, "7be2" + "b2" * 30, "c04d" + "c3" * 30)


def a_container(container_id: str, name: str, state: str = "running", now_ns: int = 0, **fields: object) -> ContainerSeen:
    """A promoted container of the shop."""
    facts = ContainerFacts(
        id=container_id, name=name, image_ref=f"registry.local:5000/prod/shop@{CLEAN[:19]}…", image_config=SHOP, image_digest=CLEAN,
        promotion="promoted", state=state, pid=4242, created_ns=now_ns - 600 * S, user="app", ports=("127.0.0.1:8080->8080/tcp",),
    )  # fmt: skip
    return ContainerSeen(node=NODE, time_ns=now_ns, container=msgspec.structs.replace(facts, **fields))


def an_alert(alert_id: str, rule: str, time_ns: int, **fields: object) -> Alert:
    """An alert about an intruder's shell in the shop."""

    def process(pid: int, ppid: int, comm: str, *argv: str, origin: str = "image") -> Process:
        return Process(
            pid=pid, ppid=ppid, ns_pid=pid - 4200, start_ns=time_ns - 5 * S, uid=1000, gid=1000, comm=comm, path=f"/usr/bin/{comm}",
            argv=argv, container=SHOP_ID, origin=origin,
        )  # fmt: skip

    event = Exec(
        seq=881, time_ns=time_ns, cgroup_id=9121, pid=4262, tid=4262, ppid=4242, ns_pid=62, uid=1000, gid=1000, comm="sh",
        container=SHOP_ID, syscall="execve", path="/usr/bin/dash", asked="/bin/sh", argv=("/bin/sh", "-c", "id; cat /etc/shadow"),
        origin="image", parent_comm="python3",
    )  # fmt: skip
    base = Alert(
        id=alert_id, node=NODE, time_ns=time_ns, raised_ns=time_ns + 3 * MS + 210_000, rule=rule, priority="critical",
        output="A shell was started by the API (user=1000 command=/bin/sh -c id; cat /etc/shadow parent=python3 container=shop)",
        action="alert", event=event, container=SHOP_ID, container_name="shop", image_digest=CLEAN, promotion="promoted",
        package="dash 0.5.12-2", lineage=(
            process(4262, 4242, "sh", "/bin/sh", "-c", "id; cat /etc/shadow"),
            process(4242, 4201, "python3", "python3", "-m", "shop.api"), process(4201, 1, "tini", "tini", "--", "start"),
        ),
        why=(
            Why(condition="evt.type in (execve, execveat)", value="execve", result=True),
            Why(condition="proc.name in (sh, bash, dash, ash)", value="sh", result=True),
            Why(condition="proc.pname in (python3, node, java, nginx)", value="python3", result=True),
            Why(condition="not proc.tty != 0", value="0", result=True),
        ),
        tags=("container", "shell", "T1059.004"),
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


def tell_story(agent: PlayedAgent, now_ns: int, evidence: Path | None = None) -> None:
    """One image's whole life, ending a minute before `now_ns`: refused, rebuilt, promoted, attacked, frozen, replaced."""
    start = now_ns - 900 * S
    agent.say(*_journey(start), *_admissions(now_ns - 400 * S))
    agent.say(
        a_container(SHOP_ID, "shop", "frozen", now_ns - 60 * S),
        a_container(NEXT_ID, "shop-2", "running", now_ns - 58 * S, created_ns=now_ns - 58 * S, replaces=SHOP_ID),
        a_container(DB_ID, "ledger-db", "running", now_ns - 600 * S, image_ref="postgres:15", image_digest=None, promotion="unknown",
                    ports=(), user="postgres"),
    )  # fmt: skip
    attack = now_ns - 70 * S
    agent.say(*_attack(attack), *_response(attack + 9 * S, evidence))
    agent.say(*(a_health(now_ns - (60 - i) * 2 * S, 41_000 + i * 900 + (i * i * 37) % 600 * 3, i) for i in range(60)))


def a_waiting_plan(plan: str, time_ns: int, container: str = SHOP_ID) -> ResponseStep:
    """A plan that waits for a person."""
    return ResponseStep(
        node=NODE, plan=plan, alert="a-back", container=container, step="approval", status="waiting", time_ns=time_ns,
        detail="freeze, capture; until 2026-11-26 12:00:00Z",
    )  # fmt: skip


def a_health(time_ns: int, delivered: int, index: int = 0) -> Health:
    """One report of the sensor."""
    return Health(
        node=NODE, time_ns=time_ns, started_ns=1, delivered=delivered, lost={"open": 0, "connect": 0}, containers=3,
        filtered={"open": 90_210},
        rss_bytes=87 << 20, cpu_ns=index * 31 * MS, cost_ns=412.0, cost_calls=31_204, cost_share=0.0064, ring_bytes=4 << 20,
        functions={"sensor": "enforce", "admission": "enforce", "kill": "enforce", "freeze": "enforce", "capture": "observe"},
    )  # fmt: skip


def _journey(start: int) -> list[ImageStep]:
    def step(digest: str, image: str, name: str, at_s: float, took_ms: float, summary: str, **fields: object) -> ImageStep:
        base = ImageStep(
            digest=digest, image=image, step=name, time_ns=start + int(at_s * S), duration_ns=int(took_ms * MS), summary=summary
        )
        return msgspec.structs.replace(base, **fields)

    fixable = tuple(
        Evidence(kind="finding", ref=cve, detail=f"{package} → {fixed}")
        for cve, package, fixed in (
            ("CVE-2026-31790", "openssl 3.0.17-1", "3.0.17-1~deb12u3"), ("CVE-2026-0861", "libc6 2.36-9+deb12u10", "2.36-9+deb12u13"),
            ("CVE-2025-68973", "gpgv 2.2.40-1.1", "2.2.40-1.1+deb12u2"),
        )
    )  # fmt: skip
    refused = (
        Reason(code="denied-package", message="tcpdump 4.99.3-1 is in the image, and the policy denies it",
               evidence=(Evidence(kind="package", ref="tcpdump 4.99.3-1", detail="/var/lib/dpkg/status"),),
               next_step="remove tcpdump from the Dockerfile's apt-get line"),
        Reason(code="fixable-findings", message="23 findings have a fix that the image does not carry", evidence=fixable,
               next_step="shipwall image rebuild dev/shop"),
        Reason(code="no-build-signature", message="no statement of the build step is signed by a trusted key",
               next_step="shipwall image sign dev/shop"),
    )  # fmt: skip
    return [
        step(BASE, "dev/shop", "built", 0, 41_300, "3 layers on debian:12", facts={"size": "148 MiB"}),
        step(BASE, "dev/shop", "listed", 44, 812, "131 packages", facts={"packages": "131", "files": "9 214"}),
        step(BASE, "dev/shop", "scanned", 46, 2_140, "27 findings, 23 fixable", facts={"findings": "27", "fixable": "23"}),
        step(BASE, "dev/shop", "gated", 49, 31, "refused", allowed=False, reasons=refused),
        step(CLEAN, "dev/shop", "rebuilt", 61, 38_900, parent=NEW_BASE, facts={"instead-of": BASE, "old-parent": OLD_BASE},
             summary="packages: 0 added, 2 removed, 19 changed; findings: 0 added, 23 removed, 0 changed"),
        step(CLEAN, "dev/shop", "listed", 101, 790, "129 packages", facts={"packages": "129"}),
        step(CLEAN, "dev/shop", "scanned", 103, 2_010, "4 findings, none fixable", facts={"findings": "4", "fixable": "0"}),
        step(CLEAN, "dev/shop", "gated", 106, 28, "allowed", allowed=True),
        step(CLEAN, "dev/shop", "signed", 107, 190, "SBOM, scan, provenance", facts={"statements": "3"}),
        step(CLEAN, "prod/shop", "promoted", 108, 640, "with 4 attestations", allowed=True),
        step(CLEAN, "prod/shop", "admitted", 112, 14, "shop", allowed=True),
        step(CLEAN, "prod/shop", "admitted", 842, 12, "shop-2", allowed=True),
    ]  # fmt: skip


def _admissions(at: int) -> list[Admission]:
    def asked(offset_s: int, uri: str, subject: str, *reasons: Reason, digest: str | None = None) -> Admission:
        return Admission(
            node=NODE, time_ns=at + offset_s * S, method="POST", uri=uri, subject=subject, image_digest=digest,
            verdict=Verdict(allowed=not reasons, reasons=reasons),
        )  # fmt: skip

    return [
        asked(0, "/v1.41/containers/create?name=shop-old", "dev/shop", Reason(
            code="not-promoted", message="this image was never promoted, whatever tag it carries",
            evidence=(Evidence(kind="request", ref="Image", detail="dev/shop:latest"),),
            next_step="shipwall image promote dev/shop prod/shop"), digest=BASE),
        asked(4, "/v1.41/containers/create?name=tool", "prod/shop", Reason(
            code="privileged", message="HostConfig.Privileged gives the container the whole host",
            evidence=(Evidence(kind="request", ref="HostConfig.Privileged", detail="true"),),
            next_step="drop --privileged; name the one capability that is needed"), Reason(
            code="host-bind", message="the engine's own socket would be mounted",
            evidence=(Evidence(kind="request", ref="HostConfig.Binds[0]", detail="/run/docker.sock:/run/docker.sock"),),
            next_step="remove -v /run/docker.sock"), digest=CLEAN),
        asked(9, "/v1.41/containers/create?name=shop", "prod/shop", digest=CLEAN),
    ]  # fmt: skip


def _attack(at: int) -> list[Message]:
    header = {"seq": 900, "cgroup_id": 9121, "pid": 4262, "tid": 4262, "ppid": 4242, "ns_pid": 62, "uid": 1000, "gid": 1000}
    who = {**header, "comm": "cat", "container": SHOP_ID}
    shadow = Open(
        time_ns=at + 2 * S, ret=-13, syscall="openat", path="/etc/shadow", asked="/etc/shadow", flags=0, resolved=False, **who
    )
    dropped = Exec(time_ns=at + 5 * S, path="/var/cache/shop/.x", argv=("/var/cache/shop/.x",), origin="upper", writable_mount=True,
                   killed=True, **{**who, "comm": "sh"})  # fmt: skip
    back = Connect(time_ns=at + 8 * S, ret=-115, syscall="connect", family="ipv4", protocol="tcp", address="172.20.0.1", port=4444,
                   fd=3, **{**who, "comm": "bash"})  # fmt: skip
    alerts = [
        an_alert("a-shell", "Shell started by a web application", at, priority="warning"),
        an_alert("a-shadow", "Read of a credential file", at + 2 * S, event=shadow, denied=True, stopped="refused by the system",
                 output="A file with credentials was asked for (file=/etc/shadow result=EACCES command=cat /etc/shadow container=shop)",
                 why=(Why(condition="evt.type in (open, openat, openat2)", value="openat", result=True),
                      Why(condition="fd.name in (/etc/shadow, /etc/gshadow)", value="/etc/shadow", result=True)),
                 package="coreutils 9.1-1", priority="warning"),
        an_alert("a-drop", "Executable that the image does not hold", at + 5 * S, event=dropped, action="kill", package="",
                 stopped="killed before its first instruction", output_fields={"stopped_after_ns": "0"},
                 output="A program written in the running container was started (path=/var/cache/shop/.x origin=upper container=shop)",
                 why=(Why(condition="proc.is_exe_upper_layer = true", value="true", result=True),
                      Why(condition="evt.type = execve", value="execve", result=True))),
        an_alert("a-back", "Shell connected to the network", at + 8 * S, event=back, action="freeze", stopped="frozen",
                 output="A shell opened a connection (to=172.20.0.1:4444 command=bash -i container=shop)", package="bash 5.2.15-2+b9",
                 why=(Why(condition="proc.name in (sh, bash, dash)", value="bash", result=True),
                      Why(condition="fd.rport != 53", value="4444", result=True),
                      Why(condition="evt.type = connect", value="connect", result=True))),
    ]  # fmt: skip
    return [*(AlertRaised(alert=alert) for alert in alerts), EventsSeen(node=NODE, events=(shadow, dropped, back))]


def _response(at: int, evidence: Path | None) -> list[Message]:
    def step(name: str, begin_ms: float, end_ms: float, detail: str) -> list[ResponseStep]:
        base = ResponseStep(node=NODE, plan="p-back", alert="a-back", container=SHOP_ID, step=name, status="begun", time_ns=0)
        return [
            msgspec.structs.replace(base, time_ns=at - S + int(begin_ms * MS)),
            msgspec.structs.replace(base, status="confirmed", time_ns=at - S + int(end_ms * MS), detail=detail),
        ]

    size = evidence.stat().st_size if evidence else 7_340_032
    return [
        *step("freeze", 4.1, 27.9, "3 processes stopped, engine says paused"), *step("cut", 28, 96, "disconnected from shop-net"),
        *step("capture", 97, 1_842, "3 processes, 41 files, 612 events"), *step("replace", 1_843, 2_604, "shop-2 answers on port 8080"),
        EvidenceStored(
            node=NODE, bundle="e-back", head=digest_of(b"head"), records=214, size_bytes=size,
            path=str(evidence or "/var/lib/shipwall/evidence/e-back.evidence"), container=SHOP_ID, alert="a-back", image_digest=CLEAN,
            time_ns=at + S,
        ),
    ]  # fmt: skip
