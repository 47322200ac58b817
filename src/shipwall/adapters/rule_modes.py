"""Which rules enforce on this node, whatever their files say: one small file, read anew by the agent, changed by `shipwall rule mode`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shipwall.adapters.files import write_whole
from shipwall.adapters.instance import Instance
from shipwall.model.errors import InputError

MAX_RULES = 10_000


def rule_modes_path(instance: Instance) -> Path:
    """The file; absent means that every rule has the mode of its own file."""
    return instance.state / "rule-modes.json"


def read_rule_modes(instance: Instance) -> dict[str, str]:
    """Rule → `monitor` or `enforce`, for the rules with a mode of this node's own. Raises InputError for another file."""
    path = rule_modes_path(instance)
    try:
        modes = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as error:
        raise InputError(str(path), str(error), "remove it, then set the modes again") from error
    if wrong := set(modes.values()) - {"monitor", "enforce"}:
        raise InputError(str(path), f"has the mode {min(wrong)[:40]!r}", "monitor or enforce")
    return modes


def write_rule_mode(instance: Instance, rule: str, mode: str) -> dict[str, str]:
    """Set the mode of one rule on this node; an empty one takes it back. Returns all. Raises InputError, StorageError."""
    modes = read_rule_modes(instance)
    modes.pop(rule, None)
    if mode:
        if len(modes) >= MAX_RULES:
            raise InputError(f"rule {rule[:80]!r}", f"{MAX_RULES} rules have a mode of their own already", "change their files")
        modes[rule] = mode
    write_whole(rule_modes_path(instance), msgspec.json.format(msgspec.json.encode(modes), indent=2) + b"\n", 0o600)
    return modes
