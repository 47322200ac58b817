"""Whether a container's settings stay inside what admission allows: the same rules for what is asked and for what the engine recorded.

Every key of HostConfig is in exactly one of three tables: FREE (cannot reach beyond the container), EMPTY (must be unset), CHECKS.
A key in none of them is refused where it is set: a newer engine's setting is not allowed because it is new.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shipwall.access.hardening import parse_declared
from shipwall.access.policy import DEFAULT_CAPABILITIES
from shipwall.access.schema import is_zero
from shipwall.access.world import BUILT_IN_NETWORKS, ContainerRecord, World
from shipwall.model.digest import digest_of
from shipwall.model.verdict import Evidence, Reason

Reasons = Iterator[Reason]


@dataclass(frozen=True)
class _Asked:
    """What a check may know beside the value. `recorded`: the value is from the engine's record."""

    world: World
    recorded: bool


FREE = frozenset(
    {
        "AutoRemove",
        "BlkioWeight",
        "CapDrop",
        "ConsoleSize",
        "ContainerIDFile",
        "CpuCount",
        "CpuPercent",
        "CpuPeriod",
        "CpuQuota",
        "CpuShares",
        "CpusetCpus",
        "CpusetMems",
        "Dns",
        "DnsOptions",
        "DnsSearch",
        "ExtraHosts",
        "GroupAdd",
        "IOMaximumBandwidth",
        "IOMaximumIOps",
        "Init",
        "KernelMemory",
        "KernelMemoryTCP",
        "Memory",
        "MemoryReservation",
        "MemorySwap",
        "MemorySwappiness",
        "NanoCpus",
        "PidsLimit",
        "PortBindings",
        "PublishAllPorts",
        "ReadonlyRootfs",
        "RestartPolicy",
        "ShmSize",
        "Ulimits",
    }
)

EMPTY: dict[str, tuple[str, str]] = {
    "Privileged": ("privileged", "a privileged container is root on the host"),
    "Devices": ("device", "it asks for a device of the host"),
    "DeviceCgroupRules": ("device", "it asks for access to devices of the host"),
    "DeviceRequests": ("device", "it asks for devices of the host"),
    "BlkioWeightDevice": ("device", "it names devices of the host"),
    "BlkioDeviceReadBps": ("device", "it names devices of the host"),
    "BlkioDeviceWriteBps": ("device", "it names devices of the host"),
    "BlkioDeviceReadIOps": ("device", "it names devices of the host"),
    "BlkioDeviceWriteIOps": ("device", "it names devices of the host"),
    "VolumesFrom": ("volumes-from", "it takes over the mounts of another container"),
    "Links": ("links", "a link hands it the environment of another container"),
    "CgroupParent": ("cgroup-parent", "it chooses a cgroup outside those of containers"),
    "Cgroup": ("cgroup-parent", "it joins the cgroup of another container"),
    "CpuRealtimePeriod": ("realtime", "it asks for real-time scheduling"),
    "CpuRealtimeRuntime": ("realtime", "it asks for real-time scheduling"),
    "Annotations": ("annotation", "annotations steer the runtime beside what is judged here"),
    "OomKillDisable": ("oom", "it asks not to be ended when memory is short"),
}

_NAMESPACES = {
    "PidMode": ("host-pid", {""}),
    "UTSMode": ("host-uts", {""}),
    "UsernsMode": ("host-userns", {""}),
    "IpcMode": ("host-ipc", {"", "private", "shareable", "none"}),
}
_LOG_DRIVERS = {
    "": set[str](),
    "none": set[str](),
    "json-file": {
        "max-size",
        "max-file",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
        "compress",
        "tag",
        "mode",
        "max-buffer-size",
    },
    "local": {"max-size", "max-file", "compress", "mode", "max-buffer-size"},
    "journald": {"tag", "labels", "labels-regex", "env", "env-regex", "mode", "max-buffer-size"},
}
_SECURITY = {
    "no-new-privileges",
    "no-new-privileges:true",
    "no-new-privileges=true",
    "apparmor=docker-default",
    "apparmor:docker-default",
}
_MUST_MASK = {"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"}
_MUST_READONLY = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
_BIND_WORDS = {"ro", "rw", "nocopy", "private", "rprivate"}
_TMPFS_WORDS = {"ro", "rw", "exec", "noexec", "nosuid", "nodev", "noatime"}
_TMPFS_SIZE = re.compile(r"(?:size|mode|uid|gid|nr_inodes)=[0-9]{1,12}[kKmMgG%]?\Z")
_CAPABILITY = re.compile(r"[A-Za-z_]{1,40}\Z", re.ASCII)
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,254}\Z")


def judge_create(body: Mapping[str, Any], world: World) -> Reasons:
    """Every reason why the create body `body` (of `schema.CONTAINER_CREATE`) may not be made into a container. The image is not judged."""
    host = body.get("HostConfig") or {}
    yield from judge_host_config(host, world, recorded=False)
    for target in body.get("Volumes") or ():
        yield from _judge_target(target, "Volumes")
    endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    for name, endpoint in endpoints.items():
        yield from judge_network(name, world)
        yield from judge_endpoint(endpoint or {})
    if world.policy.require_profile:
        user = body.get("User") or (world.image.user if world.image else "")
        yield from _judge_profile(host, user, world)


def judge_record(record: ContainerRecord, world: World) -> Reasons:
    """Every reason why the container that the engine recorded may not run. The image is not judged."""
    yield from judge_host_config(record.host_config, world, recorded=True)
    for mount in record.mounts:
        if mount.kind == "bind":
            yield from _judge_bind(mount.source, mount.writable, mount.propagation, world)
        elif mount.kind == "volume":
            yield from _judge_volume(mount.name, world, f"Mounts[{mount.target}]")
        elif mount.kind != "tmpfs":
            yield _reason("mount-type", f"a mount of type {mount.kind!r} is not known here", "Mounts", "use a volume or tmpfs")
    for name in record.networks:
        yield from judge_network(name, world)
    if world.policy.require_profile:
        yield from _judge_profile(record.host_config, record.user, world)


def judge_host_config(host: Mapping[str, Any], world: World, *, recorded: bool) -> Reasons:
    """Every reason against a HostConfig. `recorded`: it is the engine's own record, with the engine's defaults filled in."""
    asked = _Asked(world, recorded)
    for key, value in host.items():
        where = f"HostConfig.{key}"
        if key in FREE or value is None:
            continue
        if key in EMPTY:
            if value:
                code, message = EMPTY[key]
                yield _reason(code, message, where, f"leave {key} out")
        elif key in CHECKS:
            yield from CHECKS[key](value, asked)
        elif not is_zero(value):
            yield _reason("unknown-setting", f"{key[:60]!r} is not a setting known here", where, "leave it out")


def judge_network(name: str, world: World) -> Reasons:
    """Reasons against joining the network `name`: only the engine's bridges and the empty network are allowed."""
    if name in BUILT_IN_NETWORKS:
        return
    facts = world.networks.get(name)
    if name == "host" or (facts is not None and facts.driver == "host"):
        yield _reason("host-network", "it uses the network of the host", "HostConfig.NetworkMode", "use a bridge network")
    elif name.startswith("container:"):
        yield _reason(
            "join-container", "it joins the network of another container", "HostConfig.NetworkMode", "use a bridge network"
        )
    elif facts is None:
        yield _reason("no-such-network", f"there is no network {name[:80]!r}", "HostConfig.NetworkMode", "create it first")
    elif facts.driver not in ("bridge", "null"):
        message = f"network {name[:80]!r} is of driver {facts.driver[:40]!r}, which reaches networks of the host"
        yield _reason("network-driver", message, "HostConfig.NetworkMode", "use a bridge network")


def judge_endpoint(endpoint: Mapping[str, Any]) -> Reasons:
    """Reasons against the settings of one endpoint."""
    for key in ("DriverOpts", "Links", "NetworkID", "EndpointID"):
        if endpoint.get(key):
            yield _reason("endpoint", f"{key} of an endpoint is set", f"EndpointsConfig.{key}", "leave it out")


# -- checks of single keys -------------------------------------------------------------------------------------------------------


def _check_namespace(key: str) -> Callable[[Any, _Asked], Reasons]:
    def check(value: Any, _asked: _Asked) -> Reasons:
        code, allowed = _NAMESPACES[key]
        if value in allowed:
            return
        if isinstance(value, str) and value.startswith("container:"):
            yield _reason("join-container", f"{key} joins another container", f"HostConfig.{key}", f"leave {key} out")
        else:
            yield _reason(code, f"{key} {str(value)[:40]!r} is a namespace of the host", f"HostConfig.{key}", f"leave {key} out")

    return check


def _check_cgroupns(value: Any, asked: _Asked) -> Reasons:
    if value in ("", "private") or (value == "host" and asked.recorded and not asked.world.engine.private_cgroupns):
        return
    yield _reason(
        "host-cgroupns", "it uses the cgroup namespace of the host", "HostConfig.CgroupnsMode", "leave CgroupnsMode out"
    )


def _check_network_mode(value: Any, asked: _Asked) -> Reasons:
    yield from judge_network(str(value), asked.world)


def _check_capabilities(value: Any, asked: _Asked) -> Reasons:
    declared = parse_declared(asked.world.image.labels).capabilities if asked.world.image else frozenset[str]()
    for item in value:
        name = str(item)
        plain = name.upper().removeprefix("CAP_") if _CAPABILITY.match(name) else ""
        if plain not in DEFAULT_CAPABILITIES and not (plain in declared and plain in asked.world.policy.capabilities):
            message = f"capability {name[:40]!r} is beyond the profile"
            step = "leave it out, or declare it in the image's label shipwall.capabilities and in this node's admission policy"
            yield _reason("capability", message, "HostConfig.CapAdd", step)


def _check_security(value: Any, asked: _Asked) -> Reasons:
    for item in value:
        text = str(item)
        if text in _SECURITY:
            continue
        kind, _, profile = re.sub(r"\A(seccomp):", r"\1=", text).partition("=")
        if (
            kind == "seccomp"
            and profile != "unconfined"
            and digest_of(profile.encode(errors="replace")) in asked.world.policy.seccomp
        ):
            continue
        yield _reason(
            "security-opt",
            f"security option {text[:60]!r} loosens confinement",
            "HostConfig.SecurityOpt",
            "leave it out, the defaults confine",
        )


def _check_paths(key: str, must: set[str]) -> Callable[[Any, _Asked], Reasons]:
    def check(value: Any, asked: _Asked) -> Reasons:
        if not asked.recorded or not must.issubset(map(str, value)):
            yield _reason("system-paths", f"{key} uncovers parts of /proc and /sys", f"HostConfig.{key}", f"leave {key} out")

    return check


def _check_binds(value: Any, asked: _Asked) -> Reasons:
    for bind in value:
        parts = str(bind).split(":")
        words = parts[2].split(",") if len(parts) == 3 and parts[2] else []
        if len(parts) > 3 or not set(words) <= _BIND_WORDS:
            yield _reason(
                "bind-form", f"bind {str(bind)[:120]!r} is not SOURCE:TARGET[:ro|rw]", "HostConfig.Binds", "write it so"
            )
            continue
        source, target = parts[0], parts[1] if len(parts) > 1 else parts[0]
        yield from _judge_target(target, "HostConfig.Binds")
        if len(parts) == 1:
            continue
        if source.startswith("/"):
            yield from _judge_bind(source, "ro" not in words or "rw" in words, "", asked.world)
        else:
            yield from _judge_volume(source, asked.world, "HostConfig.Binds")


def _check_mounts(value: Any, asked: _Asked) -> Reasons:
    for mount in value:
        if not isinstance(mount, dict):
            yield _reason("mount-type", "a mount is null", "HostConfig.Mounts", "leave it out")
            continue
        where, kind = "HostConfig.Mounts", mount.get("Type")
        source = str(mount.get("Source") or "")
        options = mount.get("VolumeOptions") or {}
        driver = options.get("DriverConfig") or {}
        yield from _judge_target(str(mount.get("Target") or ""), where, shm=kind == "tmpfs")
        if kind == "bind":
            propagation = str((mount.get("BindOptions") or {}).get("Propagation") or "")
            yield from _judge_bind(source, not mount.get("ReadOnly"), propagation, asked.world)
        elif kind == "volume":
            if source:
                yield from _judge_volume(source, asked.world, where)
            if driver.get("Options") or driver.get("Name") not in (None, "", "local"):
                yield _reason(
                    "volume-options", "a volume with options of its driver can be any path of the host", where, "leave them out"
                )
        elif kind != "tmpfs":
            yield _reason("mount-type", f"a mount of type {str(kind)[:40]!r} is not known here", where, "use a volume or tmpfs")


def _check_volume_driver(value: Any, _asked: _Asked) -> Reasons:
    if value not in ("", "local"):
        yield _reason(
            "volume-driver", f"volume driver {str(value)[:40]!r} is not local", "HostConfig.VolumeDriver", "use local volumes"
        )


def _check_tmpfs(value: Any, _asked: _Asked) -> Reasons:
    for target, options in value.items():
        yield from _judge_target(target, "HostConfig.Tmpfs", shm=True)
        for word in str(options or "").split(",") if options else ():
            if word not in _TMPFS_WORDS and not _TMPFS_SIZE.match(word):
                yield _reason("tmpfs-option", f"tmpfs option {word[:40]!r} is not known here", "HostConfig.Tmpfs", "leave it out")


def _check_sysctls(value: Any, asked: _Asked) -> Reasons:
    for name in value:
        if name not in asked.world.policy.sysctls:
            yield _reason("sysctl", f"sysctl {name[:60]!r} is not allowed on this node", "HostConfig.Sysctls", "leave it out")


def _check_runtime(value: Any, asked: _Asked) -> Reasons:
    if value not in ("", "runc", asked.world.engine.default_runtime):
        yield _reason(
            "runtime", f"runtime {str(value)[:40]!r} is not the engine's own", "HostConfig.Runtime", "leave Runtime out"
        )


def _check_oom_score(value: Any, _asked: _Asked) -> Reasons:
    if not isinstance(value, int) or value < 0:
        yield _reason("oom", "it asks to be spared when memory is short", "HostConfig.OomScoreAdj", "leave OomScoreAdj out")


def _check_log(value: Any, _asked: _Asked) -> Reasons:
    kind, options = value.get("Type") or "", value.get("Config") or {}
    if kind not in _LOG_DRIVERS or set(options) - _LOG_DRIVERS[kind]:
        message = f"log driver {str(kind)[:40]!r} with these options lets the engine write elsewhere"
        yield _reason(
            "log-driver", message, "HostConfig.LogConfig", "use " + ", ".join(sorted(name for name in _LOG_DRIVERS if name))
        )


def _check_storage(value: Any, _asked: _Asked) -> Reasons:
    if set(value) - {"size"}:
        yield _reason("storage-opt", "StorageOpt has other keys than size", "HostConfig.StorageOpt", "leave them out")


def _check_isolation(value: Any, _asked: _Asked) -> Reasons:
    if value not in ("", "default"):
        yield _reason("isolation", f"isolation {str(value)[:40]!r} is not known here", "HostConfig.Isolation", "leave it out")


CHECKS: dict[str, Callable[[Any, _Asked], Reasons]] = {
    **{key: _check_namespace(key) for key in _NAMESPACES},
    "Binds": _check_binds,
    "CapAdd": _check_capabilities,
    "CgroupnsMode": _check_cgroupns,
    "Isolation": _check_isolation,
    "LogConfig": _check_log,
    "MaskedPaths": _check_paths("MaskedPaths", _MUST_MASK),
    "Mounts": _check_mounts,
    "NetworkMode": _check_network_mode,
    "OomScoreAdj": _check_oom_score,
    "ReadonlyPaths": _check_paths("ReadonlyPaths", _MUST_READONLY),
    "Runtime": _check_runtime,
    "SecurityOpt": _check_security,
    "StorageOpt": _check_storage,
    "Sysctls": _check_sysctls,
    "Tmpfs": _check_tmpfs,
    "VolumeDriver": _check_volume_driver,
}

# -- mounts ----------------------------------------------------------------------------------------------------------------------


def _judge_bind(source: str, writable: bool, propagation: str, world: World) -> Reasons:
    where = f"bind {source[:120]}"
    declared = world.policy.bind(source)
    if declared is None:
        step = "use a volume, or declare the path in this node's admission policy (binds)"
        yield _reason("host-path", f"host path {source[:120]!r} is not declared for containers", where, step)
    elif writable and not declared.write:
        yield _reason("host-path-write", f"host path {source[:120]!r} is declared read-only", where, "mount it read-only")
    if propagation not in ("", "private", "rprivate"):
        yield _reason("mount-propagation", f"propagation {propagation[:40]!r} reaches the host", where, "leave it out")


def _judge_volume(name: str, world: World, where: str) -> Reasons:
    facts = world.volumes.get(name)
    if not _VOLUME.match(name):
        yield _reason("bind-form", f"{name[:80]!r} is no name of a volume", where, "use letters, digits, . _ and -")
    elif facts is not None and (facts.driver != "local" or facts.options):
        message = f"volume {name[:80]!r} was made with options of its driver: it can be any path of the host"
        yield _reason("volume-options", message, where, "use a volume without options")


def _judge_target(target: str, where: str, *, shm: bool = False) -> Reasons:
    plain = posixpath.normpath(target) if target.startswith("/") else ""
    if shm and plain == "/dev/shm":  # noqa: S108 - a mount target in a container, nothing is written there
        return
    if (
        not plain
        or plain.startswith("//")
        or plain == "/"
        or any((plain + "/").startswith(top) for top in ("/proc/", "/sys/", "/dev/"))
    ):
        yield _reason("mount-target", f"{target[:80]!r} is no place for a mount", where, "mount below another folder")


def _judge_profile(host: Mapping[str, Any], user: str, world: World) -> Reasons:
    """`require_profile`: as hardened as the containers of `shipwall run`."""
    options = host.get("SecurityOpt") or ()
    declared = parse_declared(world.image.labels) if world.image else parse_declared({})
    wanted = {
        "no-new-privileges": any(str(option).startswith("no-new-privileges") for option in options),
        "cap-drop ALL": any(str(name).upper() == "ALL" for name in host.get("CapDrop") or ()),
        "a read-only root": bool(host.get("ReadonlyRootfs")),
        "a memory limit": (host.get("Memory") or 0) > 0,
        "a pids limit": (host.get("PidsLimit") or 0) > 0,
        "an unprivileged user": user.partition(":")[0] not in ("", "0", "root"),
        "exec tmpfs only where the image declares it": all(
            "exec" not in str(value).split(",") or path in declared.writable_exec
            for path, value in (host.get("Tmpfs") or {}).items()
        ),
    }
    for name, held in wanted.items():
        if not held:
            yield _reason("profile", f"this node requires {name}", "policy require_profile", "start it with: shipwall run")


def _reason(code: str, message: str, ref: str, next_step: str) -> Reason:
    return Reason(code=code, message=message, evidence=(Evidence(kind="request", ref=ref),), next_step=next_step)
