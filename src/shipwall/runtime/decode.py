"""From the sensor's records to events.

A record's bytes were written by our own kernel programs, but its strings are what a container chose: decoded with `backslashreplace`,
so nothing is lost and nothing fails.
"""

from __future__ import annotations

import errno
import ipaddress
import posixpath
import re
import stat
import struct
from collections import namedtuple
from functools import lru_cache
from typing import Any, NamedTuple

from shipwall.abi.calls import CALLS_BY_NUMBER
from shipwall.abi.schema import CALL_NAMES, CONSTANTS, HEADER, KIND_NUMBERS, ORIGINS, RECORDS, Field
from shipwall.model.errors import InputError
from shipwall.model.event import (
    AnyEvent,
    Call,
    Cgroup,
    Connect,
    Descriptor,
    Duplicate,
    Exec,
    Exit,
    Fork,
    Module,
    Mount,
    Namespace,
    Open,
    Privilege,
)


def _members(field: Field) -> list[str]:
    """What an unpacked field is called: an array of numbers becomes `name_0`, `name_1`, ..."""
    if field.length == 1 or field.type in {"char", "u8"}:  # bytes stay together
        return [field.name]
    return [f"{field.name}_{index}" for index in range(field.length)]


_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_FAMILIES = {_AF_UNIX: "unix", _AF_INET: "ipv4", _AF_INET6: "ipv6", 16: "netlink"}
_PROTOCOLS = {6: "tcp", 262: "tcp", 17: "udp", 136: "udp"}  # 262: MPTCP, 136: UDP-Lite
_BPF_COMMANDS = {0: "BPF_MAP_CREATE", 5: "BPF_PROG_LOAD", 8: "BPF_PROG_ATTACH", 18: "BPF_BTF_LOAD", 28: "BPF_LINK_CREATE"}
_RAW_PROTOCOLS = {1: "icmp", 58: "icmp", 255: "raw"}
_FILE_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}
_LAYERS = {CONSTANTS["LAYER_LOWER"]: "lower", CONSTANTS["LAYER_UPPER"]: "upper"}
_CONNECTED = {0, -errno.EINPROGRESS}
_NUMBERS = {name: number for number, name in CALL_NAMES.items()}
_CGROUP_ACTS = {CONSTANTS["CGROUP_MADE"]: "made", CONSTANTS["CGROUP_REMOVED"]: "removed"}
_CONTAINER = re.compile(r"(?:[a-z-]{1,20}-)?([0-9a-f]{64})(?:\.scope)?\Z")
_KINDS = {number: name for name, number in KIND_NUMBERS.items()}
_MEMBERS: dict[str, Any] = {
    name: namedtuple(name, [member for field in record.fields if not field.name.startswith("pad") for member in _members(field)])  # noqa: PYI024  from the schema
    for name, record in RECORDS.items()
}
_LENGTHS = {name: [at for at, member in enumerate(made._fields) if member.endswith("_length")] for name, made in _MEMBERS.items()}
_START = HEADER.size_bytes
_COMPAT = CONSTANTS["HEADER_COMPAT"]

Fields = Any
"""The members of a record's fixed part by name."""


class Header(NamedTuple):
    """The header of a record, as `abi.schema.HEADER` lays it out. `time_ns` is CLOCK_BOOTTIME, `size` that of the whole record."""

    time_ns: int
    sequence: int
    pid: int
    tid: int
    ppid: int
    ns_pid: int
    cgroup_id: int
    ret: int
    uid: int
    gid: int
    size: int
    slot: int
    kind: int
    call: int
    bits: int
    comm: bytes


def parse_header(data: bytes) -> Header:
    """The header of record `data`. Total: raises InputError unless the record is exactly as long as it says."""
    try:
        header = Header._make(HEADER.layout.unpack_from(data))
    except struct.error as error:
        raise InputError("sensor record", f"{len(data)} bytes are no header") from error
    if header.size != len(data):
        raise InputError("sensor record", f"says {header.size} bytes and has {len(data)}")
    return header


def read_time(data: bytes) -> int:
    """When record `data`, which has a header, was made: CLOCK_BOOTTIME, ns."""
    return int.from_bytes(data[:8], "little")


def decode_record(data: bytes, *, seq: int, wall_offset_ns: int, header: Header | None = None) -> AnyEvent:
    """The event in record `data`.

    Units: `wall_offset_ns` is added to the kernel's boot-time clock to give nanoseconds since 1970.
    Raises: InputError on anything but a whole record of a known kind (total on arbitrary bytes).
    """
    header = header or parse_header(data)
    kind = _KINDS.get(header.kind, "")
    record = RECORDS.get(kind)
    if record is None:
        raise InputError("sensor record", f"unknown kind {header.kind}")
    try:
        fields = _MEMBERS[kind]._make(record.layout.unpack_from(data, _START))
    except struct.error as error:
        raise InputError("sensor record", f"is cut short in its {kind} part") from error
    at = _START + record.size_bytes
    strings = []
    for member in _LENGTHS[kind]:
        end = at + fields[member]
        strings.append(data[at:end])
        at = end
    if at != len(data):
        raise InputError("sensor record", f"its {kind} strings end at byte {at} of {len(data)}")
    common = {
        "seq": seq,
        "time_ns": header.time_ns + wall_offset_ns,
        "cgroup_id": header.cgroup_id,
        "pid": header.pid,
        "tid": header.tid,
        "ppid": header.ppid,
        "ns_pid": header.ns_pid,
        "uid": header.uid,
        "gid": header.gid,
        "comm": _name(header.comm),
        "ret": header.ret,
        "syscall": CALL_NAMES.get(header.call, "") if header.call or kind == "call" else "",
        "foreign": bool(header.bits & _COMPAT),
    }
    return _BUILDERS[kind](common, fields, strings)


def container_of_cgroup(path: str) -> str:
    """The 64-hex id of the container to which the cgroup `path` (or one above it) belongs; empty when none does.

    Understands `docker/ID`, `PARENT/ID`, `docker-ID.scope` and what a container makes below its own.
    """
    for part in path.split("/"):
        if found := _CONTAINER.match(part):
            return found.group(1)
    return ""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


@lru_cache(maxsize=1024)
def _name(data: bytes) -> str:
    """The name in a field of fixed length."""
    return _text(data.partition(b"\0")[0])


def _joined(start: bytes, asked: bytes) -> str:
    """What `asked` names for a process whose root (when absolute) or starting folder is `start`; symbolic links are not followed."""
    if asked.startswith(b"/"):
        inside = "/" + posixpath.normpath(_text(asked)).lstrip("/")
        return (_text(start).rstrip("/") + inside) if len(start) > 1 else inside
    if not start:
        return _text(asked)
    return "/" + posixpath.normpath(_text(start) + "/" + _text(asked)).lstrip("/")


@lru_cache(maxsize=1024)
def _address(family: int, raw: bytes, path: bytes) -> str:
    """Textual address; an IPv4 address mapped into IPv6 is given as what it reaches. Abstract unix names start with `@`."""
    if family == _AF_INET:
        return str(ipaddress.IPv4Address(raw[:4]))
    if family == _AF_INET6:
        address = ipaddress.IPv6Address(raw)
        return str(address.ipv4_mapped or address)
    if family == _AF_UNIX and path.startswith(b"\0"):
        return "@" + _text(path[1:].rstrip(b"\0"))
    return _text(path.partition(b"\0")[0])


def _device(kernel: int) -> int:
    """The number `stat` gives for the kernel's dev_t `kernel` (major in 12 bits, minor in 20). Source: new_encode_dev, kdev_t.h."""
    major, minor = kernel >> 20, kernel & 0xFFFFF
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _fork(common: Fields, fields: Fields, _strings: list[bytes]) -> AnyEvent:
    return Fork(**common, child_pid=fields.child_pid, child_ns_pid=fields.child_ns_pid, flags=fields.flags)


def _exit(common: Fields, _fields: Fields, _strings: list[bytes]) -> AnyEvent:
    return Exit(**common)


def _exec(common: Fields, fields: Fields, strings: list[bytes]) -> AnyEvent:
    path, asked, arguments, cwd, environment = strings
    bits = fields.bits
    resolved = bool(bits & CONSTANTS["EXEC_RESOLVED"])
    if not 0 <= fields.origin < len(ORIGINS):
        raise InputError("sensor record", f"unknown origin {fields.origin}")
    return Exec(
        **common,
        path=_text(path) if resolved and path else _joined(path, asked),
        asked=_text(asked),
        argv=_words(arguments),
        origin=ORIGINS[fields.origin],
        writable_mount=bool(bits & CONSTANTS["EXEC_WRITABLE"]),
        inode=fields.inode,
        device=_device(fields.device),
        old_uid=fields.old_uid,
        parent_comm=_name(fields.parent_comm),
        killed=bool(bits & CONSTANTS["EXEC_KILLED"]),
        truncated=bool(bits & CONSTANTS["EXEC_TRUNCATED"]),
        cwd=_text(cwd),
        environment=_words(environment),
        user_writable=bool(bits & CONSTANTS["EXEC_USER_WRITABLE"]),
        **{name: getattr(fields, name) for name in _IDENTITY},
    )


_IDENTITY = [
    "session",
    "group",
    "ns_group",
    "tty",
    "login_uid",
    "cap_effective",
    "cap_permitted",
    "cap_inheritable",
    "ctime_ns",
    "mtime_ns",
]


def _words(text: bytes) -> tuple[str, ...]:
    """Strings that each end in NUL."""
    return tuple(_text(word) for word in text.removesuffix(b"\0").split(b"\0")) if text else ()


def _open(common: Fields, fields: Fields, strings: list[bytes]) -> AnyEvent:
    path, asked = strings
    resolved = bool(fields.resolved and path)
    return Open(
        **common,
        path=_text(path) if resolved else _joined(b"" if fields.resolved else path, asked),
        asked=_text(asked),
        flags=fields.flags,
        resolved=resolved,
        differs=resolved and common["ret"] >= 0 and _is_renamed(asked, path, fields.flags),
    )


_CREATED = 0o300  # O_CREAT | O_EXCL
_NO_FOLLOW = 0o400000
_TMPFILE = 0o20200000


def _is_renamed(asked: bytes, path: bytes, flags: int) -> bool:
    """Whether `path` cannot be what `asked` names: another last part, and no link that could have led there."""
    if not (flags & _NO_FOLLOW or flags & _CREATED == _CREATED) or flags & _TMPFILE == _TMPFILE:
        return False
    last = asked.rpartition(b"/")[2]
    return last not in {b"", b".", b".."} and last != path.rpartition(b"/")[2]


def _connect(common: Fields, fields: Fields, strings: list[bytes]) -> AnyEvent:
    family = fields.family
    address = _address(family, fields.address, strings[0])
    asked_family = fields.asked_family
    asked = _address(asked_family, fields.asked_address, b"") if asked_family in {_AF_INET, _AF_INET6} else ""
    differs = (
        family in {_AF_INET, _AF_INET6}
        and common["ret"] in _CONNECTED
        and asked_family != 0
        and not _is_same(asked, fields.asked_port, address, fields.port)
    )
    return Connect(
        **common,
        family=_FAMILIES.get(family, f"family-{family}"),
        protocol=_socket_protocol(family, fields.protocol),
        address=address,
        port=fields.port,
        fd=fields.fd,
        local=_address(family, fields.local, b"") if family in {_AF_INET, _AF_INET6} else "",
        local_port=fields.local_port,
        differs=differs,
        asked_address=asked if differs else "",
        asked_port=fields.asked_port if differs else 0,
    )


def _socket_protocol(family: int, protocol: int) -> str:
    if family == _AF_UNIX:
        return "unix"
    return _PROTOCOLS.get(protocol, "other") if family in {_AF_INET, _AF_INET6} else "other"


def _is_same(asked: str, asked_port: int, address: str, port: int) -> bool:
    """Whether a socket that went to `address` may have been asked to go to `asked`. Any address stands for this host's own."""
    if asked_port != port:
        return False
    return asked == address or asked in {"0.0.0.0", "::"}  # noqa: S104  compared, not bound


_STRINGS = {call.number: call.of_kind("path", "text") for call in CALLS_BY_NUMBER.values()}
_DESCRIPTORS = {call.number: call.of_kind("fd", "newfd") for call in CALLS_BY_NUMBER.values()}


def _call(common: Fields, fields: Fields, strings: list[bytes]) -> AnyEvent:
    call = CALLS_BY_NUMBER.get(_NUMBERS.get(common["syscall"], -1))
    if call is None:
        raise InputError("sensor record", f"call {common['syscall']!r} is not described")
    raw = fields[:6]  # `arguments` come first
    first_start, first, second_start, second, first_path, second_path, address, data = strings
    starts = ((first_start, first), (second_start, second))
    given = [(parameter, *pair) for parameter, pair in zip(_STRINGS[call.number], starts, strict=False)]
    found = [
        _descriptor(fields, index, common["ret"] if parameter.kind == "newfd" else _signed(raw[parameter.at]), path)
        for index, (parameter, path) in enumerate(zip(_DESCRIPTORS[call.number], (first_path, second_path), strict=False))
    ]
    family, where, port = _socket_address(address)
    return Call(
        **common,
        raw=raw,
        asked=tuple(_text(asked) for _, _, asked in given),
        paths=tuple(_joined(start, asked) if parameter.kind == "path" and asked else "" for parameter, start, asked in given),
        descriptors=tuple(found),
        family=family,
        address=where,
        port=port,
        data=_text(data),
        differs=bool(found) and common["syscall"] == "bind" and _is_elsewhere(common["ret"], found[0], family, where, port),
        truncated=bool(fields.bits & CONSTANTS["CALL_TRUNCATED"]),
    )


def _is_elsewhere(ret: int, socket: Descriptor, family: str, address: str, port: int) -> bool:
    """Whether a socket that was bound stands elsewhere than the caller's memory says. Port 0 leaves the choice to the kernel."""
    if ret < 0 or socket.type not in {"ipv4", "ipv6"} or not family:
        return False
    return family != socket.type or (port not in {0, socket.local_port}) or address != socket.local


def _descriptor(fields: Fields, index: int, fd: int, path: bytes) -> Descriptor:
    mode, family = getattr(fields, f"mode_{index}"), getattr(fields, f"family_{index}")
    kind = stat.S_IFMT(mode)
    if kind != stat.S_IFSOCK:
        text = _text(path)
        anonymous = bool(mode or text) and kind not in _FILE_TYPES
        return Descriptor(
            fd=fd,
            type="anon" if anonymous else _FILE_TYPES.get(kind, ""),
            path="" if kind == stat.S_IFIFO and text == "/" else text,
            inode=getattr(fields, f"inode_{index}"),
            device=_device(getattr(fields, f"device_{index}")),
            layer=_LAYERS.get(fields.layer[index], ""),
        )
    is_internet = family in {_AF_INET, _AF_INET6}
    start = index * 16
    protocol = _socket_protocol(family, getattr(fields, f"protocol_{index}"))
    return Descriptor(
        fd=fd,
        type=_FAMILIES.get(family, "other"),
        path=_address(family, b"", path) if family == _AF_UNIX else "",
        inode=getattr(fields, f"inode_{index}"),
        device=_device(getattr(fields, f"device_{index}")),
        protocol=protocol
        if protocol in {"tcp", "udp"}
        else _RAW_PROTOCOLS.get(getattr(fields, f"protocol_{index}"), "")
        if is_internet
        else "",
        local=_address(family, fields.local[start : start + 16], b"") if is_internet else "",
        local_port=getattr(fields, f"local_port_{index}") if is_internet else 0,
        remote=_address(family, fields.remote[start : start + 16], b"")
        if is_internet and getattr(fields, f"remote_port_{index}")
        else "",
        remote_port=getattr(fields, f"remote_port_{index}") if is_internet else 0,
    )


def _socket_address(data: bytes) -> tuple[str, str, int]:
    """Family, address and port in the sockaddr `data`, empty where it is none of the known ones. Source: man 7 ip, ipv6, unix."""
    if len(data) < 2:
        return "", "", 0
    family = int.from_bytes(data[:2], "little")
    port = int.from_bytes(data[2:4], "big")
    if family == _AF_INET and len(data) >= 8:
        return "ipv4", _address(family, data[4:8], b""), port
    if family == _AF_INET6 and len(data) >= 24:
        return "ipv6", _address(family, data[8:24], b""), port
    if family == _AF_UNIX:
        return "unix", _address(family, b"", data[2:]), 0
    return _FAMILIES.get(family, f"family-{family}"), "", 0


def _signed(value: int) -> int:
    """A register as the C int it was."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _privilege(common: Fields, fields: Fields, _strings: list[bytes]) -> AnyEvent:
    return Privilege(
        **common,
        act=common["syscall"],
        new_uid=fields.new_uid,
        new_gid=fields.new_gid,
        cap_effective=fields.cap_effective,
    )


def _module(common: Fields, fields: Fields, strings: list[bytes]) -> AnyEvent:
    name = _text(strings[0])
    if common["syscall"] == "bpf":
        name = _BPF_COMMANDS.get(fields.command, f"command {fields.command}")
    return Module(**common, act=common["syscall"], name=name)


def _namespace(common: Fields, fields: Fields, _strings: list[bytes]) -> AnyEvent:
    return Namespace(**common, act=common["syscall"], flags=fields.flags)


def _mount(common: Fields, fields: Fields, strings: list[bytes]) -> AnyEvent:
    source, target, fstype = map(_text, strings)
    return Mount(**common, act=common["syscall"], source=source, target=target, fstype=fstype, flags=fields.flags)


def _duplicate(common: Fields, fields: Fields, strings: list[bytes]) -> AnyEvent:
    return Duplicate(
        **common,
        old_fd=fields.old_fd,
        new_fd=fields.new_fd,
        address=_address(fields.family, fields.address, strings[0]),
        port=fields.port,
    )


def _cgroup(common: Fields, fields: Fields, strings: list[bytes]) -> AnyEvent:
    act = _CGROUP_ACTS.get(fields.act)
    if act is None:
        raise InputError("sensor record", f"unknown cgroup act {fields.act}")
    return Cgroup(**common, act=act, path=_text(strings[0]), made_id=fields.made_id)


_BUILDERS = {
    "fork": _fork,
    "exit": _exit,
    "exec": _exec,
    "open": _open,
    "connect": _connect,
    "privilege": _privilege,
    "module": _module,
    "namespace": _namespace,
    "mount": _mount,
    "duplicate": _duplicate,
    "call": _call,
    "cgroup": _cgroup,
}
