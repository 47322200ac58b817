"""Being woken at once although others are busy."""

from __future__ import annotations

import os
from collections.abc import Callable

_FIRST = os.sched_param(1)
_ORDINARY = os.sched_param(0)


class Priority:
    """Of the calling thread: `hurry` puts it before all ordinary processes (SCHED_RR, the lowest real-time level), `relax` back among them.

    For a thread that mostly sleeps. Whoever has work for longer must relax, or it keeps others from their processor. On failure open:
    where it may not (no CAP_SYS_NICE, no real-time share for this cgroup), it is only late on a busy host; `say` is told once.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._is_first = False
        self.refused = ""

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
