"""The model of sequences: probabilities that are some, what it learnt and what it did not."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipwall.runtime.profile.sequences import VOCABULARY, SequenceModel

CALLS = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@given(st.lists(CALLS, min_size=1, max_size=6), st.lists(st.integers(0, 5), max_size=9), st.integers(1, 5))
def test_what_may_follow_a_context_adds_up_to_at_most_one(traces: list[list[int]], context: list[int], order: int) -> None:
    model = SequenceModel(order)
    for trace in traces:
        model.learn(trace)
    known = {call for trace in traces for call in trace}
    seen = sum(2 ** -model.surprise([call], context)[0] for call in known)
    unknown = 2 ** -model.surprise([99], context)[0]
    assert unknown > 0
    assert seen + unknown * (VOCABULARY - len(known)) == pytest.approx(1.0, abs=1e-6)


def test_it_prefers_what_it_learnt() -> None:
    model = SequenceModel()
    loop = ["poll", "recv", "write"] * 60
    model.learn(loop)
    scrambled = loop.copy()
    random.Random(1).shuffle(scrambled)
    assert model.score(loop).value < 0.2
    assert model.score(scrambled).value > model.score(loop).value + 1
    assert model.score(["ptrace"] * 30).value > model.score(scrambled).value
    assert model.score([]) == (0.0, 0.0, 0)
    assert SequenceModel().score(["read"]).value == 0.0


def test_cut_into_parts_it_learns_and_judges_the_same() -> None:
    chance = random.Random(2)
    trace = [chance.choice("abc") for _ in range(200)]
    whole, parts = SequenceModel(5), SequenceModel(5)
    whole.learn(trace)
    for at in range(0, 200, 40):
        parts.learn(trace[at : at + 40], trace[:at])
    assert whole.grams == parts.grams
    assert whole.surprise(trace)[40:80] == parts.surprise(trace[40:80], trace[:40])
    assert all(math.isfinite(bits) for bits in whole.surprise(trace))


def test_it_is_bounded() -> None:
    model = SequenceModel(3, limit=50)
    model.learn(list(range(1000)))
    assert len(model) == 50
    assert model.dropped == 950
    assert model.score(list(range(1000))).bits > 1
