"""The layer that makes one file system of another: what a builder without an engine lays on a base."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import Any, BinaryIO, NamedTuple, cast

from shipwall.model.errors import InputError

_CHUNK = 1 << 20
_WHITEOUT = ".wh."


class CopiedFile(NamedTuple):
    """A file that is put on top. `path` in the image, without leading slash."""

    path: str
    data: bytes
    executable: bool = False


def subtract_layer(below: BinaryIO, whole: BinaryIO, sink: BinaryIO, copied: tuple[CopiedFile, ...] = ()) -> None:
    """Write the layer tar to `sink` that makes `whole` (and `copied` on top) of `below`; both tars as `normalise_layer` writes them.

    Every entry comes with the folders above it, as in `whole`, for an engine gives a folder that the layer leaves out a mode of its own. A
    group of hard links comes whole, or not at all. *Raises* InputError for bytes that are no tar.
    """
    try:
        with tarfile.open(fileobj=below, mode="r:") as before, tarfile.open(fileobj=whole, mode="r:") as after:
            old, new = _read(before), _read(after)
            wanted = {path for path, (print_, _) in new.items() if old.get(path, (None,))[0] != print_}
            gone = {path for path in old if path not in new and _parent(path) not in old.keys() - new.keys()}
            for path in [*wanted, *gone, *(file.path for file in copied)]:
                wanted.update(folder for folder in _parents(path) if folder in new)
            with tarfile.open(fileobj=sink, mode="w:", format=tarfile.PAX_FORMAT) as made:
                for path in sorted(wanted):
                    entry = new[path][1]
                    made.addfile(entry, after.extractfile(entry) if entry.isreg() else None)
                for path in sorted(gone):
                    folder, name = _parent(path), path.rpartition("/")[2]
                    if not folder or new[folder][1].isdir():  # what is now no folder hides all that was below
                        made.addfile(_entry(f"{folder}/{_WHITEOUT}{name}".lstrip("/"), tarfile.REGTYPE, 0))
                _add_copied(made, copied, set(new))
    except (tarfile.TarError, ValueError, KeyError, EOFError) as error:
        raise InputError("layer", f"is not a tar: {error}") from error


def _add_copied(made: tarfile.TarFile, copied: tuple[CopiedFile, ...], folders: set[str]) -> None:
    for file in copied:
        for folder in _parents(file.path):
            if folder not in folders:
                folders.add(folder)
                made.addfile(_entry(folder, tarfile.DIRTYPE, 0o755))
        entry = _entry(file.path, tarfile.REGTYPE, 0o755 if file.executable else 0o644)
        entry.size = len(file.data)
        made.addfile(entry, io.BytesIO(file.data))


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode = kind, mode
    return entry


def _read(archive: tarfile.TarFile) -> dict[str, tuple[tuple[Any, ...], tarfile.TarInfo]]:
    """Path → what tells it from another one of that path, and its entry. Members of one group of hard links have one print."""
    found = {entry.name.strip("/"): entry for entry in archive}
    groups: dict[str, tuple[str, ...]] = {}
    for path, entry in found.items():
        if entry.islnk():
            groups[entry.linkname] = (*groups.get(entry.linkname, ()), path)
    prints: dict[str, tuple[Any, ...]] = {}
    for path, entry in found.items():
        target = found[entry.linkname] if entry.islnk() else entry
        digest = ""
        if target.isreg():
            content = archive.extractfile(target)
            assert content is not None
            digest = prints[target.name][-1] if entry.islnk() else _digest(cast(BinaryIO, content))
        prints[path] = (
            target.type, target.mode, target.uid, target.gid, target.mtime, "" if entry.islnk() else entry.linkname,
            target.devmajor, target.devminor, tuple(sorted(_attributes(target))), groups.get(target.name, ()), digest,
        )  # fmt: skip
    return {path: (prints[path], entry) for path, entry in found.items()}


def _digest(content: BinaryIO) -> str:
    found = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        found.update(chunk)
    return found.hexdigest()


def _attributes(entry: tarfile.TarInfo) -> list[tuple[str, str]]:
    return [(key, value) for key, value in entry.pax_headers.items() if key.startswith("SCHILY.xattr.")]


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: index + 1]) for index in range(len(parts))]
