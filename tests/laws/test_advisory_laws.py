"""Laws of advisories: importers are total, the database keeps what it is given, the bulk matcher means what the slow one means."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.advisories import inventory_of, make_database

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.advisory_db.documents import read_items
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.errors import InputError
from shipwall.model.finding import Exploited, FixState, Severity
from shipwall.model.package import Distribution, Package, Skipped
from shipwall.supply.advisories import FORMATS
from shipwall.supply.advisories.sources import parse_sources
from shipwall.supply.advisory_ids import cve_number, is_erratum, render_cve
from shipwall.supply.cvss import score_vector
from shipwall.supply.match_advisories import Entry, Judgement, judge, match_advisories, names_in
from shipwall.supply.match_bulk import BulkIndex
from shipwall.supply.match_list import ListMatcher
from shipwall.supply.versions import version_key

WORDS = [
    "id", "aliases", "affected", "package", "ecosystem", "name", "ranges", "type", "ECOSYSTEM", "events", "introduced", "fixed", "limit",
    "last_affected", "versions", "0", "1.0", "PyPI", "Debian:12", "AlmaLinux:8", "severity", "CVSS_V3", "score", "withdrawn", "summary",
    "database_specific", "related", "upstream", "releases", "bookworm", "status", "open", "resolved", "fixed_version", "urgency", "nodsa",
    "packages", "pkg", "secfixes", "distroversion", "v3.18", "CVE-2021-1", "CVE-2021-1234", "vulnerabilities", "cveID", "dueDate",
    "modified",
    "2024-02-30", "2024-02-03T01:02:03Z",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=20,
)
EVENT = st.dictionaries(
    st.sampled_from(["introduced", "fixed", "last_affected", "limit"]), st.sampled_from(["0", "1", "2.0", "x!"]), max_size=2
)
RECORD = st.fixed_dictionaries(
    {"id": st.sampled_from(["CVE-2021-1234", "ALSA-2021:1", "GHSA-x"])},
    optional={
        "aliases": st.lists(st.sampled_from(WORDS), max_size=2),
        "summary": st.text(max_size=30) | st.just("Important: a:1 and b:2 update"),
        "affected": st.lists(
            st.fixed_dictionaries(
                {
                    "package": st.fixed_dictionaries(
                        {"name": st.text(max_size=4), "ecosystem": st.sampled_from(["PyPI", "AlmaLinux:8", "", "?"])}
                    )
                },
                optional={
                    "ranges": st.lists(
                        st.fixed_dictionaries({"type": st.just("ECOSYSTEM"), "events": st.lists(EVENT, max_size=5)}), max_size=3
                    ),
                    "versions": st.lists(st.text(max_size=3), max_size=3),
                    "database_specific": JSON,
                },
            ),
            max_size=3,
        ),
        "database_specific": JSON,
        "severity": JSON,
    },
)


def items_of(name: str, data: bytes) -> list[object]:
    try:
        return list(FORMATS[name].parse(data, "feed"))
    except InputError:
        return []


@pytest.mark.parametrize("name", FORMATS)
@given(
    data=st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | RECORD.map(lambda value: json.dumps(value).encode())
)
@settings(deadline=None)
def test_importers_are_total(name: str, data: bytes) -> None:
    for item in items_of(name, data):
        assert isinstance(item, Advisory | Skipped | tuple)


@given(text=st.text(max_size=60), tail=st.text(alphabet="#,\n.0123456789eE-CVnaif", max_size=80))
@settings(deadline=None)
def test_epss_rows_are_shares_or_skipped(text: str, tail: str) -> None:
    for item in items_of("epss", f"#{text!a}\ncve,epss,percentile\nCVE-2021-1234,{tail}".encode()):
        if not isinstance(item, Skipped):
            assert isinstance(item, tuple)
            sign = item[1]
            assert isinstance(sign, Exploited)
            assert sign.epss is not None
            assert 0 <= sign.epss <= 1


@given(data=st.binary(max_size=300), suffix=st.sampled_from(["", "PK\x03\x04", "\x1f\x8b", "\x28\xb5\x2f\xfd"]))
@settings(max_examples=60, deadline=None)
def test_files_are_read_or_refused(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(suffix.encode("latin-1") + data)
        for kind in FORMATS.values():
            try:
                for item in read_items(path, kind, "feed"):
                    assert isinstance(item, Advisory | Skipped | tuple)
            except InputError:
                continue


@given(text=st.text(max_size=200) | JSON.map(json.dumps))
@settings(deadline=None)
def test_sources_are_read_or_refused(text: str) -> None:
    try:
        assert parse_sources(text, "advisories.yaml").max_age_days > 0
    except InputError:
        return


METRICS = st.sampled_from(
    tuple(f"{name}:{value}" for name in ("AV", "AC", "AT", "PR", "UI", "S", "VC", "VI", "VA", "SC", "SI", "SA", "C", "I", "A", "Au", "E")
          for value in "NLHPCSUX")
)  # fmt: skip


@given(
    vector=st.text(max_size=80)
    | st.builds("/".join, st.lists(METRICS, max_size=14)).flatmap(
        lambda rest: st.sampled_from([rest, f"CVSS:3.1/{rest}", f"CVSS:4.0/{rest}"])
    )
)
@settings(deadline=None)
def test_vectors_are_scored_or_refused(vector: str) -> None:
    try:
        score, severity = score_vector(vector)
    except InputError:
        return
    assert 0 <= score <= 10
    assert severity is not Severity.UNKNOWN


@given(year=st.integers(1990, 2099), serial=st.integers(1, 9_999_999))
@settings(deadline=None)
def test_cve_numbers_come_back(year: int, serial: int) -> None:
    name = f"CVE-{year}-{serial:04d}"
    number = cve_number(name)
    assert number is not None
    assert render_cve(number) == name


# Few names and versions, so that things meet.
VERSIONS = {
    "Debian:12": ["1.0", "1.0-1", "1.0-1+deb12u1", "1.0~rc1", "1:0.9", "2.0-1", "bad version!", ""],
    "PyPI": ["1.0", "1.0.0", "1.0rc1", "1!0.5", "2.0.post1", "2.0", "not a version", "1.0+local"],
    "AlmaLinux:8": ["1.0-1.el8", "1.0-2.el8", "1.0-1.module_el8.5.0+1+aa", "12.3-1.module_el8.5.0+2+bb",
                    "0:1.0-1.el8", "1.0~a-1.el8", "13.1-2.module_el8.6.0+3+cc"],
    "Go": ["1.0.0", "v1.0.0", "1.1.0-0.20200101000000-abcdefabcdef", "2.0.0+incompatible", "x"],
}  # fmt: skip
KINDS = {"Debian:12": "deb", "PyPI": "pypi", "AlmaLinux:8": "rpm", "Go": "golang"}
NAMES = ["a", "b", "lib-a"]
MODULES = ["", "", "", "pg:12", "pg:12 pg:13", "*", "php:rhel8"]


@st.composite
def affected_entries(draw: st.DrawFn, scope: str) -> Affected:
    versions = st.sampled_from(VERSIONS[scope])
    spans = []
    for _ in range(draw(st.integers(0, 3))):
        introduced = draw(st.just("") | versions)
        kind = draw(st.sampled_from(["fixed", "last_affected", "open"]))
        end = draw(versions)
        spans.append(Range(introduced, end if kind == "fixed" else "", end if kind == "last_affected" else ""))
    return Affected(
        scope=scope,
        name=draw(st.sampled_from(NAMES)),
        ranges=tuple(spans),
        versions=tuple(draw(st.lists(versions, max_size=2))),
        by_source=draw(st.booleans()) and KINDS[scope] in {"deb", "rpm"},
        module=draw(st.sampled_from(MODULES)) if scope == "AlmaLinux:8" else "",
        arches=draw(st.sampled_from([(), (), (), ("x86_64",)])),
        severity=draw(st.sampled_from(Severity)),
        state=draw(st.sampled_from(FixState)),
        reason=draw(st.sampled_from(["", "no"])),
    )


@st.composite
def packages_of(draw: st.DrawFn, scope: str) -> Package:
    versions = st.sampled_from(VERSIONS[scope])
    return Package(
        ecosystem=KINDS[scope],
        name=draw(st.sampled_from(NAMES)),
        version=draw(versions),
        arch=draw(st.sampled_from(["", "x86_64", "noarch", "aarch64"])),
        source=draw(st.sampled_from(["", *NAMES])),
        source_version=draw(st.just("") | versions),
        module=draw(st.sampled_from(["", "", "pg:12", "php:rhel8"])) if scope == "AlmaLinux:8" else "",
    )


SCOPE = st.sampled_from(sorted(VERSIONS))
ENTRIES = SCOPE.flatmap(lambda scope: st.tuples(st.integers(0, 4), affected_entries(scope))).map(lambda pair: Entry(*pair))
ASKED = SCOPE.flatmap(lambda scope: st.tuples(packages_of(scope), st.just(scope)))


def judge_all(entries: list[Entry], asked: list[tuple[Package, str]]) -> list[tuple[int, int, Judgement]]:
    """The definition: every package against every advisory, one by one."""
    found = []
    for row, (package, scope) in enumerate(asked):
        binary, source = names_in(package, scope)
        for number in sorted({entry.number for entry in entries}):
            own = [
                one
                for by_source in (False, True)
                for at, one in entries
                if at == number
                and one.scope == scope
                and one.by_source == by_source
                and one.name == (source if by_source else binary)
            ]
            judgement = judge(package, scope, own)
            if judgement.affected is not None or judgement.undecided:
                found.append((row, number, judgement))
    return found


@given(entries=st.lists(ENTRIES, max_size=12), asked=st.lists(ASKED, max_size=6))
@settings(max_examples=150, deadline=None)
def test_bulk_and_slow_matcher_agree(entries: list[Entry], asked: list[tuple[Package, str]]) -> None:
    assert BulkIndex(entries).match_packages(asked) == judge_all(entries, asked)


@given(data=st.data(), scope=SCOPE)
@settings(max_examples=80, deadline=None)
def test_a_list_is_judged_as_each_package_alone(data: st.DataObject, scope: str) -> None:
    entries = [
        Entry(number, one)
        for number, one in data.draw(st.lists(st.tuples(st.integers(0, 3), affected_entries(scope)), max_size=8))
    ]
    asked = data.draw(st.lists(st.tuples(st.sampled_from([*NAMES, "unknown"]), st.sampled_from(VERSIONS[scope])), max_size=6))
    told = [Advisory(feed="feed", id=name) for name in ("CVE-2021-1234", "CVE-2021-1235", "ALSA-2021:1")]
    told.append(Advisory(feed="feed", id="CVE-2021-1236", withdrawn=True))
    answers = ListMatcher(scope, entries, told.__getitem__).match(asked)
    packages = [(Package(ecosystem="", name=name, version=version), scope) for name, version in asked]
    wanted = [one for one in judge_all(entries, packages) if not told[one[1]].withdrawn]
    assert [set(one.ids) for one in answers] == [
        {told[number].id for at, number, said in wanted if at == row and said.affected is not None} for row in range(len(asked))
    ]
    assert [dict(one.undecided) for one in answers] == [
        {told[number].id: said.undecided for at, number, said in wanted if at == row and said.affected is None}
        for row in range(len(asked))
    ]


@given(data=st.data(), scope=SCOPE)
@settings(deadline=None)
def test_texts_and_slow_matcher_agree(data: st.DataObject, scope: str) -> None:
    plain = affected_entries(scope).filter(lambda one: not one.module and not one.arches and not one.by_source)
    entries = [Entry(number, one) for number, one in enumerate(data.draw(st.lists(plain, max_size=10)))]
    versions = [version for version in VERSIONS[scope] if is_version(KINDS[scope], version) and ".module" not in version]
    asked = data.draw(st.lists(st.tuples(st.sampled_from([*NAMES, "unknown"]), st.sampled_from(versions)), max_size=8))
    index = BulkIndex(entries)
    hits = index.match_texts(scope, [name for name, _version in asked], [version for _name, version in asked])
    found = Counter((row, index.cases[case].number) for row, case in zip(hits.rows.tolist(), hits.cases.tolist(), strict=True))
    wanted = Counter(
        (row, entry.number)
        for row, (name, version) in enumerate(asked)
        for entry in entries
        if entry.affected.name == name
        and readable(entry.affected, KINDS[scope])
        and judge(Package(ecosystem=KINDS[scope], name=name, version=version), scope, [entry.affected]).affected is not None
    )
    assert found == wanted


def is_version(order: str, text: str) -> bool:
    try:
        version_key(order, text)
    except InputError:
        return False
    return True


def readable(affected: Affected, order: str) -> bool:
    """Whether every bound of it can be placed; otherwise bulk leaves it to the slow matcher."""
    texts = [text for one in affected.ranges for text in (one.introduced, one.fixed, one.last_affected) if text]
    return all(is_version(order, text) for text in (*texts, *affected.versions))


def advisory_of(number: int, affected: tuple[Affected, ...], ids: tuple[str, ...]) -> Advisory:
    return Advisory(
        feed="feed", id=f"ID-{number}", aliases=ids[:2], fixes=ids[2:], cvss=("AV:N/AC:L/Au:N/C:P/I:P/A:P",), affected=affected
    )


IDS = st.lists(st.sampled_from(["CVE-2021-1234", "CVE-2021-1235", "GHSA-a", "ALSA-2021:1"]), max_size=3, unique=True).map(tuple)
ADVISORIES = st.lists(
    st.tuples(SCOPE.flatmap(lambda scope: st.lists(affected_entries(scope), max_size=4).map(tuple)), IDS), min_size=1, max_size=5
).map(lambda rows: [advisory_of(number, *row) for number, row in enumerate(rows)])


@given(advisories=ADVISORIES)
@settings(max_examples=25, deadline=None)
def test_the_database_keeps_what_it_is_given(advisories: list[Advisory]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        AdvisoryDb(make_database(Path(folder) / "db", {"feed": advisories})) as database,
    ):
        kept = dict(database.advisories())
        assert [(one.id, one.aliases, one.fixes, one.cvss) for one in kept.values()] == [
            (one.id, one.aliases, one.fixes, one.cvss) for one in advisories
        ]
        wanted = Counter((one.id, affected) for one in advisories for affected in one.affected)
        assert Counter((kept[number].id, affected) for number, affected in database.entries()) == wanted


DISTRIBUTIONS = {"Debian:12": "debian", "AlmaLinux:8": "almalinux", "PyPI": "debian", "Go": "debian"}


@given(advisories=ADVISORIES, data=st.data(), scope=SCOPE)
@settings(max_examples=25, deadline=None)
def test_one_finding_for_each_problem_of_a_package(advisories: list[Advisory], data: st.DataObject, scope: str) -> None:
    package = data.draw(packages_of(scope))
    distribution = Distribution(id=DISTRIBUTIONS[scope], version_id="8" if scope == "AlmaLinux:8" else "12")
    with (
        tempfile.TemporaryDirectory() as folder,
        AdvisoryDb(make_database(Path(folder) / "db", {"feed": advisories})) as database,
    ):
        findings, _skipped = match_advisories(inventory_of(distribution, package), database)
    ids = [finding.id for finding in findings]
    assert len(ids) == len(set(ids))
    for finding in findings:
        assert finding.id not in finding.aliases
        others = {name for other in findings if other is not finding for name in (other.id, *other.aliases)}
        shared = {name for name in (finding.id, *finding.aliases) if not is_erratum(name)} & others
        assert not shared or all(name.startswith("ID-") for name in shared)
