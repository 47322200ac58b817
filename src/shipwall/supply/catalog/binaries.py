"""Programs: one look at an ELF file for what Go's linker or cargo-auditable wrote into it."""

from __future__ import annotations

from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.elf import MAGIC, Elf
from shipwall.supply.catalog.golang import find_build_info, parse_build_info
from shipwall.supply.catalog.rust import find_crates, parse_crates

ELF_MAGIC = (MAGIC,)


def parse_binary(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The modules and crates linked into the program `data`; nothing for one that does not tell. Total."""
    try:
        elf = Elf(data, f"/{path}")
        build_info = find_build_info(elf)
        if build_info is not None:
            return parse_build_info(path, *build_info)
        crates = find_crates(elf)
        return ([] if crates is None else parse_crates(path, crates)), []
    except InputError as error:
        # Any file may begin with four bytes; only one that holds a list is worth a word.
        return [], [Skipped(what=f"/{path}", reason=error.reason)] if "crates" in error.reason else []
