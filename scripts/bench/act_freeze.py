"""From the offending call to the container confirmed frozen, with many busy processes in it and with one."""

from __future__ import annotations

from scripts.bench.latency import freeze_times
from scripts.bench.node import watching
from scripts.bench.place import places
from scripts.bench.table import Row

from shipwall.kernel.sensor import CHILDREN, EVENTS

COUNT = 30
LIMIT_MS = 15


def measure(count: int = COUNT) -> list[Row]:
    """Through sensor, rules, policy, journal and freezer, as the agent does it."""
    rows = []
    with places() as made, watching() as node:
        node.sensor.watch_parent(made.parent, EVENTS | CHILDREN)
        for processes in (64, 1):
            taken, _, frozen = (sorted(times) for times in freeze_times(node, made, count, processes - 1))
            at = min(len(taken) - 1, -(-len(taken) * 99 // 100) - 1)
            p50, p99 = taken[len(taken) // 2] / 1e6, taken[at] / 1e6
            said = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms (kernel's freezer p99 {frozen[at] / 1e6:.1f} ms)"
            rows.append(
                Row(
                    f"act to freeze confirmed, {processes} processes ({count})",
                    said,
                    f"p99 at most {LIMIT_MS} ms",
                    p99 <= LIMIT_MS,
                )
            )
    return rows
