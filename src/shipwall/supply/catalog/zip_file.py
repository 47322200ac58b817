"""Members of a ZIP archive in memory: the central directory in one pass, and single members inflated within bounds.

Python's own zip module is not used: it makes an object of each of a jar's thousands of entries, and raises half a dozen kinds of error.
Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12, 4.3.14, 4.3.16, 4.4.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from shipwall.model.errors import InputError

_END = struct.Struct("<4s4H2IH")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_MAX_COMMENT = 65_535
_MAX_ENTRIES = 1_000_000
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8


class Member(NamedTuple):
    """One entry of the central directory. `size` as it claims; `offset` of its local header."""

    name: str
    method: int
    encrypted: bool
    packed: int
    size: int
    offset: int


def list_members(data: bytes, name: str, wants: Callable[[bytes], bool]) -> Iterator[Member]:
    """The entries of the archive `data` that `wants` by their raw names. *Raises* InputError (naming `name`) for what is no archive.

    The directory ends where it says by its size, as for Java: its number of entries is modulo 65,536 where large ones were written in the
    old form, and a lie in hostile ones.
    """
    at, end, shift = _find_directory(data, name)
    for _ in range(_MAX_ENTRIES):
        if at >= end:
            return
        if at + _ENTRY.size > end:
            raise InputError(name, "its central directory is cut off")
        fields = _ENTRY.unpack_from(data, at)
        if fields[0] != b"PK\x01\x02":
            raise InputError(name, "its central directory is damaged")
        name_length, extra_length, comment_length = fields[10:13]
        after = at + _ENTRY.size + name_length
        raw = data[at + _ENTRY.size : after]
        if wants(raw):
            packed, size, offset = fields[8], fields[9], fields[16]
            if 0xFFFFFFFF in {packed, size, offset}:
                packed, size, offset = _wide(data[after : after + extra_length], packed, size, offset)
            yield Member(
                raw.decode("utf-8", "backslashreplace"), fields[4], bool(fields[3] & _ENCRYPTED), packed, size, offset + shift
            )
        at = after + extra_length + comment_length
    if at < end:
        raise InputError(name, f"has more than {_MAX_ENTRIES} entries; the rest is not read")


def read_member(data: bytes, member: Member, name: str, max_bytes: int) -> bytes:
    """The content of `member`. *Raises* InputError when it is damaged, encrypted, or inflates to more than `max_bytes`."""
    what = f"{name}!/{member.name}"
    if member.encrypted or member.method not in {_STORED, _DEFLATED}:
        raise InputError(what, "is encrypted or packed by a method that is not read")
    if not 0 <= member.offset <= len(data) - _LOCAL.size:
        raise InputError(what, "lies outside of its archive")
    fields = _LOCAL.unpack_from(data, member.offset)
    start = member.offset + _LOCAL.size + fields[9] + fields[10]
    if fields[0] != b"PK\x03\x04" or start + member.packed > len(data):
        raise InputError(what, "lies outside of its archive")
    packed = memoryview(data)[start : start + member.packed]
    if member.method == _STORED:
        if member.packed > max_bytes:
            raise InputError(what, f"is larger than {max_bytes} bytes")
        return bytes(packed)
    inflater = zlib.decompressobj(-15)
    try:
        content = inflater.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise InputError(what, f"is a damaged deflate stream: {error}") from error
    if len(content) > max_bytes:
        raise InputError(what, f"inflates to more than {max_bytes} bytes")
    return content


def _find_directory(data: bytes, name: str) -> tuple[int, int, int]:
    """Where the central directory starts and ends, and how far the archive is shifted (a script may stand before it)."""
    at = data.rfind(b"PK\x05\x06", max(0, len(data) - _END.size - _MAX_COMMENT))
    if at < 0 or at + _END.size > len(data):
        raise InputError(name, "is no ZIP archive")
    _sign, _disk, _start_disk, _here, count, size, offset, _comment = _END.unpack_from(data, at)
    end = at
    locator = at - _LOCATOR64.size
    if (0xFFFFFFFF in {size, offset} or count == 0xFFFF) and locator >= 0 and data[locator : locator + 4] == b"PK\x06\x07":
        at64 = data.rfind(b"PK\x06\x06", 0, locator)
        if at64 < 0 or at64 + _END64.size > locator:
            raise InputError(name, "its 64-bit directory is missing")
        fields = _END64.unpack_from(data, at64)
        size, offset, end = fields[8], fields[9], at64
    start = end - size
    if start < 0 or offset > start:
        raise InputError(name, "its central directory lies outside of the file")
    return start, end, start - offset


def _wide(extra: bytes, packed: int, size: int, offset: int) -> tuple[int, int, int]:
    """The 64-bit values of the extra field 1, in the order of the 32-bit ones that say "too large"."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            values = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            size = next(values, size) if size == 0xFFFFFFFF else size
            packed = next(values, packed) if packed == 0xFFFFFFFF else packed
            offset = next(values, offset) if offset == 0xFFFFFFFF else offset
            break
        at += 4 + length
    return packed, size, offset
