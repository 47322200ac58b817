"""What cargo-auditable writes into a Rust program: the crates that are compiled in. Source: cargo-auditable, PARSING.md."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from shipwall.model.errors import InputError
from shipwall.model.package import Package
from shipwall.supply.catalog.elf import Elf
from shipwall.supply.catalog.words import word

_SECTION = b".dep-v0"
_MAX_INFLATED = 8 << 20
_MAX_CRATES = 20_000


def find_crates(elf: Elf) -> bytes | None:
    """The packed list of crates of a program built by cargo-auditable; None when it has none."""
    section = elf.section(_SECTION)
    return elf.file.read(section.offset, section.offset + section.size) if section else None


def parse_crates(path: str, packed: bytes) -> list[Package]:
    """The crates in `packed` that are part of the program: what only built it is left out. *Raises* InputError for else."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(packed, _MAX_INFLATED)
        if inflater.unconsumed_tail:
            raise InputError(f"/{path}", f"its list of crates inflates to more than {_MAX_INFLATED} bytes")
        whole: Any = msgspec.json.decode(text)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"/{path}", f"its list of crates is damaged: {str(error)[:200]}") from error
    crates = whole.get("packages") if isinstance(whole, dict) else None
    if not isinstance(crates, list):
        raise InputError(f"/{path}", "its list of crates has no packages")
    packages = []
    for crate in crates[:_MAX_CRATES]:
        if isinstance(crate, dict) and crate.get("kind", "runtime") == "runtime":
            name, version = word(crate.get("name")), word(crate.get("version"))
            if name and version:
                packages.append(Package(ecosystem="cargo", name=name, version=version, evidence=f"/{path}"))
    return packages
