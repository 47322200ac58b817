"""Events of made-up containers, for tests about what is normal."""

from __future__ import annotations

from typing import Any

from shipwall.model.container import ContainerFacts
from shipwall.model.event import Call, Connect, Exec, Exit, Fork, Open

IMAGE = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
CONFIG = "sha256:" + "c" * 64
FIRST, SECOND = "a1" * 32, "b2" * 32
T0 = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000


def event(kind: Any, at_s: float, container: str = FIRST, **more: Any) -> Any:
    """One event `at_s` seconds after T0."""
    made = {"seq": int(at_s * 1000), "time_ns": T0 + int(at_s * SECOND_NS), "cgroup_id": 7, "pid": 20, "tid": 20, "ppid": 1, "ns_pid": 20,
            "uid": 0, "gid": 0, "comm": "shop", "container": container}  # fmt: skip
    return kind(**(made | more))


def execute(at_s: float, path: str, container: str = FIRST, **more: Any) -> Exec:
    return event(Exec, at_s, container, **({"syscall": "execve", "path": path, "origin": "image", "argv": (path,)} | more))


def fork(at_s: float, child: int, container: str = FIRST, **more: Any) -> Fork:
    return event(Fork, at_s, container, child_pid=child, child_ns_pid=child, **more)


def leave(at_s: float, container: str = FIRST, **more: Any) -> Exit:
    return event(Exit, at_s, container, **more)


def read(at_s: float, path: str, container: str = FIRST, flags: int = 0, **more: Any) -> Open:
    made = {"syscall": "openat", "path": path, "asked": path, "flags": flags, "resolved": True, "ret": 3}
    return event(Open, at_s, container, **(made | more))


def write(at_s: float, path: str, container: str = FIRST, **more: Any) -> Open:
    return read(at_s, path, container, 0o101, **more)


def connect(at_s: float, address: str, port: int, container: str = FIRST, **more: Any) -> Connect:
    made = {"syscall": "connect", "family": "ipv4", "protocol": "tcp", "address": address, "port": port}
    return event(Connect, at_s, container, **(made | more))


def call(at_s: float, name: str, container: str = FIRST, **more: Any) -> Call:
    return event(Call, at_s, container, **({"syscall": name, "raw": (0,) * 6} | more))


def facts(container: str = FIRST, image: str | None = IMAGE, name: str = "shop") -> ContainerFacts:
    return ContainerFacts(id=container, name=name, image_ref="shop:1", image_config=CONFIG, image_digest=image)
