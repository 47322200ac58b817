"""Large files in pieces as their stream gives them: which of them are held, and reading from those that are."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from shipwall.model.errors import InputError


class Piece(NamedTuple):
    """The bytes of `buffer` from `start` to `end`, the next of a file: not copied out of what was read ahead."""

    buffer: bytes
    start: int
    end: int


class NotHeldError(InputError):
    """Part of a file that is asked for was not held while it streamed past."""


class HeldFile:
    """A file of `size` bytes of which some pieces are held."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.held_bytes = 0
        self._starts: list[int] = []
        self._pieces: list[Piece] = []

    def hold(self, at: int, piece: Piece) -> None:
        """Hold `piece`, which begins at byte `at` of the file; in order, none twice."""
        self._starts.append(at)
        self._pieces.append(piece)
        self.held_bytes += piece.end - piece.start

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`, fewer at the end of the file: as a slice. *Raises* NotHeldError."""
        end = min(end, self.size)
        if start >= end:
            return b""
        index = bisect_right(self._starts, start) - 1
        parts = []
        while start < end:
            piece = self._pieces[index] if 0 <= index < len(self._pieces) else Piece(b"", 0, 0)
            begin = piece.start + start - self._starts[index] if piece.buffer else 0
            part = piece.buffer[begin : min(piece.end, begin + end - start)] if piece.buffer and begin >= piece.start else b""
            if not part:
                raise NotHeldError(self.name, f"what lies at byte {start} of its {self.size} is not held")
            parts.append(part)
            start += len(part)
            index += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)


def held_whole(name: str, data: bytes) -> HeldFile:
    """`data`, all of it."""
    file = HeldFile(name, len(data))
    file.hold(0, Piece(data, 0, len(data)))
    return file
