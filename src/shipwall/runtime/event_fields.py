"""Fields of the event itself that need nothing but the event: its times and what sort of call it is.

Times of day are UTC: a node's alerts are read elsewhere. Source of the categories: Falco's event table (driver/event_table.c).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from shipwall.model.event import Connect, Duplicate, Event, Exec, Exit, Fork, Module, Mount, Namespace, Open, Privilege
from shipwall.runtime.conditions import Found
from shipwall.runtime.facts import ASKED_MORE, Facts, Meaning

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


EVENT_FIELDS: dict[str, Meaning] = {
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
}
