"""The kinds of event, and which `evt.type` each can have."""

from __future__ import annotations

import errno

from shipwall.abi.calls import CALLS as DESCRIBED
from shipwall.model.event import (
    Call,
    Cgroup,
    Connect,
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
    "call": tuple(call.name for call in DESCRIBED if call.family == "call"),
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


FD = frozenset({"open", "connect", "duplicate", "call"})
OPEN = frozenset({"open"})
FILE = frozenset({"open", "call"})
CALL = frozenset({"call"})
SOCKET = frozenset({"connect", "duplicate", "call"})
EXEC = frozenset({"exec"})
CALLS = frozenset(KINDS) - {"exit", "lost", "cgroup"}
"""Which kinds of event a field can have a value for."""
