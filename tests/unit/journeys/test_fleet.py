"""The fleet: kept, asked, judged anew when advisories change; on real databases."""

from __future__ import annotations

import array
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.advisory_db.writer import rewriting
from shipwall.adapters.fleet import Fleet
from shipwall.adapters.fleet.file import _TABLES, APPLICATION_ID, SCHEMA
from shipwall.cli.app import build_app
from shipwall.journeys.fleet import count_findings, explain_image, find_images
from shipwall.journeys.keep import keep_image
from shipwall.journeys.rejudge import rejudge
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError, ShipwallError, StorageError
from shipwall.model.finding import Severity
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.model.wire import ImageStep, Message
from shipwall.supply.feeds import FeedState
from shipwall.supply.fleet import group_by_image, parse_query

BOOKWORM = Distribution(id="debian", version_id="12", codename="bookworm")


def deb(name: str, version: str, **fields: object) -> Package:
    return Package(ecosystem="deb", name=name, version=version, arch="amd64", source=name, source_version=version, **fields)  # type: ignore[arg-type]


def jar(name: str, version: str, evidence: str) -> Package:
    return Package(ecosystem="maven", name=name, version=version, evidence=evidence)


def inventory(seed: str, *packages: Package, below: tuple[str, ...] = ()) -> Inventory:
    layers = tuple(digest_of(one.encode()) for one in (*below, seed))
    image = ImageIdentity(manifest=digest_of(f"m{seed}".encode()), config=digest_of(f"c{seed}".encode()), diff_ids=layers)
    return Inventory(image=image, distribution=BOOKWORM, packages=packages)


def advisory(cve: str, scope: str, name: str, fixed: str, severity: Severity = Severity.UNKNOWN) -> Advisory:
    affected = Affected(
        scope=scope, name=name, ranges=(Range("", fixed),), by_source=scope.startswith("Debian"), severity=severity
    )
    return Advisory(feed="test", id=cve, affected=(affected,))


def database(path: Path, advisories: Iterable[Advisory]) -> Path:
    with rewriting(path) as writer:  # an empty feed would be refused
        writer.put_feed(FeedState(name="test", format="osv"), [*advisories, advisory("CVE-1-9", "PyPI", "unused", "1")])
    return path


OPENSSL = advisory("CVE-2026-0001", "Debian:12", "openssl", "3.0.17-1~deb12u3")
LOG4J = advisory("CVE-2021-44228", "Maven", "org.apache.logging.log4j:log4j-core", "2.17.0")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet" / "fleet.db"
    core = "org.apache.logging.log4j:log4j-core"
    images = [
        inventory("base", deb("openssl", "3.0.15-1"), deb("dash", "0.5.12-2")),
        inventory(
            "shop", deb("openssl", "3.0.15-1"), deb("dash", "0.5.12-2"), jar(core, "2.14.1", "/app/a.jar"), below=("base",)
        ),
        inventory("new", deb("openssl", "3.0.17-1~deb12u3"), jar(core, "2.17.1", "/app/b.jar")),
    ]
    for number, one in enumerate(images):
        assert keep_image(path, one, f"registry.local/{number}:1", 100 + number)
    return path


def test_an_image_kept_twice_is_one_and_remembers_its_names(fleet: Path) -> None:
    again = inventory("base", deb("openssl", "3.0.15-1"), deb("dash", "0.5.12-2"))
    assert not keep_image(fleet, again, "registry.local/renamed:1", 500)
    with Fleet(fleet) as opened:
        assert opened.counts()["images"] == 3
        assert again.image is not None
        image = opened.image(again.image.config)
        assert image is not None
        assert (image.names, image.listed_ns) == (("registry.local/0:1", "registry.local/renamed:1"), 500)


def test_what_is_kept_already_is_not_written_again(fleet: Path) -> None:
    again = inventory("base", deb("openssl", "3.0.15-1"), deb("dash", "0.5.12-2"))
    before = fleet.read_bytes()
    assert not keep_image(fleet, again, "registry.local/0:1", 500)
    assert fleet.read_bytes() == before
    moved = msgspec.structs.replace(again, history=("another command",))
    assert not keep_image(fleet, moved, "registry.local/0:1", 500)  # no other packages, but something to keep
    assert fleet.read_bytes() != before


def test_what_an_image_lost_is_no_longer_found(fleet: Path) -> None:
    keep_image(fleet, inventory("shop", deb("dash", "0.5.12-2"), below=("base",)), "registry.local/1:1", 600)
    with Fleet(fleet) as opened:
        assert [one.images[0].names[0] for one in find_images(opened, "log4j-core").found] == ["registry.local/2:1"]


def test_a_base_is_recognised_by_its_layers(fleet: Path) -> None:
    shop = inventory("shop", below=("base",)).image
    lone = inventory("lone", below=("other",)).image
    assert shop is not None
    assert lone is not None
    with Fleet(fleet) as opened:
        base = opened.base_of(shop)
        assert base is not None
        assert base.names == ("registry.local/0:1",)
        assert opened.base_of(lone) is None
        assert opened.base_of(base.identity) is None


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("log4j-core < 2.17", ["registry.local/1:1"]),
        ("maven/org.apache.logging.log4j:log4j-core >= 2.17", ["registry.local/2:1"]),
        ("openssl", ["registry.local/0:1", "registry.local/1:1", "registry.local/2:1"]),
        ("deb/openssl <= 3.0.15-1", ["registry.local/0:1", "registry.local/1:1"]),
        ("npm/openssl", []),
        ("log4j", []),
    ],
)
def test_who_has_it(fleet: Path, query: str, names: list[str]) -> None:
    with Fleet(fleet) as opened:
        answer = find_images(opened, query)
    assert sorted(name for one in answer.found for image in one.images for name in image.names) == names


@pytest.mark.parametrize("text", ["", "a b", "x <", "< 3", "nmp/lodash", "a" * 600])
def test_what_is_no_query_is_said(text: str) -> None:
    with pytest.raises(InputError, match="query"):
        parse_query(text)


def test_who_has_it_ends_with_its_own_code_where_nobody_can_say(fleet: Path) -> None:
    """Found, not there, and not known are three answers; what is no query is a fourth."""
    keep_image(fleet, inventory("odd", deb("zlib", "not a version!"), deb("dash", "also not one!")), "odd", 700)
    state = fleet.parent.parent
    codes = []
    for query in ("dash < 0.6", "dash > 9", "zlib < 1", "zlib", "dash < not!", "gzip < 1", "a b"):
        done = CliRunner().invoke(build_app("image", "find"), ["image", "find", query, "--state", str(state)])
        codes.append(done.exception.exit_code if isinstance(done.exception, ShipwallError) else done.exit_code)
    assert codes == [0, 9, 9, 0, 9, 1, 3]


def test_a_version_nobody_can_compare_is_told(fleet: Path) -> None:
    keep_image(fleet, inventory("odd", deb("openssl", "not a version!")), "odd", 700)
    with Fleet(fleet) as opened:
        answer = find_images(opened, "openssl < 1")
    assert [one.what for one in answer.skipped] == ["openssl not a version!"]


def test_a_new_advisory_raises_news_once_and_only_for_whom_it_hits(fleet: Path, tmp_path: Path) -> None:
    told: list[Message] = []
    with Fleet(fleet, write=True) as opened:
        with AdvisoryDb(database(tmp_path / "a.db", [OPENSSL])) as advisories:
            first = rejudge(opened, advisories, 1000, told.append)
            assert (first.changes, len(first.touched.images), told) == ([], 0, [])  # judged for the first time: no news
            assert [(finding.id, finding.fixed_version) for own in opened.verdicts(range(99)).values() for finding in own] == [
                ("CVE-2026-0001", "3.0.17-1~deb12u3")
            ]
            assert rejudge(opened, advisories, 1001).components == 0
        with AdvisoryDb(database(tmp_path / "b.db", [OPENSSL, LOG4J])) as advisories:
            second = rejudge(opened, advisories, 2000, told.append)
        assert second.components == 2  # two versions of log4j-core; openssl is not looked at
        assert [(change.kind, change.finding.id, images) for change, images in second.changes] == [("new", "CVE-2021-44228", 1)]
        assert [(step.image, step.step, list(step.facts)) for step in told if isinstance(step, ImageStep)] == [
            ("registry.local/1:1", "hit", ["CVE-2021-44228"])
        ]
        assert [(one.kind, one.images) for one in opened.news()] == [("new", 1)]
        assert opened.judged() == (2000, str(tmp_path / "b.db"))


def test_every_change_of_a_verdict_is_explained(fleet: Path, tmp_path: Path) -> None:
    worse = advisory("CVE-2026-0001", "Debian:12", "openssl", "3.0.18-1", Severity.HIGH)
    with Fleet(fleet, write=True) as opened, AdvisoryDb(database(tmp_path / "a.db", [OPENSSL, LOG4J])) as before:
        rejudge(opened, before, 1)
        with AdvisoryDb(database(tmp_path / "b.db", [worse])) as after:
            result = rejudge(opened, after, 2)
            shop = next(image for image in opened.images() if image.names == ("registry.local/1:1",))
            told = explain_image(opened, shop, before, after)
    assert sorted((change.kind, change.finding.id, change.why, images) for change, images in result.changes) == [
        ("changed", "CVE-2026-0001", "fix 3.0.17-1~deb12u3 → 3.0.18-1; severity unknown → high", 2),
        ("gone", "CVE-2021-44228", ("no feed says so any more; before: test: org.apache.logging.log4j:log4j-core 2.14.1 is before "
         "2.17.0, which fixes it in Maven"), 1),
        ("new", "CVE-2026-0001", "test says: openssl 3.0.17-1~deb12u3 is before 3.0.18-1, which fixes it in Debian:12", 1),
    ]  # fmt: skip
    assert sorted((change.kind, change.finding.id) for change in told) == [
        ("changed", "CVE-2026-0001"),
        ("gone", "CVE-2021-44228"),
    ]


def test_a_score_that_another_feed_changes_changes_the_verdict(fleet: Path, tmp_path: Path) -> None:
    def scored(vector: str) -> Advisory:
        return Advisory(feed="nvd", id="CVE-2026-0001", cvss=(vector,))

    with Fleet(fleet, write=True) as opened:
        changes = []
        for turn, vector in enumerate(("AV:L", "AV:N", "AV:N")):
            path = tmp_path / f"{turn}.db"
            with rewriting(path) as writer:
                writer.put_feed(FeedState(name="test", format="osv"), [OPENSSL])
                writer.put_feed(
                    FeedState(name="nvd", format="osv"), [scored(f"CVSS:3.1/{vector}/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H")]
                )
            with AdvisoryDb(path) as advisories:
                changes.append([(change.kind, change.why) for change, _images in rejudge(opened, advisories, turn).changes])
    assert changes == [[], [("changed", "severity high → critical; score 8.4 → 9.8")], []]


def test_only_what_is_said_otherwise_is_judged(fleet: Path, tmp_path: Path) -> None:
    """A date that moved says nothing new; where one advisory of many changed, it alone is compared."""
    redated = msgspec.structs.replace(OPENSSL, modified_ns=5)
    other = advisory("CVE-2026-0002", "Debian:12", "openssl", "3.0.16-1")
    with Fleet(fleet, write=True) as opened:
        judged = []
        for turn, said in enumerate(([OPENSSL], [redated], [redated, other], [other, OPENSSL], [other])):
            with AdvisoryDb(database(tmp_path / f"{turn}.db", said)) as advisories:
                result = rejudge(opened, advisories, turn)
            judged.append((result.components, [(change.kind, change.finding.id) for change, _images in result.changes]))
    assert judged == [(5, []), (0, []), (2, [("new", "CVE-2026-0002")]), (0, []), (2, [("gone", "CVE-2026-0001")])]


@given(st.lists(st.sets(st.integers(min_value=1, max_value=20)), max_size=8))
def test_grouping_by_image_is_a_transposition(images: list[set[int]]) -> None:
    touched = group_by_image([array.array("I", sorted(one)) for one in images])
    assert {int(image): touched.of(place) for place, image in enumerate(touched.images)} == {
        image: [index for index, one in enumerate(images) if image in one] for image in sorted(set().union(*images))
    }


def test_what_no_database_judged_is_not_clean(fleet: Path, tmp_path: Path) -> None:
    """Never judged, added since, or of a distribution nobody speaks of: counted, so that no findings is not taken for none."""
    kali = Distribution(id="kali", version_id="2024")
    strange = msgspec.structs.replace(inventory("kali", deb("openssl", "1")), distribution=kali)
    owned = msgspec.structs.replace(jar("b", "1", "/usr/share/b.jar"), owner="dash")
    keep_image(fleet, strange, "kali", 200)
    keep_image(fleet, inventory("owned", deb("dash", "0.5.12-2"), owned), "owned", 201)

    def counted(opened: Fleet) -> dict[str, tuple[int, int]]:
        images = opened.images()
        counts = count_findings(opened, images)
        return {image.names[-1].removeprefix("registry.local/"): counts[image.number] for image in images}

    with Fleet(fleet, write=True) as opened:
        assert {one: count[1] for one, count in counted(opened).items()} == {"0:1": 2, "1:1": 3, "2:1": 2, "kali": 1, "owned": 1}
        with AdvisoryDb(database(tmp_path / "deb.db", [OPENSSL])) as advisories:
            rejudge(opened, advisories, 1)
        assert counted(opened) == {"0:1": (1, 0), "1:1": (1, 1), "2:1": (0, 1), "kali": (0, 1), "owned": (0, 0)}
        with AdvisoryDb(database(tmp_path / "both.db", [OPENSSL, LOG4J])) as advisories:
            rejudge(opened, advisories, 2)
        assert counted(opened) == {"0:1": (1, 0), "1:1": (2, 0), "2:1": (0, 0), "kali": (0, 1), "owned": (0, 0)}
        keep_image(fleet, inventory("late", deb("openssl", "2")), "late", 300)
        assert counted(opened)["late"] == (0, 1)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    other = database(tmp_path / "a.db", [OPENSSL])
    with pytest.raises(InputError, match="something else"):
        Fleet(other, write=True)
    with pytest.raises(StorageError, match="list an image first"):
        Fleet(tmp_path / "none.db")


def test_two_may_make_the_file_at_once_and_a_reader_is_told_that_it_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    path.touch()
    with pytest.raises(StorageError, match="being made"):
        Fleet(path)
    first, second = sqlite3.connect(path, isolation_level=None), []
    first.execute("BEGIN IMMEDIATE")  # another process makes the tables; a reader still sees an empty file
    asked = threading.Event()

    class Waiting(Fleet):
        def _make(self) -> tuple[int, int]:
            asked.set()
            return super()._make()

    def make() -> None:
        with Waiting(path, write=True) as fleet:
            second.append(fleet.counts())

    thread = threading.Thread(target=make)
    thread.start()
    assert asked.wait(60)
    for statement in (*_TABLES.split(";"), f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {SCHEMA}"):
        first.execute(statement)
    first.execute("COMMIT")
    first.close()
    thread.join(60)
    assert second == [{"images": 0, "components": 0, "verdicts": 0}]


def test_what_is_no_query_is_told_before_what_is_not_kept(tmp_path: Path) -> None:
    for query, code in (("openssl <", 3), ("openssl", 8)):
        result = CliRunner().invoke(build_app(), ["image", "find", query, "--state", str(tmp_path), "--output", "json"])
        assert isinstance(result.exception, ShipwallError)
        assert (result.exception.exit_code, result.stdout) == (code, "")
