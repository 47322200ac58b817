"""Streams of layer bytes: decompression with bounded memory, and the two digests every layer is known by.

Nothing here opens anything: a stream is whatever has `read(size)`. Gzip is unpacked by ISA-L where it exists (twice to four times as
fast as zlib), else by zlib; both check the stored checksum, and a law holds them to the same answers. Both leave Python's lock while
they work, ISA-L for a whole chunk at a time, so that other threads run beside.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import zlib
from collections.abc import Callable
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


class Hasher(Protocol):
    """Takes bytes in order, tells their digest: as `hashlib` does, perhaps elsewhere than here and now."""

    def update(self, data: bytes, /) -> None:
        """Take `data`."""
        ...

    def hexdigest(self) -> str:
        """Of all that was taken."""
        ...


class _Hashed:
    """A stream that hashes what passes."""

    def __init__(self, raw: Stream, hasher: Hasher) -> None:
        self._raw = raw
        self._hash = hasher
        self.count = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        data = self._raw.read(size)
        self._hash.update(data)
        self.count += len(data)
        return data

    def digest(self) -> Digest:
        return "sha256:" + self._hash.hexdigest()


class _NoHash:
    """Hashes nothing."""

    def update(self, data: bytes, /) -> None:
        """Pass over `data`."""

    def hexdigest(self) -> str:
        """Of nothing."""
        return ""


class Engine(Protocol):
    """Unpacks one member, as `lzma.LZMADecompressor` does."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _ZlibEngine:
    """A gzip member unpacked by zlib."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        """Whether the member has ended, its checksum right."""
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        """Whether nothing comes without more input."""
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        """What follows the member."""
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Up to `max_length` bytes."""
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


def _xz_engine() -> Engine:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)


class _Members:
    """Unpacks members one after another, never more than is asked for at a time."""

    def __init__(self, raw: Stream, first: bytes, name: str, kind: str, new_engine: Callable[[], Engine]) -> None:
        self._raw = raw
        self._name = name
        self._kind = kind
        self._new_engine = new_engine
        self._engine = new_engine()
        self._input = first

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        while True:
            if self._engine.eof:
                self._input = self._next_member()
                if not self._input:
                    return b""
                self._engine = self._new_engine()
            if self._engine.needs_input and not self._input:
                self._input = self._raw.read(_CHUNK)
                if not self._input:
                    raise _too_short(self._name, self._kind)
            try:
                result = self._engine.decompress(self._input, size)
            except (zlib.error, lzma.LZMAError) as error:
                raise _damaged(self._name, self._kind, error) from error
            self._input = b""
            if result:
                return result

    def _next_member(self) -> bytes:
        """The first bytes of what follows a member; zeros after one of gzip are padding, as for gzip(1)."""
        data = self._engine.unused_data or self._raw.read(_CHUNK)
        while self._kind == "gzip" and data and not (data := data.lstrip(b"\0")):
            data = self._raw.read(_CHUNK)
        return data


class _Source(io.RawIOBase):
    """A stream as a file."""

    def __init__(self, raw: Stream) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Isal:
    """Unpacks gzip members one after another by ISA-L; its memory is bounded, a header of more than half a megabyte damage."""

    def __init__(self, raw: Stream, first: bytes, name: str) -> None:
        """*Raises* ImportError where there is no build of it for this processor."""
        from isal import igzip, isal_zlib

        self._name = name
        isal_error = cast("type[Exception]", isal_zlib.error)
        self._damage = (igzip.BadGzipFile, zlib.error, OverflowError, isal_error)
        self._file = igzip.IGzipFile(fileobj=_Source(Joined(first, raw)), mode="rb")  # type: ignore[no-untyped-call]

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        try:
            return self._file.read1(size)
        except EOFError as error:
            raise _too_short(self._name, "gzip") from error
        except self._damage as error:
            raise _damaged(self._name, "gzip", error) from error


def _damaged(name: str, kind: str, error: Exception) -> InputError:
    return InputError(name, f"damaged {kind} stream: {error}", "fetch or save the image again")


def _too_short(name: str, kind: str) -> InputError:
    return InputError(name, f"its {kind} stream ends too early", "fetch or save the image again")


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
            raise _damaged(self._name, "zstd", error) from error


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


def _ungzip(raw: Stream, first: bytes, name: str) -> Stream:
    try:
        return _Isal(raw, first, name)
    except ImportError:
        return _by_zlib(raw, first, name)


def _by_zlib(raw: Stream, first: bytes, name: str) -> Stream:
    return _Members(raw, first, name, "gzip", _ZlibEngine)


def inflate(raw: Stream, name: str, *, allow_xz: bool = False) -> Stream:
    """The plain bytes of `raw`, which is gzip, zstd or neither (told by its first bytes); packages may use xz too.

    Raises InputError for other compressions here, and for damage while reading.
    """
    first = b""
    while len(first) < 6 and (more := raw.read(_CHUNK)):
        first += more
    if first[:2] == b"\x1f\x8b":
        return _ungzip(raw, first, name)
    if first[:4] == b"\x28\xb5\x2f\xfd":
        return _Unzstd(raw, first, name)
    if allow_xz and first[:6] == b"\xfd7zXZ\x00":
        return _Members(raw, first, name, "xz", _xz_engine)
    if first[:6] == b"\xfd7zXZ\x00" or first[:3] == b"BZh":
        raise InputError(name, "is compressed by xz or bzip2, which is not read here", "save the image with gzip or zstd")
    return Joined(first, raw)


class LayerStream:
    """The tar inside one layer, hashed on the way: read it, then ask `finish`."""

    def __init__(
        self, raw: Stream, name: str, limit_bytes: int = MAX_LAYER_BYTES, new_hash: Callable[[], Hasher] = hashlib.sha256
    ) -> None:
        """`new_hash` gives an empty SHA-256."""
        self._name = name
        self._limit = limit_bytes
        self._blob = _Hashed(raw, new_hash())
        plain = inflate(self._blob, name)
        self._is_plain = isinstance(plain, Joined)  # then both digests are of the same bytes, and one hash does
        self._tar = _Hashed(plain, _NoHash() if self._is_plain else new_hash())

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
        blob = self._blob.digest()
        return LayerDigests(blob, blob if self._is_plain else self._tar.digest(), self._blob.count, self._tar.count)
