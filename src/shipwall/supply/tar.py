"""Entries of a tar stream, read header by header. A layer's tar is hostile: every size is bounded, every name is cleaned.

Where tar dialects differ this follows Go's `archive/tar`, because that is what engines unpack layers with: what they refuse is an
InputError here, what they unpack is seen here. Python's own tar module is not used: it is slower and more lenient.
Source: POSIX.1-2017 pax; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from shipwall.model.errors import InputError
from shipwall.supply.pieces import Piece
from shipwall.supply.streams import Stream

_T = TypeVar("_T", int, bool)
_BLOCK = 512
_ADLER = 65521
_CHUNK = 1 << 20
_MAX_RECORD = 1 << 20  # a long name or a pax header; Go's limit
_MAX_ENTRIES = 20_000_000
_MAX_SPARSE_BLOCKS = 4096
_ZERO = bytes(_BLOCK)
_KINDS = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "hardlink", b"2": "symlink", b"3": "char", b"4": "block", b"5": "folder",
    b"6": "fifo", b"S": "sparse",
}  # fmt: skip
_EXTENDED = frozenset({b"x", b"g", b"L", b"K"})
_NO_DEVICE = (0, 0)
_MAX_REMEMBERED = 4096  # number fields; real tars hold few different modes and checksums
_WITHOUT_CONTENT = {"hardlink", "symlink", "char", "block", "folder", "fifo"}


@runtime_checkable
class Skippable(Protocol):
    """A stream that can pass over bytes without giving them."""

    def skip(self, size: int) -> None:
        """Pass over `size` bytes; raises InputError when there are fewer."""
        ...


class Entry(NamedTuple):
    """One entry. `path` is relative and clean (no `.`, `..`, empty parts); empty for the root itself.

    `kind`: file, hardlink, symlink, char, block, folder, fifo, sparse, other. `link` as written, for symlinks and hard links.
    `offset` where the content starts in the stream. `device` (major, minor) of char and block. `opaque`: an extended attribute makes
    the folder hide what lies below. `escapes`: the path leads out of the root; it is then given as written, for showing only.
    `is_executable`: an x bit is set.
    """

    path: str
    kind: str
    size: int
    offset: int
    link: str = ""
    device: tuple[int, int] = (0, 0)
    opaque: bool = False
    escapes: bool = False
    is_executable: bool = False


class Entries(Protocol):
    """Entries in order; the content of the last one given can be asked for, once."""

    def __iter__(self) -> Iterator[Entry]:
        """The entries."""
        ...

    def peek(self, size: int) -> bytes:
        """The first `size` bytes of the last entry's content (fewer when it is shorter)."""
        ...

    def read(self) -> bytes | None:
        """The whole content of the last entry; None when it cannot be read, which has then been told."""
        ...

    def pieces(self) -> Iterator[Piece]:
        """The whole content of the last entry, piece by piece; to be iterated to its end. Ends early when it cannot be read."""
        ...


def clean_path(path: str) -> str | None:
    """`path` relative to the root with `.`, `..` and double slashes resolved by text; None when it leads out of the root."""
    if path and path[0] not in "./" and "/." not in path and "//" not in path:  # nearly every path is clean but for a last slash
        return path.removesuffix("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part in {"", "."}:
            continue
        if part == "..":
            if not parts:
                return None
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


class TarWalk:
    """The entries of the tar in a stream, in order; content that is not asked for streams past.

    Iterating and reading raise InputError (naming `name` and the offset) for damage: checksum, size, extended header, early end.
    """

    def __init__(self, stream: Stream, name: str) -> None:
        self._reader = _Reader(stream, name)
        self._size = 0
        self._is_unread = False

    def peek(self, size: int) -> bytes:
        """The first `size` bytes of the last entry's content (fewer when it is shorter); at most 4096."""
        return self._reader.peek(min(size, self._size)) if self._is_unread else b""

    def read(self) -> bytes:
        """The whole content of the last entry; keep an eye on its size first. Once: then it is empty."""
        if not self._is_unread:
            return b""
        self._is_unread = False
        return self._reader.content(self._size)

    def pieces(self) -> Iterator[Piece]:
        """The whole content of the last entry, piece by piece, without copying any; to be iterated to its end."""
        if self._is_unread:
            self._is_unread = False
            yield from self._reader.pieces(self._size)

    def __iter__(self) -> Iterator[Entry]:
        """The entries."""
        reader = self._reader
        sizes, modes = reader.sizes, reader.modes
        pending: _Pending | None = None
        for _ in range(_MAX_ENTRIES):
            header = reader.header()
            if header is None:
                return
            flag = header[156:157]
            field = header[124:136]
            size = sizes.get(field, -1)
            if size < 0:
                size = _remember(sizes, field, reader.number(field, "size"))
            if flag in _EXTENDED:
                if size > _MAX_RECORD:
                    raise reader.damage(f"an extended header of {size} bytes")
                pending = pending or _Pending()
                pending.take(flag, reader.content(size), reader)
                continue
            if flag == b"0" and pending is None:  # nearly all there is: what `_entry` does, at a third of its price
                raw_path = _header_path(header)
                path = clean_path(raw_path)
                is_executable = modes.get(header[100:108])
                if is_executable is None:
                    is_executable = reader.is_executable(header[100:108])
                # Past the named tuple's own constructor, which costs three times this.
                entry = _new_entry(
                    Entry,
                    (
                        raw_path if path is None else path, "file", size, reader.before + reader.at,
                        "", _NO_DEVICE, False, path is None, is_executable,
                    ),
                )  # fmt: skip
            else:
                entry = self._entry(header, flag, size, pending or _NOTHING_PENDING)
                size = entry.size
                pending = None
            if not size:
                self._is_unread = False
                yield entry
                continue
            self._size, self._is_unread = size, True
            yield entry
            if self._is_unread:
                reader.skip_content(size)
        raise reader.damage(f"more than {_MAX_ENTRIES} entries")

    def _entry(self, header: bytes, flag: bytes, size: int, pending: _Pending) -> Entry:
        reader = self._reader
        kind = _KINDS.get(flag, "other")
        pax = pending.pax
        raw_path = pending.path or pax.path or _header_path(header)
        if flag == b"\0" and raw_path.endswith("/"):
            kind = "folder"
        if kind == "sparse":
            reader.skip_sparse_map(header)
        elif pax.is_sparse and kind == "file":
            kind = "sparse"
        if pax.size is not None:
            size = pax.size
        if kind in _WITHOUT_CONTENT:
            size = 0
        path = clean_path(raw_path)
        return Entry(
            raw_path if path is None else path,
            kind,
            size,
            reader.offset,
            (pending.link or pax.link or _text(header[157:257].partition(b"\0")[0])) if kind in {"symlink", "hardlink"} else "",
            (reader.number(header[329:337], "device"), reader.number(header[337:345], "device"))
            if kind in {"char", "block"}
            else _NO_DEVICE,
            pax.is_opaque,
            path is None,
            reader.is_executable(header[100:108]),
        )


class _Pax(NamedTuple):
    """What one pax header says about the entry that follows it."""

    path: str = ""
    link: str = ""
    size: int | None = None
    is_sparse: bool = False
    is_opaque: bool = False


class _Pending:
    """What extended headers said so far. A second pax header replaces the first, and GNU names win over pax ones: as in Go."""

    __slots__ = ("link", "path", "pax")

    def __init__(self) -> None:
        self.path = ""
        self.link = ""
        self.pax = _Pax()

    def take(self, flag: bytes, record: bytes, reader: _Reader) -> None:
        """Note the extended header of type `flag`; global pax headers say nothing that is used."""
        if flag == b"x":
            self.pax = _parse_pax(record, reader)
        elif flag == b"L":
            self.path = _text(record.partition(b"\0")[0])
        elif flag == b"K":
            self.link = _text(record.partition(b"\0")[0])


_new_entry = tuple.__new__
_NOTHING_PENDING = _Pending()


def _parse_pax(record: bytes, reader: _Reader) -> _Pax:
    """The records `LENGTH KEY=VALUE\\n`."""
    pax = _Pax()
    at = 0
    while at < len(record):
        space = record.find(b" ", at, at + 20)
        digits = record[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        if end <= space or end > len(record) or record[end - 1 : end] != b"\n":
            raise reader.damage("a malformed pax record")
        key, equals, value = record[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise reader.damage("a malformed pax record")
        at = end
        if key in {b"path", b"linkpath", b"GNU.sparse.name"} and b"\0" in value:
            raise reader.damage("a zero byte in a pax path")
        if key in {b"path", b"GNU.sparse.name"}:
            pax = pax._replace(path=_text(value))
        elif key == b"linkpath":
            pax = pax._replace(link=_text(value))
        elif key == b"size":
            if not value.isdigit() or len(value) > 18:
                raise reader.damage("a pax size that is not a number")
            pax = pax._replace(size=int(value))
        elif key == b"SCHILY.xattr.trusted.overlay.opaque":
            pax = pax._replace(is_opaque=value == b"y")
        if key.startswith(b"GNU.sparse."):
            pax = pax._replace(is_sparse=True)
    return pax


class _Reader:
    """Blocks of the stream, and where we are."""

    __slots__ = ("_ahead", "_buffer", "_name", "_skip", "_stream", "at", "before", "checksums", "modes", "sizes")

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self._skip = stream.skip if isinstance(stream, Skippable) else None
        self._ahead = _CHUNK if self._skip is None else 32 * 1024  # little is read in vain where content can be passed over
        self._name = name
        self._buffer = b""
        self.at = 0
        self.before = 0  # bytes of the stream before the buffer
        self.checksums: dict[bytes, int] = {}
        self.sizes: dict[bytes, int] = {}
        self.modes: dict[bytes, bool] = {}

    @property
    def offset(self) -> int:
        """Where in the stream the next byte is."""
        return self.before + self.at

    def damage(self, what: str) -> InputError:
        return InputError(self._name, f"damaged tar at byte {self.offset}: {what}", "fetch or save the image again")

    def _fill(self, size: int) -> bool:
        """Have `size` bytes in the buffer; false when the stream ends before."""
        left = self._buffer[self.at :]
        self.before += self.at
        self.at = 0
        while len(left) < size and (more := self._stream.read(max(self._ahead, size - len(left)))):
            left = left + more if left else more
        self._buffer = left
        return len(left) >= size

    def header(self) -> bytes | None:
        """The next header; None at the end of the archive."""
        at = self.at
        block = self._buffer[at : at + _BLOCK]
        self.at = at + _BLOCK
        if len(block) < _BLOCK:
            self.at = at
            is_whole = self._fill(_BLOCK)
            block = self._buffer[:_BLOCK]
            if not block:
                return None
            if not is_whole:
                raise self.damage("it ends inside a header")
            self.at = _BLOCK
        if block == _ZERO:
            if not self._fill(_BLOCK) and not self._buffer:
                return None
            if self._buffer[:_BLOCK] == _ZERO:
                self.at = _BLOCK
                return None
            raise self.damage("a lone zero block")
        field = block[148:156]
        expected = self.checksums.get(field)
        if expected is None:
            expected = _remember(self.checksums, field, (self.number(field, "checksum") + sum(field) - 255) % _ADLER)
        # Adler-32's low half is 1 + the sum of the bytes, modulo 65521: the header's checksum at a fraction of `sum`'s price. A sum
        # is at most 130560, so the modulus leaves two candidates; random damage passes as rarely as with the exact sum. The field itself
        # counts as eight blanks (256).
        if zlib.adler32(block) & 0xFFFF != expected and self.number(field, "checksum") != _signed_sum(block):
            raise self.damage("wrong header checksum")
        return block

    def is_executable(self, field: bytes) -> bool:
        """Whether an x bit is set in a mode field; a negative mode is one, as in Go."""
        mode = field[7] if field[0] >= 0x80 else self.number(field, "mode")
        return _remember(self.modes, field, mode & 0o111 != 0)

    def number(self, field: bytes, what: str) -> int:
        """An octal or base-256 number that is not negative."""
        digits = field.rstrip(b"\0 ")
        if digits.isdigit() and not digits.translate(None, b"01234567"):
            return int(digits, 8)
        if field[:1] >= b"\x80":
            if field[0] & 0x40:
                raise self.damage(f"a negative {what}")
            value = int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
            if value >= 1 << 63:
                raise self.damage(f"an absurd {what}")
            return value
        digits = field.strip(b" \0").partition(b"\0")[0]
        if digits.strip(b"01234567"):
            raise self.damage(f"a {what} that is not octal")
        return int(digits or b"0", 8)

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, which stay next. Raises InputError when there are fewer."""
        if len(self._buffer) - self.at < size and not self._fill(size):
            raise self.damage("it ends inside an entry")
        return self._buffer[self.at : self.at + size]

    def content(self, size: int) -> bytes:
        """`size` bytes and their padding."""
        end = self.at + size
        if end <= len(self._buffer):
            data = self._buffer[self.at : end]
            self.at = end
        else:
            data = self._long_content(size)
        self._pass_padding(size)
        return data

    def pieces(self, size: int) -> Iterator[Piece]:
        """As `content`, piece by piece."""
        missing = size
        while missing:
            start, self.at = self.at, min(self.at + missing, len(self._buffer))
            if self.at > start:
                missing -= self.at - start
                yield Piece(self._buffer, start, self.at)
                continue
            self.before += len(self._buffer)
            self._buffer, self.at = self._stream.read(self._ahead), 0
            if not self._buffer:
                raise self.damage("it ends inside an entry")
        self._pass_padding(size)

    def _long_content(self, size: int) -> bytes:
        # One buffer that grows with what really comes, so that neither a lie about the size nor joining costs memory.
        whole = io.BytesIO()
        whole.write(memoryview(self._buffer)[self.at :])
        missing = size - whole.tell()
        while missing:
            more = self._stream.read(self._ahead)
            if not more:
                raise self.damage("it ends inside an entry")
            whole.write(more[:missing])
            self.before += len(self._buffer)
            self._buffer, self.at = more, min(missing, len(more))
            missing -= self.at
        return whole.getvalue()

    def _pass_padding(self, size: int) -> None:
        """Pass over what fills the last block, which may be missing at the very end: Go accepts that."""
        self.at += -size % _BLOCK
        if self.at > len(self._buffer):
            beyond = self.at - len(self._buffer)
            self.at = len(self._buffer)
            self._fill(beyond)
            self.at = min(beyond, len(self._buffer))

    def skip_content(self, size: int) -> None:
        """Pass over `size` bytes and their padding."""
        end = self.at + size
        if end <= len(self._buffer):
            self.at = end
        else:
            missing = end - len(self._buffer)
            if self._skip is not None:
                self._skip(missing)
                self.before += len(self._buffer) + missing
                self._buffer, self.at = b"", 0
            else:
                self._skip_by_reading(missing)
        self._pass_padding(size)

    def _skip_by_reading(self, missing: int) -> None:
        while True:
            self.before += len(self._buffer)
            self._buffer, self.at = self._stream.read(self._ahead), 0
            if not self._buffer:
                raise self.damage("it ends inside an entry")
            if missing <= len(self._buffer):
                self.at = missing
                return
            missing -= len(self._buffer)

    def skip_sparse_map(self, header: bytes) -> None:
        """Pass over the continuation blocks of an old GNU sparse header."""
        more = header[482]
        for _ in range(_MAX_SPARSE_BLOCKS):
            if not more:
                return
            if not self._fill(_BLOCK):
                raise self.damage("it ends inside a sparse map")
            more = self._buffer[504]
            self.at = _BLOCK
        raise self.damage("an absurd sparse map")


def _remember(known: dict[bytes, _T], field: bytes, value: _T) -> _T:
    if len(known) >= _MAX_REMEMBERED:
        known.clear()
    known[field] = value
    return value


def _signed_sum(block: bytes) -> int:
    """The checksum of old tars that added the bytes as signed."""
    filled = block[:148] + b"        " + block[156:]
    return sum(byte - 256 if byte > 127 else byte for byte in filled)


def _header_path(header: bytes) -> str:
    path = header[:100].partition(b"\0")[0]
    if header[345] and header[257:263] == b"ustar\0":
        prefix = header[345:500].partition(b"\0")[0]
        if prefix:
            path = prefix + b"/" + path
    return _text(path)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
