"""Which alerts a change of rules adds and removes over the same events."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shipwall.model.alert import Alert

MAX_EXAMPLES = 3


class RuleChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one rule's alerts. `changed`: the same event still raises it, and it says something else. Examples: at most three."""

    rule: str
    kept: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    added_examples: tuple[str, ...] = ()
    removed_examples: tuple[str, ...] = ()


def difference_of_alerts(old: Iterable[Alert], new: Iterable[Alert]) -> tuple[RuleChange, ...]:
    """The change of every rule that raised anything, by name. An alert is the same when rule and event are."""
    before, after = _by_rule(old), _by_rule(new)
    return tuple(_change(rule, before.get(rule, {}), after.get(rule, {})) for rule in sorted(before.keys() | after.keys()))


def _by_rule(alerts: Iterable[Alert]) -> dict[str, dict[int, Alert]]:
    found: dict[str, dict[int, Alert]] = {}
    for alert in alerts:
        found.setdefault(alert.rule, {})[alert.event.seq] = alert
    return found


def _change(rule: str, before: dict[int, Alert], after: dict[int, Alert]) -> RuleChange:
    added = [alert for seq, alert in after.items() if seq not in before]
    removed = [alert for seq, alert in before.items() if seq not in after]
    both = before.keys() & after.keys()
    changed = sum(_said(before[seq]) != _said(after[seq]) for seq in both)
    return RuleChange(
        rule=rule,
        kept=len(both) - changed,
        added=len(added),
        removed=len(removed),
        changed=changed,
        added_examples=tuple(alert.output for alert in added[:MAX_EXAMPLES]),
        removed_examples=tuple(alert.output for alert in removed[:MAX_EXAMPLES]),
    )


def _said(alert: Alert) -> tuple[str, str, str]:
    return alert.output, alert.priority, alert.action
