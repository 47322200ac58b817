"""A root file system in a folder, read as one layer."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from shipwall.adapters.images.opened import OpenImage
from shipwall.model.errors import StorageError
from shipwall.supply.layers import View
from shipwall.supply.tar import Entry


def open_root_folder(path: Path) -> OpenImage:
    """The root file system in `path`. It has no identity: a folder changes under its name."""
    return OpenImage(
        source=str(path), identity=None, config={}, layers=(), folder_filler=lambda view: view.add_entries(_walk(path, view), "")
    )


def _walk(root: Path, view: View) -> Iterator[Entry]:
    """Its entries. Symbolic links are not followed and other file systems (/proc, /sys, mounts) not entered, so nothing escapes."""
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
                yield _entry(path, name, fd, view)
    for failure in unreadable:
        view.note_skipped(str(failure.filename), failure.strerror or str(failure))


def _entry(path: str, name: str, fd: int, view: View) -> Entry:
    facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if stat.S_ISDIR(facts.st_mode):
        return Entry(path, "folder", 0, 0)
    if stat.S_ISLNK(facts.st_mode):
        return Entry(path, "symlink", 0, 0, os.fsencode(os.readlink(name, dir_fd=fd)).decode("utf-8", "backslashreplace"))
    if not stat.S_ISREG(facts.st_mode):
        return Entry(path, "other", 0, 0)
    data = None
    if view.wants(path, facts.st_size):
        try:
            # Not following links and not waiting for a writer, should the file be exchanged meanwhile.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
            with os.fdopen(file, "rb") as opened:
                data = opened.read(facts.st_size)
        except OSError as error:
            view.note_skipped(path, error.strerror or str(error))
    return Entry(path, "file", facts.st_size, 0, data=data)
