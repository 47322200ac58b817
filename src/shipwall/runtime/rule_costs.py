"""What each rule costs: how often it was asked, how often it held, how long that took. Sampled: asking a clock costs more than a rule.

Of every so many events that any rule can match, all rules that can match it are asked one by one. So `runs` and `matches` are those of the
sample; `ns` says what a rule costs by itself, without what it shares with others that ask the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from shipwall.runtime.conditions import LiteralError, compile_condition
from shipwall.runtime.facts import Facts
from shipwall.runtime.fields import bind_field

if TYPE_CHECKING:
    from shipwall.runtime.rules.rule_set import Rule

SAMPLED = 512


class RuleCost(msgspec.Struct, frozen=True):
    """Of the sampled events: how many the rule was asked about, how many it matched, nanoseconds in all."""

    runs: int
    matches: int
    ns: int


class RuleCosts:
    """Samples one of `every` judged events; `clock` gives nanoseconds. Not for several threads at once."""

    def __init__(self, clock: Callable[[], int], every: int = SAMPLED) -> None:
        self._clock = clock
        self._every = every
        self._left = every
        self._conditions: dict[str, tuple[object, Callable[[Facts], bool]]] = {}
        self._costs: dict[str, list[int]] = {}

    def take(self, rules: tuple[Rule, ...], facts: Facts) -> None:
        """One more event was judged by `rules`."""
        self._left -= 1
        if self._left:
            return
        self._left = self._every
        for rule in rules:
            condition, holds = self._conditions.get(rule.name, (None, None))
            if holds is None or condition is not rule.condition:
                holds = compile_condition(rule.condition, bind_field)
                self._conditions[rule.name] = rule.condition, holds
                self._costs[rule.name] = [0, 0, 0]
            began = self._clock()
            try:
                matches = holds(facts)
            except LiteralError:
                matches = False
            spent = self._clock() - began
            cost = self._costs[rule.name]
            cost[0] += 1
            cost[1] += matches
            cost[2] += spent

    def costs(self) -> dict[str, RuleCost]:
        """Rule → what it cost so far; the dearest first."""
        ordered = sorted(self._costs.items(), key=lambda item: -item[1][2])
        return {name: RuleCost(*cost) for name, cost in ordered}
