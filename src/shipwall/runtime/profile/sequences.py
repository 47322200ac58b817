"""How unlike what was learnt a sequence of system calls is: an n-gram model, smoothed, and the score of a sequence.

Interpolated Kneser–Ney smoothing: a call that was never seen after its eight predecessors is judged by the last seven, and so on, where a
shorter context counts by how many longer ones it was seen in. The score is the mean surprise less half the bits that tell apart the
different pairs of neighbours in the sequence: the more ways of going on a sequence has, the more surprise it is allowed.
Source: Kneser and Ney 1995; Chen and Goodman 1999, section 2.7; Forrest et al. 1996 for sequences of calls as the self of a program.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

ORDER = 8
"""Length of the longest n-gram: beyond it the likelihood of held-out traces gains little and the tables keep growing."""
MAX_GRAMS = 200_000
VOCABULARY = 512
"""A call that was never learnt is one of so many."""

PENALTY = 0.5
"""What is taken off for each bit of variety. Order and penalty were chosen within ADFA-LD's training part: docs/decisions/0012."""

Call = Hashable
_BEFORE = None  # what stands before the first call of a thread


class Score(NamedTuple):
    """`bits`: mean surprise for each call. `value` is what is compared: `bits` less half the bits of the sequence's own variety."""

    value: float
    bits: float
    calls: int


class SequenceModel:
    """Counts of n-grams of at most `limit` different ones; further ones are counted in `dropped` and not learnt."""

    def __init__(self, order: int = ORDER, limit: int = MAX_GRAMS) -> None:
        self.order = order
        self.dropped = 0
        self._limit = limit
        self._grams: dict[tuple[Call, ...], int] = {}
        self._probability: dict[tuple[Call, ...], float] = {}
        self._weight: dict[tuple[Call, ...], float] = {}
        self._is_built = False

    def __len__(self) -> int:
        return len(self._grams)

    @property
    def grams(self) -> dict[tuple[Call, ...], int]:
        """Every n-gram of full length and how often it was seen; None stands before a thread's first call."""
        return self._grams

    def learn(self, calls: Sequence[Call], before: Sequence[Call] = ()) -> None:
        """Count the n-grams of `calls`, made by one thread after those `before`."""
        padded, length = self._padded(calls, before), self.order
        for at in range(len(calls)):
            self.count(padded[at : at + length], 1)

    def count(self, gram: tuple[Call, ...], times: int) -> None:
        """Count one n-gram of full length."""
        known = self._grams.get(gram)
        if known is None and len(self._grams) >= self._limit:
            self.dropped += times
            return
        self._grams[gram] = (known or 0) + times
        self._is_built = False

    def surprise(self, calls: Sequence[Call], before: Sequence[Call] = ()) -> list[float]:
        """The bits of each call: how little it was to be expected after those before it."""
        if not self._is_built:
            self._build()
        padded, longest = self._padded(calls, before), self.order - 1
        probability, weights = self._probability, self._weight
        found = []
        for end in range(longest, len(padded)):
            weight = 1.0
            for start in range(end - longest, end + 1):
                gram = padded[start : end + 1]
                seen = probability.get(gram)
                if seen is not None:
                    break
                weight *= weights.get(gram[:-1], 1.0)
            else:
                seen = 1 / VOCABULARY
            found.append(-math.log2(weight * seen))
        return found

    def score(self, calls: Sequence[Call], before: Sequence[Call] = ()) -> Score:
        """How unlike what was learnt `calls` are. Nothing is learnt, or no calls: nothing is unlike it."""
        if not calls or not self._grams:
            return Score(0.0, 0.0, len(calls))
        bits = math.fsum(self.surprise(calls, before)) / len(calls)
        variety = len(set(pairwise(calls)))
        return Score(bits - PENALTY * math.log2(max(variety, 1)), bits, len(calls))

    def _padded(self, calls: Sequence[Call], before: Sequence[Call]) -> tuple[Call, ...]:
        room = self.order - 1
        head = tuple(before)[-room:] if room else ()
        return (_BEFORE,) * (room - len(head)) + head + tuple(calls)

    def _build(self) -> None:
        """Probabilities of all n-grams seen, and by which part each context leaves the word to the shorter one."""
        self._probability, self._weight = {}, {}
        levels = [self._grams]
        while len(next(iter(levels[-1]), ())) > 1:
            levels.append(_continuations(levels[-1]))
        for counts in reversed(levels):
            self._add_level(counts)
        self._is_built = True

    def _add_level(self, counts: dict[tuple[Call, ...], int]) -> None:
        discount = _discount(counts.values())
        totals: dict[tuple[Call, ...], int] = {}
        kinds: dict[tuple[Call, ...], int] = {}
        for gram, times in counts.items():
            context = gram[:-1]
            totals[context] = totals.get(context, 0) + times
            kinds[context] = kinds.get(context, 0) + 1
        for context, total in totals.items():
            self._weight[context] = discount * kinds[context] / total
        for gram, times in counts.items():
            shorter = self._probability[gram[1:]] if len(gram) > 1 else 1 / VOCABULARY
            context = gram[:-1]
            self._probability[gram] = (times - discount) / totals[context] + self._weight[context] * shorter


def _continuations(counts: dict[tuple[Call, ...], int]) -> dict[tuple[Call, ...], int]:
    """Each n-gram without its first call → how many different calls it was seen after."""
    shorter: dict[tuple[Call, ...], int] = {}
    for gram in counts:
        shorter[gram[1:]] = shorter.get(gram[1:], 0) + 1
    return shorter


def _discount(counts: Iterable[int]) -> float:
    """What is taken off every count for what was not seen. Source: Ney, Essen and Kneser 1994."""
    once = twice = 0
    for times in counts:
        once += times == 1
        twice += times == 2
    return once / (once + 2 * twice) if once and twice else 0.75
