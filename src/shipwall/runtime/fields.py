"""What each field of the rule language means for an event, its process, its ancestors and its container.

`MEANINGS` is the table (`event_fields`, `process_fields` and `container_fields` give parts of it). A field may have a value for some kinds
of event only; elsewhere it is missing, which makes comparisons false. Fields that Falco has and that have no value here are in
`untold.UNTOLD`: a rule that depends on one is reported as skipped, never evaluated as if the value were missing. Fields of our own begin
with `shipwall.`.

Choices: `container.id` is the first 12 digits, as Falco has it, and `host` outside containers and while the container is not known.
`proc.name` is the name from the last exec, not what a thread calls itself; for a program executed through /proc/self/exe it is the first
word of the command line. `proc.aname` without index is every ancestor but the process itself. The lineage is who started whom, even when
a parent has ended. Of a socket whose own end is not told
(a duplicated one) `fd.sip` is the other end and `fd.name` has no local address.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from functools import lru_cache

from shipwall.abi.calls import CALLS
from shipwall.lang.condition import Field
from shipwall.model.container import Process
from shipwall.model.event import (
    Call,
    Cgroup,
    Connect,
    Descriptor,
    Duplicate,
    Event,
    Exec,
    Exit,
    Fork,
    Lost,
    Module,
    Mount,
    Namespace,
    Open,
    Privilege,
)
from shipwall.runtime.arguments import ARGUMENTS_OF_CALLS, argument, arguments
from shipwall.runtime.conditions import WORDS, Address, Bound, Found
from shipwall.runtime.container_fields import CONTAINER_FIELDS
from shipwall.runtime.event_fields import EVENT_FIELDS
from shipwall.runtime.facts import ASKED_MORE, ASKED_PROCESS, Facts, Meaning
from shipwall.runtime.flags import ACCESS, CLONE_FLAGS, MOUNT_FLAGS, O_PATH, OPEN_FLAGS, render_capabilities, render_flags
from shipwall.runtime.process_fields import PROCESS_FIELDS
from shipwall.runtime.untold import UNTOLD

KINDS: dict[str, type[Event]] = {
    "fork": Fork,
    "exit": Exit,
    "exec": Exec,
    "open": Open,
    "connect": Connect,
    "privilege": Privilege,
    "module": Module,
    "namespace": Namespace,
    "mount": Mount,
    "duplicate": Duplicate,
    "call": Call,
    "lost": Lost,
    "cgroup": Cgroup,
}
KIND_OF = {struct: kind for kind, struct in KINDS.items()}

# Which `evt.type` an event of each kind can have. A program gaining identity by being executed is told twice by the sensor, as exec and
# as privilege; the second is `secureexec`, so that rules about execve fire once.
EVENT_TYPES: dict[str, tuple[str, ...]] = {
    "fork": ("clone", "clone3", "fork", "vfork"),
    "exit": ("procexit",),
    "exec": ("execve", "execveat"),
    "open": ("open", "openat", "openat2", "creat", "open_by_handle_at"),
    "connect": ("connect",),
    "privilege": ("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset",
                  "secureexec"),
    "module": ("init_module", "finit_module", "delete_module", "bpf"),
    "namespace": ("unshare", "setns", "clone", "clone3"),
    "mount": ("mount", "umount", "umount2", "move_mount", "open_tree", "fsopen", "pivot_root", "chroot"),
    "duplicate": ("dup", "dup2", "dup3", "fcntl"),
    "call": tuple(call.name for call in CALLS if call.family == "call"),
    "lost": ("drop",),
    "cgroup": ("cgroup",),
}  # fmt: skip

DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Refusals by the system: permission (file modes, capabilities, seccomp, noexec, BPF) and read-only file systems. Not: a file that is not
there, a peer that refuses or cannot be reached, a resource that ran out."""


def event_type(event: Event) -> str:
    """The name of the call, or of what the event is when it is no call."""
    if isinstance(event, Privilege | Module | Namespace | Mount) and event.act:
        if isinstance(event, Privilege) and event.act in {"execve", "execveat"}:
            return "secureexec"
        return event.act
    return event.syscall or EVENT_TYPES[KIND_OF[type(event)]][0]


def is_denied(event: Event) -> bool:
    """Whether the system refused the act (see DENIED)."""
    return event.ret < 0 and -event.ret in DENIED


def exe_path(facts: Facts) -> str:
    """The file of the program that acts: after an exec the new one, when an exec was refused the one that asked."""
    event = facts.event
    if isinstance(event, Exec) and event.ret >= 0:
        return event.path
    return facts.process.path if facts.process is not None else ""


_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")


# --- getters. Each is only asked for the kinds its meaning names. ---


def _result(facts: Facts) -> Found:
    ret = facts.event.ret
    return errno.errorcode.get(-ret, str(ret)) if ret < 0 else "SUCCESS"


def _access(facts: Facts) -> int:
    flags = facts.event.flags  # type: ignore[attr-defined]
    return -1 if flags & O_PATH else flags & 3


def _open_flags(facts: Facts) -> str:
    flags = facts.event.flags  # type: ignore[attr-defined]
    return "|".join(part for part in (ACCESS.get(flags & 3, ""), render_flags(flags, OPEN_FLAGS)) if part)


def _exe_flags(facts: Facts) -> Found:
    origin = facts.event.origin  # type: ignore[attr-defined]
    layer = {"upper": "EXE_UPPER_LAYER", "image": "EXE_LOWER_LAYER", "memfd": "EXE_FROM_MEMFD"}.get(origin, "")
    is_writable = facts.detail("exe_writable")
    return "|".join(flag for flag in ("EXE_WRITABLE" if is_writable else "", layer) if flag)


def _argv_rest(process: Process | None) -> Found:
    return None if process is None or not process.argv else " ".join(process.argv[1:])


def _cmdline(process: Process | None) -> Found:
    return None if process is None else " ".join((process.comm, *process.argv[1:]))


def _exeline(process: Process | None) -> Found:
    return None if process is None or not process.argv else " ".join(process.argv)


def _exe(process: Process | None) -> Found:
    return None if process is None or not process.argv else process.argv[0]


def _path(process: Process | None) -> Found:
    return None if process is None else process.path or None


def _name(process: Process | None) -> Found:
    return None if process is None else process.comm


def _parent_name(facts: Facts) -> Found:
    parent = facts.ancestor(1)
    if parent is not None:
        return parent.comm
    return (facts.event.parent_comm or None) if isinstance(facts.event, Exec) else None


def _index(argument: str) -> int | None:
    return int(argument) if argument.isascii() and argument.isdigit() and len(argument) <= 3 else None


def _nth(part: Callable[[Process | None], Found]) -> Callable[[Facts, str], Found]:
    """A part of the ancestor that the argument counts to."""

    def get(facts: Facts, argument: str) -> Found:
        distance = _index(argument)
        if distance is None:
            return None
        if distance == 1 and part is _name:
            return _parent_name(facts)
        return part(facts.ancestor(distance))

    return get


def _ancestors(part: Callable[[Process | None], Found]) -> Callable[[Facts], Found]:
    """A part of every ancestor."""

    def get(facts: Facts) -> Found:
        found: list[str | int | bool] = []
        for process in facts.lineage[1:]:
            value = part(process)
            if value is not None and not isinstance(value, tuple):
                found.append(value)
        if not found and part is _name:
            name = _parent_name(facts)
            return (name,) if isinstance(name, str) else None
        return tuple(found) or None

    return get


def _of_process(part: Callable[[Process | None], Found]) -> Callable[[Facts], Found]:
    return lambda facts: part(facts.process)


def _of_parent(part: Callable[[Process | None], Found]) -> Callable[[Facts], Found]:
    return lambda facts: part(facts.ancestor(1))


def _arguments(facts: Facts, argument: str) -> Found:
    index = _index(argument)
    argv = facts.process.argv[1:] if facts.process is not None else ()
    if argument == WORDS:
        return argv or None
    return argv[index] if index is not None and index < len(argv) else None


_DESCRIPTOR_TYPES = {"fifo": "pipe", "char": "file", "block": "file", "anon": "event"}


def _descriptor(facts: Facts) -> Descriptor | None:
    """The descriptor a described call is about: the first of its parameters."""
    event = facts.event
    return event.descriptors[0] if isinstance(event, Call) and event.descriptors else None


def _ends(facts: Facts) -> tuple[str, int, str, int]:
    """Local address and port, remote address and port of the event's socket; empty and 0 where not known."""
    event = facts.event
    if isinstance(event, Call):
        found = _descriptor(facts)
        if found is None or found.type not in {"ipv4", "ipv6"}:
            return "", 0, "", 0
        remote, port = found.remote, found.remote_port
        if not remote and event.syscall != "bind" and event.family in {"ipv4", "ipv6"}:  # told with the message
            remote, port = event.address, event.port
        return found.local, found.local_port, remote, port
    if isinstance(event, Connect):
        return event.local, event.local_port, event.address, event.port
    return "", 0, event.address, event.port  # type: ignore[attr-defined]


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _internet_name(facts: Facts) -> str:
    """`client:port->server:port`; a socket without another end is told by its own."""
    local, local_port, remote, port = _ends(facts)
    if not remote:
        return _end(local, local_port) if local_port else ""
    ends = [_end(local, local_port) if local else "", _end(remote, port)]
    return "->".join(reversed(ends) if local and _is_server(facts) is True else ends)


def _fd_name(facts: Facts) -> Found:
    event = facts.event
    if isinstance(event, Open):
        return event.path or None
    if isinstance(event, Call):
        found = _descriptor(facts)
        if found is None:
            return None
        return (_internet_name(facts) if found.type in {"ipv4", "ipv6"} else found.path) or None
    if isinstance(event, Connect) and event.local and _family(facts) in {"ipv4", "ipv6"}:
        return _internet_name(facts) or None
    address, port = event.address, event.port  # type: ignore[attr-defined]
    if not address:
        return None
    if ":" in address and not address.startswith("/"):
        return f"->[{address}]:{port}"
    return f"->{address}:{port}" if _family(facts) != "unix" else address


def _family(facts: Facts) -> str:
    """ipv4, ipv6, unix, file, directory or empty."""
    event = facts.event
    if isinstance(event, Open):
        return "directory" if event.flags & 0o200000 else "file"
    if isinstance(event, Call):
        found = _descriptor(facts)
        return "" if found is None else _DESCRIPTOR_TYPES.get(found.type, found.type)
    address = event.address  # type: ignore[attr-defined]
    family = getattr(event, "family", "")
    if family in {"unix", "ipv4", "ipv6"}:
        return str(family)
    if ":" in address and not address.startswith(("/", "@")):
        return "ipv6"
    return "ipv4" if _IPV4.match(address) else ("unix" if address else "")


def _is_internet(facts: Facts) -> bool:
    return _family(facts) in {"ipv4", "ipv6"}


def _remote(facts: Facts) -> Found:
    return Address(_ends(facts)[2]) if _is_internet(facts) and _ends(facts)[2] else None


HOST_NAMES = frozenset({"fd.sip.name", "fd.cip.name", "fd.lip.name", "fd.rip.name"})
"""Fields compared with names of hosts: whoever has the rules resolves those names beside the event path."""


def _host_names(facts: Facts) -> Found:
    return facts.context.names_of(_ends(facts)[2]) or None if _remote(facts) is not None else None


def _remote_port(facts: Facts) -> Found:
    return _ends(facts)[3] if _is_internet(facts) and _ends(facts)[2] else None


def _local(facts: Facts) -> Found:
    return Address(_ends(facts)[0]) if _is_internet(facts) and _ends(facts)[0] else None


def _local_port(facts: Facts) -> Found:
    return _ends(facts)[1] if _is_internet(facts) and _ends(facts)[0] else None


def _of_server(local: Callable[[Facts], Found], remote: Callable[[Facts], Found]) -> Callable[[Facts], Found]:
    """The server's end. Without another end (a listener) it is the local one; where our own is not known, the other one."""

    def get(facts: Facts) -> Found:
        if _is_server(facts) is True or remote(facts) is None:
            found = local(facts)
            return remote(facts) if found is None else found
        return remote(facts)

    return get


def _of_client(local: Callable[[Facts], Found], remote: Callable[[Facts], Found]) -> Callable[[Facts], Found]:
    """The client's end: missing for a socket that has only one."""

    def get(facts: Facts) -> Found:
        if remote(facts) is None:
            return None
        return remote(facts) if _is_server(facts) is True else local(facts)

    return get


def _is_named_anew(facts: Facts) -> Found:
    event = facts.event
    if not _is_internet(facts):
        return None
    if isinstance(event, Connect):
        return event.ret >= 0 or -event.ret == errno.EINPROGRESS
    found = _descriptor(facts)
    return found is not None and not found.remote and bool(_ends(facts)[2])


def _is_connected(facts: Facts) -> Found:
    event = facts.event
    if not _is_internet(facts):
        return None
    if isinstance(event, Connect):
        return event.ret == 0
    found = _descriptor(facts)
    return found is not None and bool(found.remote)


def _is_server(facts: Facts) -> Found:
    event = facts.event
    if not _is_internet(facts):
        return None
    if isinstance(event, Call):
        if event.syscall in {"accept", "accept4", "listen"}:
            return True
        _, _, remote, port = _ends(facts)
        found = _descriptor(facts)
        is_stream = found is not None and found.protocol == "tcp" and bool(found.remote)
        return is_stream and not facts.table.has_connected(event.pid, remote, port)
    return isinstance(event, Duplicate) and not facts.table.has_connected(event.pid, event.address, event.port)


def _protocol(facts: Facts) -> Found:
    event = facts.event
    if isinstance(event, Connect):
        protocol = event.protocol
    elif isinstance(event, Duplicate):  # told when the connection was asked for
        protocol = facts.table.protocol_of(event.pid, event.address, event.port) or ""
    else:
        found = _descriptor(facts)
        protocol = "" if found is None else found.protocol
    return protocol if protocol in {"tcp", "udp"} else None


def _fd_number(facts: Facts) -> Found:
    event = facts.event
    if isinstance(event, Open):
        return event.ret if event.ret >= 0 else -1
    if isinstance(event, Call):
        found = _descriptor(facts)
        return None if found is None else max(found.fd, -1)
    return event.old_fd if isinstance(event, Duplicate) else event.fd  # type: ignore[attr-defined]


def _file(facts: Facts) -> str:
    """Path of the event's file, empty when it has none."""
    event = facts.event
    if isinstance(event, Call):
        found = _descriptor(facts)
        return found.path if found is not None and found.type in {"file", "directory", "char", "block"} else ""
    return event.path  # type: ignore[attr-defined,no-any-return]


def _directory(facts: Facts) -> Found:
    path = _file(facts)
    return (path.rpartition("/")[0] or "/") if path.startswith("/") else None


def _filename(facts: Facts) -> Found:
    return _file(facts).rpartition("/")[2] or None


def _layer(name: str) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        found = _descriptor(facts)
        return None if found is None or not found.layer else found.layer == name

    return get


def _of_descriptor(name: str) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        found = _descriptor(facts)
        return None if found is None else getattr(found, name)

    return get


def _origin(facts: Facts) -> Found:
    event = facts.event
    if isinstance(event, Exec) and event.ret >= 0:
        return event.origin
    return facts.process.origin if facts.process is not None else None


def _is_origin(origin: str) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        found = _origin(facts)
        return None if found in {None, "unknown"} else found == origin

    return get


def _old_uid(facts: Facts) -> Found:
    event = facts.event
    if isinstance(event, Exec):
        return event.old_uid
    return facts.process.uid if facts.process is not None else None


def _package(facts: Facts) -> Found:
    container = facts.container
    if container is None:
        return None
    return facts.context.package_of(container.image_digest, exe_path(facts)) or None


_FD = frozenset({"open", "connect", "duplicate", "call"})
_OPEN = frozenset({"open"})
_FILE = frozenset({"open", "call"})
_CALL = frozenset({"call"})
_SOCKET = frozenset({"connect", "duplicate", "call"})
_EXEC = frozenset({"exec"})
_CALLS = frozenset(KINDS) - {"exit", "lost", "cgroup"}


def _header(name: str) -> Callable[[Facts], Found]:
    return lambda facts: getattr(facts.event, name)


MEANINGS: dict[str, Meaning] = {
    # the event
    "evt.num": Meaning("number of the event on this node, from 1", "number", lambda facts: facts.event.seq + 1, asks=ASKED_MORE),
    "evt.type": Meaning("name of the call (`execve`), or what it is when no call", "text", lambda facts: event_type(facts.event)),
    "evt.res": Meaning("SUCCESS, or the name of the error (`EACCES`)", "text", _result, _CALLS),
    "evt.rawres": Meaning("what the call returned, negative when refused", "number", _header("ret"), _CALLS),
    "evt.failed": Meaning("whether the call failed", "flag", lambda facts: facts.event.ret < 0, _CALLS),
    "evt.hostname": Meaning("name of the node", "text", lambda facts: facts.node),
    "evt.source": Meaning("always syscall", "text", lambda _facts: "syscall"),
    "evt.is_open_read": Meaning("whether the file was opened for reading", "flag", lambda facts: _access(facts) in {0, 2}, _OPEN),
    "evt.is_open_write": Meaning("whether the file was opened for writing", "flag", lambda facts: _access(facts) in {1, 2}, _OPEN),
    "evt.is_open_create": Meaning("whether opening may make the file", "flag",
                                  lambda facts: bool(facts.event.flags & 0o100), _OPEN),  # type: ignore[attr-defined]
    # the process
    "proc.name": Meaning("name of the program, at most 15 bytes", "text",
                         lambda facts: facts.process.comm if facts.process is not None else facts.event.comm),
    "proc.exepath": Meaning("file of the program", "text", lambda facts: exe_path(facts) or None),
    "proc.exe": Meaning("first word of its command line", "text", _of_process(_exe)),
    "proc.args": Meaning("the other words of its command line; with an index one of them", "text", _of_process(_argv_rest),
                         argument="optional", get_with=_arguments),
    "proc.cmdline": Meaning("name and arguments", "text", _of_process(_cmdline)),
    "proc.exeline": Meaning("whole command line", "text", _of_process(_exeline)),
    "proc.cmdnargs": Meaning("number of arguments", "number",
                             lambda facts: None if facts.process is None else max(0, len(facts.process.argv) - 1)),
    "proc.pid": Meaning("process id on the host", "number", _header("pid"), asks=ASKED_PROCESS),
    "proc.ppid": Meaning("process id of the parent on the host", "number", _header("ppid"), asks=ASKED_PROCESS),
    "proc.vpid": Meaning("process id in the container", "number", _header("ns_pid"), asks=ASKED_PROCESS),
    "proc.pvpid": Meaning("process id of the parent in the container", "number",
                          _of_parent(lambda parent: None if parent is None else parent.ns_pid)),
    "thread.tid": Meaning("thread id on the host", "number", _header("tid"), asks=ASKED_PROCESS),
    "proc.pname": Meaning("name of the parent", "text", _parent_name),
    "proc.pexe": Meaning("first word of the parent's command line", "text", _of_parent(_exe)),
    "proc.pexepath": Meaning("file of the parent's program", "text", _of_parent(_path)),
    "proc.pcmdline": Meaning("name and arguments of the parent", "text", _of_parent(_cmdline)),
    "proc.aname": Meaning("names of all ancestors; [0] the process, [1] its parent, ...", "text", _ancestors(_name), many=True,
                          argument="optional", get_with=_nth(_name)),
    "proc.aexe": Meaning("as proc.exe, of the ancestors", "text", _ancestors(_exe), many=True, argument="optional",
                         get_with=_nth(_exe)),
    "proc.aexepath": Meaning("as proc.exepath, of the ancestors", "text", _ancestors(_path), many=True, argument="optional",
                             get_with=_nth(_path)),
    "proc.acmdline": Meaning("as proc.cmdline, of the ancestors", "text", _ancestors(_cmdline), many=True, argument="optional",
                             get_with=_nth(_cmdline)),
    "proc.apid": Meaning("process ids of the ancestors", "number",
                         _ancestors(lambda process: None if process is None else process.pid), many=True, argument="optional",
                         get_with=_nth(lambda process: None if process is None else process.pid)),
    "proc.aargs": Meaning("as proc.args, of the ancestors", "text", _ancestors(_argv_rest), many=True, argument="optional",
                          get_with=_nth(_argv_rest)),
    "proc.is_exe_upper_layer": Meaning("whether the program was written in the running container", "flag", _is_origin("upper")),
    "proc.is_exe_lower_layer": Meaning("whether the program came with the image", "flag", _is_origin("image")),
    "proc.is_exe_from_memfd": Meaning("whether the program lies in memory only", "flag", _is_origin("memfd")),
    "user.uid": Meaning("effective user id, after the call", "number", _header("uid")),
    "group.gid": Meaning("effective group id, after the call", "number", _header("gid")),
    # the descriptor
    "fd.num": Meaning("number of the descriptor, -1 when it was refused", "number", _fd_number, _FD),
    "fd.name": Meaning("path of the file, or `->address:port`", "text", _fd_name, _FD),
    "fd.nameraw": Meaning("path as it was asked for", "text", lambda facts: facts.event.asked or None, _OPEN),  # type: ignore[attr-defined]
    "fd.directory": Meaning("folder of the file", "text", _directory, _FILE),
    "fd.filename": Meaning("name of the file without its folder", "text", _filename, _FILE),
    "fd.type": Meaning("file, directory, ipv4, ipv6 or unix", "text", lambda facts: _family(facts) or None, _FD),
    "fd.typechar": Meaning("f, d, 4, 6 or u", "text", lambda facts: {"file": "f", "directory": "d", "ipv4": "4", "ipv6": "6",
                                                                     "unix": "u"}.get(_family(facts)), _FD),
    "fd.sockfamily": Meaning("ip or unix", "text", lambda facts: {"ipv4": "ip", "ipv6": "ip", "unix": "unix"}.get(_family(facts)),
                             _SOCKET),
    "fd.l4proto": Meaning("tcp or udp", "text", _protocol, _SOCKET),
    "fd.sip": Meaning("address of the server", "address", _of_server(_local, _remote), _SOCKET),
    "fd.sport": Meaning("port of the server", "number", _of_server(_local_port, _remote_port), _SOCKET),
    "fd.name_changed": Meaning(
        "whether the call gave the socket another other end: a connection, or a message with an address of its own",
        "flag", _is_named_anew, frozenset({"connect", "call"})),
    "fd.cip": Meaning("address of the client", "address", _of_client(_local, _remote), _SOCKET),
    "fd.cport": Meaning("port of the client", "number", _of_client(_local_port, _remote_port), _SOCKET),
    "fd.lip": Meaning("address of our own end", "address", _local, _SOCKET),
    "fd.lport": Meaning("port of our own end", "number", _local_port, _SOCKET),
    "fd.connected": Meaning("whether the socket has another end", "flag", _is_connected, frozenset({"connect", "call"})),
    "fd.sip.name": Meaning("the names in rules that stand for the address of the server", "text", _host_names, _SOCKET, many=True),
    "fd.rip.name": Meaning("the names in rules that stand for the address of the other end", "text", _host_names, _SOCKET, many=True),
    "fd.is_server": Meaning(
        "whether the connection was accepted: neither the process nor an ancestor asked for it", "flag", _is_server, _SOCKET
    ),
    "fd.rip": Meaning("address of the other end", "address", _remote, _SOCKET),
    "fd.rport": Meaning("port of the other end", "number", _remote_port, _SOCKET),
    "fd.ip": Meaning("address of an end that is known", "address", _remote, _SOCKET),
    "fd.port": Meaning("port of an end that is known", "number", _remote_port, _SOCKET),
    "fd.net": Meaning("as fd.ip, to compare with networks", "address", _remote, _SOCKET),
    "fd.snet": Meaning("as fd.sip, to compare with networks", "address", _of_server(_local, _remote), _SOCKET),
    "fd.cnet": Meaning("as fd.cip, to compare with networks", "address", _of_client(_local, _remote), _SOCKET),
    "fd.lnet": Meaning("as fd.lip, to compare with networks", "address", _local, _SOCKET),
    "fd.rnet": Meaning("as fd.rip, to compare with networks", "address", _remote, _SOCKET),
    "fd.ino": Meaning("inode of the file or socket", "number", _of_descriptor("inode"), _CALL),
    "fd.dev": Meaning("device of the file", "number", _of_descriptor("device"), _CALL),
    "fd.is_upper_layer": Meaning("whether the file was written in the running container", "flag", _layer("upper"), _CALL),
    "fd.is_lower_layer": Meaning("whether the file came with the image", "flag", _layer("lower"), _CALL),
    "evt.buffer": Meaning("first bytes of the buffer", "text", lambda facts: facts.event.data or None, _CALL),  # type: ignore[attr-defined]
    # our own
    "shipwall.origin": Meaning("where the program's bytes come from: image, upper, tmpfs, memfd, mount, deleted, unknown", "text", _origin),
    "shipwall.writable_mount": Meaning("whether the program lies on a file system mounted writable", "flag",
                                       lambda facts: facts.event.writable_mount, _EXEC),  # type: ignore[attr-defined]
    "shipwall.killed": Meaning("whether the kernel part killed it before its first instruction", "flag",
                               lambda facts: facts.event.killed, _EXEC),  # type: ignore[attr-defined]
    "shipwall.package": Meaning("name and version of the package that owns the program", "text", _package),
    "shipwall.denied": Meaning("whether the system refused the act (EACCES, EPERM, EROFS)", "flag", lambda facts: is_denied(facts.event)),
    "shipwall.old_uid": Meaning("user id before the act", "number", _old_uid, frozenset({"exec", "privilege"})),
    "shipwall.foreign": Meaning("whether the call was asked for by 32-bit or x32 code", "flag", _header("foreign"), _CALLS),
    "shipwall.argument_differs": Meaning(
        "whether what was acted on is not what the caller's memory says", "flag", _header("differs"), frozenset({"open", "connect", "call"})
    ),
    "shipwall.runtime": Meaning("whether the engine's runtime acts while it sets up the container", "flag",
                                lambda facts: facts.is_runtime),
}  # fmt: skip


def _text(get: Callable[[Facts], object]) -> Callable[[Facts], Found]:
    return lambda facts: str(get(facts))


def _member(name: str) -> Callable[[Facts], Found]:
    return lambda facts: getattr(facts.event, name) or None


def _number(name: str) -> Callable[[Facts], Found]:
    return lambda facts: str(getattr(facts.event, name))


def _identity(name: str) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        value = getattr(facts.event, name)
        return None if value < 0 else str(value)

    return get


def _of_call(name: str) -> Callable[[Facts], Found]:
    return lambda facts: argument(facts.event, name)  # type: ignore[arg-type]


_RES = _text(lambda facts: facts.event.ret)

# evt.arg.NAME by kind of event. Everything compares as text; names are those of Falco's event table where it has the event.
ARGUMENTS: dict[str, dict[str, Callable[[Facts], Found]]] = {
    "exec": {
        "res": _RES,
        "filename": lambda facts: facts.event.asked or facts.event.path or None,  # type: ignore[attr-defined]
        "exe": lambda facts: facts.event.argv[0] if facts.event.argv else None,  # type: ignore[attr-defined]
        "args": lambda facts: " ".join(facts.event.argv[1:]),  # type: ignore[attr-defined]
        "comm": _member("comm"),
        "uid": _number("uid"),
        "gid": _number("gid"),
        "flags": _exe_flags,
        "trusted_exepath": _member("path"),
        "exe_ino": _number("inode"),
    },
    "open": {"fd": _text(_fd_number), "name": _member("asked"), "flags": _open_flags},
    "connect": {"res": _RES, "fd": _number("fd"), "addr": _member("address"), "tuple": _fd_name},
    "privilege": {
        "res": _RES,
        "uid": _identity("new_uid"),
        "euid": _identity("new_uid"),
        "gid": _identity("new_gid"),
        "egid": _identity("new_gid"),
        "cap_effective": lambda facts: render_capabilities(facts.event.cap_effective),  # type: ignore[attr-defined]
    },
    "module": {
        "res": _RES,
        "name": _member("name"),
        "cmd": lambda facts: facts.event.name if facts.event.syscall == "bpf" else None,  # type: ignore[attr-defined]
    },
    "namespace": {
        "res": _RES,
        "flags": lambda facts: render_flags(facts.event.flags, CLONE_FLAGS),  # type: ignore[attr-defined]
        "nstype": lambda facts: render_flags(facts.event.flags, CLONE_FLAGS),  # type: ignore[attr-defined]
    },
    "mount": {
        "res": _RES,
        "dev": _member("source"),
        "dir": _member("target"),
        "path": _member("target"),
        "name": _member("target"),
        "type": _member("fstype"),
        "flags": lambda facts: render_flags(facts.event.flags, MOUNT_FLAGS),  # type: ignore[attr-defined]
    },
    "duplicate": {"res": _RES, "oldfd": _number("old_fd"), "newfd": _number("new_fd")},
    "fork": {
        "res": _number("child_pid"),
        "flags": lambda facts: render_flags(facts.event.flags, CLONE_FLAGS),  # type: ignore[attr-defined]
    },
    "call": {"res": _RES, "tuple": _fd_name, **{name: _of_call(name) for name in sorted(ARGUMENTS_OF_CALLS)}},
    "exit": {"status": _RES},
}

ARGUMENT_NAMES = frozenset(name for arguments in ARGUMENTS.values() for name in arguments)


def _evt_argument(name: str) -> Callable[[Facts], Found]:
    getters = {KINDS[kind]: arguments[name] for kind, arguments in ARGUMENTS.items() if name in arguments}

    def get(facts: Facts) -> Found:
        getter = getters.get(type(facts.event))
        return None if getter is None else getter(facts)

    return get


def _args(facts: Facts) -> Found:
    """All arguments as `name=value`."""
    if isinstance(facts.event, Call):
        return " ".join(f"{name}={value}" for name, value in [("res", str(facts.event.ret)), *arguments(facts.event)])
    found = ((name, get(facts)) for name, get in ARGUMENTS.get(KIND_OF[type(facts.event)], {}).items())
    return " ".join(f"{name}={value}" for name, value in found if value is not None) or None


MEANINGS |= EVENT_FIELDS | PROCESS_FIELDS | CONTAINER_FIELDS
MEANINGS["evt.info"] = MEANINGS["evt.args"] = Meaning("all arguments of the call as name=value", "text", _args)
MEANINGS["evt.arg"] = Meaning(
    "an argument of the call: evt.arg.NAME or evt.arg[NAME]", "text", lambda _facts: None, argument="required"
)


def argument_of(field: Field) -> str | None:
    """The NAME of evt.arg.NAME or evt.arg[NAME]; None for any other field."""
    if field.name == "evt.arg":
        return field.argument
    return field.name[8:] if field.name.startswith("evt.arg.") else None


def is_known(field: Field) -> bool:
    """Whether Falco or Shipwall defines this field, with or without a meaning here."""
    return field.name in MEANINGS or field.name in UNTOLD or field.name.startswith(("evt.arg.", "evt.rawarg.", "proc.env."))


def known_names() -> list[str]:
    """Every defined name, for hints."""
    return sorted([*MEANINGS, *UNTOLD])


def has_meaning(field: Field) -> bool:
    """Whether the sensor tells this field (for at least one kind of event)."""
    argument = argument_of(field)
    if argument is not None:
        return argument in ARGUMENT_NAMES
    return field.name in MEANINGS


def kinds_with(field: Field) -> frozenset[str] | None:
    """The kinds of event in which a field with meaning can have a value; None for all."""
    argument = argument_of(field)
    if argument is not None:
        return frozenset(kind for kind, arguments in ARGUMENTS.items() if argument in arguments)
    return MEANINGS[field.name].kinds


def wrong_argument(field: Field) -> str:
    """Why the field's argument is wrong; empty when it is right or the field has no meaning here."""
    meaning = MEANINGS.get(field.name)
    if meaning is None:
        return ""
    if field.argument is None:
        return f"{field.name} needs an argument in brackets" if meaning.argument == "required" else ""
    if meaning.argument == "none":
        return f"{field.name} takes no argument"
    if meaning.argument == "optional" and _index(field.argument) is None and field.argument != WORDS:
        return f"{field.name} takes a number in brackets, not {field.argument[:40]!r}"
    return ""


_CODE: dict[tuple[str, str], str] = {
    ("open", "fd.name"): "(e.path or None)",
    ("open", "fd.typechar"): "('d' if e.flags & 0o200000 else 'f')",
    ("open", "fd.num"): "(e.ret if e.ret >= 0 else -1)",
    ("open", "evt.is_open_read"): "(not e.flags & 0o10000000 and e.flags & 3 != 1 and e.flags & 3 != 3)",
    ("open", "evt.is_open_write"): "(not e.flags & 0o10000000 and 0 < e.flags & 3 < 3)",
    ("open", "fd.nameraw"): "(e.asked or None)",
    ("", "evt.rawres"): "e.ret",
    ("", "proc.name"): "(p.comm if (p := facts.process) is not None else e.comm)",
    ("", "user.uid"): "e.uid",
    ("", "group.gid"): "e.gid",
    ("", "container.id"): "(e.container[:12] or 'host')",
}
"""Fields as Python expressions, by kind of event (empty: any that has the field): see `conditions.Bound`."""

_OF_OPEN: dict[str, Callable[[Facts], Found]] = {
    "fd.name": lambda facts: facts.event.path or None,  # type: ignore[attr-defined]
    "fd.typechar": lambda facts: "d" if facts.event.flags & 0o200000 else "f",  # type: ignore[attr-defined]
}
"""Shorter ways to the fields that rules ask most often, where the kind of event is known."""


def bind_field(field: Field, kind: str = "") -> Bound:
    """How to get the field's value from Facts, missing for kinds of event that have none. The field must have a meaning.

    With `kind`, only events of that kind may be asked about, which saves looking.
    """
    argument = argument_of(field)
    if argument is not None:
        return Bound("text", False, ARGUMENTS.get(kind, {}).get(argument) or _evt_argument(argument))
    meaning = MEANINGS[field.name]
    if meaning.asks:
        meaning = meaning._replace(get=_noting(meaning))
    if field.argument is not None and meaning.get_with is not None:
        get_with, given = meaning.get_with, field.argument
        return Bound(meaning.kind, False, lambda facts: get_with(facts, given))
    code = "" if field.argument is not None else _CODE.get((kind, field.name)) or _CODE.get(("", field.name), "")
    if kind == "open" and field.name in _OF_OPEN:
        return Bound(meaning.kind, meaning.many, _OF_OPEN[field.name], code)
    if meaning.kinds is None or kind in meaning.kinds:
        return Bound(meaning.kind, meaning.many, meaning.get, code)
    structs, get = frozenset(KINDS[name] for name in meaning.kinds), meaning.get
    return Bound(meaning.kind, meaning.many, lambda facts: get(facts) if type(facts.event) in structs else None)


def _noting(meaning: Meaning) -> Callable[[Facts], Found]:
    """The getter, which also notes what was asked for."""
    get, asks = meaning.get, meaning.asks

    def noting(facts: Facts) -> Found:
        facts.asked |= asks
        return get(facts)

    return noting


def look_up(facts: Facts) -> Callable[[Field], Found]:
    """The `lookup` of `conditions.evaluate` for these facts; fields without meaning are missing."""
    return lambda field: _getter(field)(facts)


@lru_cache(maxsize=4096)
def _getter(field: Field) -> Callable[[Facts], Found]:
    return bind_field(field).get if has_meaning(field) else lambda _facts: None
