"""The journal: what is about to be done is written before, and confirmed after; a crash between two acts is found.

ONE pattern for every effect that outlives a process (namespaces, cgroups, frozen containers, plans, promotions). Append-only lines of
JSON, each synced to disk before the act; a torn last line is what a crash leaves and is ignored on reading.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from shipwall.model.errors import StorageError


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One act. `act` names what (`freeze`, `start-engine`), `status` begun, confirmed, failed or undone; `facts` what undoing needs."""

    key: str
    act: str
    status: str
    time_ns: int
    facts: dict[str, Any] = {}


_entry_decoder = msgspec.json.Decoder(Entry)


class Journal:
    """The journal in file `path`. Safe for several processes; every append is one write under a lock, then fsync."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, key: str, act: str, **facts: Any) -> None:
        """Record that `act` on `key` is about to happen. Call BEFORE the act."""
        self._append(Entry(key=key, act=act, status="begun", time_ns=time.time_ns(), facts=facts))

    def confirm(self, key: str, act: str, **facts: Any) -> None:
        """Record that `act` on `key` has happened."""
        self._append(Entry(key=key, act=act, status="confirmed", time_ns=time.time_ns(), facts=facts))

    def fail(self, key: str, act: str, **facts: Any) -> None:
        """Record that `act` on `key` was tried and failed, leaving nothing behind."""
        self._append(Entry(key=key, act=act, status="failed", time_ns=time.time_ns(), facts=facts))

    def undo(self, key: str, act: str, **facts: Any) -> None:
        """Record that what `act` left behind on `key` has been taken away."""
        self._append(Entry(key=key, act=act, status="undone", time_ns=time.time_ns(), facts=facts))

    def read(self) -> list[Entry]:
        """All entries, oldest first. A torn last line is left out. Raises StorageError: not readable, or an earlier line is damaged."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(str(self.path), error.strerror or str(error), "look at its permissions, or be root") from error
        entries = []
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                entries.append(_entry_decoder.decode(line))
            except msgspec.MsgspecError as error:
                if number == len(lines):
                    continue
                raise StorageError(
                    f"{self.path}:{number}", f"damaged journal line: {error}", "restore it from a backup"
                ) from error
        return entries

    def last(self) -> dict[tuple[str, str], Entry]:
        """The newest entry of every (key, act), with the facts of all its entries merged, in order of first appearance."""
        state: dict[tuple[str, str], Entry] = {}
        for entry in self.read():
            before = state.get((entry.key, entry.act))
            if before is not None and entry.status != "begun":
                entry = msgspec.structs.replace(entry, facts={**before.facts, **entry.facts})  # noqa: PLW2901
            state[entry.key, entry.act] = entry
        return state

    def unfinished(self) -> list[Entry]:
        """Acts begun and neither confirmed, failed nor undone, oldest first: where a crash happened."""
        return [entry for entry in self.last().values() if entry.status == "begun"]

    def standing(self) -> list[Entry]:
        """Acts begun or confirmed and not undone, NEWEST first: what a clean-up has to take away, in that order."""
        return [entry for entry in reversed(self.last().values()) if entry.status in ("begun", "confirmed")]

    def _append(self, entry: Entry) -> None:
        line = msgspec.json.encode(entry) + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                end = os.lseek(fd, 0, os.SEEK_END)
                if end and os.pread(fd, 1, end - 1) != b"\n":  # a torn line of an earlier crash: cut it off, then go on
                    end = _whole_lines(fd, end)
                    os.ftruncate(fd, end)
                written = os.pwrite(fd, line, end)
                if written != len(line):
                    os.ftruncate(fd, end)
                    raise StorageError(str(self.path), "disk full", "free space, then run the command again")
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise StorageError(
                str(self.path), error.strerror or str(error), "free space or mend the folder, then try again"
            ) from error


def _whole_lines(fd: int, size: int) -> int:
    """The length of the leading part of the file that ends in a line break."""
    data = os.pread(fd, size, 0)
    return data.rfind(b"\n") + 1
