"""The response on a real engine: a container frozen, cut, captured, replaced; and the agent killed at every instant of it."""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shipwall.adapters.engine import Engine
from shipwall.adapters.evidence import EvidenceStore
from shipwall.adapters.journal import Journal
from shipwall.adapters.keys import Keys
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.journeys import respond
from shipwall.journeys.collect import KEY_NAME, seal_with, verify_evidence
from shipwall.journeys.respond import Outcome, Responder
from shipwall.kernel.freezer import Freezer
from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.model.errors import InputError, RemoteError, TrustError
from shipwall.model.event import Exec
from shipwall.model.wire import Command, EvidenceStored, Message, ResponseStep
from shipwall.response.evidence import read_bundle
from shipwall.response.plan import Declined, Plan, frozen_name, plan_command, plan_response
from shipwall.response.policy import parse_response_policy

pytestmark = [pytest.mark.engine, pytest.mark.root]

ACTS = Path(__file__).with_name("killed_responder.py")
MAIN = (
    "mkdir -p /www && echo served > /www/index.html && mkfifo /run/in && httpd -p 80 -h /www && read -r KEPT < /run/in && : > /run/read; "
    "while :; do echo x >> /run/beat; done"
)
POLICY = parse_response_policy(
    "responses: [{rules: [Reverse shell], steps: [freeze, cut, capture, replace]}]\nlimits: {memory_mib: 64, files_mib: 8}",
    "policy",
)


class Victim:
    """A running container with a published port, a secret in its memory and a file on its tmpfs."""

    def __init__(self, engine: Engine, image: str, name: str) -> None:
        self.engine, self.name = engine, name
        body = {
            "Image": image,
            "Cmd": ["sh", "-c", MAIN],
            "Env": ["DB_PASSWORD=hunter2", "PATH=/bin"],
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"Tmpfs": {"/run": ""}, "PortBindings": {"80/tcp": [{"HostPort": ""}]}},
        }
        self.id = engine.create(name, body)
        engine.start(self.id)
        record = engine.inspect_container(self.id)
        self.port = int(record["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
        self.freezer = Freezer()
        self.group = self.freezer.find(self.id)
        self.pid = self.freezer.pids(self.group)[0]
        self.root = Path(f"/proc/{self.pid}/root")
        wait_for((self.root / "run/in").exists)
        self.secret = secrets.token_hex(24)
        self.dropped = secrets.token_bytes(200_000)
        (self.root / "run/dropped").write_bytes(self.dropped)
        (self.root / "run/in").write_text(self.secret + "\n")
        wait_for((self.root / "run/beat").exists)

    def beats(self) -> int:
        return (self.root / "run/beat").stat().st_size

    def facts(self) -> ContainerFacts:
        record = self.engine.inspect_container(self.id)
        image = record["Image"]
        return ContainerFacts(
            id=self.id, name=self.name, image_ref="t", image_config=image, promotion="promoted", state="running"
        )

    def alert(self) -> Alert:
        event = Exec(
            seq=1, time_ns=1, cgroup_id=1, pid=self.pid, tid=1, ppid=1, ns_pid=1, uid=0, gid=0, comm="sh", path="/bin/sh",
            container=self.id,
        )  # fmt: skip
        return Alert(
            id=secrets.token_hex(8), node="here", time_ns=1, raised_ns=2, rule="Reverse shell", priority="Critical",
            output="a shell was bound to a socket", action="alert", event=event, container=self.id, container_name=self.name,
        )  # fmt: skip

    def plan(self, alert: Alert) -> Plan:
        plan = plan_response(alert, POLICY, self.facts(), time.time_ns())
        assert isinstance(plan, Plan)
        return plan


class House:
    """A responder and everything around it, in a folder of its own."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.folder, self.engine = folder, engine
        self.journal = Journal(folder / "journal.jsonl")
        self.store = EvidenceStore(folder / "evidence")
        self.keys = Keys(folder / "keys")
        self.told: list[Message] = []
        self.asked: list[tuple[str, str]] = []
        self.responder = self.again()

    def again(self) -> Responder:
        def headers(method: str, uri: str) -> dict[str, str]:
            self.asked.append((method, uri))
            return {"X-Test-Token": "t"}

        self.responder = Responder(
            engine=self.engine,
            journal=self.journal,
            store=self.store,
            sign=seal_with(self.keys.signer(KEY_NAME)),
            report=self.told.append,
            folder=self.folder,
            node="here",
            act_headers=headers,
        )
        return self.responder

    def content(self, bundle: str) -> dict[str, bytes]:
        found: dict[str, bytearray] = {}
        with self.store.path(bundle).open("rb") as file:
            for item in read_bundle(file):
                if not isinstance(item, bytes):
                    found.setdefault(item[0].name, bytearray()).extend(item[1])
        return {name: bytes(data) for name, data in found.items()}


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


@pytest.fixture
def victim(engine: Engine, busybox_image: str, fresh_name: Callable[[str], str]) -> Iterator[Victim]:
    name = fresh_name("victim")
    try:
        yield Victim(engine, busybox_image, name)
    finally:
        for one in engine.containers(filters={"name": [name]}):
            engine.remove(one["Id"], force=True)


@pytest.fixture
def house(engine: Engine, tmp_path: Path) -> House:
    return House(engine, tmp_path)


def fetch(private_engine: PrivateEngine, port: int) -> bytes:
    script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/', timeout=5).read().decode())"
    return private_engine.run_inside([sys.executable, "-c", script]).stdout.strip()


def replacements(engine: Engine, victim: Victim) -> list[dict[str, Any]]:
    return engine.containers(filters={"label": [f"shipwall.replaces={victim.id}"]})


def test_whole_response(
    private_engine: PrivateEngine, engine: Engine, victim: Victim, house: House, record_property: Any
) -> None:
    assert fetch(private_engine, victim.port) == b"served"
    alert = victim.alert()
    plan = victim.plan(alert)
    outcome = house.responder.carry_out(plan, alert, (alert.event,))
    assert outcome.done, outcome
    for step in outcome.steps:
        record_property(f"{step.step}_ms", round(step.duration_ns / 1e6, 1))
    record_property("frozen_ms", round(outcome.frozen_ns / 1e6, 2))

    # frozen: nothing runs, and the engine says so itself
    beats = victim.beats()
    assert house.responder.frozen() == {victim.id}
    assert engine.inspect_container(victim.id)["State"]["Status"] == "paused"
    with pytest.raises(RemoteError, match="paused"):
        engine.exec_run(victim.id, ["id"])
    # cut
    assert engine.inspect_container(victim.id)["NetworkSettings"]["Networks"] == {}
    # replaced: the same port and name, another container
    (fresh,) = replacements(engine, victim)
    assert fresh["Id"] == outcome.replacement
    assert engine.inspect_container(victim.name)["Id"] == outcome.replacement
    assert engine.inspect_container(victim.id)["Name"] == "/" + frozen_name(plan)
    assert fetch(private_engine, victim.port) == b"served"
    assert victim.beats() == beats

    # evidence: sound, and it holds what only the container's memory and tmpfs held
    keys = house.keys.public(KEY_NAME)
    assert outcome.evidence is not None
    report = verify_evidence(house.store.path(plan.id), keys, {"head": outcome.evidence.head, "container": victim.id})
    assert report.seal.alert == alert.id
    content = house.content(plan.id)
    assert any(victim.secret.encode() in data for name, data in content.items() if name.startswith("memory/"))
    assert not any(
        victim.secret.encode() in data for name, data in content.items() if not name.startswith(("memory/", "files/run"))
    )
    assert content["files/run/dropped"] == victim.dropped
    files = {one["path"]: one for one in json.loads(content["files.json"])}
    assert files["/run/dropped"]["sha256"] == "sha256:" + hashlib.sha256(victim.dropped).hexdigest()
    assert files["/www/index.html"]["change"] == "added"
    assert content["files/www/index.html"] == b"served\n"
    processes = json.loads(content["processes.json"])
    assert {"sh", "httpd"} <= {process["argv"][0] for process in processes}
    assert all(process["exe_sha256"] for process in processes)
    assert any("DB_PASSWORD=hunter2" in process["environment"] for process in processes)
    sockets = json.loads(content["sockets.json"])
    assert any(one["local"].endswith(":80") and one["state"] == "listen" and one["holders"] for one in sockets)
    assert json.loads(content["events.jsonl"])["path"] == "/bin/sh"
    assert json.loads(content["alert.json"])["id"] == alert.id
    assert json.loads(content["container.json"])["NetworkSettings"]["Networks"]

    # told and admitted, step by step
    steps = [(one.step, one.status) for one in house.told if isinstance(one, ResponseStep) and one.status != "planned"]
    assert [step for step, status in steps if status == "confirmed"] == ["freeze", "cut", "capture", "replace"]
    assert sum(isinstance(one, EvidenceStored) for one in house.told) == 1
    assert ("POST", f"/v1.41/containers/{victim.id}/pause") in house.asked
    assert ("POST", f"/v1.41/containers/create?name={victim.name}") in house.asked

    # the same alert does nothing again; another process knows what is frozen
    assert house.responder.carry_out(plan, alert).steps[0].status == "skipped"
    assert len(replacements(engine, victim)) == 1
    again = house.again()
    assert again.frozen() == {victim.id}
    assert again.history()[0].is_frozen

    # thaw: it goes on where it stood, alone, since its place is taken
    again.thaw(victim.id, "ann", "false alarm")
    wait_for(lambda: victim.beats() > beats)
    assert again.frozen() == set()
    assert engine.inspect_container(victim.id)["State"]["Status"] == "running"
    assert engine.inspect_container(victim.id)["NetworkSettings"]["Networks"] == {}
    assert house.again().frozen() == set()


INSTANTS = [
    "begin plan", "freezer freeze", "freezer hold", "engine pause", "freezer release", "act freeze", "confirm freeze",
    "begin cut", "engine disconnect", "act cut", "confirm cut",
    "begin capture", "unsealed", "act capture", "confirm capture",
    "begin replace", "engine rename", "engine create", "engine start", "act replace", "confirm replace",
]  # fmt: skip


@pytest.mark.parametrize("instant", INSTANTS)
def test_killed_at(instant: str, private_engine: PrivateEngine, engine: Engine, victim: Victim, house: House) -> None:
    alert = victim.alert()
    plan = victim.plan(alert)
    described = {
        "instant": instant,
        "state": str(house.folder),
        "socket": str(private_engine.socket),
        "plan": msgspec.to_builtins(plan),
        "alert": msgspec.to_builtins(alert),
    }
    (house.folder / "acts.json").write_text(json.dumps(described))
    child = subprocess.run([sys.executable, ACTS, house.folder / "acts.json"], capture_output=True, timeout=60, check=False)
    assert child.returncode == -9, (child.returncode, child.stdout, child.stderr)
    frozen_at = victim.beats() if instant != "begin plan" else None

    responder = house.again()
    assert responder.frozen() == {victim.id}
    (outcome,) = responder.resume()
    assert outcome.done, outcome
    assert house.again().resume() == []

    if frozen_at is not None:
        assert victim.beats() == frozen_at, "it ran between the freeze and the end of the plan"
    assert not (victim.group.path / "shipwall-hold").exists()
    assert victim.freezer.is_frozen(victim.group)
    assert engine.inspect_container(victim.id)["State"]["Status"] == "paused"
    assert engine.inspect_container(victim.id)["NetworkSettings"]["Networks"] == {}
    assert [path.name for path in (house.folder / "evidence").iterdir()] == [f"{plan.id}.evidence"]
    report = verify_evidence(house.store.path(plan.id), house.keys.public(KEY_NAME), {"container": victim.id})
    assert report.kinds["memory"] >= 1
    (fresh,) = replacements(engine, victim)
    assert fresh["State"] == "running"
    assert engine.inspect_container(victim.name)["Id"] == fresh["Id"]
    assert engine.inspect_container(fresh["Id"])["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == str(victim.port)


def test_full_disk(engine: Engine, victim: Victim, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle does not fit: nothing half-written, the service is back all the same, and the capture is made when there is room.

    However often it failed: a full disk is no reason to give evidence up.
    """
    monkeypatch.setattr(respond, "MAX_TRIES", 1)
    alert = victim.alert()
    plan = victim.plan(alert)
    evidence = house.folder / "evidence"
    evidence.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", evidence], check=True, timeout=10)
    try:
        outcome = house.responder.carry_out(plan, alert)
        status = {step.step: step.status for step in outcome.steps}
        assert status == {"freeze": "confirmed", "cut": "confirmed", "capture": "failed", "replace": "confirmed"}
        assert not outcome.done
        assert list(evidence.iterdir()) == []
        failed = next(step for step in outcome.steps if step.step == "capture")
        assert "No space left" in failed.detail
        assert victim.freezer.is_frozen(victim.group)
        with pytest.raises(InputError, match="not sealed"):
            house.responder.destroy(victim.id, "ann", "tidy")
        subprocess.run(["mount", "-o", "remount,size=64m", evidence], check=True, timeout=10)
        (outcome,) = house.again().resume()
        assert outcome.done
        verify_evidence(house.store.path(plan.id), house.keys.public(KEY_NAME))
        assert len(replacements(engine, victim)) == 1
        house.responder.destroy(victim.id, "ann", "evidence is sealed")
        with pytest.raises(RemoteError) as missing:
            engine.inspect_container(victim.id)
        assert missing.value.status == 404
        assert house.responder.frozen() == set()
    finally:
        subprocess.run(["umount", "-l", evidence], check=True, timeout=10)


def test_frozen_in_the_middle_of_an_exec_and_a_health_check(
    engine: Engine, busybox_image: str, fresh_name: Callable[[str], str], house: House
) -> None:
    """Neither hangs the engine: it answers, refuses the next exec, and what was under way ends after the thaw."""
    body = {
        "Image": busybox_image,
        "Cmd": ["sh", "-c", "mkfifo /go; while :; do echo x >> /beat; done"],
        "Healthcheck": {"Test": ["CMD-SHELL", "test -e /beat"], "Interval": 10_000_000, "Timeout": 5_000_000_000, "Retries": 3},
    }
    container = engine.create(fresh_name("exec"), body)
    try:
        engine.start(container)
        wait_for(lambda: (engine.inspect_container(container)["State"].get("Health") or {}).get("Status") == "healthy")
        freezer = Freezer()
        group = freezer.find(container)
        pid = freezer.pids(group)[0]
        told: list[tuple[int, bytes]] = []
        with Engine(engine.socket, 60) as other:
            running = threading.Thread(
                target=lambda: told.append(other.exec_run(container, ["sh", "-c", "read -r x < /go; echo $x"]))
            )
            running.start()
            wait_for(lambda: any(b"read -r x" in _command(one) for one in freezer.pids(group)))
            facts = ContainerFacts(
                id=container, name="exec", image_ref="t", image_config="", promotion="promoted", state="running"
            )
            plan = plan_command("c1", ("freeze",), facts, "here", "ann", "looking", time.time_ns())
            outcome = house.responder.carry_out(plan)
            assert outcome.done, outcome
            assert freezer.is_frozen(group)
            beats = Path(f"/proc/{pid}/root/beat").stat().st_size
            assert engine.inspect_container(container)["State"]["Status"] == "paused"
            with pytest.raises(RemoteError, match="paused"):
                engine.exec_run(container, ["true"])
            assert Path(f"/proc/{pid}/root/beat").stat().st_size == beats
            assert running.is_alive()
            house.responder.thaw(container, "ann", "false alarm")
            Path(f"/proc/{pid}/root/go").write_text("on\n")
            running.join(20)
            assert told == [(0, b"on\n")]
        wait_for(lambda: engine.inspect_container(container)["State"]["Health"]["Status"] == "healthy")
    finally:
        engine.remove(container, force=True)


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    return b""


def test_freeze_now_then_the_rest(engine: Engine, victim: Victim, house: House) -> None:
    """The hurried thread freezes; another goes on; a crash between the two is finished by resume."""
    alert = victim.alert()
    plan = victim.plan(alert)
    taken_ns = house.responder.freeze_now(plan, alert)
    beats = victim.beats()
    assert 0 < taken_ns < 1e9
    assert victim.freezer.is_frozen(victim.group)
    assert house.responder.frozen() == {victim.id}
    assert house.responder.freeze_now(plan, alert) == 0
    assert house.responder.resume() == [], "it is under way"
    assert isinstance(plan_response(victim.alert(), POLICY, victim.facts(), time.time_ns(), house.responder.history()), Declined)
    (outcome,) = house.again().resume()  # the process that froze is gone
    assert outcome.done
    assert victim.beats() == beats
    assert len(replacements(engine, victim)) == 1


def test_command_freeze_and_thaw_without_a_plan(
    private_engine: PrivateEngine, engine: Engine, victim: Victim, house: House
) -> None:
    def ask(action: str) -> tuple[bool, str]:
        command = Command(id=secrets.token_hex(4), action=action, target=victim.id, actor="ann", reason="looking")
        result = house.responder.command(command, victim.facts())
        return result.done, result.detail

    assert ask("capture") == (
        False,
        f"container {victim.id[:12]}: is not frozen by a plan of this node; list them: shipwall container list",
    )
    done, detail = ask("freeze")
    assert done, detail
    beats = victim.beats()
    done, detail = ask("capture")
    assert done, detail
    assert victim.beats() == beats
    (path,) = house.store.paths()
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    (house.folder / "changed").write_bytes(changed)
    with pytest.raises(TrustError):
        verify_evidence(house.folder / "changed", house.keys.public(KEY_NAME))
    done, detail = ask("thaw")
    assert done, detail
    assert fetch(private_engine, victim.port) == b"served"
    wait_for(lambda: victim.beats() > beats)


def test_container_that_ended_meanwhile_is_still_replaced(engine: Engine, victim: Victim, house: House) -> None:
    alert = victim.alert()
    plan = victim.plan(alert)
    engine.kill(victim.id)
    engine.wait(victim.id)
    outcome: Outcome = house.responder.carry_out(plan, alert)
    assert {step.step: step.status for step in outcome.steps} == {
        "freeze": "failed", "cut": "confirmed", "capture": "confirmed", "replace": "confirmed",
    }  # fmt: skip
    assert house.responder.frozen() == set()
    assert b"no process of the container is left" in house.content(plan.id)["skipped.json"]
    assert len(replacements(engine, victim)) == 1


def test_journal_on_a_full_disk_does_not_stop_the_freeze(victim: Victim, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    alert = victim.alert()
    folder = house.folder / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], check=True, timeout=10)
    try:
        with suppress(OSError):
            (folder / "filler").write_bytes(bytes(1 << 20))
        house.journal.path = folder / "journal.jsonl"
        outcome = house.responder.carry_out(victim.plan(alert), alert)
        assert victim.freezer.is_frozen(victim.group)
        assert outcome.steps[0].status == "confirmed"
        assert "not journalled" in outcome.steps[0].detail
        assert house.responder.frozen() == {victim.id}
        (folder / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=1m", folder], check=True, timeout=10)
        (resumed,) = house.responder.resume()
        assert resumed.done, resumed
        assert house.again().frozen() == {victim.id}
    finally:
        subprocess.run(["umount", "-l", folder], check=True, timeout=10)
