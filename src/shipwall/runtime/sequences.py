"""Rules that ask for several acts in order: A, then B, in the same container, within a time.

Only what can still become a whole sequence is kept: for each rule and container, and each number of steps done, the attempt that began
last (one that began earlier would run out of time before it). One act is one step only, and a whole sequence starts anew: ten times B
after one A is one alert. Acts of the host are in no container and count for nothing. Time is the events' own, so a replay finds the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

from shipwall.model.alert import Step
from shipwall.model.event import AnyEvent
from shipwall.runtime.rules.rule_set import Rule

MAX_PLACES = 5_000

_Attempts = dict[int, tuple[Step, ...]]
"""Steps done → those steps."""


class Sequences:
    """What was begun of each sequence in each container. At most MAX_PLACES; the one quiet for longest is forgotten first, and counted in
    `forgotten`."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._wanted: dict[str, list[tuple[Rule, int]]] = {}
        for rule in rules:
            for number, name in enumerate(rule.sequence[:-1] if rule.enabled else ()):
                self._wanted.setdefault(name, []).insert(0, (rule, number))  # later steps first: one act is not two steps
        self._places: OrderedDict[tuple[str, str], _Attempts] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._places)

    def note(self, rule: Rule, event: AnyEvent, ended: Collection[str] = ()) -> None:
        """`rule` matched `event`: the first step of some sequences, the next one of others; of those that it `ended` it is none."""
        if not event.container:
            return
        for whole, number in self._wanted.get(rule.name, ()):
            if whole.name in ended:
                continue
            place = self._places.get((whole.name, event.container))
            before: tuple[Step, ...] = ()
            if number:
                before = () if place is None else place.get(number, ())
                if not before or not _is_within(whole, before, event):
                    continue
            if place is None:
                place = self._enter((whole.name, event.container))
            place[number + 1] = (*before, Step(rule=rule.name, event=event))
            self._places.move_to_end((whole.name, event.container))

    def complete(self, whole: Rule, event: AnyEvent) -> tuple[Step, ...]:
        """All steps of `whole`, whose last one `event` is; empty when those before it are not there, or too long ago."""
        place = self._places.get((whole.name, event.container))
        before = () if place is None else place.get(len(whole.sequence) - 1, ())
        if not before or not _is_within(whole, before, event):
            return ()
        del self._places[whole.name, event.container]
        return (*before, Step(rule=whole.sequence[-1], event=event))

    def _enter(self, key: tuple[str, str]) -> _Attempts:
        place = self._places[key] = {}
        if len(self._places) > MAX_PLACES:
            self._places.popitem(last=False)
            self.forgotten += 1
        return place


def _is_within(whole: Rule, before: tuple[Step, ...], event: AnyEvent) -> bool:
    return 0 <= event.time_ns - before[0].event.time_ns <= whole.within_ns
