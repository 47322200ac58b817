"""What the Go linker writes into a program: the Go version, the main module, and every module that is linked in.

Source: Go's debug/buildinfo (both forms: strings in place since Go 1.18, pointers to strings before), runtime/debug.BuildInfo.
"""

from __future__ import annotations

import re
from typing import Literal

from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.elf import Elf
from shipwall.supply.catalog.words import decode, word
from shipwall.supply.pieces import HeldFile

_MARK = b"\xff Go buildinf:"
_ALIGN = 16
_HEADER = 32
_SEARCHED = 1 << 20
_MAX_STRING = 16 << 20
_MAX_VARINT = 9  # bytes of seven bits: 63
_MAX_MODULES = 20_000
_SENTINEL = 16
_VERSION = re.compile(r"go(\d+(?:\.\d+)*[0-9A-Za-z.+-]*)")
_STAMPED = re.compile(r"-X[ =]['\"]?([^\s'\"=]+)=(v?\d+\.\d+(?:\.\d+)?[0-9A-Za-z.+-]*)")


def find_build_info(elf: Elf) -> tuple[str, str] | None:
    """The Go version and the module text of a Go program; None for a program of another language."""
    section = elf.section(b".go.buildinfo")
    places = (
        [(section.offset, section.size)] if section else [(part.offset, part.size) for part in elf.segments() if part.writable]
    )
    for offset, size in places:
        at = _find_mark(elf.file, offset, min(size, _SEARCHED))
        if at >= 0:
            return _read_build_info(elf, at)
    return None


def _find_mark(file: HeldFile, start: int, size: int) -> int:
    data = file.read(start, start + size)
    at = data.find(_MARK)
    while at >= 0 and at % _ALIGN:
        at = data.find(_MARK, at + 1)
    return start + at if at >= 0 and start + at + _HEADER <= file.size else -1


def _read_build_info(elf: Elf, at: int) -> tuple[str, str] | None:
    pointer_size, flags = elf.file.read(at + 14, at + 16)
    if flags & 2:
        version, after = _inline(elf.file, at + _HEADER)
        modules, _after = _inline(elf.file, after)
    else:
        version, modules = (
            _pointed(elf, at + 16 + index * pointer_size, pointer_size, is_big=bool(flags & 1)) for index in (0, 1)
        )
    # The linker puts 16 bytes around the text by which others find it in memory.
    if len(modules) >= 2 * _SENTINEL + 1 and modules[-_SENTINEL - 1 : -_SENTINEL] == b"\n":
        modules = modules[_SENTINEL:-_SENTINEL]
    else:
        modules = b""
    return (decode(version), decode(modules)) if version else None


def _inline(file: HeldFile, at: int) -> tuple[bytes, int]:
    size = shift = 0
    for byte in file.read(at, at + _MAX_VARINT):
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (file.read(at, at + size), at + size) if size <= _MAX_STRING else (b"", at)
    return b"", at


def _pointed(elf: Elf, at: int, size: int, *, is_big: bool) -> bytes:
    """The string behind a pointer to a string's header (address, length)."""
    if size not in {4, 8}:
        return b""
    byte_order: Literal["big", "little"] = "big" if is_big else "little"
    header = elf.read_address(int.from_bytes(elf.file.read(at, at + size), byte_order), 2 * size)
    if header is None:
        return b""
    address, length = int.from_bytes(header[:size], byte_order), int.from_bytes(header[size:], byte_order)
    return elf.read_address(address, length) or b"" if length <= _MAX_STRING else b""


def parse_build_info(path: str, version: str, modules: str) -> tuple[list[Package], list[Skipped]]:
    """The packages of a Go program: its modules, and `stdlib` with the Go version (`1.22.5`). Total.

    A replaced module is the one it was replaced by. A main module that was built from a folder has the version that was stamped into
    it, else `(devel)`.
    """
    packages: list[Package] = []
    skipped: list[Skipped] = []
    released = _VERSION.match(version)
    if released:
        packages.append(_module(path, "stdlib", released[1]))
    else:
        skipped.append(Skipped(what=f"/{path}", reason=f"was built by Go {version[:100]!r}, which is no release"))
    found, main = _read_modules(modules)
    local = []
    for name, stated in found:
        number = (_stamped(modules) or stated) if name == main and stated == "(devel)" else stated
        if number == "(devel)" and name != main:
            local.append(name)
        else:
            packages.append(_module(path, name, number))
    if local:
        names = ", ".join(local[:5]) + (", …" if len(local) > 5 else "")
        reason = f"{len(local)} of its modules were built from folders, their versions are not known: {names}"
        skipped.append(Skipped(what=f"/{path}", reason=reason))
    return packages, skipped


def _module(path: str, name: str, version: str) -> Package:
    return Package(ecosystem="golang", name=name, version=version, evidence=f"/{path}")


def _read_modules(text: str) -> tuple[list[tuple[str, str]], str]:
    """(path, version) of every module, and the main one's path."""
    found: list[tuple[str, str]] = []
    main = ""
    for line in text.split("\n"):
        kind, _, rest = line.partition("\t")
        if kind not in {"mod", "dep", "=>"} or len(found) >= _MAX_MODULES:
            continue
        columns = rest.split("\t")
        name, version = word(columns[0]), word(columns[1]) if len(columns) > 1 else ""
        if not name:
            continue
        version = version or "(devel)"
        if kind == "=>" and found:
            # A replacement by a folder has no version; what lies there is not the module that was asked for.
            replaced = found.pop()
            found.append((name, version) if not name.startswith((".", "/")) else (replaced[0], "(devel)"))
        elif kind != "=>":
            found.append((name, version))
            main = name if kind == "mod" else main
    return list(dict.fromkeys(found)), main


def _stamped(text: str) -> str:
    """The version given to the linker by `-X main.version=…`: only a variable that is called version."""
    flags = next((line for line in text.split("\n") if line.startswith("build\t-ldflags=")), "")
    for name, version in _STAMPED.findall(flags[:20_000]):
        if name.rpartition(".")[2].lower() in {"version", "ver", "appversion"} and name.startswith("main."):
            return f"v{version.removeprefix('v')}"
    return ""
