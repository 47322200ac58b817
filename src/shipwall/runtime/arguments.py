"""What the arguments of a described call read like: `evt.arg.NAME` of an event that is `model.event.Call`.

Names and kinds are those of `abi.calls`. Where Falco renders a number by name (flags, signals, modes), so does this.
"""

from __future__ import annotations

from shipwall.abi.calls import CALLS, CALLS_BY_NAME, RESULT, Parameter
from shipwall.model.event import Call
from shipwall.runtime.flags import MODE_FLAGS, NAMED_FLAGS, NAMED_VALUES, SIGNALS, render_flags

_AT_FDCWD = -100
_PARAMETERS = {call.name: {parameter.name: parameter for parameter in call.parameters} for call in CALLS if call.family == "call"}

ARGUMENTS_OF_CALLS = frozenset(name for parameters in _PARAMETERS.values() for name in parameters)
"""Every name that at least one described call has an argument under."""


def argument(event: Call, name: str) -> str | None:
    """The argument `name` of the call as text; None when it has none of that name, or nothing could be read."""
    parameter = _PARAMETERS.get(event.syscall, {}).get(name)
    return None if parameter is None else _render(event, parameter)


def arguments(event: Call) -> list[tuple[str, str]]:
    """All arguments with their names, in the call's order; those that could not be read are left out."""
    found = ((name, _render(event, parameter)) for name, parameter in _PARAMETERS.get(event.syscall, {}).items())
    return [(name, value) for name, value in found if value is not None]


def _render(event: Call, parameter: Parameter) -> str | None:
    kind, _, names = parameter.kind.partition(".")
    if kind in {"path", "text"}:
        return _string(event, parameter)
    if kind in {"address", "name"}:
        return _endpoint(event.address, event.port) or None
    if kind == "data":
        return event.data or None
    if parameter.at == RESULT:
        return str(event.ret)
    return _number(event.raw[parameter.at], kind, names)


def _string(event: Call, parameter: Parameter) -> str | None:
    """A path is told whole, from the folder it starts from; any other string as it was given."""
    place = CALLS_BY_NAME[event.syscall].of_kind("path", "text").index(parameter)
    whole = event.paths[place] if place < len(event.paths) else ""
    return whole or (event.asked[place] if place < len(event.asked) else "") or None


def _endpoint(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _number(value: int, kind: str, names: str) -> str:
    short = value & 0xFFFFFFFF
    signed = short - (1 << 32) if short >> 31 else short
    if kind == "flags":
        return render_flags(short, NAMED_FLAGS[names]) or "0"
    if kind == "enum":
        return NAMED_VALUES[names].get(short, str(signed))
    if kind == "mode":
        return render_flags(short, MODE_FLAGS) or "0"
    if kind == "octal":
        return f"{short:o}"
    if kind == "hex":
        return f"{value:x}"
    if kind == "uint":
        return str(value)
    if kind == "long":
        return str(value - (1 << 64) if value >> 63 else value)
    if kind == "signal":
        return SIGNALS.get(signed, str(signed))
    if kind == "dirfd" and signed == _AT_FDCWD:
        return "AT_FDCWD"
    return str(signed)
