"""What the engine's record of a container says, in Shipwall's words."""

from __future__ import annotations

from typing import Any

from shipwall.lang.rfc3339 import parse_rfc3339
from shipwall.model.container import ContainerFacts, MountFact
from shipwall.model.digest import Digest

_STATES = {
    "running": "running",
    "paused": "frozen",
    "created": "created",
    "exited": "exited",
    "dead": "exited",
    "removing": "gone",
}


def facts_of(
    record: dict[str, Any], *, image_digest: Digest | None, promotion: str, cgroup_id: int = 0, pid: int = 0
) -> ContainerFacts:
    """The facts in the engine's inspect `record`. `cgroup_id`, `pid`: as the root namespace sees them, 0 when unknown."""
    config, host, state = record.get("Config") or {}, record.get("HostConfig") or {}, record.get("State") or {}
    networks = (record.get("NetworkSettings") or {}).get("Networks") or {}
    labels = config.get("Labels") or {}
    return ContainerFacts(
        id=str(record["Id"]),
        name=str(record.get("Name", "")).removeprefix("/"),
        image_ref=str(config.get("Image", "")),
        image_config=str(record.get("Image", "")),
        image_digest=image_digest,
        promotion=promotion,
        state=_STATES.get(str(state.get("Status", "")), str(state.get("Status", ""))),
        cgroup_id=cgroup_id,
        pid=pid,
        created_ns=parse_rfc3339(str(record.get("Created", ""))),
        privileged=bool(host.get("Privileged")),
        user=str(config.get("User", "")),
        ports=tuple(_ports((record.get("NetworkSettings") or {}).get("Ports") or host.get("PortBindings") or {})),
        labels={str(key): str(value) for key, value in labels.items()},
        networks=tuple(sorted(networks)),
        replaces=str(labels.get("shipwall.replaces", "")),
        ip=_address(record.get("NetworkSettings") or {}, networks),
        host_pid=host.get("PidMode") == "host",
        host_network=host.get("NetworkMode") == "host",
        host_ipc=host.get("IpcMode") == "host",
        mounts=tuple(_mounts(record.get("Mounts") or [])),
    )


def _address(settings: dict[str, Any], networks: dict[str, Any]) -> str:
    """Its address in the default network, else in the first network by name that gave it one."""
    found = [settings.get("IPAddress"), *((networks[name] or {}).get("IPAddress") for name in sorted(networks))]
    return next((str(address) for address in found if address), "")


def _mounts(found: list[Any]) -> list[MountFact]:
    return [
        MountFact(
            source=str(mount.get("Source") or ""),
            destination=str(mount.get("Destination") or ""),
            mode=str(mount.get("Mode") or ""),
            writable=bool(mount.get("RW")),
            propagation=str(mount.get("Propagation") or ""),
        )
        for mount in found
        if isinstance(mount, dict)
    ]


def _ports(bindings: dict[str, Any]) -> list[str]:
    return [
        f"{binding.get('HostIp') or '0.0.0.0'}:{binding.get('HostPort', '')}->{port}"  # noqa: S104  # shown, not bound
        for port, found in sorted(bindings.items())
        for binding in found or []
    ]
