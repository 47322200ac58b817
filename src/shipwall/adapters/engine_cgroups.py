"""Where an engine makes its containers' cgroups: from what it says, how it was started, and its configuration.

The engine's API tells the driver but not the parent, so the daemon's arguments and daemon.json are read. A container may still name a
parent of its own: such a one is met by the name of its cgroup.
"""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from shipwall.adapters.engine import Engine

MAX_BYTES = 1 << 20
_CONFIGURATION = "/etc/docker/daemon.json"
_PID_FILES = ("/run/docker.pid", "/var/run/docker.pid")


def read_parents(engine: Engine, socket_path: Path) -> list[str]:
    """The parents of the containers of `engine`, paths below the v2 mount. Raises RemoteError when it does not answer."""
    info = engine.info()
    pid = daemon_pid(socket_path)
    arguments = [word.decode(errors="replace") for word in _read(Path(f"/proc/{pid}/cmdline")).split(b"\0")] if pid else []
    name = _option(arguments, "--config-file") or _CONFIGURATION
    configuration = _read(Path(f"/proc/{pid}/root") / name.lstrip("/")) if pid else b""
    return find_parents(info, arguments, configuration)


def find_parents(info: dict[str, Any], arguments: list[str], configuration: bytes) -> list[str]:
    """The parents of an engine that says `info`, started with `arguments` and the daemon.json `configuration` (empty: none).

    Source: moby daemon/oci_linux.go, WithCgroups: `docker` for cgroupfs and `system.slice` for systemd, unless --cgroup-parent.
    """
    try:
        settings = json.loads(configuration or b"{}")
    except ValueError:
        settings = {}  # the engine would not have started with it: it was written since
    configured = settings.get("cgroup-parent") if isinstance(settings, dict) else None
    parent = _option(arguments, "--cgroup-parent") or (configured if isinstance(configured, str) else "")
    if info.get("CgroupDriver") != "systemd":
        return ["/" + (parent.strip("/") or "docker")]
    rootless = any("name=rootless" in str(option) for option in info.get("SecurityOptions") or ())
    return [slice_path(parent.strip("/") or ("user.slice" if rootless else "system.slice"))]


def slice_path(name: str) -> str:
    """The folder of a systemd slice: `a-b.slice` lies in `a.slice`. Source: systemd.slice(5)."""
    stem = name.removesuffix(".slice")
    if stem == name or "/" in name:
        return "/" + name
    parts = stem.strip("-").split("-")
    return "".join(f"/{'-'.join(parts[: end + 1])}.slice" for end in range(len(parts))) if parts != [""] else "/"


def daemon_pid(socket_path: Path) -> int:
    """The process of the engine behind a unix socket, 0 when none is found. systemd may hold the socket for it: then by its pid file."""
    pid = listener_pid(socket_path)
    if pid != 1:
        return pid
    for name in _PID_FILES:
        with suppress(ValueError):
            return int(_read(Path(name)) or b"?")
    return 0


def listener_pid(socket_path: Path) -> int:
    """The process that listens on a unix socket, 0 when none does: its mount namespace is where the engine prepares containers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(socket_path))
        except OSError:
            return 0
        pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def _option(arguments: list[str], name: str) -> str:
    """The value of `name value` or `name=value`, the last one given; empty when it is not."""
    found = ""
    for at, word in enumerate(arguments):
        if word == name and at + 1 < len(arguments):
            found = arguments[at + 1]
        elif word.startswith(name + "="):
            found = word.partition("=")[2]
    return found


def _read(path: Path) -> bytes:
    """At most the first MAX_BYTES of a file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError:
        return b""
