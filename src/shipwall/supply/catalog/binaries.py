"""Programs: one look at an ELF file for what Go's linker or cargo-auditable wrote into it."""

from __future__ import annotations

from collections.abc import Iterator

from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.elf import MAGIC, Elf
from shipwall.supply.catalog.golang import find_build_info, parse_build_info
from shipwall.supply.catalog.program import hold_program
from shipwall.supply.catalog.rust import find_crates, parse_crates
from shipwall.supply.pieces import HeldFile, NotHeldError, Piece, held_whole

ELF_MAGIC = (MAGIC,)


def parse_binary(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The modules and crates linked into the program `data`; nothing for one that does not tell. Total."""
    return _parse(path, held_whole(f"/{path}", data))


def parse_binary_pieces(path: str, size: int, pieces: Iterator[Piece]) -> tuple[list[Package], list[Skipped]]:
    """As `parse_binary`, of a program that comes in `pieces`; Skipped when what it tells lies where it is not looked for."""
    return _parse(path, hold_program(f"/{path}", size, pieces))


def _parse(path: str, file: HeldFile) -> tuple[list[Package], list[Skipped]]:
    try:
        elf = Elf(file, f"/{path}")
        build_info = find_build_info(elf)
        if build_info is not None:
            return parse_build_info(path, *build_info)
        crates = find_crates(elf)
        return ([] if crates is None else parse_crates(path, crates)), []
    except NotHeldError as error:
        reason = f"modules and crates linked into it were not looked for: {error.reason}"
        return [], [Skipped(what=f"/{path}", reason=reason)]
    except InputError as error:
        # Any file may begin with four bytes; only one that holds a list is worth a word.
        return [], [Skipped(what=f"/{path}", reason=error.reason)] if "crates" in error.reason else []
