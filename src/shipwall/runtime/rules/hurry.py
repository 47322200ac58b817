"""Which events no rule can turn into an alert, so that the kernel part need not wake the reader for them."""

from __future__ import annotations

from typing import NamedTuple

from shipwall.abi.calls import CALLS
from shipwall.abi.schema import KINDS as RECORDED
from shipwall.lang.condition import Compare, Condition, Field
from shipwall.runtime.conditions import specialise
from shipwall.runtime.fields import KINDS
from shipwall.runtime.rules.rule_set import RuleSet, left_for_type

_FLAGS = Field("evt.arg.flags")
_AT_ONCE = {"cgroup"}  # a new container is looked up at once


class Unhurried(NamedTuple):
    """Kinds of record (`abi.schema.KINDS`) that can wait, and described calls."""

    kinds: frozenset[str]
    calls: frozenset[str]


def find_unhurried(rules: RuleSet) -> Unhurried:
    """What can wait. A fork that makes namespaces hurries always: the kernel part sees to that."""
    kinds = frozenset(kind for kind in set(RECORDED) - _AT_ONCE if not _is_judged(rules, kind))
    candidates = rules.by_event.get(KINDS["call"], ())
    names = [call.name for call in CALLS if call.family == "call"]
    calls = {name for name in names if all(left_for_type(tree, "call", name) is False for _, tree in candidates)}
    return Unhurried(kinds, frozenset(calls))


def _is_judged(rules: RuleSet, kind: str) -> bool:
    candidates = rules.by_event.get(KINDS[kind], ())
    if kind != "fork":
        return bool(candidates)
    return any(tree if isinstance(tree, bool) else specialise(tree, _known_of_plain_fork) is not False for _, tree in candidates)


def _known_of_plain_fork(leaf: Condition) -> bool | None:
    """What a comparison says about every fork that makes no namespace."""
    if (
        isinstance(leaf, Compare)
        and leaf.operand == _FLAGS
        and leaf.operator == "contains"
        and leaf.right is None
        and not leaf.modifier
    ):
        return False if leaf.values[0].text.startswith("CLONE_NEW") else None
    return None
