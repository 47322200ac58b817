"""A root file system in a folder, read as one layer."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from shipwall.adapters.images.opened import OpenImage
from shipwall.model.errors import StorageError
from shipwall.supply.layers import View
from shipwall.supply.pieces import Piece
from shipwall.supply.tar import Entry

_PIECE = 256 * 1024


def open_root_folder(path: Path) -> OpenImage:
    """The root file system in `path`. It has no identity: a folder changes under its name."""
    return OpenImage(
        source=str(path),
        identity=None,
        config={},
        layers=(),
        folder_filler=lambda view: view.add_entries(_FolderWalk(path, view), ""),
    )


class _FolderWalk:
    """Its entries. Symbolic links are not followed and other file systems (/proc, /sys, mounts) not entered, so nothing escapes."""

    def __init__(self, root: Path, view: View) -> None:
        self._root = root
        self._view = view
        self._last: tuple[Entry, str, int] = (Entry("", "folder", 0, 0), "", -1)

    def __iter__(self) -> Iterator[Entry]:
        """The entries."""
        root, view = self._root, self._view
        try:
            device = root.stat().st_dev
            next(root.iterdir(), None)
        except OSError as error:
            raise StorageError(str(root), error.strerror or str(error), "make it readable") from error
        unreadable: list[OSError] = []
        for folder, names, files, fd in os.fwalk(root, onerror=unreadable.append, follow_symlinks=False):
            here = os.path.relpath(folder, root)
            prefix = "" if here == "." else os.fsencode(here).decode("utf-8", "backslashreplace") + "/"
            if os.fstat(fd).st_dev != device:
                names.clear()
                continue
            for name in [*names, *files]:
                path = prefix + os.fsencode(name).decode("utf-8", "backslashreplace")
                with contextlib.suppress(FileNotFoundError):  # a folder may be in use: what vanishes meanwhile was not there
                    entry = _entry(path, name, fd)
                    self._last = (entry, name, fd)
                    yield entry
        for failure in unreadable:
            view.note_skipped(str(failure.filename), failure.strerror or str(failure))

    def peek(self, size: int) -> bytes:
        """The first `size` bytes of the last file; none when it cannot be read, which has then been told."""
        return self._read(size) or b""

    def read(self) -> bytes | None:
        """The content of the last file."""
        return self._read(self._last[0].size)

    def pieces(self) -> Iterator[Piece]:
        """The content of the last file, piece by piece."""
        entry, _name, _fd = self._last
        missing = entry.size
        try:
            with self._open() as opened:
                while missing and (data := opened.read(min(_PIECE, missing))):
                    yield Piece(data, 0, len(data))
                    missing -= len(data)
        except OSError as error:
            self._view.note_skipped(entry.path, error.strerror or str(error))

    def _read(self, size: int) -> bytes | None:
        try:
            with self._open() as opened:
                return opened.read(size)
        except OSError as error:
            self._view.note_skipped(self._last[0].path, error.strerror or str(error))
            return None

    def _open(self) -> BinaryIO:
        _entry, name, fd = self._last
        # Not following links and not waiting for a writer, should the file be exchanged meanwhile.
        return os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd), "rb")


def _entry(path: str, name: str, fd: int) -> Entry:
    facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if stat.S_ISDIR(facts.st_mode):
        return Entry(path, "folder", 0, 0)
    if stat.S_ISLNK(facts.st_mode):
        return Entry(path, "symlink", 0, 0, os.fsencode(os.readlink(name, dir_fd=fd)).decode("utf-8", "backslashreplace"))
    if not stat.S_ISREG(facts.st_mode):
        return Entry(path, "other", 0, 0)
    return Entry(path, "file", facts.st_size, 0, is_executable=facts.st_mode & 0o111 != 0)
