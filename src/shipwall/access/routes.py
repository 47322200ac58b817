"""THE list of engine calls that may be thought about at all; what is not here is refused.

A route is a method, a path below the version and what may come with it. `kind` is what it does: `read` changes nothing; `act` is judged;
`never` is known and refused with its own reason. Source: moby 20.10, api/server/router/*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from shipwall.access import schema

_CONTAINER = r"(?P<container>[A-Za-z0-9][A-Za-z0-9_.-]*)"
_EXEC = r"(?P<exec>[0-9a-f]{64})"
_NAME = r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*)"
_IMAGE = r"(?P<image>[A-Za-z0-9][A-Za-z0-9_.:@/-]*)"


@dataclass(frozen=True)
class Route:
    """`body`: the schema of the JSON body, None where none may come. `query`: parameters that may be given, None for any (reads)."""

    name: str
    method: str
    path: re.Pattern[str]
    kind: str
    body: schema.Struct | None = None
    query: frozenset[str] | None = None
    repeatable: frozenset[str] = field(default=frozenset())
    hidden_body: bool = False


def _read(name: str, path: str, *, repeatable: tuple[str, ...] = (), method: str = "GET", kind: str = "read") -> Route:
    return Route(name, method, re.compile(path + r"\Z"), kind, repeatable=frozenset(repeatable))


def _act(
    name: str, method: str, path: str, query: str = "", body: schema.Struct | None = None, *, hidden_body: bool = False
) -> Route:
    pattern = re.compile(path + r"\Z")
    return Route(name, method, pattern, "act", body=body, query=frozenset(query.split()), hidden_body=hidden_body)


def _never(name: str, path: str) -> Route:
    return Route(name, "", re.compile(path + r"\Z"), "never")


ROUTES: tuple[Route, ...] = (
    # reads
    _read("ping", "/_ping"),
    _read("ping", "/_ping", method="HEAD"),
    _read("version", "/version"),
    _read("info", "/info"),
    _read("events", "/events"),
    _read("disk-usage", "/system/df"),
    _read("container-list", "/containers/json"),
    _read("container-inspect", f"/containers/{_CONTAINER}/json"),
    _read("container-changes", f"/containers/{_CONTAINER}/changes"),
    _read("container-top", f"/containers/{_CONTAINER}/top"),
    _read("container-logs", f"/containers/{_CONTAINER}/logs"),
    _read("container-stats", f"/containers/{_CONTAINER}/stats"),
    _read("exec-inspect", f"/exec/{_EXEC}/json"),
    _read("image-list", "/images/json"),
    _read("image-search", "/images/search"),
    _read("image-save", "/images/get", repeatable=("names",)),
    _read("image-inspect", f"/images/{_IMAGE}/json"),
    _read("image-history", f"/images/{_IMAGE}/history"),
    _read("image-save", f"/images/{_IMAGE}/get"),
    _read("distribution-inspect", f"/distribution/{_IMAGE}/json"),
    _read("network-list", "/networks"),
    _read("network-inspect", f"/networks/{_NAME}"),
    _read("volume-list", "/volumes"),
    _read("volume-inspect", f"/volumes/{_NAME}"),
    # reads by method, acts in truth: they mount, copy or attach
    _read("container-archive-read", f"/containers/{_CONTAINER}/archive", kind="act"),
    _read("container-archive-read", f"/containers/{_CONTAINER}/archive", method="HEAD", kind="act"),
    _read("container-export", f"/containers/{_CONTAINER}/export", kind="act"),
    _read("container-attach", f"/containers/{_CONTAINER}/attach/ws", kind="act"),
    # containers
    _act("container-create", "POST", "/containers/create", "name platform", schema.CONTAINER_CREATE),
    _act("container-start", "POST", f"/containers/{_CONTAINER}/start", "detachKeys"),
    _act("container-stop", "POST", f"/containers/{_CONTAINER}/stop", "t signal"),
    _act("container-restart", "POST", f"/containers/{_CONTAINER}/restart", "t signal"),
    _act("container-kill", "POST", f"/containers/{_CONTAINER}/kill", "signal"),
    _act("container-pause", "POST", f"/containers/{_CONTAINER}/pause"),
    _act("container-unpause", "POST", f"/containers/{_CONTAINER}/unpause"),
    _act("container-rename", "POST", f"/containers/{_CONTAINER}/rename", "name"),
    _act("container-wait", "POST", f"/containers/{_CONTAINER}/wait", "condition"),
    _act("container-resize", "POST", f"/containers/{_CONTAINER}/resize", "h w"),
    _act("container-attach", "POST", f"/containers/{_CONTAINER}/attach", "detachKeys logs stream stdin stdout stderr"),
    _act("container-update", "POST", f"/containers/{_CONTAINER}/update", "", schema.CONTAINER_UPDATE),
    _act("container-remove", "DELETE", f"/containers/{_CONTAINER}", "v force link"),
    _act("exec-create", "POST", f"/containers/{_CONTAINER}/exec", "", schema.EXEC_CREATE),
    _act("exec-start", "POST", f"/exec/{_EXEC}/start", "", schema.EXEC_START),
    _act("exec-resize", "POST", f"/exec/{_EXEC}/resize", "h w"),
    # images, volumes, networks
    _act("image-pull", "POST", "/images/create", "fromImage tag platform"),
    _act("image-tag", "POST", f"/images/{_IMAGE}/tag", "repo tag"),
    _act("image-push", "POST", f"/images/{_IMAGE}/push", "tag"),
    _act("image-remove", "DELETE", f"/images/{_IMAGE}", "force noprune"),
    _act("volume-create", "POST", "/volumes/create", "", schema.VOLUME_CREATE),
    _act("volume-remove", "DELETE", f"/volumes/{_NAME}", "force"),
    _act("network-create", "POST", "/networks/create", "", schema.NETWORK_CREATE),
    _act("network-connect", "POST", f"/networks/{_NAME}/connect", "", schema.NETWORK_CONNECT),
    _act("network-disconnect", "POST", f"/networks/{_NAME}/disconnect", "", schema.NETWORK_DISCONNECT),
    _act("network-remove", "DELETE", f"/networks/{_NAME}"),
    # The engine never shows this body to a plugin. All it does is to try a login at a registry.
    _act("login", "POST", "/auth", hidden_body=True),
    # known and refused, whatever the method
    _never("build", "/build(?:/prune|/cancel)?"),
    _never("commit", "/commit"),
    _never("image-load", "/images/load"),
    _never("prune", "/(?:containers|images|volumes|networks)/prune"),
    _never("copy-into", f"/containers/{_CONTAINER}/archive"),
    _never("copy-into", f"/containers/{_CONTAINER}/copy"),
    _never("checkpoint", f"/containers/{_CONTAINER}/checkpoints(?:/.*)?"),
    _never("plugin", "/plugins(?:/.*)?"),
    _never("swarm", "/(?:swarm|services|tasks|nodes|secrets|configs)(?:/.*)?"),
    _never("session", "/(?:session|grpc)"),
)


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of `method` and `path` (below the version), and the names in the path; None for an unknown call."""
    for route in ROUTES:
        if route.method in (method, "") and (match := route.path.match(path)):
            return route, match.groupdict()
    return None
