"""Which rules enforce on this node, whatever their files say: one small file, read anew by the agent, changed by `shipwall rule mode`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shipwall.adapters.files import write_whole
from shipwall.adapters.instance import Instance
from shipwall.model.errors import InputError

MAX_MODES = 10_000

RuleModes = dict[str, dict[str, str]]
"""Rule → environment (empty: all others) → `monitor` or `enforce`."""


def rule_modes_path(instance: Instance) -> Path:
    """The file; absent means that every rule has the mode of its own file."""
    return instance.state / "rule-modes.json"


def read_rule_modes(instance: Instance) -> RuleModes:
    """The modes of this node's own. Raises InputError for another file."""
    path = rule_modes_path(instance)
    try:
        modes = msgspec.json.decode(path.read_bytes(), type=RuleModes)
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as error:
        raise InputError(str(path), str(error), "remove it, then set the modes again") from error
    if wrong := {mode for of in modes.values() for mode in of.values()} - {"monitor", "enforce"}:
        raise InputError(str(path), f"has the mode {min(wrong)[:40]!r}", "monitor or enforce")
    return modes


def write_rule_mode(instance: Instance, rule: str, mode: str, environment: str = "") -> RuleModes:
    """Set the mode of one rule on this node, in one environment or (empty) in all; an empty mode takes it back. Returns all.

    *Raises*: InputError, StorageError.
    """
    modes = read_rule_modes(instance)
    of = {name: own for name, own in modes.get(rule, {}).items() if name != environment} | ({environment: mode} if mode else {})
    modes = {name: own for name, own in modes.items() if name != rule} | ({rule: of} if of else {})
    if sum(map(len, modes.values())) > MAX_MODES:
        raise InputError(f"rule {rule[:80]!r}", f"{MAX_MODES} modes are set already", "change the rules' files")
    write_whole(rule_modes_path(instance), msgspec.json.format(msgspec.json.encode(modes), indent=2) + b"\n", 0o600)
    return modes
