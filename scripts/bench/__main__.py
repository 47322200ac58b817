"""What Shipwall costs and how fast it is, measured in one run: `make bench`. Needs root; several minutes.

`python -m scripts.bench [latency] [engine] [memory] [scan] [cost] [see] [act]`: only these parts. Every row stands beside its target;
where none is stated, that is said. Nothing is printed for a part that could not prove that it measured what it says.
"""

from __future__ import annotations

import os
import sys

from scripts.bench import act, cost, engine, latency, memory, scan, see
from scripts.bench.table import render

PARTS = {
    "latency": latency.measure,
    "engine": engine.measure,
    "memory": memory.measure,
    "scan": scan.measure,
    "cost": cost.measure,
    "see": see.measure,
    "act": act.measure,
}


def main(*wanted: str) -> int:
    """Measure and print the parts `wanted` (default: all); 1 when a target was missed."""
    if os.geteuid() != 0:
        sys.stderr.write("bench: needs root for the sensor and cgroups\n")
        return 4
    missed = False
    for name in wanted or PARTS:
        heading, rows = PARTS[name]()
        print(f"\n{heading}\n{render(rows)}", flush=True)
        missed |= any(row.is_met is False for row in rows)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
