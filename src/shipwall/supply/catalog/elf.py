"""Sections and segments of an ELF file, 32 and 64 bits, either byte order. Source: ELF gABI 4.1, chapters 4 and 5."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import NamedTuple

from shipwall.model.errors import InputError
from shipwall.supply.pieces import HeldFile

MAGIC = b"\x7fELF"
_MAX_SECTIONS = 10_000
_MAX_NAMES = 1 << 20
_LOAD, _NOBITS, _COMPRESSED, _EXECUTABLE, _WRITABLE = 1, 8, 0x800, 1, 2


class Section(NamedTuple):
    """`offset` and `size` in the file; both are checked to lie inside of it."""

    offset: int
    size: int


class Segment(NamedTuple):
    """A part of the file that is loaded at `address`; `size` bytes of it are in the file at `offset`."""

    address: int
    offset: int
    size: int
    writable: bool
    executable: bool


class Elf:
    """The tables of one ELF file. *Raises* InputError for what is none; tables that lie outside of the file are empty.

    Every question *raises* NotHeldError when the answer lies in a part of the file that is not held.
    """

    def __init__(self, file: HeldFile, name: str) -> None:
        self.file = file
        data = file.read(0, 64)
        if len(data) < 52 or not data.startswith(MAGIC) or data[4] not in {1, 2} or data[5] not in {1, 2}:
            raise InputError(name, "is no ELF file")
        self.is_64 = data[4] == 2
        self.order = "<" if data[5] == 1 else ">"
        try:
            if self.is_64:
                header = struct.unpack_from(f"{self.order}HHIQQQIHHHHHH", data, 16)
            else:
                header = struct.unpack_from(f"{self.order}HHIIIIIHHHHHH", data, 16)
        except struct.error as error:
            raise InputError(name, "is a cut off ELF file") from error
        self._segments_at, self._sections_at = header[4], header[5]
        self._segment_size, self._segment_count, self._section_size, self._section_count, self._names_index = header[8:13]

    @property
    def section_table(self) -> tuple[int, int]:
        """Where in the file the table of sections begins and ends, as the file says."""
        return self._sections_at, self._sections_at + self._section_size * self._section_count

    def section(self, name: bytes) -> Section | None:
        """The first section called `name` that has bytes in the file."""
        rows, strings = self._named_sections
        wanted = name + b"\0"
        if wanted not in strings:
            return None
        for row in rows:
            offset, size = row[4], row[5]
            is_readable = row[1] != _NOBITS and not row[2] & _COMPRESSED and offset + size <= self.file.size
            if is_readable and strings.startswith(wanted, row[0]):
                return Section(offset, size)
        return None

    @cached_property
    def _named_sections(self) -> tuple[list[tuple[int, ...]], bytes]:
        """The rows of the table of sections, and the text their names lie in."""
        form = struct.Struct(f"{self.order}IIQQQQIIQQ" if self.is_64 else f"{self.order}IIIIIIIIII")
        rows = self._rows(form, self._sections_at, self._section_size, self._section_count)
        if self._names_index >= len(rows):
            return [], b""
        names = rows[self._names_index]
        return rows, self.file.read(names[4], names[4] + min(names[5], _MAX_NAMES))

    def segments(self) -> list[Segment]:
        """The segments that are loaded."""
        form = struct.Struct(f"{self.order}IIQQQQQQ" if self.is_64 else f"{self.order}IIIIIIII")
        found = []
        for row in self._rows(form, self._segments_at, self._segment_size, self._segment_count):
            if self.is_64:
                kind, flags, offset, address, _physical, size = row[:6]
            else:
                kind, offset, address, _physical, size, _memory, flags = row[:7]
            if kind == _LOAD and offset + size <= self.file.size:
                found.append(Segment(address, offset, size, bool(flags & _WRITABLE), bool(flags & _EXECUTABLE)))
        return found

    def read_address(self, address: int, size: int) -> bytes | None:
        """`size` bytes at the virtual `address`; None when they are not in the file."""
        for segment in self.segments():
            start = address - segment.address
            if start >= 0 and start + size <= segment.size:
                return self.file.read(segment.offset + start, segment.offset + start + size)
        return None

    def _rows(self, form: struct.Struct, at: int, size: int, count: int) -> list[tuple[int, ...]]:
        if size < form.size or not 0 < count <= _MAX_SECTIONS or at + size * count > self.file.size:
            return []
        table = self.file.read(at, at + size * count)
        return [form.unpack_from(table, size * index) for index in range(count)]
