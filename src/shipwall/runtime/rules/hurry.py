"""Which kinds of event no rule can turn into an alert, so that the kernel part need not wake the reader for them."""

from __future__ import annotations

from shipwall.abi.schema import KINDS as RECORDED
from shipwall.lang.condition import Compare, Condition, Field
from shipwall.runtime.conditions import specialise
from shipwall.runtime.fields import KINDS
from shipwall.runtime.rules.rule_set import RuleSet

_FLAGS = Field("evt.arg.flags")
_AT_ONCE = {"cgroup"}  # a new container is looked up at once


def unhurried_kinds(rules: RuleSet) -> frozenset[str]:
    """The kinds of record (`abi.schema.KINDS`) that can wait. A fork that makes namespaces hurries always: the kernel part sees to that."""
    return frozenset(kind for kind in set(RECORDED) - _AT_ONCE if not _is_judged(rules, kind))


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
