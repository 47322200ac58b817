"""Which system calls the rules ask about: what the kernel part need not read otherwise."""

from __future__ import annotations

from shipwall.abi.calls import CALLS
from shipwall.lang.condition import Compare, Field, leaves_of
from shipwall.runtime.rules.rule_set import RuleSet


def read_calls(rules: RuleSet) -> frozenset[str]:
    """Every call that is read for all rules alike, and those hot ones that an enabled rule names by `evt.type`.

    A rule that names no call at all does not make loaded services pay for it: it sees hot calls only when another rule asks.
    """
    asked = {
        value.text
        for rule in rules.rules
        if rule.is_judged and "call" in rule.kinds
        for leaf in leaves_of(rule.condition)
        if isinstance(leaf, Compare) and leaf.operator in {"=", "==", "in"} and leaf.operand == Field("evt.type")
        for value in leaf.values
    }
    return frozenset(call.name for call in CALLS if "hot" not in call.options or call.name in asked)
