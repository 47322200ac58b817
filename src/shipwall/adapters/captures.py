"""Capture files: written part by part, each part whole on disk before the next, bounded; read without loading them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from shipwall.model.errors import InputError, StorageError
from shipwall.model.event import Event
from shipwall.runtime.capture import MAGIC, PART_RECORDS, End, Reader, Record, render_part

CHUNK_BYTES = 1024 * 1024


class CaptureFile:
    """A new file at `path`, readable by its owner only: it holds command lines and environments. A context manager.

    Never replaces a file. A recorder killed at any moment leaves the parts written so far, which `read_capture` reads. Raises
    StorageError when the disk refuses; what was written stays.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.events = 0
        self.size_bytes = 0
        self._waiting: list[Record] = []
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileExistsError as error:
            raise InputError(str(path), "is there already", "name a new file") from error
        except OSError as error:
            raise self._refused(error) from error
        self._write(MAGIC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @property
    def is_full(self) -> bool:
        """Whether the bound is reached: end it then."""
        return self.size_bytes >= self.max_bytes

    def put(self, record: Record) -> None:
        """Add a record; on disk by the next `flush`, at the latest after PART_RECORDS of them."""
        self._waiting.append(record)
        self.events += isinstance(record, Event)
        if len(self._waiting) >= PART_RECORDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            part, self._waiting = render_part(self._waiting), []
            self._write(part)

    def finish(self, end: End) -> None:
        """Write the end, durably: from now on the capture is whole."""
        self._waiting.append(end)
        self.flush()
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._refused(error) from error

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise self._refused(error) from error
        self.size_bytes += len(data)

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(str(self.path), error.strerror or str(error), "free space or choose another place")


def read_capture(path: Path) -> Reader:
    """The capture in a file. Raises StorageError when it cannot be read, InputError when it is no capture."""
    return Reader(_chunks(path), str(path))


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "check the path") from error
