"""The self-check that never stops: an act of our own, every few seconds, whose event must come back.

A shell in a watched cgroup of its own opens a file for writing when told to; that passes the dispatcher, a tail call, a family's program
and the ring, as an intruder's act would. Nobody in a container can make or suppress it. While its event does not come back, the sensor is
blind, whatever else it says: programs detached, ring stuck, reader too slow.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from shipwall.kernel.cgroups import join, read_id, unified_mount
from shipwall.kernel.sensor import EVENTS, UNFILTERED, Sensor
from shipwall.model.errors import KernelError

_BEATER = "while read line; do echo shipwall > /proc/self/comm; done"


class Pulse:
    """Beats for `sensor`, which must be running. `beat` and `silence_s` may be called from any thread; close it after use.

    Raises KernelError where no cgroup or process can be made.
    """

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor
        _remove_left()
        self._folder: Path = unified_mount() / f"shipwall-pulse-{os.getpid()}-{time.monotonic_ns()}"
        try:
            self._folder.mkdir()
            self._child = subprocess.Popen(
                ["/bin/sh", "-c", _BEATER], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
            raise KernelError("self-check", error.strerror or str(error), errno=error.errno or 0) from error
        join(self._folder, self._child.pid)
        self._id = read_id(self._folder)
        sensor.follow_pulse(self._id)
        sensor.set_flags(self._id, EVENTS | UNFILTERED)
        self._began_ns = time.monotonic_ns()

    def beat(self) -> None:
        """Let the act happen once. A beater that has ended is told by the silence that follows."""
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            self._child.stdin.write(b"\n")
            self._child.stdin.flush()

    def silence_s(self) -> float:
        """Seconds since an act of our own came back (since the start, when none has)."""
        return (time.monotonic_ns() - max(self._began_ns, self._sensor.pulse_seen_ns)) / 1e9

    def close(self) -> None:
        """End the beater and take its cgroup away."""
        self._sensor.follow_pulse(0)
        with contextlib.suppress(KernelError):  # the sensor may have ended before
            self._sensor.unwatch(self._id)
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _remove_left() -> None:
    """Take away the cgroups of processes that were killed: their beaters ended with them."""
    for folder in unified_mount().glob("shipwall-pulse-*"):
        pid = folder.name.split("-")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(OSError):  # somebody is still in it
                folder.rmdir()
