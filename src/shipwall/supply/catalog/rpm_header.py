"""The header of an RPM package as its database keeps it: typed values under numbered tags.

Source: rpm's docs/manual/format_header.md, include/rpm/rpmtag.h.
"""

from __future__ import annotations

import struct

from shipwall.model.errors import InputError
from shipwall.model.package import Package
from shipwall.supply.catalog.words import PathBudget, decode, title, word
from shipwall.supply.licenses import parse_license

_ENTRY = struct.Struct(">IIII")
_MAX_ENTRIES = 65_536
_MAX_FILES = 1_000_000
_MAX_PATH = 4096
_NAME, _VERSION, _RELEASE, _EPOCH, _VENDOR = 1000, 1001, 1002, 1003, 1011
_LICENSE, _ARCH, _OLD_FILENAMES, _MODES, _SOURCE_RPM = 1014, 1022, 1027, 1030, 1044
_FOLDER_INDEXES, _BASENAMES, _FOLDERS, _MODULARITY = 1116, 1117, 1118, 5096
_WANTED = {
    _NAME, _VERSION, _RELEASE, _EPOCH, _VENDOR, _LICENSE, _ARCH, _OLD_FILENAMES, _MODES, _SOURCE_RPM, _FOLDER_INDEXES, _BASENAMES, _FOLDERS,
    _MODULARITY,
}  # fmt: skip
_INT16, _INT32, _STRING, _STRINGS, _I18N = 3, 4, 6, 8, 9
_FOLDER_MODE, _KIND_MODE = 0o040000, 0o170000


def parse_rpm_header(blob: bytes, path: str) -> Package:
    """The package in `blob`. `evidence` is `path`.

    *Raises* InputError for bytes that are no header, or name no package.
    """
    tags = _read_tags(blob)
    name, version, release = (word(_text(tags, tag)) for tag in (_NAME, _VERSION, _RELEASE))
    if not name or not version:
        raise InputError(f"/{path}", "a package header has no name or no version")
    epochs = _numbers(tags, _EPOCH)
    epoch = f"{epochs[0]}:" if epochs and epochs[0] else ""
    full = f"{epoch}{version}-{release}" if release else f"{epoch}{version}"
    source, source_version = split_source_rpm(word(_text(tags, _SOURCE_RPM)))
    return Package(
        ecosystem="rpm",
        name=name,
        version=full,
        arch=word(_text(tags, _ARCH)),
        source=source or name,
        source_version=f"{epoch}{source_version}" if source else full,
        evidence=f"/{path}",
        files=tuple(sorted(_files(tags, len(blob)))),
        license=parse_license(title(_text(tags, _LICENSE))),
        module=":".join(word(_text(tags, _MODULARITY)).split(":")[:2]),
        vendor=title(_text(tags, _VENDOR)),
    )


def split_source_rpm(text: str) -> tuple[str, str]:
    """Name and `version-release` of a source package from its file's name (`bash-5.1.8-6.el9.src.rpm`); empty when it is none."""
    base = text.removesuffix(".rpm").rpartition(".")[0] if text.endswith(".rpm") else ""
    rest, _, release = base.rpartition("-")
    name, _, version = rest.rpartition("-")
    return (name, f"{version}-{release}") if name and version and release else ("", "")


def _read_tags(blob: bytes) -> dict[int, tuple[int, int, bytes]]:
    """Tag → (type, count, store from its offset on). A tag given twice keeps its first value."""
    if len(blob) < 8:
        raise InputError("rpm header", "is shorter than its own lengths")
    entries, store_size = struct.unpack_from(">II", blob)
    start = 8 + _ENTRY.size * entries
    if entries > _MAX_ENTRIES or start + store_size > len(blob):
        raise InputError("rpm header", "is shorter than it says")
    store = blob[start : start + store_size]
    tags: dict[int, tuple[int, int, bytes]] = {}
    for tag, kind, offset, count in _ENTRY.iter_unpack(blob[8:start]):
        if tag in _WANTED and tag not in tags and offset < store_size:
            tags[tag] = (kind, count, store[offset:])
    return tags


def _text(tags: dict[int, tuple[int, int, bytes]], tag: int) -> str:
    kind, _count, raw = tags.get(tag, (0, 0, b""))
    return decode(raw[: raw.find(b"\0")]) if kind in {_STRING, _STRINGS, _I18N} and b"\0" in raw else ""


def _texts(tags: dict[int, tuple[int, int, bytes]], tag: int) -> list[str]:
    kind, count, raw = tags.get(tag, (0, 0, b""))
    if kind not in {_STRINGS, _STRING, _I18N} or not 0 < count <= _MAX_FILES:
        return []
    return [decode(part) for part in raw.split(b"\0", count)[:count]]


def _numbers(tags: dict[int, tuple[int, int, bytes]], tag: int) -> tuple[int, ...]:
    kind, count, raw = tags.get(tag, (0, 0, b""))
    letter, size = {_INT16: ("H", 2), _INT32: ("I", 4)}.get(kind, ("", 0))
    if not size or count * size > len(raw):
        return ()
    return struct.unpack_from(f">{count}{letter}", raw)


def _files(tags: dict[int, tuple[int, int, bytes]], size: int) -> set[str]:
    """The absolute paths of all files but folders; `size`: bytes of the header."""
    modes, names = _numbers(tags, _MODES), _texts(tags, _BASENAMES)
    folders, indexes = _texts(tags, _FOLDERS), _numbers(tags, _FOLDER_INDEXES)
    if not names:
        names = _texts(tags, _OLD_FILENAMES)
        folders, indexes = [""], (0,) * len(names)
    if len(indexes) != len(names) or any(index >= len(folders) for index in indexes):
        return set()
    if len(modes) != len(names):
        modes = (0,) * len(names)
    budget = PathBudget(size)
    files: set[str] = set()
    for name, index, mode in zip(names, indexes, modes, strict=True):
        if mode & _KIND_MODE != _FOLDER_MODE and len(folders[index]) + len(name) <= _MAX_PATH:
            path = folders[index] + name
            if budget.allows(path):
                files.add(path)
    return files
