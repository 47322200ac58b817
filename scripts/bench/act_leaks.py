"""How many acts had their effect although a hook should have stopped them: the self-test of this node, many times over."""

from __future__ import annotations

import tempfile
from pathlib import Path

from scripts.bench.table import Row

from shipwall.adapters.instance import Instance
from shipwall.journeys.selftest import run_selftest
from shipwall.model.selftest import OPEN

ATTEMPTS = 10_000


def measure(attempts: int = ATTEMPTS, only: tuple[str, ...] = ()) -> list[Row]:
    """A row for each act (default all), the hook beside it. What nothing prevents is tried a few times only."""
    with tempfile.TemporaryDirectory(prefix="shipwall-bench-") as state:
        leaks = run_selftest(Instance(Path(state)), "bench", attempts, only).leaks
    rows = []
    for leak in leaks:
        measured = leak.unmeasured or f"{leak.completed} of {leak.attempts:,} ({leak.hook})"
        is_met = None if leak.claim == OPEN else not leak.is_broken
        rows.append(
            Row(f"{leak.action} completed", measured, "none stated" if leak.claim == OPEN else f"0 of {attempts:,}", is_met)
        )
    return rows
