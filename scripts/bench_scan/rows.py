"""What a measure is, and how a command is measured."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROUNDS = 3


class Measured(NamedTuple):
    """`value` as printed; `limit` is what the machine itself needs for the same bytes; `peak_mb` of the process (0: not measured)."""

    value: str
    limit: str = ""
    peak_mb: float = 0


class Row(NamedTuple):
    """One line of the table. `measure` prepares what it needs (kept in `.cache/bench`) and measures it."""

    name: str
    target: str
    measure: Callable[[], Measured]


class Run(NamedTuple):
    """One run of a command: seconds of the clock, of processors, and the largest resident set."""

    seconds: float
    cpu_s: float
    peak_mb: float


def best_run(command: Sequence[str], *, rounds: int = ROUNDS, before: Callable[[], None] = lambda: None, cache: Path) -> Run:
    """The fastest of `rounds` runs (other work on the machine only ever adds), each after `before`; peak memory is the worst.

    Measured by `/usr/bin/time`, whose own small memory cannot be taken for the command's. *Raises* SystemExit when the command fails.
    """
    runs = []
    for _ in range(rounds):
        before()
        with tempfile.NamedTemporaryFile("r") as report:
            timed = ["/usr/bin/time", "-q", "-f", "%e %U %S %M", "-o", report.name, *command]
            environment = os.environ | {"SHIPWALL_CACHE": str(cache), "SHIPWALL_STATE": str(cache / "no-state")}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its byte code
            done = subprocess.run(timed, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, check=False)
            if done.returncode:
                sys.exit(f"bench-scan: {' '.join(command)}: exit {done.returncode}: {done.stderr.decode()[-500:]}")
            seconds, user, system, peak_kb = map(float, report.read().split()[-4:])
            runs.append(Run(seconds, user + system, peak_kb / 1024))
    fastest = min(runs)
    return fastest._replace(peak_mb=max(run.peak_mb for run in runs))
