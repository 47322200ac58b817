"""Seconds and peak memory of scanning a base system twice, advisories from the cache the second time."""

from __future__ import annotations

import json
import subprocess
import sys

from scripts.bench.table import NO_TARGET, Row

from shipwall.adapters.base_system import find_pockets, make_base_system

# Between the benchmark and the scan: the kernel counts what a process held before its exec into its peak, and this one holds little.
_LAUNCH = """
import json, os, sys, time
began = time.monotonic()
null = os.open(os.devnull, os.O_WRONLY)
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
_, status, usage = os.wait4(pid, 0)
print(json.dumps([time.monotonic() - began, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)]))
"""


def measure() -> tuple[str, list[Row]]:
    """The rows, and how they came about."""
    system = make_base_system(find_pockets(security=False), ())
    rows = []
    for turn in ("first", "again"):
        command = [sys.executable, "-m", "shipwall", "image", "scan", str(system.path), "--output", "json"]
        launched = subprocess.run([sys.executable, "-I", "-S", "-c", _LAUNCH, *command], stdout=subprocess.PIPE, check=True)
        seconds, peak_mib, code = json.loads(launched.stdout)
        if code not in {0, 1}:
            sys.exit(f"bench: the scan ended with {code}")
        rows.append(Row(f"{turn}, seconds", f"{seconds:.2f} s", NO_TARGET))
        rows.append(Row(f"{turn}, peak memory of the scan's own process", f"{peak_mib:.0f} MiB", NO_TARGET))
    return f"Scan of a base system of {system.path.stat().st_size / 1e6:.0f} MB", rows
