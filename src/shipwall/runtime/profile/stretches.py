"""Calls in their order, thread by thread, cut into stretches of a hundred: learnt, or held back to find out what is still normal."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from shipwall.model.event import AnyEvent, Exit
from shipwall.runtime.profile.document import Profile
from shipwall.runtime.profile.sequences import ORDER, Score, SequenceModel

LENGTH = 100
SHORTEST = 20
"""A thread's last stretch is judged from so many calls on."""
HOLD_EVERY = 5
MAX_HELD = 500
MIN_HELD = 20
MARGIN_BITS = 1.0
MAX_THREADS = 4_096
MAX_GRAMS = 50_000


class Stretch(NamedTuple):
    """Calls of one thread, and the last ones before them."""

    calls: tuple[str, ...]
    before: tuple[str, ...]


class _Threads:
    """The stretch each thread is in; the thread quiet for longest is forgotten first."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, int], tuple[list[str], tuple[str, ...]]] = OrderedDict()

    def take(self, event: AnyEvent) -> Stretch | None:
        """The stretch that `event` completes, if it does."""
        key = (event.container, event.tid)
        if isinstance(event, Exit):
            calls, before = self._open.pop(key, ([], ()))
            return Stretch(tuple(calls), before) if calls else None
        if not event.syscall:
            return None
        calls, before = self._open.pop(key, ([], ()))
        calls.append(event.syscall)
        if len(calls) >= LENGTH:
            self._open[key] = ([], tuple(calls[-(ORDER - 1) :]))
            return Stretch(tuple(calls), before)
        self._open[key] = (calls, before)
        if len(self._open) > MAX_THREADS:
            self._open.popitem(last=False)
        return None


class Stretches:
    """Learns the order of calls, or judges it by what `profile` says of it."""

    def __init__(self, profile: Profile) -> None:
        self._threads = _Threads()
        self._model = SequenceModel(limit=MAX_GRAMS)
        names = profile.calls
        for gram, times in profile.grams.items():
            calls = tuple(_name(names, word) for word in gram.split("."))
            if len(calls) == ORDER and times > 0:
                self._model.count(calls, times)
        self._held = [_stretch(names, text) for text in profile.held[:MAX_HELD]]
        self._count = len(self._held) * HOLD_EVERY
        self.limit_bits = profile.limit_bits

    def learn(self, event: AnyEvent) -> None:
        """Learn the stretch that `event` completes, or hold it back."""
        stretch = self._threads.take(event)
        if stretch is None:
            return
        self._count += 1
        if self._count % HOLD_EVERY == 0 and len(self._held) < MAX_HELD and len(stretch.calls) >= SHORTEST:
            self._held.append(stretch)
        else:
            self._model.learn(stretch.calls, stretch.before)

    def judge(self, event: AnyEvent) -> tuple[Stretch, Score] | None:
        """The stretch that `event` completes, if it is more surprising than any that was held back."""
        stretch = self._threads.take(event)
        if stretch is None or self.limit_bits is None or len(stretch.calls) < SHORTEST:
            return None
        score = self._model.score(stretch.calls, stretch.before)
        return (stretch, score) if score.value > self.limit_bits else None

    def strangest(self, stretch: Stretch, count: int = 3) -> list[tuple[str, str]]:
        """The most surprising calls of a stretch, each with the call before it."""
        surprise = self._model.surprise(stretch.calls, stretch.before)
        calls = (stretch.before[-1] if stretch.before else "", *stretch.calls)
        places = sorted(range(len(surprise)), key=lambda at: -surprise[at])
        return list(dict.fromkeys((calls[at], calls[at + 1]) for at in places[: 4 * count]))[:count]

    def told(self) -> dict[str, Any]:
        """What a profile says of the order of calls while it learns."""
        return self._rendered(held=True)

    def finished(self) -> dict[str, Any]:
        """The same at the end: the limit is above every stretch that was held back, and those are learnt too."""
        limit = None
        if len(self._held) >= MIN_HELD:
            limit = max(self._model.score(one.calls, one.before).value for one in self._held) + MARGIN_BITS
        for one in self._held:
            self._model.learn(one.calls, one.before)
        return {**self._rendered(held=False), "limit_bits": limit}

    def _rendered(self, *, held: bool) -> dict[str, Any]:
        places: dict[str, int] = {}

        def word(call: object) -> str:
            return "" if call is None else str(places.setdefault(str(call), len(places)))

        grams = {".".join(map(word, gram)): times for gram, times in self._model.grams.items()}
        kept = tuple("|".join(".".join(map(word, part)) for part in one) for one in self._held) if held else ()
        return {"grams": grams, "held": kept, "calls": tuple(places)}


def _name(names: tuple[str, ...], word: str) -> str | None:
    return names[int(word)] if word.isascii() and word.isdigit() and int(word) < len(names) else None


def _stretch(names: tuple[str, ...], text: str) -> Stretch:
    calls, _, before = text.partition("|")
    parts = (tuple(name for word in part.split(".") if (name := _name(names, word)) is not None) for part in (calls, before))
    return Stretch(*parts)
