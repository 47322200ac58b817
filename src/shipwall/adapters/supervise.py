"""Child processes: started with a log, waited for until ready, known by pid and start time, stopped gently and then by force."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from shipwall.model.errors import RemoteError, StorageError, UnsupportedError

POLL_S = 0.02


class ProcessRecord(msgspec.Struct, frozen=True):
    """A process beyond doubt: `start_ticks` is its start time in clock ticks since boot, so a reused pid is another process."""

    pid: int
    start_ticks: int


def read_process(pid: int) -> ProcessRecord | None:
    """The record of the live process `pid`; None when there is none, or only a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text.rpartition(b")")[2].split()  # the name before it may hold anything
    if len(fields) < 20 or fields[0] in {b"Z", b"X"}:
        return None
    return ProcessRecord(pid, int(fields[19]))


def is_alive(record: ProcessRecord) -> bool:
    """Whether that very process still runs."""
    return read_process(record.pid) == record


def find_marked(variable: str, value: str) -> list[ProcessRecord]:
    """Processes started with the environment variable set so. The mark is of our own choosing and random: it finds what no journal
    could know yet when its writer was killed."""
    wanted = f"{variable}={value}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0") and (record := read_process(int(folder.name))):
                    found.append(record)
    return found


def child_pids(pid: int) -> list[int]:
    """Children of the main thread of `pid`."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def signal_process(record: ProcessRecord, number: signal.Signals) -> bool:
    """Send the signal to that very process, never to a later owner of its pid; False when it is gone."""
    try:
        fd = os.pidfd_open(record.pid)
    except OSError:
        return False
    try:
        if not is_alive(record):  # checked after the descriptor was taken: now it cannot change hands
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


def stop_process(record: ProcessRecord, grace_s: float = 5.0) -> bool:
    """Whether there was something to end: SIGTERM, after `grace_s` SIGKILL (at once with 0). Raises RemoteError if it stays."""
    if not signal_process(record, signal.SIGTERM if grace_s else signal.SIGKILL):
        return False
    if grace_s and wait_gone(record, grace_s):
        return True
    signal_process(record, signal.SIGKILL)
    if not wait_gone(record, 10):
        raise RemoteError(f"process {record.pid}", "does not end on SIGKILL", "is it frozen, or stuck in the kernel?")
    return True


def wait_gone(record: ProcessRecord, timeout_s: float) -> bool:
    """Whether the process ended within `timeout_s`."""
    try:
        fd = os.pidfd_open(record.pid)
    except OSError:
        return True
    try:
        if not is_alive(record):
            return True
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))
    finally:
        os.close(fd)


def wait_until(check: Callable[[], bool], timeout_s: float, poll_s: float = POLL_S) -> bool:
    """Whether `check` became true within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True


class EndedError(RemoteError):
    """A child ended before it was ready: `code` as the kernel gave it, `words` the last line it said."""

    def __init__(self, thing: str, reason: str, next_step: str, *, code: int, words: str) -> None:
        self.code = code
        self.words = words
        super().__init__(thing, reason, next_step)


class Child:
    """A started program. `log` gets its output. A context manager stops it.

    `dies_with_us`: the kernel kills it when the THREAD that started it ends, however that happens (PR_SET_PDEATHSIG). Otherwise it
    outlives us unless stopped, and its record belongs into the journal.
    """

    def __init__(
        self,
        name: str,
        argv: list[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        dies_with_us: bool = True,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self.log = log
        command = ["setpriv", "--pdeathsig", "KILL", "--", *argv] if dies_with_us else argv
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                self._begins = {log: output.tell()}  # what stands before is of others
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if env is None else dict(env),
                    cwd=folder,
                    start_new_session=True,
                    pass_fds=pass_fds,
                )
        except FileNotFoundError as error:
            raise UnsupportedError(command[0], "is not installed", "install it, or look at shipwall doctor") from error
        except OSError as error:
            raise StorageError(str(log), error.strerror or str(error), "free space or mend the folder, then try again") from error
        self.pid = self._process.pid
        self.record = read_process(self.pid) or ProcessRecord(self.pid, 0)

    def ended(self) -> int | None:
        """Its exit code (negative: the signal), None while it runs. Reaps it."""
        return self._process.poll()

    def wait_ready(self, check: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Return once `check` is true. Raises EndedError when it ends before, RemoteError when it is too slow, with its last words."""
        if not wait_until(lambda: self.ended() is not None or check(), timeout_s):
            raise RemoteError(self.name, f"was not ready in {timeout_s:.0f} s: {self.last_words()}", f"look at {self.log}")
        if (code := self.ended()) is not None:
            words = self.last_words()
            last = words.rpartition(" / ")[2]
            raise EndedError(self.name, f"ended at once ({code}): {words}", f"look at {self.log}", code=code, words=last)

    def wait(self, timeout_s: float) -> int:
        """Its exit code, once it has ended by itself. Raises RemoteError when it is too slow; it is then still running."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise RemoteError(self.name, f"did not end in {timeout_s:.0f} s", f"look at {self.log}") from error

    def last_words(self) -> str:
        """The end of what it wrote to its log."""
        with contextlib.suppress(OSError):
            lines = self.log.read_bytes()[self._begins.get(self.log, 0) :][-4096:].decode(errors="replace").strip().splitlines()
            return " / ".join(lines[-3:])[-600:] or "it said nothing"
        return "it said nothing"

    def stop(self, grace_s: float = 5.0) -> int:
        """End it (SIGTERM, after `grace_s` SIGKILL) and reap it; returns its exit code."""
        if self.ended() is None:
            self._process.terminate()
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired as error:
            raise RemoteError(self.name, "does not end on SIGKILL", "is it frozen, or stuck in the kernel?") from error

    def leave(self) -> None:
        """Let it run on without us."""
        if self._process.poll() is None:
            self._process.returncode = 0  # or the interpreter would complain of a running child when this object goes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class Supervisor:
    """Several children, started again when they end. Call `check` now and then; `stop` ends all, last started first.

    A child that ends again within 5 s of its start waits twice as long before the next try (0.5 s up to 30 s).
    """

    def __init__(self) -> None:
        self._starts: dict[str, Callable[[], Child]] = {}
        self._children: dict[str, Child] = {}
        self._started: dict[str, float] = {}
        self._pause_s: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def add(self, name: str, start: Callable[[], Child]) -> Child:
        """Start a child with `start`, now and whenever it has ended."""
        child = self._children[name] = start()
        self._starts[name] = start
        self._started[name] = time.monotonic()
        return child

    def check(self) -> list[str]:
        """Names of children found ended since the last call (reaped; they are started again when their pause is over)."""
        ended = []
        now = time.monotonic()
        for name, child in self._children.items():
            if name not in self._due and child.ended() is not None:
                ended.append(name)
                was_short = now - self._started[name] < 5
                self._pause_s[name] = min(30.0, self._pause_s.get(name, 0.25) * 2) if was_short else 0.5
                self._due[name] = now + self._pause_s[name]
        for name in [name for name, due in self._due.items() if due <= now]:
            del self._due[name]
            self._children[name] = self._starts[name]()
            self._started[name] = now
        return ended

    def stop(self, grace_s: float = 5.0) -> None:
        """End every child."""
        for child in reversed(self._children.values()):
            child.stop(grace_s)
        self._children.clear()
        self._due.clear()
