"""What a set of rule tests covers of a set of rules."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shipwall.lang.condition import fields_of, leaves_of
from shipwall.runtime.fields import KIND_OF, event_type
from shipwall.runtime.rules.rule_set import Rule, RuleSet
from shipwall.runtime.scene import Played, Scene
from shipwall.runtime.techniques import CONTAINER_TECHNIQUES, techniques_in


class RuleCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """Tests of one rule. `positive` raise it; `negative` are about it and do not. `unseen`: kinds of event it is judged on, in no test."""

    rule: str
    techniques: tuple[str, ...]
    positive: int
    negative: int
    unseen: tuple[str, ...]


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What tests cover. `techniques`: of ATT&CK for Containers → rules with a positive test that look for it, empty when none does."""

    rules: tuple[RuleCoverage, ...]
    event_types: tuple[str, ...]
    fields: dict[str, bool]
    techniques: dict[str, tuple[str, ...]]
    failed: tuple[str, ...]


def measure_coverage(rules: RuleSet, played: Iterable[tuple[Scene, Played]]) -> Coverage:
    """What the tests in `played` cover of `rules`. A field is covered when a rule with a positive test asks for it."""
    pairs = list(played)
    found = tuple(_of_rule(rule, pairs) for rule in rules.rules if rule.enabled)
    tested = {one.rule for one in found if one.positive}
    fields: dict[str, bool] = {}
    for rule in rules.rules:
        for leaf in leaves_of(rule.condition):
            for used in fields_of(leaf):
                fields[used.name] = fields.get(used.name, False) or rule.name in tested
    return Coverage(
        rules=found,
        event_types=tuple(sorted({event_type(event) for scene, _ in pairs for event in scene.events})),
        fields=dict(sorted(fields.items())),
        techniques={
            technique: tuple(
                one.rule for one in found if one.positive and any(t.partition(".")[0] == technique for t in one.techniques)
            )
            for technique in CONTAINER_TECHNIQUES
        },
        failed=tuple(result.title for _, result in pairs if result.failed),
    )


def _of_rule(rule: Rule, pairs: list[tuple[Scene, Played]]) -> RuleCoverage:
    raising = [scene for scene, result in pairs if any(alert.rule == rule.name for alert in result.alerts)]
    quiet = [
        scene
        for scene, result in pairs
        if scene.rule == rule.name and not any(alert.rule == rule.name for alert in result.alerts)
    ]
    seen = {KIND_OF[type(event)] for scene in (*raising, *quiet) for event in scene.events}
    return RuleCoverage(
        rule=rule.name,
        techniques=techniques_in(rule.tags),
        positive=len(raising),
        negative=len(quiet),
        unseen=tuple(sorted(rule.kinds - seen)),
    )
