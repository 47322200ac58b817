"""Containers and processes, as the product speaks of them."""

from __future__ import annotations

import msgspec

from shipwall.model.digest import Digest


class ContainerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One container joined with its image.

    `state`: created, running, frozen, exited, gone. `image_config` is the engine's image id; `image_digest` the manifest digest, None if
    not known here. `promotion`: promoted, not-promoted, unknown. `pid` of its first process in the root namespace (0 when not running).
    `ports` as `host:port->port/proto`. `replaces` is the id of the container this one took the place of.
    """

    id: str
    name: str
    image_ref: str
    image_config: Digest
    image_digest: Digest | None = None
    promotion: str = "unknown"
    state: str = "created"
    cgroup_id: int = 0
    pid: int = 0
    created_ns: int = 0
    privileged: bool = False
    user: str = ""
    ports: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    networks: tuple[str, ...] = ()
    replaces: str = ""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process in the agent's table; `start_ns` with `pid` makes it unique across pid reuse."""

    pid: int
    ppid: int
    ns_pid: int
    start_ns: int
    uid: int
    gid: int
    comm: str
    path: str
    argv: tuple[str, ...]
    container: str = ""
    origin: str = "unknown"
