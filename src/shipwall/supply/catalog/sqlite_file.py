"""Rows of one table out of the bytes of an SQLite database, without SQLite: the file comes from an image, its pages are hostile.

Reads only what a table of rowids needs: the schema page, interior and leaf pages of its tree, overflow chains. What is in a
write-ahead log is not in the file. Source: https://www.sqlite.org/fileformat2.html (sections 1.3, 1.5, 1.6, 2.1, 2.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shipwall.model.errors import InputError

MAGIC = b"SQLite format 3\0"
_LEAF, _INTERIOR = 0x0D, 0x05
_MAX_DEPTH = 20  # SQLite's own limit for a cursor
_MAX_COLUMNS = 64

Value = int | bytes | str | float | None


class _Pages(NamedTuple):
    data: bytes
    size: int
    usable: int
    name: str
    encoding: str

    def page(self, number: int) -> memoryview:
        start = (number - 1) * self.size
        if number < 1 or start + self.size > len(self.data):
            raise _broken(self.name, f"page {number} is outside of the file")
        return memoryview(self.data)[start : start + self.size]


def read_table(data: bytes, table: str, name: str) -> Iterator[tuple[Value, ...]]:
    """The rows of `table` in key order, as tuples of columns (the INTEGER PRIMARY KEY is None there, as SQLite stores it).

    *Raises* InputError (naming `name`) for bytes that are no sound database, or have no such table. Work and memory are bounded by the
    size of `data`: no page is visited twice, and cells of one page do not overlap.
    """
    pages = _open(data, name)
    visited: set[int] = set()
    for row in _walk(pages, 1, visited, 0):
        if len(row) >= 4 and row[0] == "table" and row[1] == table and isinstance(row[3], int):
            yield from _walk(pages, row[3], visited, 0)
            return
    raise _broken(name, f"has no table {table}")


def _open(data: bytes, name: str) -> _Pages:
    if len(data) < 512 or not data.startswith(MAGIC):
        raise _broken(name, "does not begin as an SQLite database")
    size = int.from_bytes(data[16:18], "big")
    size = 65536 if size == 1 else size
    usable = size - data[20]
    encoding = {1: "utf-8", 2: "utf-16-le", 3: "utf-16-be"}.get(int.from_bytes(data[56:60], "big"))
    if size < 512 or size & (size - 1) or usable < 480 or encoding is None:
        raise _broken(name, "its header is not one of an SQLite database")
    return _Pages(data, size, usable, name, encoding)


def _broken(name: str, reason: str) -> InputError:
    return InputError(name, f"is a damaged SQLite database: {reason}")


def _walk(pages: _Pages, number: int, visited: set[int], depth: int) -> Iterator[tuple[Value, ...]]:
    if number in visited or depth > _MAX_DEPTH:
        raise _broken(pages.name, f"page {number} is used twice")
    visited.add(number)
    page = pages.page(number)
    start = 100 if number == 1 else 0
    kind = page[start]
    cells = int.from_bytes(page[start + 3 : start + 5], "big")
    pointers = start + (12 if kind == _INTERIOR else 8)
    if kind not in {_LEAF, _INTERIOR} or pointers + 2 * cells > pages.size:
        raise _broken(pages.name, f"page {number} is no page of a table")
    room = pages.usable
    for index in range(cells):
        at = int.from_bytes(page[pointers + 2 * index : pointers + 2 * index + 2], "big")
        if at + 4 > pages.usable:
            raise _broken(pages.name, f"a cell of page {number} lies outside of it")
        if kind == _LEAF:
            record, on_page = _payload(pages, page, at, visited)
            room -= on_page
            if room < 0:  # one large row under thousands of pointers would be read thousands of times
                raise _broken(pages.name, f"the cells of page {number} overlap")
            yield _record(pages, record)
        else:
            yield from _walk(pages, int.from_bytes(page[at : at + 4], "big"), visited, depth + 1)
    if kind == _INTERIOR:
        yield from _walk(pages, int.from_bytes(page[start + 8 : start + 12], "big"), visited, depth + 1)


def _payload(pages: _Pages, page: memoryview, at: int, visited: set[int]) -> tuple[bytes, int]:
    """The cell's whole record, and how much of it stays on the page (section 1.6)."""
    size, at = _varint(pages, page, at)
    _rowid, at = _varint(pages, page, at)
    if size > len(pages.data):
        raise _broken(pages.name, "a row is larger than the file")
    largest = pages.usable - 35
    local = size
    if size > largest:
        smallest = (pages.usable - 12) * 32 // 255 - 23
        local = smallest + (size - smallest) % (pages.usable - 4)
        local = local if local <= largest else smallest
    if at + local + (4 if local < size else 0) > pages.usable:
        raise _broken(pages.name, "a row lies outside of its page")
    parts = [bytes(page[at : at + local])]
    left = size - local
    following = int.from_bytes(page[at + local : at + local + 4], "big") if left else 0
    while left:
        if following in visited:
            raise _broken(pages.name, f"page {following} is used twice")
        visited.add(following)
        more = pages.page(following)
        take = min(left, pages.usable - 4)
        parts.append(bytes(more[4 : 4 + take]))
        left -= take
        following = int.from_bytes(more[:4], "big")
    return b"".join(parts), local


def _varint(pages: _Pages, data: memoryview | bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(9):
        if at >= len(data):
            raise _broken(pages.name, "a number is cut off")
        byte = data[at]
        at += 1
        if index == 8:
            return value << 8 | byte, at
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value, at


def _record(pages: _Pages, data: bytes) -> tuple[Value, ...]:
    header, at = _varint(pages, data, 0)
    if header > len(data):
        raise _broken(pages.name, "a row's header is longer than the row")
    body = header
    columns: list[Value] = []
    while at < header and len(columns) < _MAX_COLUMNS:
        kind, at = _varint(pages, data, at)
        value, size = _column(pages, data, body, kind)
        columns.append(value)
        body += size
    return tuple(columns)


def _column(pages: _Pages, data: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind in {0, 8, 9}:
        return {0: None, 8: 0, 9: 1}[kind], 0
    size = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8}.get(kind, (kind - 12) // 2 if kind >= 12 else -1)
    if size < 0 or at + size > len(data):
        raise _broken(pages.name, "a column is longer than its row")
    raw = data[at : at + size]
    if kind < 7:
        return int.from_bytes(raw, "big", signed=True), size
    if kind == 7:
        return None, size  # a floating-point number: no table read here has one
    return (raw if kind % 2 == 0 else raw.decode(pages.encoding, "backslashreplace")), size
