"""Databases of advisories for tests, made by the real writer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.advisory_db.documents import read_items
from shipwall.adapters.advisory_db.writer import rewriting
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.supply.advisories import Item, find_format
from shipwall.supply.feeds import FeedState


def make_database(path: Path, feeds: dict[str, Iterable[Item]], kind: str = "osv") -> Path:
    """A database at `path` with these feeds."""
    with rewriting(path) as writer:
        for name, items in feeds.items():
            writer.put_feed(FeedState(name=name, format=kind), items)
    return path


def import_files(path: Path, files: dict[str, Path], kind: str = "osv") -> dict[str, FeedState]:
    """A database at `path` with one feed for each file; what was stored of each."""
    stored = {}
    with rewriting(path) as writer:
        for name, file in files.items():
            state, skipped = writer.put_feed(FeedState(name=name, format=kind), read_items(file, find_format(kind), name))
            assert skipped == []
            stored[name] = state
    return stored


def inventory_of(distribution: Distribution, *packages: Package) -> Inventory:
    return Inventory(image=None, distribution=distribution, packages=packages)


def known_ids(database: AdvisoryDb, scope: str) -> dict[str, set[str]]:
    """By package, every id that the database's advisories name for it in `scope`."""
    ids: dict[int, tuple[str, ...]] = {}
    found: dict[str, set[str]] = {}
    for entry in database.entries([scope]):
        if entry.number not in ids:
            advisory = database.advisory(entry.number)
            ids[entry.number] = (advisory.id, *advisory.aliases, *advisory.fixes)
        found.setdefault(entry.affected.name, set()).update(ids[entry.number])
    return found
