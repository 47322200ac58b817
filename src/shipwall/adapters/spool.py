"""A bounded queue of messages on disk, in order, that survives kill -9: what somebody has to be told and has not acknowledged yet.

Segments `NNNNNNNNNNNNNNNN.spool` (named by their first number) hold records: 4 bytes length, 4 bytes CRC-32, 8 bytes number (all
big-endian), and the bytes. Appending is one write without fsync: a killed process loses nothing, a power cut may lose the last seconds.
A record cut off by a crash ends its segment; a damaged one is counted in `lost` with all that follow it in its segment.
Above `max_bytes` the oldest segment goes, and what it held is counted in `lost`. One process at a time.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shipwall.model.errors import StorageError

MAX_BYTES = 64 << 20
SEGMENT_BYTES = 1 << 20
_HEAD = struct.Struct(">IIQ")
_SUFFIX = ".spool"


class _Segment(NamedTuple):
    """A closed or open file: its numbers (`last` 0 when empty) and how many records and bytes it holds."""

    path: Path
    first: int
    last: int
    records: int
    size_bytes: int


class Spool:
    """The queue in `folder`. `number` is the highest number given out, `lost` counts what was dropped or damaged."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Raises StorageError when the folder cannot be used."""
        self.lost = 0
        self.number = 0
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._acknowledged = 0
        self._segments: deque[_Segment] = deque()
        self._fd = -1
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in sorted(folder.glob(f"*{_SUFFIX}")):
                self._recover(path)
        except OSError as error:
            raise self._trouble(error) from error

    def append(self, data: bytes) -> int:
        """Keep `data`; returns its number. Raises StorageError (disk full, read-only); then nothing of it is kept."""
        number = self.number + 1
        record = _HEAD.pack(len(data), zlib.crc32(data), number) + data
        try:
            if self._fd < 0 or self._segments[-1].size_bytes + len(record) > self._segment_bytes:
                self._open_segment(number)
            current = self._segments[-1]
            written = os.write(self._fd, record)
            if written < len(record):
                os.ftruncate(self._fd, current.size_bytes)
                raise StorageError(str(current.path), "the disk took only a part of a message", "free space")
        except OSError as error:
            raise self._trouble(error) from error
        self.number = number
        self._segments[-1] = current._replace(
            last=number, records=current.records + 1, size_bytes=current.size_bytes + len(record)
        )
        while len(self._segments) > 1 and sum(segment.size_bytes for segment in self._segments) > self._max_bytes:
            dropped = self._segments.popleft()
            self.lost += dropped.last - max(dropped.first - 1, self._acknowledged) if dropped.last > self._acknowledged else 0
            dropped.path.unlink(missing_ok=True)
        return number

    def acknowledge(self, number: int) -> None:
        """Forget everything up to and with `number`."""
        self._acknowledged = max(self._acknowledged, number)
        while self._segments and self._segments[0].last <= self._acknowledged:
            if len(self._segments) == 1:
                if self._segments[0].size_bytes < self._segment_bytes // 4:
                    return  # the open one goes when it has grown
                self._close()
            self._segments.popleft().path.unlink(missing_ok=True)

    def pending(self) -> Iterator[tuple[int, bytes]]:
        """What is not acknowledged, oldest first, as it was when the iteration began. Raises StorageError."""
        for segment in list(self._segments):
            if segment.last > self._acknowledged:
                try:
                    data = segment.path.read_bytes()
                except FileNotFoundError:
                    continue  # dropped meanwhile, and counted
                except OSError as error:
                    raise self._trouble(error) from error
                for number, body, _end in _records(data):
                    if number > self._acknowledged:
                        yield number, body

    @property
    def waiting(self) -> int:
        """How many messages are not acknowledged."""
        return sum(
            segment.records if segment.first > self._acknowledged else max(0, segment.last - self._acknowledged)
            for segment in self._segments
        )

    def close(self) -> None:
        """Let go of the files; what is pending stays for the next start."""
        if self._segments and not self.waiting:
            self._close()
            while self._segments:
                self._segments.popleft().path.unlink(missing_ok=True)
        self._close()

    def _recover(self, path: Path) -> None:
        data = path.read_bytes()
        numbers: list[int] = []
        end = 0
        for number, _body, at in _records(data):
            numbers.append(number)
            end = at
        if not numbers:
            self.lost += 1 if len(data) >= _HEAD.size and _is_damaged(data, 0) else 0
            path.unlink()
            return
        if _is_damaged(data, end):
            self.lost += 1
        if end < len(data):
            os.truncate(path, end)
        self.number = max(self.number, numbers[-1])
        self._segments.append(_Segment(path, numbers[0], numbers[-1], len(numbers), end))

    def _open_segment(self, first: int) -> None:
        self._close()
        path = self._folder / f"{first:016d}{_SUFFIX}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._segments.append(_Segment(path, first, 0, 0, 0))

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _trouble(self, error: OSError) -> StorageError:
        return StorageError(str(self._folder), error.strerror or str(error), "free space or mend the folder")


def _records(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Number, bytes and end of each whole and undamaged record, up to the first that is not."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, checksum, number = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + length
        body = data[at + _HEAD.size : end]
        if len(body) < length or zlib.crc32(body) != checksum:
            return
        yield number, body, end
        at = end


def _is_damaged(data: bytes, at: int) -> bool:
    """Whether a whole record with another checksum begins at `at`; one that was cut off was never promised to be kept."""
    if at + _HEAD.size > len(data):
        return False
    length, _checksum, _number = _HEAD.unpack_from(data, at)
    return at + _HEAD.size + int(length) <= len(data)
