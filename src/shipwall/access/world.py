"""What has to be known to judge a request, and how the engine's own records become it.

*Trust*: records are the engine's answers to `inspect`; names and labels in them were chosen by whoever made the container or image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from shipwall.access.policy import AdmissionPolicy
from shipwall.access.request import EngineRequest
from shipwall.model.digest import Digest, parse_digest
from shipwall.model.errors import InputError
from shipwall.model.promotion import Promotion

JUDGED_ROUTES = frozenset(
    {
        "container-start",
        "container-restart",
        "container-unpause",
        "container-rename",
        "container-update",
        "container-attach",
        "exec-create",
        "exec-start",
    }
)
"""Acts that run something in a container, or make it run later: what the engine recorded about it is judged again."""

BUILT_IN_NETWORKS = frozenset({"", "default", "bridge", "none"})
_Facts = TypeVar("_Facts", bound="_Raw")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}\Z")


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An image as the engine resolved it. `id` is its config digest. `ports` like `80/tcp`."""

    id: Digest
    labels: dict[str, str] = {}
    user: str = ""
    ports: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()


class VolumeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as the engine has it."""

    name: str
    driver: str
    options: dict[str, str] = {}


class NetworkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A network as the engine has it."""

    id: str
    name: str
    driver: str


class MountFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A mount of a container as the engine recorded it. `name` for volumes, `source` for binds."""

    kind: str
    source: str
    target: str
    name: str = ""
    driver: str = ""
    writable: bool = True
    propagation: str = ""


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A container as the engine recorded it. `image` is the config digest it was made from."""

    id: str
    name: str
    image: Digest
    user: str
    host_config: dict[str, Any]
    mounts: tuple[MountFacts, ...] = ()
    networks: tuple[str, ...] = ()


class ExecFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared exec."""

    container: str
    privileged: bool
    user: str = ""


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`private_cgroupns`: containers get a cgroup namespace of their own unless they ask for the host's."""

    default_runtime: str = "runc"
    private_cgroupns: bool = False


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask the engine before judging. Names are plain (`_NAME`); others are refused without asking."""

    container: str = ""
    exec: str = ""
    image: str = ""
    volumes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known at the moment of a decision. Absent from `volumes` or `networks`: the engine has none of that name.

    `promotions` by config digest, only verified ones. `frozen` are full container ids.
    """

    policy: AdmissionPolicy
    promotions: Mapping[Digest, Promotion] = {}
    frozen: frozenset[str] = frozenset()
    container: ContainerRecord | None = None
    exec: ExecFacts | None = None
    image: ImageFacts | None = None
    volumes: dict[str, VolumeFacts] = {}
    networks: dict[str, NetworkFacts] = {}
    engine: EngineFacts = EngineFacts()


def find_needs(request: EngineRequest) -> Needs:
    """What to ask the engine about `request`; nothing for reads, so that asking never leads to asking."""
    if request.kind != "act":
        return Needs()
    body = request.body or {}
    if request.route == "container-create":
        host = body.get("HostConfig") or {}
        endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        image = body.get("Image")
        return Needs(
            image=image if isinstance(image, str) else "",
            volumes=_plain(named_volumes(host)),
            networks=_plain(networks_of(host, endpoints)),
        )
    networks = (request.names.get("name", ""),) if request.route == "network-connect" else ()
    return Needs(container=_one(request.container), exec=request.names.get("exec", ""), networks=_plain(networks))


def find_record_needs(record: ContainerRecord) -> Needs:
    """What else to ask before a recorded container is judged."""
    volumes = [*named_volumes(record.host_config), *(mount.name for mount in record.mounts if mount.kind == "volume")]
    return Needs(
        image=record.image,
        volumes=_plain(volumes),
        networks=_plain(networks_of(record.host_config, record.networks)),
    )


def named_volumes(host: Mapping[str, Any]) -> list[str]:
    """Names of volumes that Binds and Mounts speak of."""
    binds = [bind.split(":")[0] for bind in host.get("Binds") or () if ":" in bind]
    mounts = [mount.get("Source") or "" for mount in host.get("Mounts") or () if mount and mount.get("Type") == "volume"]
    return [name for name in (*binds, *mounts) if name and not name.startswith("/")]


def networks_of(host: Mapping[str, Any], endpoints: Iterable[str]) -> list[str]:
    """Names of networks beyond the engine's own that NetworkMode and endpoints speak of."""
    return [name for name in (host.get("NetworkMode") or "", *endpoints) if name not in BUILT_IN_NETWORKS]


def parse_image(answer: Any) -> ImageFacts:
    """From `GET /images/{name}/json`. Total. Raises InputError."""
    raw = _read(answer, _RawImage, "image")
    config = raw.config or _RawConfig()
    return ImageFacts(
        id=parse_digest(raw.id),
        labels=config.labels or {},
        user=config.user or "",
        ports=tuple(config.exposed_ports or ()),
        repo_digests=tuple(raw.repo_digests or ()),
    )


def parse_container(answer: Any) -> ContainerRecord:
    """From `GET /containers/{name}/json`. Total. Raises InputError."""
    raw = _read(answer, _RawContainer, "container")
    mounts = tuple(
        MountFacts(
            kind=mount.type or "bind",
            source=mount.source or "",
            target=mount.destination or "",
            name=mount.name or "",
            driver=mount.driver or "",
            writable=mount.rw,
            propagation=mount.propagation or "",
        )
        for mount in raw.mounts or ()
    )
    return ContainerRecord(
        id=raw.id,
        name=(raw.name or "").removeprefix("/"),
        image=parse_digest(raw.image),
        user=(raw.config.user if raw.config else "") or "",
        host_config=raw.host_config,
        mounts=mounts,
        networks=tuple((raw.network_settings.networks if raw.network_settings else None) or ()),
    )


def parse_exec(answer: Any) -> ExecFacts:
    """From `GET /exec/{id}/json`. Total. Raises InputError."""
    raw = _read(answer, _RawExec, "exec")
    process = raw.process_config or _RawProcess()
    return ExecFacts(container=raw.container, privileged=bool(process.privileged), user=process.user or "")


def parse_volume(answer: Any) -> VolumeFacts:
    """From `GET /volumes/{name}`. Total. Raises InputError."""
    raw = _read(answer, _RawVolume, "volume")
    return VolumeFacts(name=raw.name, driver=raw.driver, options=raw.options or {})


def parse_network(answer: Any) -> NetworkFacts:
    """From `GET /networks/{name}`. Total. Raises InputError."""
    raw = _read(answer, _RawNetwork, "network")
    return NetworkFacts(id=raw.id, name=raw.name, driver=raw.driver)


def parse_engine(answer: Any) -> EngineFacts:
    """From `GET /info`. Total. Raises InputError."""
    raw = _read(answer, _RawEngine, "engine")
    options = [str(option) for option in raw.security_options or ()]
    return EngineFacts(default_runtime=raw.default_runtime or "runc", private_cgroupns="name=cgroupns" in options)


class _Raw(msgspec.Struct, frozen=True, rename="pascal"):
    """An answer of the engine, as far as it is used."""


class _RawConfig(_Raw, frozen=True, rename="pascal"):
    labels: dict[str, str] | None = None
    user: str | None = None
    exposed_ports: dict[str, Any] | None = None


class _RawImage(_Raw, frozen=True, rename="pascal"):
    id: str
    config: _RawConfig | None = None
    repo_digests: list[str] | None = None


class _RawMount(_Raw, frozen=True, rename="pascal"):
    type: str | None = None
    source: str | None = None
    destination: str | None = None
    name: str | None = None
    driver: str | None = None
    rw: bool = msgspec.field(default=True, name="RW")
    propagation: str | None = None


class _RawNetworks(_Raw, frozen=True, rename="pascal"):
    networks: dict[str, Any] | None = None


class _RawContainer(_Raw, frozen=True, rename="pascal"):
    id: str
    image: str
    host_config: dict[str, Any]
    name: str | None = None
    config: _RawConfig | None = None
    mounts: list[_RawMount] | None = None
    network_settings: _RawNetworks | None = None


class _RawProcess(_Raw, frozen=True):
    privileged: bool | None = None
    user: str | None = None


class _RawExec(_Raw, frozen=True, rename="pascal"):
    container: str = msgspec.field(name="ContainerID")
    process_config: _RawProcess | None = None


class _RawVolume(_Raw, frozen=True, rename="pascal"):
    name: str
    driver: str
    options: dict[str, str] | None = None


class _RawNetwork(_Raw, frozen=True, rename="pascal"):
    id: str
    name: str
    driver: str


class _RawEngine(_Raw, frozen=True, rename="pascal"):
    default_runtime: str | None = None
    security_options: list[str] | None = None


def _read(answer: Any, kind: type[_Facts], thing: str) -> _Facts:
    try:
        return msgspec.convert(answer, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(f"the engine's record of this {thing}", str(error)) from error


def _plain(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if _NAME.match(name)))


def _one(name: str) -> str:
    return name if _NAME.match(name) else ""
