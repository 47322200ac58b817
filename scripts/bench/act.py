"""Acting in time: what is stopped, how often it is not, how soon a container stands still, and what that costs: `make bench-act`.

Every row lies in a module of its own; `PARTS` is the list of them.
"""

from __future__ import annotations

from collections.abc import Callable

from scripts.bench import act_files, act_freeze, act_leaks, adfa, quiet
from scripts.bench.table import Row

PARTS: tuple[Callable[[], list[Row]], ...] = (act_leaks.measure, act_files.measure, act_freeze.measure, adfa.rows, quiet.rows)


def measure() -> tuple[str, list[Row]]:
    """All rows."""
    return "Acting in time", [row for part in PARTS for row in part()]
