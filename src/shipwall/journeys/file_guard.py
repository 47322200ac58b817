"""The file guard as the agent uses it: one process for all containers with file rules, started when the first comes, found again later.

It goes on when the agent is killed. One that does not answer within `TIMEOUT_S` is ended, because containers wait for it: *on failure*
open, and the raised error says so.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from shipwall.adapters.supervise import ProcessRecord, read_process, stop_process
from shipwall.kernel.file_guard_loop import PACKET_BYTES, Ask, OpenDecision, Said, State
from shipwall.model.errors import InputError, KernelError
from shipwall.runtime.file_refusals import FileRefusal

TIMEOUT_S = 5.0


class GuardEndedError(KernelError):
    """The guard is no more: nothing is refused in any container."""


class FileGuard:
    """The guard with its traces in `folder` (short: a socket lies there). Close it, or leave `with`: what it refuses stays refused."""

    def __init__(self, folder: Path) -> None:
        """Find the running guard, or start one. Raises KernelError."""
        self._folder = folder
        self._untold = 0
        found = _connect(folder)
        if found is None:
            take_away(folder)
            try:
                _start(folder)
            except OSError as error:  # a path too long for a socket, no processes left
                raise KernelError(
                    "file guard", f"does not start: {error.strerror or error}", "a shorter state folder?"
                ) from error
            found = _connect(folder)
        if found is None:
            raise KernelError("file guard", "does not listen", f"see {folder / 'log'}")
        self._socket = found

    def guard(self, container: str, pid: int, cgroup: str, refusals: tuple[FileRefusal, ...]) -> State:
        """Put `refusals` in force for the container of process `pid` (its v2 cgroup `/docker/ID`), in the place of what was there.

        The returned state names the mounts that are not guarded. Empty: as `release`. Raises KernelError, InputError (too many).
        """
        if not refusals:
            self.release(container)
            return State(container, (), 0, 0, 0, 0, ())
        return self._ask(Ask("guard", container, pid, cgroup, refusals)).states[0]

    def release(self, container: str) -> None:
        """Refuse nothing of the container any more. Raises KernelError."""
        self._ask(Ask("release", container))

    def states(self) -> tuple[State, ...]:
        """What is in force, also what an earlier agent put there. Raises KernelError."""
        found: list[State] = []
        while states := self._ask(Ask("state", found[-1].container if found else "")).states:
            found += states
        return tuple(found)

    def take(self) -> tuple[list[OpenDecision], int]:
        """The opens that were refused or would have been since the last call, oldest first, and how many could not be kept."""
        decisions: list[OpenDecision] = []
        untold = 0
        while True:
            said = self._ask(Ask("take"))
            decisions += said.decisions
            untold += said.untold
            if not said.decisions:
                return decisions, untold

    def _ask(self, question: Ask) -> Said:
        data = msgspec.json.encode(question)
        if len(data) > PACKET_BYTES:
            raise InputError("file rules", f"take {len(data):,} bytes, more than {PACKET_BYTES:,}", "join or shorten them")
        try:
            self._socket.send(data)
            packet = self._socket.recv(PACKET_BYTES)
        except OSError as error:
            packet, why = b"", f"does not answer ({error.strerror or error}) and was ended: opens are allowed"
        else:
            why = "ended: opens are allowed"
        if not packet:
            take_away(self._folder)
            raise GuardEndedError("file guard", why, "it is started again with the next container")
        said = msgspec.json.decode(packet, type=Said)
        if said.error:
            raise KernelError("file guard", said.error)
        return said

    def close(self) -> None:
        """Let go; what is in force stays in force."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def take_away(folder: Path) -> list[str]:
    """Lines saying what was ended: nothing is refused by the guard of `folder` afterwards. Right also when it is gone."""
    said = []
    with suppress(FileNotFoundError, msgspec.MsgspecError):
        record = msgspec.json.decode((folder / "process.json").read_bytes(), type=ProcessRecord)
        if stop_process(record, 0):
            said.append(f"ended the file guard {record.pid}")
    if folder.exists():
        shutil.rmtree(folder)
    return said


def _start(folder: Path) -> None:
    """Its record is written before it may guard anything: it hears nobody before this process has connected."""
    folder.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, (folder / "log").open("ab") as log:
        listener.bind(str(folder / "socket"))
        listener.listen(4)
        child = subprocess.Popen(
            [sys.executable, "-I", "-m", "shipwall.kernel.file_guard_loop"],
            stdin=listener.fileno(),
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    record = read_process(child.pid)
    if record is None:
        raise KernelError("file guard", "does not start", f"see {folder / 'log'}")
    fresh = folder / "process.new"
    fresh.write_bytes(msgspec.json.encode(record))
    fresh.replace(folder / "process.json")
    child.returncode = 0  # it is nobody's child to wait for: it outlives this process


def _connect(folder: Path) -> socket.socket | None:
    """A conversation with the running guard; None when there is none."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.settimeout(TIMEOUT_S)
    try:
        one.connect(str(folder / "socket"))
    except OSError:
        one.close()
        return None
    return one
