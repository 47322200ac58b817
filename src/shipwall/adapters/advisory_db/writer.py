"""Writing a database: into a fresh file beside the old one, which takes its place only when it is whole and on the disk.

Whatever ends a writer, readers see the old file or the new one. Writers take turns by a lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from shipwall.adapters.advisory_db.form import (
    APPLICATION_ID,
    BLOCK,
    SCHEMA,
    SHARE,
    TABLES,
    Head,
    Packed,
    pack_block,
    pack_body,
    pack_entry,
    pack_head,
)
from shipwall.adapters.advisory_db.reader import AdvisoryDb
from shipwall.adapters.files import locked, sync_folder
from shipwall.model.advisory import Advisory, Affected
from shipwall.model.errors import InputError, StorageError
from shipwall.model.finding import Exploited
from shipwall.model.package import Skipped
from shipwall.supply.advisories import Item
from shipwall.supply.advisory_ids import cve_number
from shipwall.supply.feeds import FeedState

_HELD_BYTES = 96 << 20  # packed entries kept in memory before they become rows
_ENTRY_OVERHEAD_BYTES = 64
_MAX_SKIPPED = 200
_WORTH_VACUUM = 4  # part of the file that is free


@contextlib.contextmanager
def rewriting(path: Path) -> Iterator[DbWriter]:
    """A writer on a copy of the database at `path` (an empty one where there is none), which takes its place when the block ends well.

    *Raises* StorageError: disk full, read-only; InputError: a file of something else is there. *On failure*: that file
    stays as it was.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            fresh.unlink(missing_ok=True)  # what a writer that died left behind
            try:
                if is_to_take_over(path):
                    shutil.copyfile(path, fresh)
                writer = DbWriter(fresh)
                try:
                    yield writer
                    writer.finish()
                finally:
                    writer.close()
                publish(fresh, path)
            finally:
                fresh.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"advisory database {path}", str(error), "free space or mend the folder, then try again") from error


def is_to_take_over(path: Path) -> bool:
    """Whether a database lies at `path` whose feeds can be taken over; one of another form, or damaged, cannot and is begun anew.

    *Raises* InputError for a file of something else: it is not ours to replace.
    """
    if not path.exists() or not path.stat().st_size:
        return False
    try:
        AdvisoryDb(path).close()
    except StorageError:
        return False
    return True


def publish(fresh: Path, path: Path) -> None:
    """`fresh` takes the place of `path`, durably."""
    with fresh.open("rb") as file:
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


class DbWriter:
    """Puts feeds into the file `path`. Not for readers until `finish`."""

    def __init__(self, path: Path) -> None:
        new = not path.exists()
        self._connection = sqlite3.connect(path, isolation_level=None)
        execute = self._connection.execute
        # The file is thrown away when anything goes wrong; the journal serves only a feed that fails half-way.
        execute("PRAGMA journal_mode = MEMORY")
        execute("PRAGMA synchronous = OFF")
        execute("PRAGMA cache_size = -65536")
        execute("PRAGMA locking_mode = EXCLUSIVE")
        if new:
            execute("PRAGMA page_size = 8192")
            execute(f"PRAGMA application_id = {APPLICATION_ID}")
            execute(f"PRAGMA user_version = {SCHEMA}")
            self._connection.executescript(TABLES)
        execute("BEGIN")
        self._scopes: dict[str, int] = dict(execute("SELECT name, scope FROM scopes"))

    def put_feed(self, state: FeedState, items: Iterable[Item]) -> tuple[FeedState, list[Skipped]]:
        """Replace the feed `state.name` by `items`; its counts as stored, and the first of what was skipped.

        *Raises* what `items` raises, and InputError when they hold nothing: a feed is never replaced by nothing. *On failure* the feed is
        as it was.
        """
        execute = self._connection.execute
        execute("SAVEPOINT feed")
        try:
            stored = self._put_feed(state, items)
        except BaseException:
            execute("ROLLBACK TO feed")
            execute("RELEASE feed")
            self._scopes = dict(execute("SELECT name, scope FROM scopes"))
            raise
        execute("RELEASE feed")
        return stored

    def _put_feed(self, state: FeedState, items: Iterable[Item]) -> tuple[FeedState, list[Skipped]]:
        self.drop_feed(state.name)
        execute = self._connection.execute
        feed = execute("SELECT coalesce(max(feed), 0) + 1 FROM feeds").fetchone()[0]
        first = execute("SELECT coalesce(max(block), -1) + 1 FROM blocks").fetchone()[0]
        filler = _Filler(self._connection, self._scopes, feed, first)
        for item in items:
            filler.put(item)
        filler.end()
        if not filler.counts["advisories"] and not filler.counts["signs"]:
            why = filler.skipped[0].reason if filler.skipped else "it is empty"
            raise InputError(f"feed {state.name}", f"holds nothing that can be read as {state.format}: {why}", "look at it")
        state = msgspec.structs.replace(state, **filler.counts)
        values = {**msgspec.structs.asdict(state), "feed": feed, "first_block": first, "last_block": filler.block - 1}
        values["vectors_mark"] = filler.vectors_mark()
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        execute(f"INSERT INTO feeds ({names}) VALUES ({marks})", values)  # noqa: S608 - names of the struct
        return state, filler.skipped

    def confirm_feed(self, name: str, now_ns: int) -> None:
        """Upstream said that the feed `name` is current."""
        self._connection.execute("UPDATE feeds SET checked_ns = ? WHERE name = ?", (now_ns, name))

    def drop_feed(self, name: str) -> None:
        """Take the feed `name` out, if it is there."""
        execute = self._connection.execute
        row = execute("SELECT feed, first_block, last_block FROM feeds WHERE name = ?", (name,)).fetchone()
        if row is None:
            return
        feed, first, last = row
        for table in ("affected", "vectors", "epss", "kev", "held", "feeds"):
            execute(f"DELETE FROM {table} WHERE feed = ?", (feed,))  # noqa: S608 - names of this list
        execute("DELETE FROM blocks WHERE block BETWEEN ? AND ?", (first, last))

    def finish(self) -> None:
        """Make the file whole."""
        execute = self._connection.execute
        execute("DELETE FROM scopes WHERE scope NOT IN (SELECT scope FROM held)")
        execute("COMMIT")
        pages, free = (execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
        if free * _WORTH_VACUUM > pages:
            execute("VACUUM")

    def close(self) -> None:
        """End the connection; without `finish` nothing of it is whole."""
        self._connection.close()


def _says_the_same(one: Affected, before: Affected) -> bool:
    """Whether two entries differ in nothing but the package's name, as those of the packages of one build."""
    return (
        one.ranges is before.ranges
        and one.scope is before.scope
        and one.state is before.state
        and one.severity is before.severity
        and one.module is before.module
        and one.by_source == before.by_source
        and not (one.versions or before.versions or one.arches or before.arches or one.reason or before.reason)
    )


class _Filler:
    """One feed on its way into the tables."""

    def __init__(self, connection: sqlite3.Connection, scopes: dict[str, int], feed: int, block: int) -> None:
        self._connection = connection
        self._scopes = scopes
        self._feed = feed
        self.block = block
        self._heads: list[bytes] = []
        self._blocks: list[tuple[int, bytes]] = []
        self._entries: dict[tuple[int, str], list[Packed]] = {}
        self._held_bytes = 0
        self._part = 0
        self._spoken: dict[int, tuple[int, int]] = {}
        self._vectors: dict[int, str] = {}
        self._epss: dict[int, tuple[int, int | None]] = {}
        self._kev: dict[int, str] = {}
        self.counts = dict.fromkeys(("advisories", "affected", "ranges", "versions", "signs", "skipped"), 0)
        self.skipped: list[Skipped] = []

    def put(self, item: Item) -> None:
        if isinstance(item, Advisory):
            self._put_advisory(item)
        elif isinstance(item, Skipped):
            self.counts["skipped"] += 1
            if len(self.skipped) < _MAX_SKIPPED:
                self.skipped.append(item)
        else:
            self._put_sign(*item)

    def end(self) -> None:
        """Write what is still held."""
        if self._heads:
            self._close_block()
        self._flush()
        many, feed = self._connection.executemany, self._feed
        many("INSERT INTO held VALUES (?, ?, ?, ?)", [(scope, feed, *counts) for scope, counts in sorted(self._spoken.items())])
        many("INSERT INTO vectors VALUES (?, ?, ?)", [(cve, feed, vector) for cve, vector in sorted(self._vectors.items())])
        many("INSERT INTO epss VALUES (?, ?, ?, ?)", [(cve, feed, *shares) for cve, shares in sorted(self._epss.items())])
        many("INSERT INTO kev VALUES (?, ?, ?)", [(cve, feed, due) for cve, due in sorted(self._kev.items())])

    def vectors_mark(self) -> bytes:
        """A hash of the CVSS vectors of the feed; empty when it has none."""
        return hashlib.blake2b(repr(sorted(self._vectors.items())).encode(), digest_size=8).digest() if self._vectors else b""

    def _put_advisory(self, advisory: Advisory) -> None:
        counts, entries, scopes = self.counts, self._entries, self._scopes
        number = self.block * BLOCK + len(self._heads)
        ranges = versions = held = size = spans = 0
        spoken: dict[int, int] = {}
        before: Affected | None = None
        head = Head.of(advisory)
        for one in advisory.affected:
            scope = scopes.get(one.scope) or self._scope(one.scope)
            if before is None or not _says_the_same(one, before):
                packed = pack_entry(number, one, head)
                size, spans = len(packed.entry) + _ENTRY_OVERHEAD_BYTES, len(one.ranges)
                before = one
            key = (scope, one.name)
            if key in entries:
                entries[key].append(packed)
            else:
                entries[key] = [packed]
            held += size
            ranges += spans
            if one.versions:
                versions += len(one.versions)
            spoken[scope] = spoken.get(scope, 0) + 1
        for scope, count in spoken.items():
            advisories, affected = self._spoken.get(scope, (0, 0))
            self._spoken[scope] = advisories + 1, affected + count
        counts["advisories"] += 1
        counts["affected"] += len(advisory.affected)
        counts["ranges"] += ranges
        counts["versions"] += versions
        if advisory.cvss and not advisory.withdrawn:
            self._keep_vector(advisory)
        self._heads.append(pack_head(advisory))
        if len(self._heads) == BLOCK:
            self._close_block()
        self._held_bytes += held
        if self._held_bytes > _HELD_BYTES:
            self._flush()

    def _put_sign(self, name: str, sign: Exploited) -> None:
        cve = cve_number(name)
        if cve is None:
            return
        self.counts["signs"] += 1
        if sign.epss is not None:
            self._epss[cve] = round(sign.epss * SHARE), None if sign.percentile is None else round(sign.percentile * SHARE)
        if sign.kev:
            self._kev[cve] = sign.kev_due

    def _keep_vector(self, advisory: Advisory) -> None:
        """Of an advisory about a single CVE its vector is that CVE's, for feeds that give none."""
        cves = {number for name in (advisory.id, *advisory.aliases, *advisory.fixes) if (number := cve_number(name)) is not None}
        if len(cves) == 1:
            self._vectors.setdefault(cves.pop(), max(advisory.cvss))

    def _scope(self, name: str) -> int:
        cursor = self._connection.execute("INSERT INTO scopes (name) VALUES (?)", (name,))
        self._scopes[name] = number = int(cursor.lastrowid or 0)
        return number

    def _close_block(self) -> None:
        self._connection.execute("INSERT INTO blocks VALUES (?, ?)", (self.block, pack_block(self._heads)))
        self.block += 1
        self._heads = []

    def _flush(self) -> None:
        """Entries become rows, in the order of the key, so that pages fill up."""
        feed, part = self._feed, self._part
        rows = [
            (scope, name, feed, part, b"".join([one.mark for one in entries]), pack_body([one.entry for one in entries]))
            for (scope, name), entries in sorted(self._entries.items())
        ]
        self._connection.executemany("INSERT INTO affected VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._entries.clear()
        self._held_bytes = 0
        self._part += 1
