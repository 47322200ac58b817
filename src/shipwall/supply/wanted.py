"""Which files of an image are read: globs keep a file's content for later, file readers read it while its layer streams past.

Millions of files are asked about, so the question is put in two steps: a cheap one that nearly every path fails, then the exact one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from shipwall.model.package import Package, Skipped
from shipwall.supply.pieces import Piece


class FileReader(NamedTuple):
    """Reads packages out of ONE file by itself, so that only the result is kept.

    `parse(path, content)` is total: it gives packages without `layer` (the view fills it) and what it could not read; an InputError
    becomes a Skipped. `path` is relative to the root. A file is read when its last part is in `basenames` or its path ends in one of
    `suffixes`, and the regular expression `pattern` matches its whole path (empty: any). With `magic` its content must begin with
    one of these too; a reader with magic and no names is asked about every regular file with an x bit. Above `max_bytes`: Skipped.
    `parse_pieces(path, size, pieces)` gives the same without the whole file in memory.
    """

    name: str
    parse: Callable[[str, bytes], tuple[list[Package], list[Skipped]]]
    basenames: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    pattern: str = ""
    magic: tuple[bytes, ...] = ()
    max_bytes: int = 32 << 20
    parse_pieces: Callable[[str, int, Iterator[Piece]], tuple[list[Package], list[Skipped]]] | None = None


class Choice(NamedTuple):
    """What is wanted of one file: `keep` its content, and let `readers` read it (those with magic only when it begins so)."""

    keep: bool
    readers: tuple[FileReader, ...]

    @property
    def magic_bytes(self) -> int:
        """How many bytes of its start must be seen to know which of the readers want it."""
        return max((len(magic) for reader in self.readers for magic in reader.magic), default=0)

    @property
    def is_by_magic(self) -> bool:
        """Whether its name alone makes nobody want it."""
        return not self.keep and all(reader.magic for reader in self.readers)


NOTHING = Choice(keep=False, readers=())


class Wanted:
    """The question, made once of all globs and readers."""

    def __init__(self, globs: Iterable[str], readers: Iterable[FileReader] = ()) -> None:
        """`globs` are relative paths; `*` stands for anything but a slash, `**/` for any folders or none."""
        globs = tuple(globs)
        self._keep = re.compile("|".join(f"(?:{_translate(glob)})" for glob in globs) or r"(?!)")
        by_name = [(reader, re.compile(reader.pattern)) for reader in readers if _is_named(reader)]
        self._named = tuple(by_name)
        self._executables = tuple((reader, re.compile(reader.pattern)) for reader in readers if not _is_named(reader))
        if any(not reader.magic for reader, _pattern in self._executables):
            raise ValueError("a file reader without magic needs basenames or suffixes")
        self.basenames: set[str] = set()
        self.folders: set[str] = set()
        suffixes: set[str] = set()
        for reader, _pattern in by_name:
            self.basenames |= reader.basenames
            suffixes.update(reader.suffixes)
        for glob in globs:
            self._note_glob(glob, suffixes)
        self.suffixes = tuple(sorted(suffixes))
        self.has_executables = bool(self._executables)

    def _note_glob(self, glob: str, suffixes: set[str]) -> None:
        folder, _, base = glob.rpartition("/")
        if "*" not in base:
            self.basenames.add(base)
        elif "*" not in folder:
            self.folders.add(folder)
        else:
            suffixes.add(base.rpartition("*")[2])  # perhaps empty: then every path goes on to the exact question

    def is_candidate(self, folder: str, base: str) -> bool:
        """False when no glob and no reader by name wants `folder`/`base`."""
        return base in self.basenames or folder in self.folders or base.endswith(self.suffixes)

    def keeps(self, path: str) -> bool:
        """Whether a glob names `path`."""
        return self._keep.fullmatch(path) is not None

    def choose(self, path: str, *, is_executable: bool) -> Choice:
        """What is wanted of the regular file `path`."""
        folder, _, base = path.rpartition("/")
        keep = False
        readers: tuple[FileReader, ...] = ()
        if self.is_candidate(folder, base):
            keep = self.keeps(path)
            readers = tuple(
                reader
                for reader, pattern in self._named
                if (base in reader.basenames or path.endswith(reader.suffixes))
                and (not reader.pattern or pattern.fullmatch(path))
            )
        if is_executable and self._executables:
            readers += tuple(reader for reader, pattern in self._executables if not reader.pattern or pattern.fullmatch(path))
        return Choice(keep, readers) if keep or readers else NOTHING


def begun_by(readers: Iterable[FileReader], start: bytes) -> tuple[FileReader, ...]:
    """Those of `readers` that want a file whose content begins with `start`."""
    return tuple(reader for reader in readers if not reader.magic or start.startswith(reader.magic))


def compile_glob(glob: str) -> re.Pattern[str]:
    """`glob` as a regular expression for `fullmatch`."""
    return re.compile(_translate(glob))


def _translate(glob: str) -> str:
    pieces = re.split(r"(\*\*/|\*)", glob)
    return "".join({"**/": "(?:[^/]+/)*", "*": "[^/]*"}.get(piece, re.escape(piece)) for piece in pieces)


def _is_named(reader: FileReader) -> bool:
    return bool(reader.basenames or reader.suffixes)
