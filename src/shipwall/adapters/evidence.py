"""The folder of sealed bundles: each written beside, synced, then renamed, so that a name stands only for a whole bundle."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shipwall.adapters.files import sync_folder
from shipwall.model.errors import InputError, StorageError

SUFFIX = ".evidence"

_PARTIAL = ".partial"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


class EvidenceStore:
    """Bundles in `folder`. `reader_group`: id of the one group that may read them beside root, None for nobody.

    *Raises*: StorageError when the disk does not take the bytes; nothing half-written stays then.
    """

    def __init__(self, folder: Path, reader_group: int | None = None) -> None:
        self.folder = folder
        self.reader_group = reader_group

    def path(self, bundle: str) -> Path:
        """Where the bundle with this id lies, or will."""
        if not _NAME.match(bundle):
            raise InputError(f"bundle {bundle[:80]!r}", "is not an id of letters, digits, . _ and -")
        return self.folder / f"{bundle}{SUFFIX}"

    def paths(self) -> list[Path]:
        """All sealed bundles, oldest first."""
        try:
            found = [(path.stat().st_mtime_ns, path) for path in self.folder.iterdir() if path.suffix == SUFFIX]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(str(self.folder), error.strerror or str(error), "run as root") from error
        return [path for _, path in sorted(found)]

    @contextmanager
    def writing(self, bundle: str) -> Iterator[BinaryIO]:
        """A file to write the bundle to. It gets its name when the block ends, and is removed when the block fails."""
        path = self.path(bundle)
        partial = path.with_name(path.name + _PARTIAL)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            mode = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(partial, mode, 0o600)
        except OSError as error:
            raise _storage(partial, error) from error
        try:
            with os.fdopen(fd, "wb", buffering=1024 * 1024) as file:
                yield _Guarded(file, partial)  # type: ignore[misc]
                file.flush()
                if self.reader_group is not None:
                    os.fchown(file.fileno(), -1, self.reader_group)
                    os.fchmod(file.fileno(), 0o640)
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(self.folder)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise _storage(path, error) from error
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def sweep(self, bundle: str) -> bool:
        """Remove what a crash left of a bundle that was never sealed; whether there was something."""
        partial = self.path(bundle).with_name(self.path(bundle).name + _PARTIAL)
        try:
            partial.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _storage(partial, error) from error
        return True


class _Guarded:
    """The file, with its errors told apart from those of what is being read: only these mean that OUR disk is full."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path

    def write(self, data: bytes) -> int:
        """Append `data`. Raises StorageError."""
        try:
            return self._file.write(data)
        except OSError as error:
            raise _storage(self._path, error) from error


def _storage(path: Path, error: OSError) -> StorageError:
    return StorageError(str(path), error.strerror or str(error), "free space, then the capture is tried again")
