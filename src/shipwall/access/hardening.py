"""The default profile of `shipwall run`: everything taken away but what the image or the command declares.

Declarations of an image are labels in its config, so they are part of what was promoted:
`shipwall.writable`, `shipwall.writable-exec` (absolute paths), `shipwall.capabilities` (names), `shipwall.user` (uid[:gid]),
`shipwall.memory`, `shipwall.pids` (bytes, count); several separated by commas or blanks.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from shipwall.model.errors import InputError

MEMORY_BYTES = 512 * 1024 * 1024
PIDS = 256
TMPFS_BYTES = 64 * 1024 * 1024
NOBODY = "65534:65534"
MAX_DECLARED = 64

_CAPABILITY = re.compile(r"(?:CAP_)?([A-Z][A-Z_]{1,39})\Z")
_USER = re.compile(r"[0-9]{1,9}(?::[0-9]{1,9})?\Z")
_PATH = re.compile(r"/[A-Za-z0-9._@+-]+(?:/[A-Za-z0-9._@+-]+)*\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,14}\Z")
_PUBLISH = re.compile(
    r"(?:(?P<ip>[0-9]{1,3}(?:\.[0-9]{1,3}){3}):)?(?P<host>[0-9]{1,5}):(?P<port>[0-9]{1,5})(?:/(?P<proto>tcp|udp))?\Z"
)
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}=")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,127}\Z")


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says it needs. Paths are absolute and plain. 0 and empty: it says nothing."""

    writable: tuple[str, ...] = ()
    writable_exec: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()
    user: str = ""
    memory_bytes: int = 0
    pids: int = 0


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the container, reached at `host_port` (0: the engine picks one) of `host_ip` (empty: every address)."""

    port: int
    host_port: int
    host_ip: str = ""
    protocol: str = "tcp"


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command adds to what the image declares."""

    command: tuple[str, ...] = ()
    publish: tuple[Published, ...] = ()
    writable: tuple[str, ...] = ()
    writable_exec: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    memory_bytes: int = 0
    pids: int = 0
    network: str = ""
    restart: str = ""
    labels: dict[str, str] = {}


def parse_declared(labels: Mapping[str, str]) -> Declared:
    """What `labels` of an image declare. Total: what cannot be meant (relative paths, unknown words) declares nothing."""
    return Declared(
        writable=_paths(labels.get("shipwall.writable", "")),
        writable_exec=_paths(labels.get("shipwall.writable-exec", "")),
        capabilities=frozenset(
            match.group(1)
            for word in _words(labels.get("shipwall.capabilities", ""))
            if (match := _CAPABILITY.match(word.upper()))
        ),
        user=user if _USER.match(user := labels.get("shipwall.user", "")) else "",
        memory_bytes=int(text) if _NUMBER.match(text := labels.get("shipwall.memory", "")) else 0,
        pids=int(text) if _NUMBER.match(text := labels.get("shipwall.pids", "")) else 0,
    )


def parse_publish(text: str) -> Published:
    """`[IP:]HOST:PORT[/udp]`. Raises InputError."""
    match = _PUBLISH.match(text)
    if match is None or not 0 < int(match["port"]) < 65536 or int(match["host"]) > 65535:
        raise InputError(f"published port {text[:80]!r}", "is not [IP:]HOST:PORT[/udp]", "write it like 8080:80")
    return Published(
        port=int(match["port"]), host_port=int(match["host"]), host_ip=match["ip"] or "", protocol=match["proto"] or "tcp"
    )


def check_options(options: RunOptions, name: str) -> None:
    """Raises InputError for an option that cannot be meant."""
    for path in (*options.writable, *options.writable_exec):
        if not _is_path(path):
            raise InputError(f"writable path {path[:120]!r}", "is no plain absolute path", "write it like /var/cache/app")
    for word in options.capabilities:
        if not _CAPABILITY.match(word.upper()):
            raise InputError(f"capability {word[:60]!r}", "is no name of one", "write it like NET_BIND_SERVICE")
    for entry in options.env:
        if not _ENV.match(entry):
            raise InputError(f"environment {entry.partition('=')[0][:60]!r}", "is not NAME=VALUE", "write it like MODE=fast")
    if name and not _NAME.match(name):
        raise InputError(f"name {name[:80]!r}", "is no name of a container", "use letters, digits, . _ and -")
    if options.user and not _USER.match(options.user):
        raise InputError(f"user {options.user[:60]!r}", "is not UID[:GID]", "write numbers, like 1000:1000")


def render_create(image: str, image_user: str, declared: Declared, options: RunOptions) -> dict[str, Any]:
    """The engine's create body for a container of `image` (named by digest) with the profile. `image_user` is the image's own user.

    The user is the command's, else the declared one, else the image's if it is not root, else nobody. Source: Engine API 1.41.
    """
    own = image_user if image_user.partition(":")[0] not in ("", "0", "root") else ""
    tmpfs = {path: _tmpfs("noexec") for path in (*declared.writable, *options.writable)}
    tmpfs |= {path: _tmpfs("exec") for path in (*declared.writable_exec, *options.writable_exec)}
    ports = {f"{port.port}/{port.protocol}" for port in options.publish}
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in options.publish:
        binding = {"HostIp": port.host_ip, "HostPort": str(port.host_port or "")}
        bindings.setdefault(f"{port.port}/{port.protocol}", []).append(binding)
    memory = options.memory_bytes or declared.memory_bytes or MEMORY_BYTES
    body: dict[str, Any] = {
        "Image": image,
        "User": options.user or declared.user or own or NOBODY,
        "Env": list(options.env),
        "Labels": dict(options.labels),
        "ExposedPorts": {port: {} for port in sorted(ports)},
        "HostConfig": {
            "NetworkMode": options.network or "bridge",
            "PortBindings": bindings,
            "RestartPolicy": {"Name": options.restart, "MaximumRetryCount": 0},
            "CapDrop": ["ALL"],
            "CapAdd": sorted(declared.capabilities | {_capability(word) for word in options.capabilities}),
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Tmpfs": tmpfs,
            "Memory": memory,
            "MemorySwap": memory,
            "PidsLimit": options.pids or declared.pids or PIDS,
            "IpcMode": "private",
            "Init": False,
        },
    }
    if options.command:
        body["Cmd"] = list(options.command)
    return body


def _tmpfs(execution: str) -> str:
    return f"rw,nosuid,nodev,{execution},size={TMPFS_BYTES},mode=1777"


def _capability(word: str) -> str:
    return word.upper().removeprefix("CAP_")


def _words(text: str) -> list[str]:
    return text[:8192].replace(",", " ").split()[:MAX_DECLARED]


def _paths(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in _words(text) if _is_path(word)))


def _is_path(text: str) -> bool:
    return len(text) <= 1024 and bool(_PATH.match(text)) and posixpath.normpath(text) == text
