"""A published database, read only: the file is never changed, only replaced as a whole, so readers need no locks."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import msgspec

from shipwall.adapters.advisory_db.form import (
    APPLICATION_ID,
    BLOCK,
    MARK_ID_BYTES,
    SCHEMA,
    SHARE,
    damaged,
    split_marks,
    unpack_block,
    unpack_body,
)
from shipwall.adapters.sqlite_parts import parts_of
from shipwall.model.advisory import Advisory
from shipwall.model.errors import InputError, StorageError
from shipwall.model.finding import Exploited
from shipwall.supply.advisory_ids import cve_number
from shipwall.supply.feeds import FeedState
from shipwall.supply.match_advisories import Entry


class AdvisoryDb:
    """The database in the file `path`; satisfies `match_advisories.Advisories`. Use as a context manager.

    *Raises* StorageError when there is none, when it is damaged, or when another version of Shipwall made it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise StorageError(f"advisory database {path}", "is not there", "make it: shipwall db update, or db import")
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            found = self._connection.execute("PRAGMA application_id").fetchone()[0]
            schema = self._connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            raise InputError(
                f"advisory database {path}", f"is no database: {error}", "remove it, then make it: shipwall db update"
            ) from error
        if found != APPLICATION_ID:
            self.close()
            raise InputError(f"advisory database {path}", "is a database of something else", "name another file")
        if schema != SCHEMA:
            self.close()
            raise StorageError(
                f"advisory database {path}", f"has form {schema}, not {SCHEMA}", "make it anew: shipwall db update"
            )
        self._scopes: dict[str, int] = dict(self._rows("SELECT name, scope FROM scopes"))
        self._block = functools.lru_cache(maxsize=256)(self._load_block)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the use of the file."""
        self._connection.close()

    def holds(self, scope: str) -> bool:
        """Whether any advisory speaks of `scope`."""
        return scope in self._scopes

    def affecting(self, scope: str, names: Iterable[str]) -> Mapping[str, Sequence[Entry]]:
        """By name, all entries of `scope` for these packages."""
        found: dict[str, list[Entry]] = {}
        for name, body in self._said(scope, names, "body"):
            found.setdefault(name, []).extend(unpack_body(body, scope, name))
        return found

    def marks(self, scope: str, names: Iterable[str]) -> dict[str, bytes]:
        """By name, the marks of all entries of `scope` for it, one after another (`split_marks`), in no order that means anything.

        What the database says of a package has changed when the set of its marks has; signs of exploitation and CVSS vectors of other
        feeds are not in them. Names of which nothing is said are left out.
        """
        found: dict[str, bytes] = {}
        for name, marks in self._said(scope, names, "marks"):
            found[name] = found[name] + marks if name in found else marks
        return found

    def numbers(self, scope: str, names: Iterable[str], ids: Container[bytes]) -> set[int]:
        """The advisories that speak of these packages of `scope` and whose marks begin with one of `ids` (`hash_id`)."""
        found: set[int] = set()
        for name, marks, body in self._said(scope, names, "marks, body"):
            places = [place for place, mark in enumerate(split_marks(marks)) if mark[:MARK_ID_BYTES] in ids]
            if places:
                entries = unpack_body(body, scope, name)
                found.update(entries[place].number for place in places)
        return found

    def _said(self, scope: str, names: Iterable[str], columns: str) -> Iterator[Any]:
        """(name, columns) of the rows of `scope` for these names."""
        number = self._scopes.get(scope)
        if number is None:
            return
        for part in parts_of(names):
            marks = ",".join("?" * len(part))
            statement = f"SELECT name, {columns} FROM affected WHERE scope = ? AND name IN ({marks})"  # noqa: S608 - only marks
            yield from self._rows(statement, (number, *part))

    def entries(self, scopes: Iterable[str] = ()) -> Iterator[Entry]:
        """Every entry of these scopes; of all where none are named."""
        wanted = set(scopes)
        for scope, number in self._scopes.items():
            if not wanted or scope in wanted:
                for name, body in self._rows("SELECT name, body FROM affected WHERE scope = ?", (number,)):
                    yield from unpack_body(body, scope, name)

    def advisory(self, number: int) -> Advisory:
        """The advisory of an entry, without its list of affected packages. *Raises* StorageError for a number of no advisory."""
        block = self._block(number // BLOCK)
        if number % BLOCK >= len(block):
            raise damaged(f"advisory {number}", IndexError("the block is shorter"))
        return block[number % BLOCK]

    def advisories(self) -> Iterator[tuple[int, Advisory]]:
        """Every advisory with its number, without what it says of packages."""
        for block, body in self._rows("SELECT block, body FROM blocks ORDER BY block"):
            for place, advisory in enumerate(unpack_block(body)):
                yield block * BLOCK + place, advisory

    def exploited(self, ids: Iterable[str]) -> Mapping[str, Exploited]:
        """Signs of exploitation of those of `ids` that have any."""
        numbers = {number: name for name in ids if (number := cve_number(name)) is not None}
        found: dict[str, Exploited] = {}
        for part in parts_of(numbers):
            marks = ",".join("?" * len(part))
            for number, score, percentile in self._rows(
                f"SELECT cve, score, percentile FROM epss WHERE cve IN ({marks}) ORDER BY score",  # noqa: S608 - only marks
                part,
            ):
                share = None if percentile is None else percentile / SHARE
                found[numbers[number]] = Exploited(epss=score / SHARE, percentile=share)
            for number, due in self._rows(f"SELECT cve, due FROM kev WHERE cve IN ({marks})", part):  # noqa: S608 - only marks
                known = found.get(numbers[number], Exploited())
                found[numbers[number]] = msgspec.structs.replace(known, kev=True, kev_due=due)
        return found

    def vectors(self, ids: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """CVSS vectors that any feed gives for those of `ids`."""
        numbers = {number: name for name in ids if (number := cve_number(name)) is not None}
        found: dict[str, tuple[str, ...]] = {}
        for part in parts_of(numbers):
            marks = ",".join("?" * len(part))
            for number, vector in self._rows(
                f"SELECT cve, vector FROM vectors WHERE cve IN ({marks}) ORDER BY feed",  # noqa: S608 - only marks
                part,
            ):
                found[numbers[number]] = (*found.get(numbers[number], ()), vector)
        return found

    def vectors_mark(self) -> bytes:
        """Bytes that change whenever any vector does."""
        return b"".join(sorted(mark for (mark,) in self._rows("SELECT vectors_mark FROM feeds")))

    def feeds(self) -> list[FeedState]:
        """The feeds, by name."""
        names = FeedState.__struct_fields__
        rows = self._rows(f"SELECT {', '.join(names)} FROM feeds ORDER BY name")  # noqa: S608 - names of this struct
        return [FeedState(**dict(zip(names, row, strict=True))) for row in rows]

    def scopes(self) -> dict[str, tuple[int, int]]:
        """By scope: advisories that speak of it, and their entries."""
        statement = (
            "SELECT scopes.name, sum(advisories), sum(affected) FROM held JOIN scopes USING (scope) "
            "GROUP BY scopes.name ORDER BY scopes.name"
        )
        return {name: (advisories, affected) for name, advisories, affected in self._rows(statement)}

    def _load_block(self, block: int) -> list[Advisory]:
        for (body,) in self._rows("SELECT body FROM blocks WHERE block = ?", (block,)):
            return unpack_block(body)
        raise damaged(f"block {block}", KeyError("it is not there"))

    def _rows(self, statement: str, values: Sequence[object] = ()) -> Iterator[Any]:
        try:
            yield from self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise StorageError(f"advisory database {self.path}", str(error), "make it anew: shipwall db update") from error
