"""What the sensor costs the host, by the kernel's own clock, sampled now and then.

The kernel counts the run time of BPF programs only while somebody holds a descriptor that asks for it (BPF_ENABLE_STATS), and counting
costs every BPF program of the host a little itself: so it is on for a short window and off between. No setting is touched
(`kernel.bpf_stats_enabled` stays as it is); closing the descriptor, or the end of this process, ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from shipwall.kernel.bpf import RunStats, measuring

WINDOW_S = 0.2


class Cost(NamedTuple):
    """Of one window of `window_ns`: `calls` system calls of the whole host, `run_ns` in the sensor's programs (all CPUs together).

    Left out: what entering a program costs the kernel (as an empty one would), which it does not count.
    """

    calls: int
    run_ns: int
    window_ns: int

    @property
    def per_call_ns(self) -> float:
        """Mean nanoseconds in the sensor's programs per system call; 0 when there was none."""
        return self.run_ns / self.calls if self.calls else 0.0


def sample_cost(
    read: Callable[[], dict[str, RunStats]], counted: str, pause: Callable[[float], object] = time.sleep
) -> Cost | None:
    """The cost of the programs that `read` tells of, for WINDOW_S; None where the kernel counts nothing.

    `counted` is the program that runs once per system call. `pause` waits so many seconds, or less.
    """
    with measuring() as agreed:
        if not agreed:
            return None
        began = time.monotonic_ns()
        before = read()
        pause(WINDOW_S)
        after = read()
        window_ns = time.monotonic_ns() - began
    spent = sum(stats.run_ns - before[name].run_ns for name, stats in after.items() if name in before)
    return Cost(after[counted].runs - before[counted].runs, spent, window_ns)
