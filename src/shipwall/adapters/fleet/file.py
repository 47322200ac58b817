"""The file itself: its tables, how it is opened, one writer at a time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from shipwall.model.errors import InputError, StorageError

SCHEMA = 1
APPLICATION_ID = 0x53_41_46_4C  # "SAFL"
_TABLES = """
CREATE TABLE image (
    image INTEGER PRIMARY KEY, manifest TEXT NOT NULL UNIQUE, config TEXT NOT NULL, top_chain TEXT NOT NULL, layers INTEGER NOT NULL,
    identity BLOB NOT NULL, distribution BLOB NOT NULL, names BLOB NOT NULL, created TEXT NOT NULL, listed_ns INTEGER NOT NULL,
    components BLOB NOT NULL, places BLOB NOT NULL, history BLOB NOT NULL
);
CREATE INDEX image_config ON image (config);
CREATE INDEX image_chain ON image (top_chain);
CREATE TABLE component (
    component INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, name TEXT NOT NULL, body BLOB NOT NULL, images BLOB NOT NULL,
    judged INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE word (word TEXT NOT NULL, component INTEGER NOT NULL, PRIMARY KEY (word, component)) WITHOUT ROWID;
CREATE TABLE asked (
    scope TEXT NOT NULL, name TEXT NOT NULL, component INTEGER NOT NULL, PRIMARY KEY (scope, name, component)
) WITHOUT ROWID;
CREATE TABLE mark (scope TEXT NOT NULL, name TEXT NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (scope, name)) WITHOUT ROWID;
CREATE TABLE verdict (component INTEGER NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (component, id)) WITHOUT ROWID;
CREATE INDEX verdict_id ON verdict (id);
CREATE TABLE news (
    news INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, component INTEGER NOT NULL,
    images INTEGER NOT NULL, body BLOB NOT NULL, why TEXT NOT NULL
);
CREATE TABLE judged (one INTEGER PRIMARY KEY CHECK (one = 1), time_ns INTEGER NOT NULL, database TEXT NOT NULL);
"""
# Apart, because files of before do not have it: the few not judged yet, among many with large bodies.
_INDEX = "CREATE INDEX IF NOT EXISTS component_never_judged ON component (component) WHERE judged = 0"


class FleetFile:
    """The file `path`, open. Use as a context manager. *Raises* StorageError everywhere (disk full, damaged, locked for long)."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        """With `write` the file is made when there is none, and one process at a time changes it."""
        self.path = path
        try:
            if write:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
            else:
                uri = f"file:{quote(str(path.absolute()))}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=60, check_same_thread=False)
            try:
                self._prepare(write=write)
            except BaseException:
                self._connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"fleet {path}", str(error), "list an image first, or mend the folder") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the use of the file."""
        self._connection.close()

    def _prepare(self, *, write: bool) -> None:
        is_empty = self._is_empty()  # before its numbers, which are written together with the tables
        found, schema = self._numbers_of_file()
        if is_empty and not write:
            raise StorageError(f"fleet {self.path}", "is being made, or was never finished", "list an image first")
        if is_empty:
            found, schema = self._make()
        if (found, schema) != (APPLICATION_ID, SCHEMA):
            raise InputError(
                f"fleet {self.path}", "is a file of something else, or of another version", "remove it; it is made anew"
            )
        if write:
            self._connection.execute(_INDEX)

    def _is_empty(self) -> bool:
        return not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    def _make(self) -> tuple[int, int]:
        """Make the tables, unless another process did while this one waited for it; what the file then is."""
        with self._writing() as (execute, _many):
            if self._is_empty():
                execute(f"PRAGMA application_id = {APPLICATION_ID}")
                execute(f"PRAGMA user_version = {SCHEMA}")
                for statement in _TABLES.split(";"):
                    execute(statement)
                self.path.chmod(0o644)
        return self._numbers_of_file()

    def _numbers_of_file(self) -> tuple[int, int]:
        execute = self._connection.execute
        return execute("PRAGMA application_id").fetchone()[0], execute("PRAGMA user_version").fetchone()[0]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[tuple[Any, Any]]:
        """`execute` and `executemany` of one transaction."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute, self._connection.executemany
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"fleet {self.path}", str(error), "free space or mend the folder, then try again") from error

    def _rows(self, statement: str, values: Sequence[object] = ()) -> Iterator[Any]:
        try:
            yield from self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise StorageError(f"fleet {self.path}", str(error), "remove it; it is made anew") from error
