"""Which parts of a program are held while it streams past: all of a small one; of a large one what may tell of modules or crates.

Code and debugging symbols, most of a large program, hold nothing that is looked for. What is: the tables of the file, the names of its
sections, data (Go's mark, and pointers before Go 1.18), and constants (the texts they point to; the list that cargo-auditable writes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shipwall.model.errors import InputError
from shipwall.supply.catalog.elf import Elf
from shipwall.supply.pieces import HeldFile, Piece

_MIB = 1 << 20
_HELD_WHOLE = 16 * _MIB
_MAX_HELD = 40 * _MIB
_CONSTANTS, _DATA = 16 * _MIB, 4 * _MIB  # of each segment, from its start; of its end as much as of data
_START = 64 * 1024
_AFTER_MARK = _MIB
# Go's mark, and the name that a table of names has for itself, by which the table is found before anything says where it is.
_MARKS = (b"\xff Go buildinf:", b".shstrtab")
_OVERLAP = max(map(len, _MARKS)) - 1


def hold_program(name: str, size: int, pieces: Iterable[Piece]) -> HeldFile:
    """The parts of the program of `size` bytes in `pieces` that may be asked for; at most 40 MiB of them."""
    file = HeldFile(name, size)
    if size <= _HELD_WHOLE:
        at = 0
        for piece in pieces:
            file.hold(at, piece)
            at += piece.end - piece.start
    else:
        for at, piece in _chosen(file, pieces):
            if file.held_bytes < _MAX_HELD:
                file.hold(at, piece)
    return file


def _chosen(file: HeldFile, pieces: Iterable[Piece]) -> Iterator[tuple[int, Piece]]:
    """The pieces to hold with where they begin; in order."""
    wanted: list[tuple[int, int]] = []
    code: list[tuple[int, int]] = []
    at, until = 0, _START
    last: tuple[int, Piece] | None = None  # the piece before, when it was not chosen
    overlap = b""
    for piece in pieces:
        end = at + piece.end - piece.start
        if at == 0:
            wanted, code = _places(file.name, file.size, piece)
        if any(start <= at and end <= stop for start, stop in code):
            overlap = b""
        elif _is_marked(overlap, piece):
            until = end + _AFTER_MARK
        if at < until or any(start < end and at < stop for start, stop in wanted):
            if last is not None and at < until:
                yield last  # a table of names may begin before its mark
            yield at, piece
            last = None
        else:
            last = at, piece
        overlap = piece.buffer[max(piece.start, piece.end - _OVERLAP) : piece.end]
        at = end


def _is_marked(before: bytes, piece: Piece) -> bool:
    seam = before + piece.buffer[piece.start : min(piece.end, piece.start + _OVERLAP)]
    return any(piece.buffer.find(mark, piece.start, piece.end) >= 0 or mark in seam for mark in _MARKS)


def _places(name: str, size: int, first: Piece) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """From the file's header: what is wanted, and where its code lies; nothing for what is no program."""
    start = HeldFile(name, size)
    start.hold(0, first)
    try:
        elf = Elf(start, name)
        segments = elf.segments()
    except InputError:
        return [], []
    wanted = [elf.section_table]
    code = []
    for segment in segments:
        if segment.executable:
            code.append((segment.offset, segment.offset + segment.size))
        else:
            end = segment.offset + segment.size
            wanted.append((segment.offset, min(end, segment.offset + (_DATA if segment.writable else _CONSTANTS))))
            wanted.append((max(segment.offset, end - _DATA), end))  # linkers put sections unknown to them last
    return wanted, code
