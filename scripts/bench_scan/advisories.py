"""Importing advisories and matching against 100,000 ranges: made-up errata in the shape of a real RPM feed, the same at every run.

Seconds are of the processor, best of some rounds: other work on the machine only ever adds.
"""

from __future__ import annotations

import collections
import functools
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from bench_scan.rows import Measured, Row
from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.journeys.advisories import import_files
from shipwall.supply.feeds import FeedState
from shipwall.supply.match_bulk import BulkIndex
from shipwall.supply.versions import find_order

SCOPE = "AlmaLinux:8"
_ERRATA, _SOURCES, _ROUNDS, _ASKED = 12_600, 2_400, 5, 1_000_000


def _best(act: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Processor seconds of the fastest run."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        act()
        times.append(time.process_time() - began)
    return min(times)


@functools.cache
def errata() -> tuple[bytes, ...]:
    """OSV records: each of one source's binaries (8 on average), with the next of its versions."""
    chance = random.Random(3)  # noqa: S311 - repeatable, not secret
    binaries = [[f"pkg{source}", *(f"pkg{source}-{part}" for part in range(chance.randrange(16)))] for source in range(_SOURCES)]
    made = []
    for number in range(_ERRATA):
        source = chance.randrange(_SOURCES)
        fixed = f"{1 + number * 9 // _ERRATA}.{source % 30}.{number % 20}-{1 + number % 37}.el8_{number % 10}"
        events = [{"introduced": "0"}, {"fixed": fixed}]
        affected = [
            {"package": {"ecosystem": SCOPE, "name": name}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
            for name in binaries[source]
        ]
        cves = [f"CVE-{2015 + number % 10}-{10_000 + (number * 7 + extra) % 50_000}" for extra in range(1 + number % 4)]
        record = {
            "id": f"ALSA-2024:{number:05}",
            "summary": f"Moderate: pkg{source} security update",
            "details": " ".join(f"* pkg{source}: something in it can be made to fail ({cve})" for cve in cves),
            "related": cves,
            "published": "2024-05-10T08:03:36Z",
            "modified": "2024-05-11T08:03:36Z",
            "references": [{"type": "ADVISORY", "url": f"https://errata.example/8/{number:05}.html"}],
            "affected": affected,
        }
        made.append(json.dumps(record).encode())
    return tuple(made)


@functools.cache
def _database() -> tuple[Path, FeedState, float]:
    """The imported feed, what was stored, and the seconds it took."""
    folder = Path(tempfile.mkdtemp(prefix="shipwall-bench-"))
    file = folder / "errata.jsonl"
    file.write_bytes(b"\n".join(errata()))
    path = folder / "advisories.sqlite"
    took = _best(lambda: import_files([file], "osv", path, 0), rounds=3)
    with AdvisoryDb(path) as database:
        return path, database.feeds()[0], took


@functools.cache
def _index() -> BulkIndex:
    with AdvisoryDb(_database()[0]) as database:
        return BulkIndex(database.entries())


@functools.cache
def _fleet() -> tuple[list[str], list[str]]:
    """Names and versions as many images have them: 40,000 different pairs, most of them up to date or a fix or two behind."""
    chance = random.Random(4)  # noqa: S311 - repeatable, not secret
    key = find_order("rpm").key
    fixes: dict[str, list[str]] = {}
    with AdvisoryDb(_database()[0]) as database:
        for _number, affected in database.entries():
            fixes.setdefault(affected.name, []).append(affected.ranges[0].fixed)
    newest = {name: sorted(set(versions), key=key) for name, versions in fixes.items()}
    names = sorted(newest)
    pairs = []
    for _ in range(40_000):
        name = chance.choice(names)
        behind = chance.choice((1, 1, 1, 2, 3))
        pairs.append((name, newest[name][-min(behind, len(newest[name]))]))
    asked = chance.choices(pairs, k=_ASKED)
    return [name for name, _version in asked], [version for _name, version in asked]


def _import() -> Measured:
    _path, state, took = _database()
    decoding = _best(lambda: collections.deque(map(msgspec.json.decode, errata()), maxlen=0))
    return Measured(
        f"{state.advisories / took:,.0f} records/s, {state.ranges / took:,.0f} ranges/s",
        f"JSON alone {state.advisories / decoding:,.0f} records/s",
    )


def _bytes() -> Measured:
    path, state, _took = _database()
    return Measured(f"{path.stat().st_size / state.ranges:.1f} of {state.ranges:,}", "texts, ids and indexes, the whole file")


def _texts() -> Measured:
    index, (names, versions) = _index(), _fleet()
    index.match_texts(SCOPE, names, versions)
    found = len(index.match_texts(SCOPE, names, versions).rows)
    took = _best(lambda: index.match_texts(SCOPE, names, versions))
    known = dict.fromkeys(versions, 0)
    looking = _best(lambda: list(map(known.get, versions)))
    return Measured(f"{_ASKED / took / 1e6:.1f} M/s, {found:,} found", f"one dict {_ASKED / looking / 1e6:.0f} M/s")


def _ids() -> Measured:
    index, (names, versions) = _index(), _fleet()
    name_ids = np.array([index.name_id(SCOPE, name) for name in names], np.int32)
    ranks = np.array([index.rank("rpm", version) for version in versions], np.int32)
    found = len(index.match_ids(name_ids, ranks).rows)
    took = _best(lambda: index.match_ids(name_ids, ranks))
    table = np.arange(int(name_ids.max()) + 1)
    looking = _best(lambda: table[name_ids])
    return Measured(f"{_ASKED / took / 1e6:.1f} M/s, {found:,} found", f"one array {_ASKED / looking / 1e6:.0f} M/s")


def _new() -> Measured:
    index, (names, _versions) = _index(), _fleet()
    count = 100_000
    rounds = [[f"{turn}.{number % 9}.{number}-{number % 30}.el8_{number % 9}" for number in range(count)] for turn in range(3)]
    fresh = iter(rounds)
    took = _best(lambda: index.match_texts(SCOPE, names[:count], next(fresh)), rounds=len(rounds))
    keys = _best(lambda: list(map(find_order("rpm").key, rounds[0])), rounds=3)
    return Measured(f"{count / took / 1e6:.2f} M/s", f"version keys alone {count / keys / 1e6:.2f} M/s")


ROWS = (
    Row("advisories, import", "≥ 12,000 records/s", _import),
    Row("advisories, bytes a range", "≤ 60", _bytes),
    Row("matching, 100,000 ranges, texts", "≥ 1 M/s", _texts),
    Row("matching, 100,000 ranges, ids", "≥ 5 M/s", _ids),
    Row("matching, every version new", "≥ 0.1 M/s", _new),
)
