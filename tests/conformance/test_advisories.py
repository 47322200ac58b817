"""Real OSV records (AlmaLinux, Go, PyPI) are imported without loss, and PyPI's two ways of saying what is affected agree."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.advisories import import_files

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.model.advisory import Affected, Range
from shipwall.supply.ecosystems import parse_name
from shipwall.supply.feeds import FeedState
from shipwall.supply.match_advisories import find_fix

FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "advisories"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")

NAMES = ("almalinux8", "almalinux9", "almalinux10", "go", "pypi")


def file_of(name: str) -> Path:
    return FOLDER / f"{name}.osv.jsonl.gz"


def records(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(file_of(name)) as lines:
        for line in lines:
            yield json.loads(line)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, FeedState]]:
    path = tmp_path_factory.mktemp("advisories") / "advisories.sqlite"
    return path, import_files(path, {name: file_of(name) for name in NAMES})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_is_what_the_records_say(imported: tuple[Path, dict[str, FeedState]], name: str) -> None:
    counted: Counter[str] = Counter()
    for record in records(name):
        counted["advisories"] += 1
        for affected in record["affected"]:
            counted["affected"] += 1
            counted["versions"] += len(affected.get("versions", ()))
            for one in affected.get("ranges", ()):
                if one["type"] != "GIT":
                    counted["ranges"] += sum("introduced" in event for event in one["events"])
    stored = imported[1][name]
    assert {key: getattr(stored, key) for key in ("advisories", "affected", "ranges", "versions")} == {
        key: counted[key] for key in ("advisories", "affected", "ranges", "versions")
    }


def test_every_entry_comes_back_as_it_was_written(imported: tuple[Path, dict[str, FeedState]]) -> None:
    wanted: Counter[tuple[str, str, str, str, tuple[Range, ...], tuple[str, ...]]] = Counter()
    for name in NAMES:
        for record in records(name):
            for affected in record["affected"]:
                scope = affected["package"]["ecosystem"]
                ranges = tuple(
                    one for item in affected.get("ranges", ()) if item["type"] != "GIT" for one in pairs(item["events"])
                )
                package = parse_name(scope, affected["package"]["name"])
                wanted[name, record["id"], scope, package, ranges, tuple(affected.get("versions", ()))] += 1
    with AdvisoryDb(imported[0]) as database:
        found = Counter(
            (
                database.advisory(entry.number).feed,
                database.advisory(entry.number).id,
                entry.affected.scope,
                entry.affected.name,
                entry.affected.ranges,
                entry.affected.versions,
            )
            for entry in database.entries()
        )
    assert found == wanted


def pairs(events: list[dict[str, str]]) -> list[Range]:
    """The plain reading of events that open and close in turn, as all of these do."""
    spans = []
    opened = None
    for event in events:
        if "introduced" in event:
            assert opened is None
            opened = "" if event["introduced"] == "0" else event["introduced"]
        else:
            assert opened is not None
            spans.append(Range(opened, event.get("fixed", ""), event.get("last_affected", "")))
            opened = None
    return spans if opened is None else [*spans, Range(opened)]


def test_ids_repeat_across_feeds_and_stay_apart(imported: tuple[Path, dict[str, FeedState]]) -> None:
    with AdvisoryDb(imported[0]) as database:
        keys = Counter((advisory.feed, advisory.id) for _number, advisory in database.advisories())
        ids = Counter(name for _feed, name in keys)
    assert max(keys.values()) == 1
    assert sum(count > 1 for count in ids.values()) == 37


def test_a_range_costs_few_bytes(imported: tuple[Path, dict[str, FeedState]]) -> None:
    path, stored = imported
    per_range = path.stat().st_size / sum(state.ranges for state in stored.values())
    assert per_range <= 60, f"{per_range:.1f} bytes a range, the whole file counted"


# Listed, but outside the ranges of the same record: the record contradicts itself (its fix 23.9.0 is listed as affected), or lists
# pre-releases of the release that its range begins with.
LISTED_OUTSIDE = {
    "PYSEC-2023-177": {"23.9.0", "23.9.0.post1"},
    "PYSEC-2023-61": {"3.2a1", "3.2b1", "3.2rc1", "4.2a1", "4.2b1", "4.2rc1"},
}
# Inside the ranges, but not listed, though another record knows the version. Lists are frozen when a record is written, and leave out
# what was released later (ansible, apache-iotdb, exiv2, selenium, vyper), backported fixes (nautobot, notebook, nvflare, pyspark, scrapy)
# or pre-releases (paddlepaddle, tensorflow). By OSV's rule the range counts.
UNLISTED_INSIDE = {
    "ansible": 97, "apache-iotdb": 10, "exiv2": 3, "nautobot": 10, "notebook": 6, "nvflare": 1, "paddlepaddle": 2, "pyspark": 2,
    "scrapy": 1, "selenium": 1, "tensorflow": 1600, "vyper": 6,
}  # fmt: skip


def test_pypi_versions_and_ranges_agree(imported: tuple[Path, dict[str, FeedState]], capsys: pytest.CaptureFixture[str]) -> None:
    known: dict[str, set[str]] = {}
    both: list[tuple[str, Affected]] = []
    with AdvisoryDb(imported[0]) as database:
        for entry in database.entries(["PyPI"]):
            known.setdefault(entry.affected.name, set()).update(entry.affected.versions)
            if entry.affected.ranges and entry.affected.versions:
                both.append((database.advisory(entry.number).id, entry.affected))
    listed = 0
    outside: dict[str, set[str]] = {}
    inside: Counter[str] = Counter()
    for name, affected in both:
        ranges = msgspec.structs.replace(affected, versions=())
        within = {version for version in known[affected.name] if find_fix(ranges, version, "pypi") is not None}
        listed += len(affected.versions)
        if odd := set(affected.versions) - within:
            outside[name] = odd
        inside[affected.name] += len(within - set(affected.versions))
    with capsys.disabled():
        print(
            f"\nPyPI: {listed} listed versions agree with the ranges but {sum(map(len, outside.values()))}; unlisted: {inside.total()}"
        )
    assert listed == 140_846
    assert outside == LISTED_OUTSIDE
    assert {name: count for name, count in inside.items() if count} == UNLISTED_INSIDE
