"""Fields of the descriptor an event is about: a file's path, a socket's ends.

Of a socket whose own end is not told (a duplicated one) `fd.sip` is the other end and `fd.name` has no local address.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

from shipwall.model.event import Call, Connect, Descriptor, Duplicate, Open
from shipwall.runtime.conditions import Address, Found
from shipwall.runtime.facts import Facts, Meaning
from shipwall.runtime.fields.kinds import CALL, FD, FILE, OPEN, SOCKET

_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")

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


def fd_name(facts: Facts) -> Found:
    """Path of the file, or the ends of the socket."""
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


def fd_number(facts: Facts) -> Found:
    """Number of the descriptor, -1 when it was refused."""
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


DESCRIPTOR_FIELDS: dict[str, Meaning] = {
    "fd.num": Meaning("number of the descriptor, -1 when it was refused", "number", fd_number, FD),
    "fd.name": Meaning("path of the file, or `->address:port`", "text", fd_name, FD),
    "fd.nameraw": Meaning("path as it was asked for", "text", lambda facts: facts.event.asked or None, OPEN),  # type: ignore[attr-defined]
    "fd.directory": Meaning("folder of the file", "text", _directory, FILE),
    "fd.filename": Meaning("name of the file without its folder", "text", _filename, FILE),
    "fd.type": Meaning("file, directory, ipv4, ipv6 or unix", "text", lambda facts: _family(facts) or None, FD),
    "fd.typechar": Meaning("f, d, 4, 6 or u", "text", lambda facts: {"file": "f", "directory": "d", "ipv4": "4", "ipv6": "6",
                                                                     "unix": "u"}.get(_family(facts)), FD),
    "fd.sockfamily": Meaning("ip or unix", "text", lambda facts: {"ipv4": "ip", "ipv6": "ip", "unix": "unix"}.get(_family(facts)),
                             SOCKET),
    "fd.l4proto": Meaning("tcp or udp", "text", _protocol, SOCKET),
    "fd.sip": Meaning("address of the server", "address", _of_server(_local, _remote), SOCKET),
    "fd.sport": Meaning("port of the server", "number", _of_server(_local_port, _remote_port), SOCKET),
    "fd.name_changed": Meaning(
        "whether the call gave the socket another other end: a connection, or a message with an address of its own",
        "flag", _is_named_anew, frozenset({"connect", "call"})),
    "fd.cip": Meaning("address of the client", "address", _of_client(_local, _remote), SOCKET),
    "fd.cport": Meaning("port of the client", "number", _of_client(_local_port, _remote_port), SOCKET),
    "fd.lip": Meaning("address of our own end", "address", _local, SOCKET),
    "fd.lport": Meaning("port of our own end", "number", _local_port, SOCKET),
    "fd.connected": Meaning("whether the socket has another end", "flag", _is_connected, frozenset({"connect", "call"})),
    "fd.sip.name": Meaning("the names in rules that stand for the address of the server", "text", _host_names, SOCKET, many=True),
    "fd.rip.name": Meaning("the names in rules that stand for the address of the other end", "text", _host_names, SOCKET, many=True),
    "fd.is_server": Meaning(
        "whether the connection was accepted: neither the process nor an ancestor asked for it", "flag", _is_server, SOCKET
    ),
    "fd.rip": Meaning("address of the other end", "address", _remote, SOCKET),
    "fd.rport": Meaning("port of the other end", "number", _remote_port, SOCKET),
    "fd.ip": Meaning("address of an end that is known", "address", _remote, SOCKET),
    "fd.port": Meaning("port of an end that is known", "number", _remote_port, SOCKET),
    "fd.net": Meaning("as fd.ip, to compare with networks", "address", _remote, SOCKET),
    "fd.snet": Meaning("as fd.sip, to compare with networks", "address", _of_server(_local, _remote), SOCKET),
    "fd.cnet": Meaning("as fd.cip, to compare with networks", "address", _of_client(_local, _remote), SOCKET),
    "fd.lnet": Meaning("as fd.lip, to compare with networks", "address", _local, SOCKET),
    "fd.rnet": Meaning("as fd.rip, to compare with networks", "address", _remote, SOCKET),
    "fd.ino": Meaning("inode of the file or socket", "number", _of_descriptor("inode"), CALL),
    "fd.dev": Meaning("device of the file", "number", _of_descriptor("device"), CALL),
    "fd.is_upper_layer": Meaning("whether the file was written in the running container", "flag", _layer("upper"), CALL),
    "fd.is_lower_layer": Meaning("whether the file came with the image", "flag", _layer("lower"), CALL),
    "evt.buffer": Meaning("first bytes of the buffer", "text", lambda facts: facts.event.data or None, CALL),  # type: ignore[attr-defined]
}  # fmt: skip
