"""Which keys and types a request body may have: the allow-list for everything an engine would read from it.

The engine decodes JSON into Go structs: keys match in any case (also ſ for s and the Kelvin sign for k), the last of two equal keys
counts, unknown keys are dropped by one version and obeyed by the next. Here a key is written as the API documents it or refused.
Source: github.com/moby/moby api/types at API 1.41, what later clients add to it, and `encoding/json`'s rules of matching.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

MAX_DEPTH = 24
MAX_NODES = 20_000
MAX_TEXT_CHARS = 256 * 1024


@dataclass(frozen=True)
class ListOf:
    """A list, each item of `item`."""

    item: Shape


@dataclass(frozen=True)
class MapOf:
    """An object with free keys (names, labels), each value of `value`."""

    value: Shape


@dataclass(frozen=True)
class OneOf:
    """Any of several shapes."""

    shapes: tuple[Shape, ...]


Struct: TypeAlias = dict[str, "Shape"]
Shape: TypeAlias = "str | ListOf | MapOf | OneOf | Struct"

STRING, INTEGER, BOOLEAN, EMPTY = "a string", "a whole number", "true or false", "an empty object"
STRINGS = ListOf(STRING)
STRING_MAP = MapOf(STRING)
WORDS = OneOf((STRING, STRINGS))

_THROTTLES = ListOf({"Path": STRING, "Rate": INTEGER})

RESOURCES: Struct = {
    "CpuShares": INTEGER,
    "Memory": INTEGER,
    "NanoCpus": INTEGER,
    "CgroupParent": STRING,
    "BlkioWeight": INTEGER,
    "BlkioWeightDevice": ListOf({"Path": STRING, "Weight": INTEGER}),
    "BlkioDeviceReadBps": _THROTTLES,
    "BlkioDeviceWriteBps": _THROTTLES,
    "BlkioDeviceReadIOps": _THROTTLES,
    "BlkioDeviceWriteIOps": _THROTTLES,
    "CpuPeriod": INTEGER,
    "CpuQuota": INTEGER,
    "CpuRealtimePeriod": INTEGER,
    "CpuRealtimeRuntime": INTEGER,
    "CpusetCpus": STRING,
    "CpusetMems": STRING,
    "Devices": ListOf({"PathOnHost": STRING, "PathInContainer": STRING, "CgroupPermissions": STRING}),
    "DeviceCgroupRules": STRINGS,
    "DeviceRequests": ListOf(
        {"Driver": STRING, "Count": INTEGER, "DeviceIDs": STRINGS, "Capabilities": ListOf(STRINGS), "Options": STRING_MAP}
    ),
    "KernelMemory": INTEGER,
    "KernelMemoryTCP": INTEGER,
    "MemoryReservation": INTEGER,
    "MemorySwap": INTEGER,
    "MemorySwappiness": INTEGER,
    "OomKillDisable": BOOLEAN,
    "PidsLimit": INTEGER,
    "Ulimits": ListOf({"Name": STRING, "Soft": INTEGER, "Hard": INTEGER}),
    "CpuCount": INTEGER,
    "CpuPercent": INTEGER,
    "IOMaximumIOps": INTEGER,
    "IOMaximumBandwidth": INTEGER,
}

_RESTART_POLICY: Struct = {"Name": STRING, "MaximumRetryCount": INTEGER}
_DRIVER: Struct = {"Name": STRING, "Options": STRING_MAP}

HOST_CONFIG: Struct = {
    **RESOURCES,
    "Binds": STRINGS,
    "ContainerIDFile": STRING,
    "LogConfig": {"Type": STRING, "Config": STRING_MAP},
    "NetworkMode": STRING,
    "PortBindings": MapOf(ListOf({"HostIp": STRING, "HostPort": STRING})),
    "RestartPolicy": _RESTART_POLICY,
    "AutoRemove": BOOLEAN,
    "VolumeDriver": STRING,
    "VolumesFrom": STRINGS,
    "CapAdd": STRINGS,
    "CapDrop": STRINGS,
    "CgroupnsMode": STRING,
    "Dns": STRINGS,
    "DnsOptions": STRINGS,
    "DnsSearch": STRINGS,
    "ExtraHosts": STRINGS,
    "GroupAdd": STRINGS,
    "IpcMode": STRING,
    "Cgroup": STRING,
    "Links": STRINGS,
    "OomScoreAdj": INTEGER,
    "PidMode": STRING,
    "Privileged": BOOLEAN,
    "PublishAllPorts": BOOLEAN,
    "ReadonlyRootfs": BOOLEAN,
    "SecurityOpt": STRINGS,
    "StorageOpt": STRING_MAP,
    "Tmpfs": STRING_MAP,
    "UTSMode": STRING,
    "UsernsMode": STRING,
    "ShmSize": INTEGER,
    "Sysctls": STRING_MAP,
    "Runtime": STRING,
    "ConsoleSize": ListOf(INTEGER),
    "Isolation": STRING,
    "Mounts": ListOf(
        {
            "Type": STRING,
            "Source": STRING,
            "Target": STRING,
            "ReadOnly": BOOLEAN,
            "Consistency": STRING,
            "BindOptions": {
                "Propagation": STRING,
                "NonRecursive": BOOLEAN,
                "CreateMountpoint": BOOLEAN,
                "ReadOnlyNonRecursive": BOOLEAN,
                "ReadOnlyForceRecursive": BOOLEAN,
            },
            "VolumeOptions": {"NoCopy": BOOLEAN, "Labels": STRING_MAP, "DriverConfig": _DRIVER},
            "TmpfsOptions": {"SizeBytes": INTEGER, "Mode": INTEGER},
        }
    ),
    "MaskedPaths": STRINGS,
    "ReadonlyPaths": STRINGS,
    "Init": BOOLEAN,
    "Annotations": STRING_MAP,
}

_ENDPOINT: Struct = {
    "IPAMConfig": {"IPv4Address": STRING, "IPv6Address": STRING, "LinkLocalIPs": STRINGS},
    "Links": STRINGS,
    "Aliases": STRINGS,
    "NetworkID": STRING,
    "EndpointID": STRING,
    "Gateway": STRING,
    "IPAddress": STRING,
    "IPPrefixLen": INTEGER,
    "IPv6Gateway": STRING,
    "GlobalIPv6Address": STRING,
    "GlobalIPv6PrefixLen": INTEGER,
    "MacAddress": STRING,
    "DriverOpts": STRING_MAP,
    "DNSNames": STRINGS,
    "GwPriority": INTEGER,
}

# A create body has HostConfig twice in Go: as the key, and embedded, so that `Privileged` at the top level is obeyed too when the key
# is absent (runconfig.ContainerConfigWrapper). None of those keys is listed here.
CONTAINER_CREATE: Struct = {
    "Hostname": STRING,
    "Domainname": STRING,
    "User": STRING,
    "AttachStdin": BOOLEAN,
    "AttachStdout": BOOLEAN,
    "AttachStderr": BOOLEAN,
    "ExposedPorts": MapOf(EMPTY),
    "Tty": BOOLEAN,
    "OpenStdin": BOOLEAN,
    "StdinOnce": BOOLEAN,
    "Env": STRINGS,
    "Cmd": WORDS,
    "Healthcheck": {
        "Test": STRINGS,
        "Interval": INTEGER,
        "Timeout": INTEGER,
        "StartPeriod": INTEGER,
        "StartInterval": INTEGER,
        "Retries": INTEGER,
    },
    "ArgsEscaped": BOOLEAN,
    "Image": STRING,
    "Volumes": MapOf(EMPTY),
    "WorkingDir": STRING,
    "Entrypoint": WORDS,
    "NetworkDisabled": BOOLEAN,
    "MacAddress": STRING,
    "OnBuild": STRINGS,
    "Labels": STRING_MAP,
    "StopSignal": STRING,
    "StopTimeout": INTEGER,
    "Shell": STRINGS,
    "HostConfig": HOST_CONFIG,
    "NetworkingConfig": {"EndpointsConfig": MapOf(_ENDPOINT)},
}
CONTAINER_UPDATE: Struct = {**RESOURCES, "RestartPolicy": _RESTART_POLICY}
EXEC_CREATE: Struct = {
    "User": STRING,
    "Privileged": BOOLEAN,
    "Tty": BOOLEAN,
    "ConsoleSize": ListOf(INTEGER),
    "AttachStdin": BOOLEAN,
    "AttachStderr": BOOLEAN,
    "AttachStdout": BOOLEAN,
    "Detach": BOOLEAN,
    "DetachKeys": STRING,
    "Env": STRINGS,
    "WorkingDir": STRING,
    "Cmd": STRINGS,
}
EXEC_START: Struct = {"Detach": BOOLEAN, "Tty": BOOLEAN, "ConsoleSize": ListOf(INTEGER)}
VOLUME_CREATE: Struct = {"Name": STRING, "Driver": STRING, "DriverOpts": STRING_MAP, "Labels": STRING_MAP}
NETWORK_CREATE: Struct = {
    "Name": STRING,
    "CheckDuplicate": BOOLEAN,
    "Driver": STRING,
    "Scope": STRING,
    "EnableIPv4": BOOLEAN,
    "EnableIPv6": BOOLEAN,
    "IPAM": {
        "Driver": STRING,
        "Options": STRING_MAP,
        "Config": ListOf({"Subnet": STRING, "IPRange": STRING, "Gateway": STRING, "AuxiliaryAddresses": STRING_MAP}),
    },
    "Internal": BOOLEAN,
    "Attachable": BOOLEAN,
    "Ingress": BOOLEAN,
    "ConfigOnly": BOOLEAN,
    "ConfigFrom": {"Network": STRING},
    "Options": STRING_MAP,
    "Labels": STRING_MAP,
}
NETWORK_CONNECT: Struct = {"Container": STRING, "EndpointConfig": _ENDPOINT}
NETWORK_DISCONNECT: Struct = {"Container": STRING, "Force": BOOLEAN}


@dataclass(frozen=True)
class Misfit:
    """Where a body leaves its schema: `code` of the reason, `path` of the key, `message` in one line."""

    code: str
    path: str
    message: str


def find_misfits(value: Any, shape: Shape, path: str = "") -> Iterator[Misfit]:
    """Every place where `value` is not of `shape`; null is no value anywhere, as in Go. Recursion is bounded by `shape`."""
    if value is None:
        return
    if isinstance(shape, dict):
        yield from _struct_misfits(value, shape, path)
    elif isinstance(shape, ListOf | MapOf):
        wanted = list if isinstance(shape, ListOf) else dict
        if not isinstance(value, wanted):
            yield _wrong(path, "a list" if wanted is list else "an object")
            return
        inner = shape.item if isinstance(shape, ListOf) else shape.value
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from find_misfits(item, inner, f"{path}[{key if isinstance(key, int) else _shown(key)}]")
    elif isinstance(shape, OneOf):
        if all(next(find_misfits(value, one, path), None) for one in shape.shapes):
            yield _wrong(path, "of any form the API knows")
    elif not _is_plain(value, shape):
        yield _wrong(path, shape)


def _struct_misfits(value: Any, shape: Struct, path: str) -> Iterator[Misfit]:
    if not isinstance(value, dict):
        yield _wrong(path, "an object")
        return
    folded: dict[str, str] = {}
    known = {key.casefold(): key for key in shape}
    for key, item in value.items():
        here = f"{path}.{_shown(key)}" if path else _shown(key)
        fold = key.casefold()
        if fold in folded:
            yield Misfit("json-duplicate-key", here, f"{here} and {folded[fold]} are one key to the engine")
        folded[fold] = here
        if key in shape:
            yield from find_misfits(item, shape[key], here)
        elif fold in known:
            yield Misfit("json-key-case", here, f"{here} is not written as the API documents it ({known[fold]})")
        else:
            yield Misfit("json-unknown-key", here, f"{here} is not a key known here")


def find_limits(value: Any) -> str:
    """Why `value` (parsed JSON) is too deep or too large, or holds a NUL; empty when it is neither. No recursion."""
    waiting: list[tuple[Any, int]] = [(value, 1)]
    nodes = 0
    while waiting:
        item, depth = waiting.pop()
        nodes += 1
        if depth > MAX_DEPTH:
            return f"it is nested deeper than {MAX_DEPTH}"
        if nodes > MAX_NODES:
            return f"it holds more than {MAX_NODES} values"
        if isinstance(item, str) and (len(item) > MAX_TEXT_CHARS or "\0" in item):
            return "it holds a text that is too long or has a NUL in it"
        if isinstance(item, dict):
            if any("\0" in key or len(key) > 4096 for key in item):
                return "it holds a key that is too long or has a NUL in it"
            waiting += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list):
            waiting += [(inner, depth + 1) for inner in item]
    return ""


def is_zero(value: Any) -> bool:
    """Whether `value` is what Go leaves in a field nobody set: null, false, 0, empty text, list or object, or such inside."""
    if isinstance(value, dict):
        return all(is_zero(item) for item in value.values())
    if isinstance(value, list):
        return all(is_zero(item) for item in value)
    return value is None or value is False or value == "" or (isinstance(value, int) and value == 0)


def _is_plain(value: Any, shape: str) -> bool:
    if shape == STRING:
        return isinstance(value, str)
    if shape == INTEGER:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if shape == BOOLEAN:
        return isinstance(value, bool)
    return isinstance(value, dict) and not value


def _wrong(path: str, wanted: str) -> Misfit:
    return Misfit("json-wrong-type", path or "body", f"{path or 'the body'} is not {wanted}")


def _shown(key: str) -> str:
    return key if key.isidentifier() and key.isascii() and len(key) <= 60 else repr(key[:60])
