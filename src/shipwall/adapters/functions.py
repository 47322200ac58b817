"""Which functions may act, and which only look: one small file, read anew by the agent, changed by `shipwall function set`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shipwall.adapters.files import write_whole
from shipwall.adapters.instance import Instance
from shipwall.model.errors import InputError

MODES: dict[str, tuple[str, ...]] = {
    "admission": ("observe", "enforce"),
    "kill": ("observe", "enforce"),
    "response": ("observe", "enforce"),
    "actions": ("observe", "enforce"),
}
"""Function → its modes; the first is the default. `observe`: says what it would do. `enforce`: does it.

`kill`: of programs the image does not contain, in the kernel; `response`: plans of the response policy; `actions`: those that rules name,
each in the rule's own mode."""


def functions_path(instance: Instance) -> Path:
    """The file; absent means all defaults."""
    return instance.state / "functions.json"


def response_policy_path(instance: Instance) -> Path:
    """The response policy that `shipwall response set` keeps; absent means that nothing is done about alerts."""
    return instance.state / "response.yaml"


def keep_response_policy(instance: Instance, text: bytes) -> None:
    """Put the policy in `text`, which the caller has read without a mistake, in force. Raises StorageError."""
    instance.state.mkdir(parents=True, exist_ok=True, mode=0o711)
    write_whole(response_policy_path(instance), text, 0o600)


def read_functions(instance: Instance) -> dict[str, str]:
    """Mode of every function. Raises InputError for a file that is not what `write_function` writes."""
    modes = {name: choices[0] for name, choices in MODES.items()}
    path = functions_path(instance)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return modes
    except msgspec.MsgspecError as error:
        raise InputError(str(path), str(error), "remove it, then set the functions again") from error
    for name, mode in found.items():
        _check(name, mode)
        modes[name] = mode
    return modes


def write_function(instance: Instance, name: str, mode: str) -> dict[str, str]:
    """Set one function; returns all modes. Raises InputError for an unknown name or mode."""
    _check(name, mode)
    modes = read_functions(instance) | {name: mode}
    write_whole(functions_path(instance), msgspec.json.format(msgspec.json.encode(modes), indent=2) + b"\n", 0o600)
    return modes


def _check(name: str, mode: str) -> None:
    if name not in MODES:
        raise InputError(f"function {name!r}", "is not one of " + ", ".join(MODES))
    if mode not in MODES[name]:
        raise InputError(f"mode {mode!r} of {name}", "is not one of " + ", ".join(MODES[name]))
