"""`make bench-scan`: the table. Words on the command line choose rows by their names."""

from __future__ import annotations

import os
import sys

from bench_scan import advisories, fleet, images
from bench_scan.rows import Row

# THE list of measures, in the order of the table.
ROWS: tuple[Row, ...] = (*images.ROWS, *advisories.ROWS, *fleet.ROWS)


def main() -> None:
    """Measure and print, row by row."""
    words = sys.argv[1:]
    chosen = [row for row in ROWS if all(word in row.name for word in words)]
    if not chosen:
        sys.exit(f"bench-scan: no row of that name; there are: {', '.join(row.name for row in ROWS)}")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before", flush=True)
    print(f"{'what':34}{'measured':38}{'peak':>9}  {'target':18}limit of the machine", flush=True)
    for row in chosen:
        value, limit, peak_mb = row.measure()
        peak = f"{peak_mb:.0f} MB" if peak_mb else ""
        print(f"{row.name:34}{value:38}{peak:>9}  {row.target:18}{limit}", flush=True)


if __name__ == "__main__":
    main()
