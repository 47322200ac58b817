"""Judging a fleet anew: 100,000 images of 300 packages, 40,000 different ones, and a day with 500 new or changed advisories.

Made up, repeatable. Timed is all between two databases and the news: opening the fleet (judged by the old database before, its marks of
100,000 advisories in it) and the new database, finding what the new one says otherwise, judging the components that is about, comparing
verdicts, storing verdicts, marks and news in one transaction that waits for the disk, grouping the news by image and wording a message
for the first thousand images. A row of news is (advisory, component) with its number of images; which images, the component's bitmap says.
Not timed: importing the databases, keeping the images, starting Python. The files are in the page cache.
"""

from __future__ import annotations

import math
import random
import shutil
import time
from pathlib import Path

import msgspec
import numpy as np
from pyroaring import BitMap

from bench_scan.fixtures import FOLDER
from bench_scan.rows import Measured, Row
from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.advisory_db.form import SCHEMA
from shipwall.adapters.advisory_db.writer import rewriting
from shipwall.adapters.fleet import Fleet
from shipwall.journeys.fleet import find_images
from shipwall.journeys.rejudge import rejudge
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.digest import ImageIdentity
from shipwall.model.package import Distribution, Package
from shipwall.supply.feeds import FeedState
from shipwall.supply.fleet import component_of

IMAGES, PACKAGES, NAMES, VERSIONS = 100_000, 300, 8_000, 5
OLD, NEW = 100_000, 500
_BOOKWORM = Distribution(id="debian", version_id="12", codename="bookworm")


def _advisory(number: int, chance: random.Random) -> Advisory:
    affected = Affected(
        scope="Debian:12", name=f"pkg{chance.randrange(NAMES)}", ranges=(Range("", f"1.{chance.randrange(1, VERSIONS)}-1"),),
        by_source=True,
    )  # fmt: skip
    return Advisory(feed="debian", id=f"CVE-{2015 + number % 10}-{10_000 + number}", affected=(affected,))


def _databases(folder: Path) -> None:
    chance = random.Random(5)  # noqa: S311 - repeatable, not secret
    old = [_advisory(number, chance) for number in range(OLD)]
    new = [*old, *(_advisory(OLD + number, chance) for number in range(NEW))]
    changed = list(old)
    for number in range(0, OLD, OLD // NEW):  # of the same packages, fixed in another version
        one = old[number].affected[0]
        fixed = Range("", f"1.{chance.randrange(1, VERSIONS)}-1")
        changed[number] = msgspec.structs.replace(old[number], affected=(msgspec.structs.replace(one, ranges=(fixed,)),))
    for name, advisories in (("old", old), ("new", new), ("changed", changed)):
        with rewriting(folder / f"{name}.sqlite") as writer:
            writer.put_feed(FeedState(name="debian", format="osv"), advisories)


def _images(fleet: Fleet) -> None:
    """Popular packages more often; every image its own choice of versions."""
    numbers = []
    with fleet._writing() as (execute, _many):  # noqa: SLF001 - rows are laid by hand: 100,000 calls of `put` would take a quarter of an hour
        for name in range(NAMES):
            for version in range(VERSIONS):
                text = f"1.{version}-1"
                package = Package(
                    ecosystem="deb", name=f"pkg{name}", version=text, arch="amd64", source=f"pkg{name}", source_version=text
                )
                numbers.append(fleet._component(execute, component_of(package, _BOOKWORM)))  # noqa: SLF001
        draw = np.random.default_rng(1)
        popular = np.cumsum(1 / np.arange(1, NAMES + 1) ** 0.7)
        having: list[list[int]] = [[] for _ in numbers]
        table = np.array(numbers, dtype="<u4")
        distribution, names = msgspec.msgpack.encode(_BOOKWORM), msgspec.msgpack.encode(("bench",))
        for image in range(1, IMAGES + 1):
            chosen = np.searchsorted(popular, draw.random(PACKAGES) * popular[-1]) * VERSIONS + draw.integers(
                0, VERSIONS, PACKAGES
            )
            own = np.unique(chosen)
            for place in own.tolist():
                having[place].append(image)
            digest = f"sha256:{image:064x}"
            identity = ImageIdentity(manifest=digest, config=digest, diff_ids=(digest,))
            execute(
                "INSERT INTO image VALUES (?, ?, ?, ?, 1, ?, ?, ?, '', ?, ?, ?, ?)",
                (image, digest, digest, digest, msgspec.msgpack.encode(identity), distribution, names, image, table[own].tobytes(),
                 bytes(2 * len(own)), msgspec.msgpack.encode(("",))),
            )  # fmt: skip
        for number, images in zip(numbers, having, strict=True):
            execute("UPDATE component SET images = ? WHERE component = ?", (BitMap(images).serialize(), number))


def _fixture() -> Path:
    """The fleet, judged by the old database."""
    folder = FOLDER / "fleet"
    ready = folder / f"ready-{SCHEMA}-2"  # databases of another form cannot be read
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _databases(folder)
        with Fleet(folder / "fleet.db", write=True) as fleet:
            _images(fleet)
            with AdvisoryDb(folder / "old.sqlite") as advisories:
                rejudge(fleet, advisories, 1)
        ready.touch()
    return folder


def _rejudge(name: str) -> Measured:
    folder = _fixture()
    best, cpu = math.inf, math.inf
    for turn in range(5):
        copy = folder / "copy.db"
        shutil.copyfile(folder / "fleet.db", copy)
        began, worked = time.monotonic(), time.process_time()
        with Fleet(copy, write=True) as fleet, AdvisoryDb(folder / f"{name}.sqlite") as advisories:
            result = rejudge(fleet, advisories, 2 + turn)
        best, cpu = min(best, time.monotonic() - began), min(cpu, time.process_time() - worked)
        copy.unlink()
    hit = f"{len(result.changes)} changes in {len(result.touched.images):,} images, {len(result.touched.which):,} pairs"
    return Measured(
        f"{IMAGES / cpu:,.0f} images/s ({cpu:.2f} s)", f"{best:.2f} s of the clock; {result.components} packages judged, {hit}"
    )


def _find() -> Measured:
    with Fleet(_fixture() / "fleet.db") as fleet:
        began = time.monotonic()
        answer = find_images(fleet, "pkg7 < 1.3")
        took = time.monotonic() - began
    images = {image.number for one in answer.found for image in one.images}
    return Measured(f"{took * 1000:.0f} ms", f"{len(images)} of {IMAGES} images have it")


ROWS = (
    Row("re-judging, 500 advisories new", "≥ 100,000 /s", lambda: _rejudge("new")),
    Row("re-judging, 500 advisories changed", "–", lambda: _rejudge("changed")),
    Row("image find over 100,000 images", "–", _find),
)
