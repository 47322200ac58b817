"""Keep the database of advisories: fetch what changed, import files, give it away signed, say how old it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.advisory_db.documents import digest_of, read_items
from shipwall.adapters.advisory_db.fetch import Fetched, fetched
from shipwall.adapters.advisory_db.writer import DbWriter, rewriting
from shipwall.adapters.files import locked
from shipwall.model.errors import InputError, ShipwallError, StorageError
from shipwall.model.package import Skipped
from shipwall.supply.advisories import find_format
from shipwall.supply.advisories.sources import Source, Sources, default_sources, parse_sources
from shipwall.supply.feeds import DEFAULT_MAX_AGE_DAYS, FeedState, find_old

Say = Callable[[str], None]
_MAX_CONFIGURATION_BYTES = 1 << 20


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one feed. `outcome`: updated, current (upstream has nothing newer) or failed; then the old data stay in force."""

    name: str
    outcome: str
    reason: str = ""
    exit_code: int = 0
    state: FeedState | None = None
    skipped: tuple[Skipped, ...] = ()


class DatabaseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The database in `path`: its size, feeds, and by scope how many advisories speak of it. `notices`: what is old, one line each."""

    path: str
    size_bytes: int
    feeds: tuple[FeedState, ...]
    scopes: dict[str, int]
    notices: tuple[str, ...] = ()


class _Pending(NamedTuple):
    source: Source
    held: FeedState | None
    found: Fetched


def load_sources(path: Path | None) -> Sources:
    """The configuration in the file `path`; without one, all known feeds. *Raises* InputError, StorageError."""
    if path is None:
        return default_sources()
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CONFIGURATION_BYTES + 1)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "name a readable file") from error
    if len(data) > _MAX_CONFIGURATION_BYTES:
        raise InputError(str(path), f"is larger than {_MAX_CONFIGURATION_BYTES} bytes")
    return parse_sources(data, str(path))


def update_advisories(
    database: Path, sources: Sources, cache: Path, now_ns: int, *, names: Iterable[str] = (), say: Say = lambda _line: None
) -> list[Outcome]:
    """Ask the upstream of each feed (only those of `names` where given) and take over what changed.

    *On failure* of one feed its old data stay in force and its outcome says why; the others are taken over all the same. Nothing of the
    database changes before all is fetched, and then as a whole. *Raises* InputError for an unknown name, StorageError.
    """
    wanted = _wanted(sources, set(names))
    held = _held(database)
    outcomes: dict[str, Outcome] = {}
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(str(cache), error.strerror or str(error), "mend the folder, or name another: --cache") from error
    with locked(cache / "update.lock"), ExitStack() as downloads:
        pending: list[_Pending] = []
        for source in wanted:
            say(f"asking for {source.name}")
            known = held.get(source.name)
            if known is not None and (known.url, known.format) != (source.url, source.format):
                known = None  # validators of another place say nothing
            etag, modified = (known.etag, known.modified) if known else ("", "")
            try:
                found = downloads.enter_context(fetched(source.url, cache, etag=etag, modified=modified, sha256=source.sha256))
            except ShipwallError as error:
                outcomes[source.name] = _failed(source.name, error)
                continue
            pending.append(_Pending(source, known, found))
        if pending:
            with rewriting(database) as writer:
                for one in pending:
                    say(f"reading {one.source.name}")
                    outcomes[one.source.name] = _take_over(writer, one, now_ns)
    return [outcomes[source.name] for source in wanted]


def _wanted(sources: Sources, names: set[str]) -> list[Source]:
    unknown = names - {one.name for one in sources.feeds}
    if unknown:
        known = ", ".join(one.name for one in sources.feeds)
        raise InputError(f"feed {min(unknown)[:80]!r}", "is not configured", f"configured: {known}")
    return [one for one in sources.feeds if not names or one.name in names]


def _held(database: Path) -> dict[str, FeedState]:
    try:
        with AdvisoryDb(database) as opened:
            return {one.name: one for one in opened.feeds()}
    except ShipwallError:
        return {}  # none yet, or one that `rewriting` begins anew


def _take_over(writer: DbWriter, pending: _Pending, now_ns: int) -> Outcome:
    source, held, found = pending
    if found.path is None:
        writer.confirm_feed(source.name, now_ns)
        return Outcome(name=source.name, outcome="current", state=held)
    if held is not None and found.digest and held.digest == found.digest:
        writer.confirm_feed(source.name, now_ns)
        return Outcome(name=source.name, outcome="current", state=held)
    state = FeedState(
        name=source.name,
        format=source.format,
        url=source.url,
        etag=found.etag,
        modified=found.modified,
        digest=found.digest,
        time_ns=now_ns,
        checked_ns=now_ns,
    )
    try:
        state, skipped = writer.put_feed(state, read_items(found.path, find_format(source.format), source.name))
    except ShipwallError as error:
        return _failed(source.name, error)
    return Outcome(name=source.name, outcome="updated", state=state, skipped=tuple(skipped))


def _failed(name: str, error: ShipwallError) -> Outcome:
    return Outcome(name=name, outcome="failed", reason=error.line(), exit_code=error.exit_code)


def import_files(
    files: Iterable[Path], format_name: str, database: Path, now_ns: int, *, feed: str = "", say: Say = lambda _line: None
) -> list[Outcome]:
    """Put each file (or folder) into the database as a feed of its own, called after the file, or `feed` where that is named.

    *Raises* InputError when a file is not of the format or two would have one name: then nothing is changed.
    """
    kind = find_format(format_name)
    named = [(feed or _feed_name(path), path) for path in files]
    if len({name for name, _path in named}) < len(named):
        raise InputError("files", "two of them would become one feed", "import them one by one, each with --feed NAME")
    outcomes = []
    with rewriting(database) as writer:
        for name, path in named:
            say(f"reading {path.name}")
            state = FeedState(name=name, format=kind.name, time_ns=now_ns, checked_ns=now_ns, digest=digest_of(path))
            state, skipped = writer.put_feed(state, read_items(path, kind, name))
            outcomes.append(Outcome(name=name, outcome="updated", state=state, skipped=tuple(skipped)))
    return outcomes


def _feed_name(path: Path) -> str:
    """The file's name up to its first dot."""
    return path.absolute().name.partition(".")[0] or "files"


def describe_database(database: Path, now_ns: int, max_age_days: int = DEFAULT_MAX_AGE_DAYS) -> DatabaseStatus:
    """What is in the database, and what of it is old. *Raises* StorageError when there is none."""
    with AdvisoryDb(database) as opened:
        feeds = tuple(opened.feeds())
        scopes = {scope: advisories for scope, (advisories, _affected) in opened.scopes().items()}
    return DatabaseStatus(
        path=str(database),
        size_bytes=database.stat().st_size,
        feeds=feeds,
        scopes=scopes,
        notices=tuple(find_old(feeds, now_ns, max_age_days)),
    )
