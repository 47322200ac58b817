"""Rows of the benchmark: what was measured, and the target beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

NO_TARGET = "none stated"


class Row(NamedTuple):
    """One figure. `is_met` None where no target is stated."""

    what: str
    measured: str
    target: str = NO_TARGET
    is_met: bool | None = None


def at_most(what: str, value: float, limit: float, unit: str) -> Row:
    """A figure whose target is an upper limit."""
    return Row(what, f"{value:,.0f} {unit}", f"at most {limit:,.0f} {unit}", value <= limit)


def spread(what: str, samples_ns: Sequence[int], limits: tuple[float, float] | None = None) -> Row:
    """The median and the 99th percentile of times, by nearest rank, in milliseconds; `limits` for both."""
    ordered = sorted(samples_ns)
    p50, p99 = (ordered[min(len(ordered) - 1, -(-len(ordered) * part // 100) - 1)] / 1e6 for part in (50, 99))
    row = Row(f"{what} ({len(ordered)})", f"p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    if limits is None:
        return row
    return row._replace(target=f"at most {limits[0]:.1f} / {limits[1]:.1f} ms", is_met=p50 <= limits[0] and p99 <= limits[1])


def render(rows: Sequence[Row]) -> str:
    """The rows in columns."""
    words = {None: "", True: "met", False: "MISSED"}
    widths = [max(map(len, column)) for column in zip(*((row.what, row.measured, row.target) for row in rows), strict=True)]
    return "\n".join(
        f"  {row.what:{widths[0]}}  {row.measured:{widths[1]}}  target: {row.target:{widths[2]}}  {words[row.is_met]}".rstrip()
        for row in rows
    )
