"""Rules that may raise only so many alerts in a time. What is kept back is counted, and the next alert says how many that were.

Beside silences: a silence is somebody's decision with a reason and an end and hides nothing; a throttle belongs to the rule and saves the
readers from a thousand times the same. Time is the events' own, so a replay throttles as the live agent did.
"""

from __future__ import annotations

from collections import OrderedDict

from shipwall.runtime.rules.definitions import Throttle

MAX_PLACES = 20_000


class Throttles:
    """For each rule and container: when its time began, how many alerts it raised since, how many were kept back.

    At most MAX_PLACES; the place quiet for longest is forgotten first, its count told in `forgotten`.
    """

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[str, str], list[int]] = OrderedDict()
        self.forgotten = 0

    def take(self, rule: str, throttle: Throttle, container: str, now_ns: int) -> int:
        """-1 when the alert is to be kept back; else how many were kept back before it."""
        key = (rule, container)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = [now_ns, 0, 0]
            if len(self._places) > MAX_PLACES:
                _, (_, _, kept) = self._places.popitem(last=False)
                self.forgotten += kept
        self._places.move_to_end(key)
        if not 0 <= now_ns - place[0] < throttle.per_ns:
            place[0], place[1] = now_ns, 0
        if place[1] >= throttle.alerts:
            place[2] += 1
            return -1
        kept = place[2]
        place[1], place[2] = place[1] + 1, 0
        return kept

    def kept_back(self) -> dict[str, int]:
        """How many alerts of each rule are kept back and not told yet."""
        found: dict[str, int] = {}
        for (rule, _), (_, _, kept) in self._places.items():
            if kept:
                found[rule] = found.get(rule, 0) + kept
        return found
