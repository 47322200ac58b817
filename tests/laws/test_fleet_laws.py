"""The law of judging anew: after any update of the advisories the fleet's verdicts are those of scanning each image by the new database."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.advisories import make_database

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.fleet import Fleet
from shipwall.journeys.keep import keep_image
from shipwall.journeys.rejudge import rejudge
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.finding import Exploited, Finding, FixState, Severity
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.supply.advisories import Item
from shipwall.supply.match_advisories import match_advisories

SCOPES = {
    "Debian:12": ("deb", Distribution(id="debian", version_id="12")),
    "Ubuntu:22.04": ("deb", Distribution(id="ubuntu", version_id="22.04")),
    "Ubuntu:Pro:22.04": ("deb", Distribution(id="ubuntu", version_id="22.04")),
    "AlmaLinux:8": ("rpm", Distribution(id="almalinux", version_id="8.10")),
    "PyPI": ("pypi", Distribution(id="debian", version_id="12")),
}
MEMORY = Path("/dev/shm")  # nothing waits for a disk there
IDS = ["CVE-2021-1001", "CVE-2021-1002", "CVE-2021-1003", "GHSA-a", "ALSA-2021:1", "USN-1"]
VECTORS = ["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"]
VERSIONS = ["1", "2", "3", "not a version!"]
State = dict[str, list[Advisory]]


class Maker:
    """Few names, versions and ids, so that things meet; by the dice, since a draw for each would take a minute."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def some(self, values: Sequence[str], most: int) -> tuple[str, ...]:
        return tuple(self.dice.sample(values, self.dice.randint(0, most)))

    def package(self) -> tuple[Package, Distribution]:
        pick = self.dice.choice
        kind, distribution = SCOPES[pick(sorted(SCOPES))]
        source = pick(["", "a", "b"]) if kind != "pypi" else ""
        return Package(
            ecosystem=kind, name=pick("ab"), version=pick(VERSIONS), source=source, arch="x86_64" if kind == "rpm" else "",
            module=pick(["", "", "m:1"]) if kind == "rpm" else "", source_version=pick(VERSIONS) if source else "",
            owner=pick(["", "", "", "dash"]) if kind == "pypi" else "",
        ), distribution  # fmt: skip

    def affected(self) -> Affected:
        pick = self.dice.choice
        ranges = tuple(Range(pick(["", "2"]), pick(["", "2", "3"])) for _ in range(pick([0, 1, 1, 2])))
        return Affected(
            scope=pick(sorted(SCOPES)), name=pick("ab"), ranges=ranges, versions=self.some(["1", "3"], 1), by_source=pick([True, False]),
            module=pick(["", "", "m:1"]), severity=pick([Severity.UNKNOWN, Severity.HIGH]),
            state=pick([FixState.UNKNOWN, FixState.NOT_FIXED]),
        )  # fmt: skip

    def advisory(self) -> Advisory:
        pick = self.dice.choice
        return Advisory(
            feed="", id=pick(IDS), aliases=self.some(IDS, 2), fixes=pick([(), (), self.some(IDS, 2)]), cvss=self.some(VECTORS, 1),
            severity=pick([Severity.UNKNOWN, Severity.LOW]), modified_ns=pick([0, 1]), withdrawn=pick([False, False, False, True]),
            affected=tuple(self.affected() for _ in range(self.dice.randint(0, 3))),
        )  # fmt: skip

    def feed(self) -> list[Advisory]:
        return [self.advisory() for _ in range(self.dice.randint(0, 8))]

    def update(self, before: State) -> State:
        """Much stays as it is, in another order of feeds perhaps; some goes, some comes."""
        after = {
            feed: [one for one in own if self.dice.random() < 0.8] + self.feed()[: self.dice.randint(0, 2)]
            for feed, own in before.items()
        }
        return dict(reversed(after.items())) if self.dice.random() < 0.5 else after


def fill(path: Path, state: State, turn: int) -> AdvisoryDb:
    unused = Advisory(feed="", id="CVE-2000-1001")  # a feed of nothing is refused
    items: dict[str, Sequence[Item]] = {
        feed: [msgspec.structs.replace(one, feed=feed) for one in (*own, unused)] for feed, own in state.items()
    }
    signs: Sequence[Item] = [("CVE-2021-1001", Exploited(kev=True, epss=turn / 10))]
    return AdvisoryDb(make_database(path, {**items, "signs": signs}))


def comparable(finding: Finding) -> Finding:
    """Without what a fleet does not keep: places in an image, and signs of exploitation, which change daily."""
    package = msgspec.structs.replace(finding.package, evidence="", layer="")
    evidence = tuple(one for one in finding.evidence if one.kind != "file")
    return msgspec.structs.replace(finding, package=package, evidence=evidence, exploited=Exploited())


def inventories(listed: list[tuple[Package, Distribution]]) -> list[Inventory]:
    """An image for each distribution, with its packages."""
    made = []
    for number, distribution in enumerate(dict.fromkeys(distribution for _package, distribution in listed)):
        digest = digest_of(str(number).encode())
        own = tuple(dict.fromkeys(package for package, of in listed if of == distribution))
        made.append(
            Inventory(image=ImageIdentity(manifest=digest, config=digest, diff_ids=()), distribution=distribution, packages=own)
        )
    return made


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_judging_what_changed_is_scanning_everything_anew(seed: int) -> None:
    make = Maker(seed)
    listed, late = [make.package() for _ in range(make.dice.randint(1, 8))], [make.package()]
    states: list[State] = [{"one": make.feed(), "two": make.feed()}]
    for _ in range(3):
        states.append(make.update(states[-1]))
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        place = Path(folder)
        for turn, state in enumerate(states):
            images = inventories(listed + late if turn >= 2 else listed)
            for image in images:
                keep_image(place / "fleet.db", image, "x", turn)
            with Fleet(place / "fleet.db", write=True) as fleet, fill(place / f"{turn}.db", state, turn) as database:
                before = {(number, one.id) for number, own in fleet.verdicts(range(99)).items() for one in own}
                result = rejudge(fleet, database, turn)
                after = {(number, one.id) for number, own in fleet.verdicts(range(99)).items() for one in own}
                for image in images:
                    assert image.image is not None
                    kept = fleet.image(image.image.manifest)
                    assert kept is not None
                    verdicts = fleet.verdicts(fleet.numbers_of(kept.number))
                    scanned, _skipped = match_advisories(image, database)
                    assert sorted(map(comparable, scanned), key=repr) == sorted(
                        (comparable(one) for own in verdicts.values() for one in own), key=repr
                    )
                # What is told as new or gone is what came or went, for components that were judged before.
                told = {(one.kind, one.component, one.finding.id) for one, _images in result.changes if one.kind != "changed"}
                assert {(number, name) for kind, number, name in told if kind == "new"} <= after
                assert {(number, name) for kind, number, name in told if kind == "gone"} <= before
