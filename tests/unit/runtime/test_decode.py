"""Records become events; hostile strings stay text; what is not a whole record is refused."""

from __future__ import annotations

import os

import pytest

from shipwall.abi.schema import HEADER, KIND_NUMBERS, RECORDS
from shipwall.model.errors import InputError
from shipwall.model.event import Call, Connect, Exec, Exit, Module, Open
from shipwall.runtime.decode import container_of_cgroup, decode_record


def record(kind: str, *, strings: bytes = b"", call: int = 0, ret: int = 0, bits: int = 0, **given: object) -> bytes:
    """A record as the kernel programs write it; members that are not given are 0."""
    values: list[object] = []
    for field in RECORDS[kind].fields:
        if field.name.startswith("pad"):
            continue
        is_bytes = field.length > 1 and field.type in {"u8", "char"}
        value = given.pop({"bits": "fixed_bits"}.get(field.name, field.name), b"" if is_bytes else 0)
        values += value if isinstance(value, tuple) else [value] if is_bytes or field.length == 1 else [0] * field.length
    assert not given
    fixed = RECORDS[kind].layout.pack(*values)
    size = HEADER.size_bytes + len(fixed) + len(strings)
    header = HEADER.layout.pack(1000, 5, 10, 11, 9, 1, 77, ret, 33, 34, size, 3, KIND_NUMBERS[kind], call, bits, b"sh\xff")
    return header + fixed + strings


def open_record(path: bytes, asked: bytes, *, resolved: bool, flags: int = 2) -> bytes:
    lengths = {"path_length": len(path), "asked_length": len(asked)}
    return record("open", flags=flags, **lengths, resolved=int(resolved), strings=path + asked, call=257)


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
    fields = {
        "inode": 12,
        "device": 8 << 20 | 300,
        "old_uid": 1000,
        "origin": 3,
        "fixed_bits": 1 | 2 | 8,
        "parent_comm": b"parent",
    }
    lengths = {"path_length": 4, "argv_length": len(arguments), "cwd_length": 4, "environment_length": 4}
    data = record("exec", **fields, **lengths, strings=b"/bin" + arguments + b"/usr" + b"A=1\0", tty=34817)
    event = decode_record(data, seq=1, wall_offset_ns=0)
    assert isinstance(event, Exec)
    assert (event.path, event.argv, event.origin, event.inode) == ("/bin", argv, "tmpfs", 12)
    assert event.device == os.makedev(8, 300)
    assert (event.writable_mount, event.killed, event.truncated, event.old_uid) == (True, True, False, 1000)
    assert event.parent_comm == "parent"
    assert (event.cwd, event.environment, event.tty, event.user_writable) == ("/usr", ("A=1",), 34817, False)


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
    fields = {"fd": 4, "family": family, "protocol": protocol, "port": 443, "address": address, "path_length": len(path)}
    event = decode_record(record("connect", **fields, strings=path, call=42), seq=1, wall_offset_ns=0)
    assert isinstance(event, Connect)
    assert (event.family, event.protocol, event.address) == said
    assert (event.port, event.fd) == (443, 4)


def test_bpf_commands_have_names() -> None:
    names = []
    for command in (5, 77):
        event = decode_record(record("module", command=command, call=321), seq=1, wall_offset_ns=0)
        assert isinstance(event, Module)
        names.append(event.name)
    assert names == ["BPF_PROG_LOAD", "command 77"]


@pytest.mark.parametrize(
    ("asked", "asked_port", "ret", "differs"),
    [
        (b"\x0a\0\0\1", 443, 0, False),
        (b"\x0a\0\0\2", 443, 0, True),
        (b"\x0a\0\0\1", 80, 0, True),
        (b"\0\0\0\0", 443, 0, False),  # any address is this host's own
        (b"\x0a\0\0\2", 443, -111, False),  # refused: the caller's memory is all there is
        (b"\x0a\0\0\2", 443, -115, True),  # in progress
    ],
)
def test_an_address_in_memory_that_is_not_the_sockets(asked: bytes, asked_port: int, ret: int, differs: bool) -> None:
    fields = {"family": 2, "protocol": 6, "port": 443, "address": b"\x0a\0\0\1", "local": b"\x7f\0\0\1", "local_port": 5}
    data = record("connect", **fields, asked_family=2, asked_port=asked_port, asked_address=asked, ret=ret)
    event = decode_record(data, seq=1, wall_offset_ns=0)
    assert isinstance(event, Connect)
    assert (event.differs, event.local, event.local_port) == (differs, "127.0.0.1", 5)
    assert bool(event.asked_address) == differs


def test_a_described_call() -> None:
    strings = {"first_start": b"/srv/x", "first": b"../a\xff", "second_start": b"/", "second": b"/b"}
    data = record(
        "call",
        call=264,  # renameat
        bits=1,
        arguments=(0xFFFFFF9C, 1, 4, 2, 0, 0),
        **{f"{name}_length": len(text) for name, text in strings.items()},
        strings=b"".join(strings.values()),
        fixed_bits=1,
    )
    event = decode_record(data, seq=1, wall_offset_ns=0)
    assert isinstance(event, Call)
    assert (event.syscall, event.foreign, event.truncated) == ("renameat", True, True)
    assert event.asked == ("../a\\xff", "/b")
    assert event.paths == ("/srv/a\\xff", "/b")
    assert event.descriptors == ()
    assert event.raw == (0xFFFFFF9C, 1, 4, 2, 0, 0)


@pytest.mark.parametrize(
    ("sockaddr", "said"),
    [
        (b"\2\0\0\x50\x0a\0\0\1" + bytes(8), ("ipv4", "10.0.0.1", 80)),
        (b"\x0a\0\0\x50" + bytes(19) + b"\1" + bytes(4), ("ipv6", "::1", 80)),
        (b"\1\0/run/s\0", ("unix", "/run/s", 0)),
        (b"\1\0\0name", ("unix", "@name", 0)),
        (b"\x10\0", ("netlink", "", 0)),
        (b"\2\0\0", ("ipv4", "", 0)),
        (b"\2", ("", "", 0)),
        (b"", ("", "", 0)),
    ],
)
def test_addresses_in_memory(sockaddr: bytes, said: tuple[str, str, int]) -> None:
    data = record("call", call=49, arguments=(3, 0, 16, 0, 0, 0), address_length=len(sockaddr), strings=sockaddr)
    event = decode_record(data, seq=1, wall_offset_ns=0)
    assert isinstance(event, Call)
    assert (event.family, event.address, event.port) == said


@pytest.mark.parametrize(
    ("address", "port", "ret", "differs"),
    [
        (b"\x7f\0\0\1", 80, 0, False),
        (b"\x7f\0\0\1", 0, 0, False),  # the kernel chose
        (b"\x7f\0\0\2", 80, 0, True),
        (b"\x7f\0\0\1", 81, 0, True),
        (b"\x7f\0\0\2", 81, -98, False),  # refused: bound nowhere
    ],
)
def test_a_socket_bound_elsewhere_than_memory_says(address: bytes, port: int, ret: int, differs: bool) -> None:
    socket = {"mode": (0o140777, 0), "family": (2, 0), "protocol": (6, 0), "local_port": (80, 0), "local": b"\x7f\0\0\1"}
    sockaddr = b"\2\0" + port.to_bytes(2, "big") + address + bytes(8)
    data = record("call", call=49, ret=ret, arguments=(3, 0, 16, 0, 0, 0), **socket, address_length=16, strings=sockaddr)
    event = decode_record(data, seq=1, wall_offset_ns=0)
    assert isinstance(event, Call)
    assert event.differs == differs


@pytest.mark.parametrize(
    ("asked", "path", "flags", "differs"),
    [
        (b"/etc/passwd", b"/etc/shadow", 0o400000, True),  # O_NOFOLLOW
        (b"/etc/passwd", b"/etc/shadow", 0, False),  # may have been a link
        (b"new", b"/tmp/other", 0o300, True),  # O_CREAT | O_EXCL
        (b"new", b"/tmp/new", 0o300, False),
        (b"..", b"/tmp", 0o400000, False),
        (b"/tmp/", b"/tmp", 0o400000, False),
        (b"/tmp", b"/tmp/#123", 0o20600000, False),  # O_TMPFILE
    ],
)
def test_an_opened_file_of_another_name(asked: bytes, path: bytes, flags: int, differs: bool) -> None:
    event = decode_record(open_record(path, asked, resolved=True, flags=flags), seq=1, wall_offset_ns=0)
    assert isinstance(event, Open)
    assert event.differs == differs


def test_descriptors_of_a_call() -> None:
    socket = {"mode": (0o140777, 0o100644), "family": (2, 0), "protocol": (6, 0), "local_port": (80, 0), "remote_port": (999, 0)}
    ends = {"local": b"\x7f\0\0\1" + bytes(28), "remote": b"\x0a\0\0\2" + bytes(28)}
    data = record(
        "call", call=43, ret=7, arguments=(3, 0, 0, 0, 0, 0), **socket, **ends, second_path_length=2, strings=b"/f", layer=b"\0\2"
    )
    event = decode_record(data, seq=1, wall_offset_ns=0)
    assert isinstance(event, Call)
    accepted, listener = event.descriptors
    assert (accepted.fd, accepted.type, accepted.protocol) == (7, "ipv4", "tcp")
    assert (accepted.local, accepted.local_port, accepted.remote, accepted.remote_port) == ("127.0.0.1", 80, "10.0.0.2", 999)
    assert (listener.fd, listener.type, listener.path, listener.layer) == (3, "file", "/f", "upper")


@pytest.mark.parametrize("damage", ["short", "long", "kind", "origin", "act", "strings", "call"])
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
        data = record("exec", origin=200)
    elif damage == "act":
        data = record("cgroup", act=9)
    elif damage == "call":
        data = record("call", call=39)  # getppid is described nowhere
    else:
        data = record("open", path_length=500, resolved=1, strings=b"/x")
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
