"""The benchmark measures what it says: percentiles by rank, targets compared, and the latencies of a few real acts."""

from __future__ import annotations

import pytest
from scripts.bench import latency
from scripts.bench.place import PARENT
from scripts.bench.table import Row, at_most, render, spread

from shipwall.kernel.cgroups import unified_mount


def test_percentiles_are_samples() -> None:
    assert spread("x", [n * 1_000_000 for n in range(200, 0, -1)]).measured == "p50 100.00 ms, p99 198.00 ms"
    assert spread("x", [7_000_000]).measured == "p50 7.00 ms, p99 7.00 ms"


def test_every_row_stands_beside_its_target() -> None:
    rows = [at_most("agent", 119.6, 120, "MiB"), at_most("server", 151, 150, "MiB"), Row("alert", "1 ms")]
    assert [row.is_met for row in rows] == [True, False, None]
    lines = render(rows).splitlines()
    assert [line.split()[-1] for line in lines] == ["met", "MISSED", "stated"]
    assert all("target: " in line for line in lines)


@pytest.mark.root
@pytest.mark.bpf
def test_latencies_of_real_acts() -> None:
    heading, rows = latency.measure(3)
    assert "sensor attached, 15 alerts raised, 0 events lost" in heading
    assert len(rows) == 9
    assert all(0 < float(row.measured.split()[1]) < 5_000 for row in rows), rows
    assert not (unified_mount() / PARENT).exists()
