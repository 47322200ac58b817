"""Streams of bytes in other shapes: an engine's framed output, a file over chunks."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from shipwall.model.errors import InputError


def split_frames(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Stream number (1 output, 2 errors) and bytes of the engine's multiplexed output, in bounded memory; a cut end is left out.

    *Shape*: 8-byte header (stream, 3 zero bytes, big-endian length), then the bytes. *Raises* InputError for another header.
    *Source*: Docker Engine API v1.41, attach, "Stream format".
    """
    rest = b""
    stream, left = 0, 0
    for chunk in chunks:
        rest += chunk
        at = 0
        while at < len(rest):
            if not left:
                if len(rest) - at < 8:
                    break
                stream, zeros, left = struct.unpack_from(">B3sI", rest, at)
                if stream > 2 or zeros != b"\0\0\0":
                    raise InputError("engine output", "is not in the framed form")
                at += 8
                continue
            part = rest[at : at + left]
            at += len(part)
            left -= len(part)
            yield stream, part
        rest = rest[at:]


class ChunkFile(io.RawIOBase):
    """A readable, unseekable file over `chunks`; holds one chunk at a time."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` from the current chunk; 0 at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        """End the source, when it can be ended."""
        end = getattr(self._chunks, "close", None)
        if end is not None and not self.closed:
            end()
        super().close()


def file_chunks(file: BinaryIO, size: int = 1024 * 1024) -> Iterator[bytes]:
    """The rest of `file`, in pieces of at most `size` bytes."""
    while chunk := file.read(size):
        yield chunk
