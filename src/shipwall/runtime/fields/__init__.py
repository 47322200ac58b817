"""What each field of the rule language means for an event, its process, its ancestors and its container.

`MEANINGS` is the table; the modules beside give the parts of it. A field may have a value for some kinds of event only; elsewhere it is
missing, which makes comparisons false. Fields that Falco has and that have no value here are in `untold.UNTOLD`: a rule that depends on
one is reported as skipped, never evaluated as if the value were missing. Fields of our own begin with `shipwall.`.
`container.id` is the first 12 digits, as Falco has it, and `host` outside containers and while the container is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from shipwall.lang.condition import Field
from shipwall.runtime.conditions import WORDS, Bound, Found
from shipwall.runtime.facts import Facts, Meaning
from shipwall.runtime.fields.arguments import ARGUMENT_NAMES, ARGUMENTS, all_arguments, evt_argument
from shipwall.runtime.fields.container import CONTAINER_FIELDS
from shipwall.runtime.fields.descriptor import DESCRIPTOR_FIELDS, HOST_NAMES
from shipwall.runtime.fields.event import EVENT_FIELDS
from shipwall.runtime.fields.kinds import DENIED, EVENT_TYPES, KIND_OF, KINDS, event_type, is_denied
from shipwall.runtime.fields.process import PROCESS_FIELDS
from shipwall.runtime.fields.program import PROGRAM_FIELDS, ancestor_index, exe_path
from shipwall.runtime.untold import UNTOLD

__all__ = [
    "ARGUMENTS",
    "DENIED",
    "EVENT_TYPES",
    "HOST_NAMES",
    "KINDS",
    "KIND_OF",
    "MEANINGS",
    "argument_of",
    "bind_field",
    "event_type",
    "exe_path",
    "has_meaning",
    "is_denied",
    "is_known",
    "kinds_with",
    "known_names",
    "look_up",
    "wrong_argument",
]

MEANINGS: dict[str, Meaning] = EVENT_FIELDS | PROGRAM_FIELDS | DESCRIPTOR_FIELDS | PROCESS_FIELDS | CONTAINER_FIELDS
MEANINGS["evt.info"] = MEANINGS["evt.args"] = Meaning("all arguments of the call as name=value", "text", all_arguments)
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
    if meaning.argument == "optional" and ancestor_index(field.argument) is None and field.argument != WORDS:
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
        return Bound("text", False, ARGUMENTS.get(kind, {}).get(argument) or evt_argument(argument))
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
