"""Streams of layer bytes: decompression with bounded memory, and the two digests every layer is known by.

Nothing here opens anything: a stream is whatever has `read(size)`.
"""

from __future__ import annotations

import hashlib
import lzma
import zlib
from typing import IO, NamedTuple, Protocol, cast

from shipwall.model.digest import Digest
from shipwall.model.errors import InputError

_CHUNK = 256 * 1024
_MAX_ZSTD_WINDOW = 1 << 27  # 128 MiB: zstd's own limit for `--long`; a hostile header cannot ask for more
_MAX_XZ_MEMORY = 256 << 20  # xz -9 needs 65 MiB
MAX_LAYER_BYTES = 256 << 30
"""No layer unfolds to more; a bomb ends here at the latest (memory never grows with it)."""


class Stream(Protocol):
    """Bytes in order: `read(size)` gives up to `size` bytes, and nothing only at the end."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        ...


class LayerDigests(NamedTuple):
    """`blob` is the digest of the bytes as stored, `diff_id` of the tar inside; both sizes in bytes."""

    blob: Digest
    diff_id: Digest
    blob_bytes: int
    diff_bytes: int


class _Hashed:
    """A stream that hashes what passes."""

    def __init__(self, raw: Stream) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self.count = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        data = self._raw.read(size)
        self._hash.update(data)
        self.count += len(data)
        return data

    def digest(self) -> Digest:
        return "sha256:" + self._hash.hexdigest()


class _Gunzip:
    """Inflates gzip members one after another, never more than a chunk at a time."""

    def __init__(self, raw: Stream, first: bytes, name: str) -> None:
        self._raw = raw
        self._name = name
        self._engine = zlib.decompressobj(31)
        self._input = first

    def read(self, size: int, /) -> bytes:
        while True:
            if self._engine.eof:
                self._input = self._engine.unused_data or self._raw.read(_CHUNK)
                if not self._input:
                    return b""
                self._engine = zlib.decompressobj(31)
            data = self._input or self._raw.read(_CHUNK)
            if not data:
                raise InputError(self._name, "its gzip stream ends too early", "fetch or save the image again")
            try:
                result = self._engine.decompress(data, size)
            except zlib.error as error:
                raise InputError(self._name, f"damaged gzip stream: {error}", "fetch or save the image again") from error
            self._input = self._engine.unconsumed_tail
            if result:
                return result


class _Unzstd:
    """Inflates zstd frames, one after another."""

    def __init__(self, raw: Stream, first: bytes, name: str) -> None:
        import zstandard

        self._name = name
        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW).stream_reader(
            cast("IO[bytes]", Joined(first, raw)), read_size=_CHUNK, read_across_frames=True
        )

    def read(self, size: int, /) -> bytes:
        try:
            return self._reader.read(size)
        except self._error as error:
            raise InputError(self._name, f"damaged zstd stream: {error}", "fetch or save the image again") from error


class _Unxz:
    """Inflates xz streams, one after another."""

    def __init__(self, raw: Stream, first: bytes, name: str) -> None:
        self._raw = raw
        self._name = name
        self._engine = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)
        self._input = first

    def read(self, size: int, /) -> bytes:
        while True:
            if self._engine.eof:
                self._input = self._engine.unused_data or self._raw.read(_CHUNK)
                if not self._input:
                    return b""
                self._engine = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)
            if self._engine.needs_input and not self._input:
                self._input = self._raw.read(_CHUNK)
                if not self._input:
                    raise InputError(self._name, "its xz stream ends too early", "fetch it again")
            try:
                result = self._engine.decompress(self._input, size)
            except lzma.LZMAError as error:
                raise InputError(self._name, f"damaged xz stream: {error}", "fetch it again") from error
            self._input = b""
            if result:
                return result


class Joined:
    """`first`, then what `raw` still has."""

    def __init__(self, first: bytes, raw: Stream) -> None:
        self._first = first
        self._raw = raw

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""
        if not self._first:
            return self._raw.read(size if size >= 0 else _CHUNK)
        if size < 0:
            size = len(self._first)
        data, self._first = self._first[:size], self._first[size:]
        return data


def inflate(raw: Stream, name: str, *, allow_xz: bool = False) -> Stream:
    """The plain bytes of `raw`, which is gzip, zstd or neither (told by its first bytes); packages may use xz too.

    Raises InputError for other compressions here, and for damage while reading.
    """
    first = b""
    while len(first) < 6 and (more := raw.read(_CHUNK)):
        first += more
    if first[:2] == b"\x1f\x8b":
        return _Gunzip(raw, first, name)
    if first[:4] == b"\x28\xb5\x2f\xfd":
        return _Unzstd(raw, first, name)
    if allow_xz and first[:6] == b"\xfd7zXZ\x00":
        return _Unxz(raw, first, name)
    if first[:6] == b"\xfd7zXZ\x00" or first[:3] == b"BZh":
        raise InputError(name, "is compressed by xz or bzip2, which images may not use", "save the image with gzip or zstd")
    return Joined(first, raw)


class LayerStream:
    """The tar inside one layer, hashed on the way: read it, then ask `finish`."""

    def __init__(self, raw: Stream, name: str, limit_bytes: int = MAX_LAYER_BYTES) -> None:
        self._name = name
        self._limit = limit_bytes
        self._blob = _Hashed(raw)
        self._tar = _Hashed(inflate(self._blob, name))

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes of the tar."""
        data = self._tar.read(size)
        if self._tar.count > self._limit:
            raise InputError(self._name, f"unfolds to more than {self._limit} bytes", "do not trust this image")
        return data

    def finish(self) -> LayerDigests:
        """Read what is left and give the digests."""
        while self.read(_CHUNK):
            pass
        while self._blob.read(_CHUNK):
            pass
        return LayerDigests(self._blob.digest(), self._tar.digest(), self._blob.count, self._tar.count)
