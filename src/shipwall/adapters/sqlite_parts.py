"""Asking SQLite for many keys at once, a bounded number in each statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

MAX_ASKED = 500  # parameters of one statement


def parts_of(values: Iterable[Any]) -> Iterator[list[Any]]:
    """The different `values`, sorted, at most MAX_ASKED in each list."""
    known = sorted(set(values))
    for start in range(0, len(known), MAX_ASKED):
        yield known[start : start + MAX_ASKED]
