"""What a profile compares: acts, as an event shows them.

`program` a file that was executed, with where its bytes came from unless that is the image · `child` which program started it · `read`,
`write` a file · `out` where a connection went (`/tcp/5432/10.0.0.7`, `/unix/run/x.sock`) · `in` what was listened on (`/tcp/8080`) ·
`identity` a change of user · `call` a system call by name. An act that was refused by the system is no act, except as its call.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import NamedTuple

from shipwall.model.event import AnyEvent, Call, Connect, Exec, Open, Privilege
from shipwall.runtime.processes import ProcessTable

KINDS = ("program", "child", "read", "write", "out", "in", "identity", "call")
FILES = frozenset({"read", "write"})
TREES = FILES | {"out", "in"}
"""Kinds whose acts are places in a tree, so that many siblings can stand for their folder."""

ONLY_SEEN = frozenset(
    {
        "bpf",
        "chroot",
        "fsconfig",
        "fsmount",
        "fsopen",
        "mknod",
        "mknodat",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "pivot_root",
        "setdomainname",
        "sethostname",
        "setns",
        "umount2",
        "unshare",
    }
)
"""Calls that the engine's runtime makes in a container's control group before its first program: believed when an event of the container's
own process tells them, never when they are only counted."""

MAX_TEXT = 512
ARROW = " → "

_WRITES = 0o3 | 0o100 | 0o1000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
_DELETED = " (deleted)"
_NUMBER = re.compile(r"(?=[a-f]*[0-9])[0-9a-f]{8,}|[0-9]{3,}", re.IGNORECASE)


class Act(NamedTuple):
    """One act. `what` is hostile text, at most MAX_TEXT characters."""

    kind: str
    what: str


def acts_of(event: AnyEvent, parent: str) -> Iterator[Act]:
    """The acts in `event`; `parent` is the program whose process started this one, empty when it came from outside the container."""
    if event.syscall:
        yield Act("call", event.syscall)
    if event.ret < 0 and not (isinstance(event, Connect) and event.ret == -errno.EINPROGRESS):
        return
    if isinstance(event, Exec):
        program = event.path[:MAX_TEXT] + ("" if event.origin == "image" else f" ({event.origin})")
        yield Act("program", program)
        if parent:
            yield Act("child", parent[:MAX_TEXT] + ARROW + program)
    elif isinstance(event, Open):
        if event.path.startswith("/"):
            yield Act("write" if event.flags & _WRITES else "read", place_of(event.path))
    elif isinstance(event, Connect):
        yield Act("out", _destination(event))
    elif isinstance(event, Privilege):
        yield Act("identity", f"{event.act} {event.new_uid} {event.new_gid}")
    elif isinstance(event, Call):
        yield from _of_call(event)


def place_of(path: str) -> str:
    """A file as a profile names it: bounded, and with `*` for what differs from run to run: whole numbers in /proc and of terminals, three
    and more digits, eight and more hexadecimal ones."""
    path = path.removesuffix(_DELETED)[:MAX_TEXT]
    if path.startswith(("/proc/", "/dev/pts/")):
        path = "/".join("*" if part.isdigit() else part for part in path.split("/"))
    return _NUMBER.sub("*", path)


def _destination(event: Connect) -> str:
    if event.protocol == "unix" or event.family == "unix":
        return f"/unix{event.address if event.address.startswith('/') else '/' + event.address}"[:MAX_TEXT]
    return f"/{event.protocol}/{event.port}/{event.address}"[:MAX_TEXT]


def _of_call(event: Call) -> Iterator[Act]:
    if event.syscall == "bind" and event.family in {"ipv4", "ipv6"}:
        protocol = event.descriptors[0].protocol if event.descriptors else ""
        yield Act("in", f"/{protocol or 'other'}/{event.port}")
        return
    for path in event.paths:
        if path.startswith("/"):
            yield Act("write", place_of(path))


def parent_of(event: Exec, processes: ProcessTable) -> str:
    """The program whose process started the one that executes, empty when it came from outside the container or is not known."""
    lineage = processes.lineage(event.pid)
    return lineage[1].path if len(lineage) > 1 and lineage[1].container == event.container else ""
