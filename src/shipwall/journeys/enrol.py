"""Putting admission before an engine, and taking it away: the only two journeys that change an engine's configuration.

Enrol: 1 the plugin answers · 2 the configuration is kept as it was · 3 journal · 4 the engine is told where the plugin is · 5 the plugin is
added, everything else kept · 6 SIGHUP · 7 a probing call is refused by the plugin · 8 confirm. Whatever fails after 3 is taken back.
Leave: the kept bytes are put back; where somebody changed the file meanwhile, only the plugin is taken out of it.
Break-glass is leave for the hour when the plugin is gone and the engine refuses every call: it needs a reason and is heard everywhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from shipwall.adapters.alarm import actor_name, alarm
from shipwall.adapters.engine import Engine
from shipwall.adapters.files import write_whole
from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Entry, Journal
from shipwall.adapters.link import node_name
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.report import Reporter
from shipwall.lang.strict_json import parse_json
from shipwall.model.digest import digest_of
from shipwall.model.errors import InputError, RemoteError, ShipwallError, StorageError, UnsupportedError
from shipwall.model.verdict import Reason, Verdict
from shipwall.model.wire import Admission

ACT = "enrol-engine"
PLUGIN_NAME = "shipwall"
KEY = "authorization-plugins"
PROBE_NAME = "shipwall-probe-"
SPEC_FOLDER = Path("/etc/docker/plugins")
DEADLINE_S = 15.0


@dataclass(frozen=True)
class EngineTarget:
    """An engine that may be changed because somebody named it. `spec`: file that tells it where the plugin is, None where it sees it.

    `reload` makes it read `configuration` again; raises RemoteError when it does not run. `pid_file`: None for the private engine.
    """

    socket: Path
    configuration: Path
    spec: Path | None
    pid_file: Path | None
    reload: Callable[[], None]


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an engine. `state`: enrolled, already enrolled, left, was not enrolled. `containers` were there before."""

    state: str
    engine: str
    configuration: str
    detail: str = ""
    containers: int = 0


def private_target(instance: Instance) -> EngineTarget:
    """The private engine of `instance`."""
    engine = PrivateEngine(instance)
    return EngineTarget(socket=engine.socket, configuration=engine.configuration, spec=None, pid_file=None, reload=engine.reload)


def existing_target(engine_socket: Path, configuration: Path, pid_file: Path, spec_folder: Path = SPEC_FOLDER) -> EngineTarget:
    """An engine of this host, named by its socket, its daemon.json and its pid file."""
    return EngineTarget(
        socket=engine_socket,
        configuration=configuration.resolve(),
        spec=spec_folder / f"{PLUGIN_NAME}.spec",
        pid_file=pid_file,
        reload=lambda: _hang_up(pid_file),
    )


def plugin_socket(instance: Instance) -> Path:
    """Where the agent of `instance` serves admission."""
    return instance.state / "plugins" / f"{PLUGIN_NAME}.sock"


def enrol_engine(instance: Instance, target: EngineTarget) -> Enrolment:
    """Put the agent's admission before the engine of `target`. Idempotent.

    Raises: UnsupportedError without root, RemoteError when plugin or engine do not answer, InputError for a configuration that is no JSON
    object, StorageError; after each the configuration is as it was.
    """
    _need_root()
    # 1 the plugin answers: an engine with a plugin that does not would refuse everything
    _check_plugin(plugin_socket(instance))
    before = _probe(target.socket)
    original = _read(target.configuration)
    wanted = render_enrolled(original)
    with Engine(target.socket) as engine:
        containers = 0 if before.startswith("closed") else len(engine.containers(every=False))
    key = str(target.configuration)
    journal = Journal(instance.state / "journal.jsonl")
    if original == wanted:  # enrolled before, perhaps by a run that did not come to its end: what was kept then stays kept
        if before != "enrolled":
            target.reload()
            _wait_probe(target.socket, "enrolled")
        if (entry := journal.last().get((key, ACT))) is not None and entry.status == "begun":
            journal.confirm(key, ACT)
        return _enrolment("already enrolled", target, containers)
    # 2 keep
    kept = instance.agent / "enrolments" / digest_of(key.encode()).removeprefix("sha256:")[:16]
    mode = target.configuration.stat().st_mode & 0o7777 if original is not None else 0o644
    if original is not None:
        write_whole(kept, original, 0o600)
    # 3 journal
    journal.begin(
        key,
        ACT,
        socket=str(target.socket),
        kept=str(kept) if original is not None else "",
        mode=mode,
        written=digest_of(wanted),
        spec=str(target.spec or ""),
        pid_file=str(target.pid_file or ""),
    )
    try:
        # 4 where the plugin is
        if target.spec is not None:
            write_whole(target.spec, f"unix://{plugin_socket(instance)}\n".encode())
        # 5 and 6
        write_whole(target.configuration, wanted, mode)
        target.reload()
        # 7 proof
        _wait_probe(target.socket, "enrolled")
    except BaseException:
        with contextlib.suppress(ShipwallError, OSError):
            _put_back(_entry(journal, key))
            target.reload()
        journal.fail(key, ACT)
        raise
    # 8
    journal.confirm(key, ACT)
    return _enrolment("enrolled", target, containers)


def leave_engine(instance: Instance, target: EngineTarget, *, force: bool = False) -> Enrolment:
    """Take admission away from the engine of `target` and put its configuration back. Idempotent.

    `force`: also without a journal or a kept configuration, by taking the plugin out of the one that is there.
    Raises: UnsupportedError, StorageError, RemoteError when the engine still asks the plugin afterwards.
    """
    _need_root()
    journal = Journal(instance.state / "journal.jsonl")
    key = str(target.configuration)
    entry = journal.last().get((key, ACT))
    if entry is None or entry.status not in ("begun", "confirmed"):
        current = _read(target.configuration)
        if not force or current is None or render_left(current) == current:
            return _enrolment("was not enrolled", target)
        entry = Entry(key=key, act=ACT, status="begun", time_ns=0)
    try:
        detail = _put_back(entry)
    except StorageError:
        if not force:
            raise
        detail = _put_back(msgspec.structs.replace(entry, facts={}))
    running = True
    try:
        target.reload()
    except RemoteError:
        running = False  # it will read its configuration when it starts
    if running:
        _wait_probe(target.socket, "open")
    journal.undo(key, ACT)
    return _enrolment("left", target, detail=detail if running else f"{detail}; the engine is not running")


def break_glass(instance: Instance, target: EngineTarget, reason: str) -> Enrolment:
    """`leave_engine` for the hour when nothing else helps: recorded before it is done, and heard. Raises InputError without a reason."""
    reason = " ".join(reason.split())[:500]
    if len(reason) < 8:
        raise InputError(
            "break-glass", "needs a reason of at least 8 characters", "say why: --reason 'agent does not start, incident 42'"
        )
    _need_root()
    now = time.time_ns()
    line = {"time_ns": now, "act": "break-glass", "engine": str(target.socket), "actor": actor_name(), "reason": reason}
    _write_audit(instance, line)
    alarm(f"BREAK-GLASS: {line['actor']} takes admission away from {target.socket}: {reason}")
    loud = Reason(
        code="break-glass", message=f"{line['actor']}: {reason}", next_step="mend the agent, then: shipwall engine enrol"
    )
    said = Admission(
        node=node_name(),
        time_ns=now,
        method="BREAK-GLASS",
        uri="",
        subject=str(target.socket),
        verdict=Verdict(allowed=True, reasons=(loud,)),
    )
    try:
        done = leave_engine(instance, target, force=True)
    except BaseException as error:
        _write_audit(instance, {**line, "time_ns": time.time_ns(), "outcome": f"failed: {error}"})
        raise
    finally:
        Reporter(instance.link_socket)(said)
    _write_audit(instance, {**line, "time_ns": time.time_ns(), "outcome": done.state})
    return done


def undo_enrolment(instance: Instance, entry: Entry) -> list[str]:
    """Clean-up's half of `leave_engine`: the configuration is put back, and the engine told if it runs, until it does without us."""
    done = [_put_back(entry)]
    with contextlib.suppress(RemoteError):
        if pid_file := entry.facts.get("pid_file"):
            _hang_up(Path(str(pid_file)))
        else:
            PrivateEngine(instance).reload()
        _wait_probe(Path(str(entry.facts.get("socket", ""))), "open")
    return done


def render_enrolled(original: bytes | None) -> bytes:
    """`original` (daemon.json, None without one) with the plugin, everything else kept; itself when it is in. Raises InputError."""
    value = _parse(original)
    plugins = value.get(KEY, [])
    if not isinstance(plugins, list) or not all(isinstance(name, str) for name in plugins):
        raise InputError("daemon.json", f"{KEY} is not a list of names", "mend it first")
    if PLUGIN_NAME in plugins and original is not None:
        return original
    return json.dumps({**value, KEY: [*plugins, PLUGIN_NAME]}, indent=4, ensure_ascii=False).encode() + b"\n"


def render_left(current: bytes) -> bytes:
    """`current` without the plugin, everything else kept; itself when it is not in. Raises InputError."""
    value = _parse(current)
    plugins = value.get(KEY)
    if not isinstance(plugins, list) or PLUGIN_NAME not in plugins:
        return current
    rest = [name for name in plugins if name != PLUGIN_NAME]
    kept = {key: item for key, item in value.items() if key != KEY} | ({KEY: rest} if rest else {})
    return json.dumps(kept, indent=4, ensure_ascii=False).encode() + b"\n"


# -- inside ------------------------------------------------------------------------------------------------------------------


def _put_back(entry: Entry) -> str:
    """The configuration as it was before `entry`; says how. Right for an enrolment that was only half done."""
    configuration, facts = Path(entry.key), entry.facts
    current = _read(configuration)
    if facts.get("spec"):
        Path(str(facts["spec"])).unlink(missing_ok=True)
    if current is None:
        return f"{configuration} was removed by somebody else"
    if digest_of(current) == facts.get("written"):
        if facts.get("kept"):
            kept = Path(str(facts["kept"]))
            original = _read(kept)
            if original is None:
                raise StorageError(
                    str(kept), "the kept configuration is gone", f"take {PLUGIN_NAME} out of {configuration} by hand"
                )
            write_whole(configuration, original, int(facts.get("mode", 0o644)))
            return f"put {configuration} back as it was"
        configuration.unlink()
        return f"removed {configuration}, which was not there before"
    rest = render_left(current)
    if rest == current:
        return f"{configuration} does not name the plugin any more"
    write_whole(configuration, rest, configuration.stat().st_mode & 0o7777)
    return f"took the plugin out of {configuration}, which somebody changed meanwhile"


def _probe(engine_socket: Path) -> str:
    """`enrolled` (our plugin answers), `closed: WHY` (a plugin is asked and does not answer, or refuses), `open`, or `gone: WHY`."""
    name = PROBE_NAME + secrets.token_hex(8)
    try:
        with Engine(engine_socket, timeout_s=10.0) as engine:
            status, body = engine.raw("POST", f"/containers/{name}/start")
    except RemoteError as error:
        return f"gone: {error.reason}"
    text = body[:2000].decode(errors="replace")
    if status == 403 and "[probe]" in text:
        return "enrolled"
    return "open" if status == 404 else f"closed: {text}"


def _wait_probe(engine_socket: Path, wanted: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while (found := _probe(engine_socket)) != wanted:
        if time.monotonic() > deadline:
            raise RemoteError(
                f"engine at {engine_socket}", f"does not do as its configuration says ({found[:200]})", "look at the engine's log"
            )
        time.sleep(0.1)


def _check_plugin(path: Path) -> None:
    thing, step = f"admission at {path}", "start the agent first: shipwall up"
    try:
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM
        ) as knock:  # the client below leaves its socket open when nobody listens
            knock.settimeout(5.0)
            knock.connect(str(path))
    except OSError as error:
        raise RemoteError(thing, f"does not answer ({error.strerror or error})", step) from error
    transport = httpx.HTTPTransport(uds=str(path))
    try:
        with httpx.Client(transport=transport, base_url="http://plugin", timeout=5.0, trust_env=False) as client:
            answer = client.post("/Plugin.Activate")
            answer.raise_for_status()
            if "authz" not in answer.json()["Implements"]:
                raise RemoteError(thing, "is no authorization plugin", "is another program there?")
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise RemoteError(thing, f"does not answer ({error})", step) from error


def _hang_up(pid_file: Path) -> None:
    """SIGHUP to the process of `pid_file`, if it is a dockerd."""
    try:
        pid = int(pid_file.read_text().strip())
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError) as error:
        raise RemoteError(f"engine of {pid_file}", "is not running", "start it, or name its pid file: --pid-file") from error
    try:
        if Path(f"/proc/{pid}/comm").read_text().strip() != "dockerd":
            raise RemoteError(f"process {pid} of {pid_file}", "is not a dockerd", "name the right pid file: --pid-file")
        signal.pidfd_send_signal(pidfd, signal.SIGHUP)
    except OSError as error:
        raise RemoteError(f"engine of {pid_file}", error.strerror or str(error), "start it") from error
    finally:
        os.close(pidfd)


def _entry(journal: Journal, key: str) -> Entry:
    return journal.last()[key, ACT]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "name a readable file") from error


def _parse(data: bytes | None) -> dict[str, Any]:
    if data is None or not data.strip():
        return {}
    value = parse_json(data, "daemon.json", 1024 * 1024)
    if not isinstance(value, dict):
        raise InputError("daemon.json", "is not an object", "mend it first")
    return value


def _write_audit(instance: Instance, line: dict[str, Any]) -> None:
    path = instance.agent / "audit.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps(line).encode() + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:  # glass is broken in bad hours: a full disk must not keep it whole
        sys.stderr.write(f"shipwall: the audit line could not be written: {error}\n")


def _need_root() -> None:
    if os.geteuid() != 0:
        raise UnsupportedError("an engine's configuration", "needs root to change", "run it as root")


def _enrolment(state: str, target: EngineTarget, containers: int = 0, detail: str = "") -> Enrolment:
    return Enrolment(
        state=state, engine=str(target.socket), configuration=str(target.configuration), detail=detail, containers=containers
    )
