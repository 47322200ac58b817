"""Records become events; hostile strings stay text; what is not a whole record is refused."""

from __future__ import annotations

import os

import pytest

from shipwall.abi.schema import HEADER, KIND_NUMBERS, RECORDS
from shipwall.model.errors import InputError
from shipwall.model.event import Connect, Exec, Exit, Module, Open
from shipwall.runtime.decode import container_of_cgroup, decode_record


def record(kind: str, *fields: object, strings: bytes = b"", call: int = 0, ret: int = 0) -> bytes:
    """A record as the kernel programs write it."""
    fixed = RECORDS[kind].layout.pack(*fields)
    size = HEADER.size_bytes + len(fixed) + len(strings)
    header = HEADER.layout.pack(1000, 77, 5, ret, 10, 11, 9, 1, 33, 34, size, 3, KIND_NUMBERS[kind], call, b"sh\xff")
    return header + fixed + strings


def open_record(path: bytes, asked: bytes, *, resolved: bool) -> bytes:
    return record("open", 2, len(path), len(asked), int(resolved), strings=path + asked, call=257)


def test_header_and_hostile_strings() -> None:
    event = decode_record(record("exit", ret=256), seq=8, wall_offset_ns=5)
    assert event == Exit(
        seq=8,
        time_ns=1005,
        cgroup_id=77,
        pid=10,
        tid=11,
        ppid=9,
        ns_pid=1,
        uid=33,
        gid=34,
        comm="sh\\xff",
        ret=256,
    )
    event = decode_record(open_record(b"/a\x1b\xfe", b"\xff", resolved=True), seq=1, wall_offset_ns=0)
    assert isinstance(event, Open)
    assert (event.path, event.asked, event.syscall, event.flags) == ("/a\x1b\\xfe", "\\xff", "openat", 2)


@pytest.mark.parametrize(
    ("start", "asked", "path"),
    [
        (b"/home/x", b"../../etc//./shadow", "/etc/shadow"),
        (b"/", b"/etc/../../etc/shadow", "/etc/shadow"),
        (b"/", b"//etc/shadow", "/etc/shadow"),
        (b"/jail", b"/../etc/shadow", "/jail/etc/shadow"),
        (b"/home", b"", "/home"),
        (b"", b"relative", "relative"),
    ],
)
def test_refused_paths_are_joined_and_normalised(start: bytes, asked: bytes, path: str) -> None:
    event = decode_record(open_record(start, asked, resolved=False), seq=1, wall_offset_ns=0)
    assert isinstance(event, Open)
    assert (event.path, event.resolved) == (path, False)


def test_a_path_too_deep_to_walk_falls_back_on_what_was_asked() -> None:
    event = decode_record(open_record(b"", b"/deep/file", resolved=True), seq=1, wall_offset_ns=0)
    assert isinstance(event, Open)
    assert (event.path, event.resolved) == ("/deep/file", False)


@pytest.mark.parametrize(
    ("arguments", "argv"), [(b"", ()), (b"a\0b c\0\0", ("a", "b c", "")), (b"\0", ("",)), (b"cut", ("cut",))]
)
def test_arguments(arguments: bytes, argv: tuple[str, ...]) -> None:
    fields = (12, 8 << 20 | 300, 1000, 4, 0, len(arguments), 3, 1 | 2 | 8, b"parent")
    event = decode_record(record("exec", *fields, strings=b"/bin" + arguments), seq=1, wall_offset_ns=0)
    assert isinstance(event, Exec)
    assert (event.path, event.argv, event.origin, event.inode) == ("/bin", argv, "tmpfs", 12)
    assert event.device == os.makedev(8, 300)
    assert (event.writable_mount, event.killed, event.truncated, event.old_uid) == (True, True, False, 1000)
    assert event.parent_comm == "parent"


@pytest.mark.parametrize(
    ("family", "protocol", "address", "path", "said"),
    [
        (2, 6, b"\x0a\0\0\1", b"", ("ipv4", "tcp", "10.0.0.1")),
        (10, 17, bytes(15) + b"\1", b"", ("ipv6", "udp", "::1")),
        (10, 6, bytes(10) + b"\xff\xff\x0a\0\0\2", b"", ("ipv6", "tcp", "10.0.0.2")),
        (1, 0, b"", b"/run/s\0rest", ("unix", "unix", "/run/s")),
        (1, 0, b"", b"\0abstract\0", ("unix", "unix", "@abstract")),
        (16, 0, b"", b"", ("netlink", "other", "")),
        (99, 0, b"", b"", ("family-99", "other", "")),
    ],
)
def test_addresses(family: int, protocol: int, address: bytes, path: bytes, said: tuple[str, str, str]) -> None:
    event = decode_record(
        record("connect", 4, family, 1, protocol, 443, len(path), address, strings=path, call=42), seq=1, wall_offset_ns=0
    )
    assert isinstance(event, Connect)
    assert (event.family, event.protocol, event.address) == said
    assert (event.port, event.fd) == (443, 4)


def test_bpf_commands_have_names() -> None:
    names = []
    for command in (5, 77):
        event = decode_record(record("module", command, 0, call=321), seq=1, wall_offset_ns=0)
        assert isinstance(event, Module)
        names.append(event.name)
    assert names == ["BPF_PROG_LOAD", "command 77"]


@pytest.mark.parametrize("damage", ["short", "long", "kind", "origin", "act", "strings"])
def test_what_is_no_whole_record_is_refused(damage: str) -> None:
    data = open_record(b"/x", b"y", resolved=True)
    if damage == "short":
        data = data[:-1]
    elif damage == "long":
        data += b"x"
    elif damage == "kind":
        at = HEADER.offsets["kind"]
        data = data[:at] + b"\x63\0" + data[at + 2 :]
    elif damage == "origin":
        data = record("exec", 1, 1, 1, 0, 0, 0, 200, 0, b"")
    elif damage == "act":
        data = record("cgroup", 1, 1, 0, 9)
    else:
        data = record("open", 2, 500, 0, 1, strings=b"/x")
    with pytest.raises(InputError, match="sensor record"):
        decode_record(data, seq=1, wall_offset_ns=0)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/docker/" + "a" * 64, "a" * 64),
        ("/shipwall-1/" + "b" * 64 + "/init.scope", "b" * 64),
        ("/system.slice/docker-" + "c" * 64 + ".scope", "c" * 64),
        ("/docker/buildkit/" + "d" * 63, ""),
        ("/docker/" + "e" * 65, ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_container_of_a_cgroup(path: str, found: str) -> None:
    assert container_of_cgroup(path) == found
