"""Fields of the event itself that need nothing but the event: its times, its result, and what sort of call it is.

Times of day are UTC: a node's alerts are read elsewhere. Source of the categories: Falco's event table (driver/event_table.c).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from datetime import UTC, datetime

from shipwall.model.event import Connect, Duplicate, Event, Exec, Exit, Fork, Module, Mount, Namespace, Open, Privilege
from shipwall.runtime.conditions import Found
from shipwall.runtime.facts import ASKED_MORE, Facts, Meaning
from shipwall.runtime.fields.kinds import CALLS, OPEN, event_type, is_denied
from shipwall.runtime.flags import ACCESS, O_PATH, OPEN_FLAGS, render_flags

_SECOND = 1_000_000_000
_CATEGORIES: dict[type[Event], str] = {
    Exec: "process",
    Fork: "process",
    Exit: "process",
    Open: "file",
    Connect: "net",
    Duplicate: "IPC",
    Privilege: "user",
    Module: "system",
    Namespace: "process",
    Mount: "system",
}


def _clock(form: str, *, fraction: bool) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        seconds, rest = divmod(facts.event.time_ns, _SECOND)
        text = datetime.fromtimestamp(seconds, UTC).strftime(form)
        return text.replace("FRACTION", f"{rest:09d}" if fraction else "")

    return get


def _seconds(facts: Facts) -> Found:
    return facts.event.time_ns // _SECOND


def _result(facts: Facts) -> Found:
    ret = facts.event.ret
    return errno.errorcode.get(-ret, str(ret)) if ret < 0 else "SUCCESS"


def _access(facts: Facts) -> int:
    flags = facts.event.flags  # type: ignore[attr-defined]
    return -1 if flags & O_PATH else flags & 3


def open_flags(facts: Facts) -> str:
    """The flags of an open by name."""
    flags = facts.event.flags  # type: ignore[attr-defined]
    return "|".join(part for part in (ACCESS.get(flags & 3, ""), render_flags(flags, OPEN_FLAGS)) if part)


def of_header(name: str) -> Callable[[Facts], Found]:
    """A getter of one member of the event."""
    return lambda facts: getattr(facts.event, name)


EVENT_FIELDS: dict[str, Meaning] = {
    "evt.num": Meaning("number of the event on this node, from 1", "number", lambda facts: facts.event.seq + 1, asks=ASKED_MORE),
    "evt.type": Meaning("name of the call (`execve`), or what it is when no call", "text", lambda facts: event_type(facts.event)),
    "evt.res": Meaning("SUCCESS, or the name of the error (`EACCES`)", "text", _result, CALLS),
    "evt.rawres": Meaning("what the call returned, negative when refused", "number", of_header("ret"), CALLS),
    "evt.failed": Meaning("whether the call failed", "flag", lambda facts: facts.event.ret < 0, CALLS),
    "evt.hostname": Meaning("name of the node", "text", lambda facts: facts.node),
    "evt.source": Meaning("always syscall", "text", lambda _facts: "syscall"),
    "evt.is_open_read": Meaning("whether the file was opened for reading", "flag", lambda facts: _access(facts) in {0, 2}, OPEN),
    "evt.is_open_write": Meaning("whether the file was opened for writing", "flag", lambda facts: _access(facts) in {1, 2}, OPEN),
    "evt.is_open_create": Meaning("whether opening may make the file", "flag",
                                  lambda facts: bool(facts.event.flags & 0o100), OPEN),  # type: ignore[attr-defined]
    "shipwall.denied": Meaning("whether the system refused the act (EACCES, EPERM, EROFS)", "flag", lambda facts: is_denied(facts.event)),
    "shipwall.foreign": Meaning("whether the call was asked for by 32-bit or x32 code", "flag", of_header("foreign"), CALLS),
    "shipwall.argument_differs": Meaning(
        "whether what was acted on is not what the caller's memory says", "flag", of_header("differs"),
        frozenset({"open", "connect", "call"})
    ),
    "evt.rawtime": Meaning("nanoseconds since 1970", "number", lambda facts: facts.event.time_ns, asks=ASKED_MORE),
    "evt.rawtime.s": Meaning("seconds since 1970", "number", _seconds, asks=ASKED_MORE),
    "evt.rawtime.ns": Meaning(
        "nanoseconds of the second", "number", lambda facts: facts.event.time_ns % _SECOND, asks=ASKED_MORE
    ),
    "evt.time": Meaning(
        "time of day, UTC, with nanoseconds", "text", _clock("%H:%M:%S.FRACTION", fraction=True), asks=ASKED_MORE
    ),
    "evt.time.s": Meaning("time of day, UTC", "text", _clock("%H:%M:%S", fraction=False), asks=ASKED_MORE),
    "evt.time.iso8601": Meaning(
        "date and time, UTC, ISO 8601", "text", _clock("%Y-%m-%dT%H:%M:%S.FRACTION+0000", fraction=True), asks=ASKED_MORE
    ),
    "evt.datetime": Meaning("date and time, UTC", "text", _clock("%Y-%m-%d %H:%M:%S.FRACTION", fraction=True), asks=ASKED_MORE),
    "evt.datetime.s": Meaning(
        "date and time, UTC, without fraction", "text", _clock("%Y-%m-%d %H:%M:%S", fraction=False), asks=ASKED_MORE
    ),
    "evt.category": Meaning(
        "file, net, process, user, system or IPC; other", "text", lambda facts: _CATEGORIES.get(type(facts.event), "other")
    ),
    "evt.count": Meaning("always 1, to be summed by readers", "number", lambda _facts: 1),
    "evt.is_async": Meaning("never: every event is of a call or of the kernel", "flag", lambda _facts: False),
    "evt.dir": Meaning("always `<`: what is told is how the call ended", "text", lambda _facts: "<"),
    "syscall.type": Meaning("name of the call, missing for what is no call", "text", lambda facts: facts.event.syscall or None),
    "util.cnt": Meaning("as evt.num", "number", lambda facts: facts.event.seq + 1, asks=ASKED_MORE),
}  # fmt: skip
