"""Ends or stops one process, and never another one: not a later one with its number, not the engine, not the agent, not the host's init.

The process is held by a pidfd; what /proc says about its number is believed only when the held process still lives afterwards, so both are
the same; and it must have begun before the act, so it is the one that acted. (/proc tells beginnings in ticks of 10 ms: a number would
have to be used again within one tick, after all others, to deceive it.)
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from shutil import which

from shipwall.model.errors import KernelError

RUNTIMES = ("dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v2", "runc", "crun")
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class NotSignalledError(KernelError):
    """Nothing was sent. `cause`: gone, other, protected or not-allowed."""

    def __init__(self, pid: int, cause: str, reason: str) -> None:
        super().__init__(f"process {pid}", reason)
        self.cause = cause


class Signals:
    """Sends signals to processes of containers. `protected`: further processes (the engine) that are never touched."""

    def __init__(self, protected: Iterable[int] = ()) -> None:
        self._pids = {1, os.getpid(), os.getppid(), *protected}
        self._files: set[tuple[int, int]] = set()
        for path in filter(None, map(which, RUNTIMES)):
            with suppress(OSError):
                self._files.add(_identity(path))
        for pid in protected:
            with suppress(OSError):
                self._files.add(_identity(f"/proc/{pid}/exe"))

    def send(self, action: str, pid: int, before_ns: int) -> None:
        """SIGKILL (`kill`) or SIGSTOP (`stop`) to the whole process `pid`, all its threads, if it began before `before_ns` of the boot-time
        clock. *Raises*: NotSignalledError."""
        if pid in self._pids:
            raise NotSignalledError(pid, "protected", "is the host's first, the engine or the agent itself")
        try:
            held = os.pidfd_open(pid)
        except OSError as error:  # EINVAL: a thread's number, whose process ended
            raise NotSignalledError(pid, "gone", "is gone") from error
        try:
            began_ns, file = _began_ns(pid), _file_of(pid)
            if _has_ended(held):
                raise NotSignalledError(pid, "gone", "is gone")
            if began_ns > before_ns:
                raise NotSignalledError(pid, "other", "began after the act: it is another one with the same number")
            if file in self._files:
                raise NotSignalledError(pid, "protected", "runs a program of the engine")
            signal.pidfd_send_signal(held, _SIGNALS[action])
        except ProcessLookupError as error:
            raise NotSignalledError(pid, "gone", "is gone") from error
        except PermissionError as error:
            raise NotSignalledError(pid, "not-allowed", error.strerror or "not allowed") from error
        finally:
            os.close(held)


def _has_ended(held: int) -> bool:
    """A pidfd becomes readable when its process ends."""
    poller = select.poll()
    poller.register(held, select.POLLIN)
    return bool(poller.poll(0))


def _began_ns(pid: int) -> int:
    """When `pid` began, on the boot-time clock, rounded down to a tick. Raises ProcessLookupError."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError as error:
        raise ProcessLookupError from error
    return int(stat.rpartition(b")")[2].split()[19]) * _TICK_NS


def _file_of(pid: int) -> tuple[int, int] | None:
    try:
        return _identity(f"/proc/{pid}/exe")
    except OSError:
        return None  # it has none: a zombie, told apart by the caller


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)  # noqa: PTH116 - a Path would do the same with more words
    return found.st_dev, found.st_ino
