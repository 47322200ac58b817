"""Arguments of the call: `evt.arg.NAME` by kind of event, and all of them as one text."""

from __future__ import annotations

from collections.abc import Callable

from shipwall.model.event import Call
from shipwall.runtime.arguments import ARGUMENTS_OF_CALLS, argument, arguments
from shipwall.runtime.conditions import Found
from shipwall.runtime.facts import Facts
from shipwall.runtime.fields.descriptor import fd_name, fd_number
from shipwall.runtime.fields.event import open_flags
from shipwall.runtime.fields.kinds import KIND_OF, KINDS
from shipwall.runtime.fields.program import exe_flags
from shipwall.runtime.flags import CLONE_FLAGS, MOUNT_FLAGS, render_capabilities, render_flags


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
        "flags": exe_flags,
        "trusted_exepath": _member("path"),
        "exe_ino": _number("inode"),
    },
    "open": {"fd": _text(fd_number), "name": _member("asked"), "flags": open_flags},
    "connect": {"res": _RES, "fd": _number("fd"), "addr": _member("address"), "tuple": fd_name},
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
    "call": {"res": _RES, "tuple": fd_name, **{name: _of_call(name) for name in sorted(ARGUMENTS_OF_CALLS)}},
    "exit": {"status": _RES},
}

ARGUMENT_NAMES = frozenset(name for arguments in ARGUMENTS.values() for name in arguments)


def evt_argument(name: str) -> Callable[[Facts], Found]:
    """A getter of the argument `name`, missing for kinds of event without one."""
    getters = {KINDS[kind]: arguments[name] for kind, arguments in ARGUMENTS.items() if name in arguments}

    def get(facts: Facts) -> Found:
        getter = getters.get(type(facts.event))
        return None if getter is None else getter(facts)

    return get


def all_arguments(facts: Facts) -> Found:
    """All arguments as `name=value`."""
    if isinstance(facts.event, Call):
        return " ".join(f"{name}={value}" for name, value in [("res", str(facts.event.ret)), *arguments(facts.event)])
    found = ((name, get(facts)) for name, get in ARGUMENTS.get(KIND_OF[type(facts.event)], {}).items())
    return " ".join(f"{name}={value}" for name, value in found if value is not None) or None
