"""Files written whole or not at all, what tells that one was changed, and locks between processes."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipwall.model.errors import InputError, StorageError

Stamp = tuple[int, int, int, int]


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `data` atomically and durably. Raises StorageError (disk full, read-only); then `path` is as it was."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(fresh).replace(path)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "free space or mend the folder, then try again") from error


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The bytes of the file `path`. Raises InputError for one that is not there, no file or too big, StorageError for an unreadable one."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, IsADirectoryError, ValueError) as error:
        raise InputError(str(path)[:200], "is no file here") from error
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "make it readable") from error
    if len(data) > max_bytes:
        raise InputError(str(path)[:200], f"has more than {max_bytes} bytes")
    return data


def stamp_of(path: Path) -> Stamp:
    """What changes when a file is written, replaced or given to somebody else. Raises OSError."""
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino


def sync_folder(folder: Path) -> None:
    """Make what was renamed into `folder` survive a power cut. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else is in a block locked by the file `path` (made if absent); the kernel frees it however this process ends.

    Trust: a link or another user's file in its place is refused. Raises StorageError.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "free space or mend the folder, then try again") from error
    try:
        yield
    finally:
        os.close(fd)
