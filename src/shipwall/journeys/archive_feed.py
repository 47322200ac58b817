"""A Debian archive as a feed of the database: what it says of the packages of some images becomes advisories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec

from shipwall.adapters.advisory_db.writer import rewriting
from shipwall.adapters.debian_archive import DebianArchive
from shipwall.journeys.advisories import Outcome
from shipwall.journeys.scan import ask_archive
from shipwall.model.advisory import Advisory
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.supply.advisories.debian_archive import advisories_of_updates
from shipwall.supply.feeds import FeedState

FEED = "debian-archive"


def import_archive(database: Path, archive: DebianArchive, inventories: Iterable[Inventory], now_ns: int) -> Outcome:
    """Replace the feed of the archive by what it says of the packages of `inventories`; what it could not say is `skipped`.

    It judges these images, and those whose packages are among theirs: of a package that none of them has it does not speak.
    Its age is that of the archive's own signed date, not of this import. *Raises* as `DebianArchive.load_advisories`; InputError when the
    archive has nothing newer than what all of them have: an empty feed would judge nothing.
    """
    said: dict[str, Advisory] = {}
    skipped: list[Skipped] = []
    dates = [now_ns]
    packages: dict[Distribution, dict[Package, None]] = defaultdict(dict)
    for inventory in inventories:
        packages[inventory.distribution].update((msgspec.structs.replace(one, files=()), None) for one in inventory.packages)
    for distribution, own in packages.items():  # each release is asked once, however many images are of it
        word = ask_archive(Inventory(image=None, distribution=distribution, packages=tuple(own)), archive, now_ns)
        dates.append(word.advisories.time_ns)
        skipped += (*word.advisories.warnings, *word.skipped)
        skipped += (one for one in word.changelogs.values() if isinstance(one, Skipped))
        for one in advisories_of_updates(word.updates, word.changelogs, distribution, FEED):
            known = said.get(one.id, one)
            said[one.id] = msgspec.structs.replace(one, affected=tuple(dict.fromkeys((*known.affected, *one.affected))))
    state = FeedState(name=FEED, format=FEED, time_ns=min(dates), checked_ns=min(dates))
    with rewriting(database) as writer:
        state, missed = writer.put_feed(state, said.values())
    return Outcome(name=FEED, outcome="updated", state=state, skipped=(*dict.fromkeys(skipped), *missed))
