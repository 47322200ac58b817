"""Being woken at once although others are busy."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

WINDOW_NS = 250_000_000
BUSY_PART = 4
_FIRST = os.sched_param(1)
_ORDINARY = os.sched_param(0)


class Priority:
    """Of the calling thread: `hurry` puts it before all ordinary processes (SCHED_RR, the lowest real-time level), `relax` back among them.

    For a thread that mostly sleeps: `keep` decides by what it used of its processor lately, so that it keeps nobody from theirs under a
    flood. On failure open:
    where it may not (no CAP_SYS_NICE, no real-time share for this cgroup), it is only late on a busy host; `say` is told once.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._is_first = False
        self._since_ns = time.monotonic_ns()
        self._used_ns = time.thread_time_ns()
        self.refused = ""

    def keep(self) -> None:
        """To be called between two pieces of work: relaxes a thread that used more than a quarter of a processor, and lets it hurry again
        when it does not."""
        now_ns = time.monotonic_ns()
        if now_ns - self._since_ns < WINDOW_NS:
            return
        used_ns = time.thread_time_ns()
        is_busy = (used_ns - self._used_ns) * BUSY_PART > now_ns - self._since_ns
        self._since_ns, self._used_ns = now_ns, used_ns
        if is_busy:
            self.relax()
        else:
            self.hurry()

    def hurry(self) -> None:
        """Before the others."""
        if self._is_first or self.refused:
            return
        try:
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, _FIRST)
        except OSError as error:
            self.refused = error.strerror or str(error)
            self._say(f"priority: {self.refused}: alerts are later when all processors are busy")
        else:
            self._is_first = True

    def relax(self) -> None:
        """Like everybody."""
        if self._is_first:
            os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, _ORDINARY)
            self._is_first = False
