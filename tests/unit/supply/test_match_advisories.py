"""What an advisory means for a package: releases, modules, subscriptions, owners, aliases, severities."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.advisories import inventory_of, make_database

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.finding import Exploited, Finding, FixState, ScanResult, Severity
from shipwall.model.package import Distribution, Package, Skipped
from shipwall.model.verdict import Evidence
from shipwall.supply.advisories import Item
from shipwall.supply.join import join_findings
from shipwall.supply.match_advisories import match_advisories

DEBIAN = Distribution(id="debian", version_id="12")
ALMA = Distribution(id="almalinux", version_id="8.9")
UBUNTU = Distribution(id="ubuntu", version_id="18.04")


def advisory(name: str, *affected: Affected, feed: str = "feed", **fields: object) -> Advisory:
    return msgspec.structs.replace(Advisory(feed=feed, id=name, affected=affected), **fields)


def before(scope: str, name: str, fixed: str, **fields: object) -> Affected:
    made = Affected(scope=scope, name=name, ranges=(Range(fixed=fixed),), state=FixState.FIXED)
    return msgspec.structs.replace(made, by_source=scope.startswith(("Debian", "Ubuntu")), **fields)


def match(folder: Path, items: list[Item], distribution: Distribution, *packages: Package) -> tuple[list[Finding], list[Skipped]]:
    with AdvisoryDb(make_database(folder / "db", {"feed": items})) as database:
        return match_advisories(inventory_of(distribution, *packages), database)


def deb(name: str, version: str, **fields: str) -> Package:
    return Package(ecosystem="deb", name=name, version=version, **fields)  # type: ignore[arg-type]


def rpm(name: str, version: str, **fields: str) -> Package:
    return Package(ecosystem="rpm", name=name, version=version, **fields)  # type: ignore[arg-type]


def test_a_binary_is_judged_by_its_source_and_that_version(tmp_path: Path) -> None:
    libssl = deb("libssl3", "3.0-1+b1", source="openssl", source_version="3.0-1", evidence="/var/lib/dpkg/status")
    found, skipped = match(tmp_path, [advisory("CVE-2023-1111", before("Debian:12", "openssl", "3.0-1+deb12u1"))], DEBIAN, libssl)
    assert [(one.id, one.package.name, one.fixed_version, one.state) for one in found] == [
        ("CVE-2023-1111", "libssl3", "3.0-1+deb12u1", FixState.FIXED)
    ]
    assert "openssl 3.0-1 is before 3.0-1+deb12u1" in found[0].reason
    assert found[0].evidence[0] == Evidence(kind="file", ref="/var/lib/dpkg/status")
    assert skipped == []


def test_another_release_says_nothing(tmp_path: Path) -> None:
    items: list[Item] = [
        advisory("CVE-2023-1111", before("Debian:11", "bash", "9")),
        advisory("CVE-1", before("Debian:12", "x", "1")),
    ]
    assert match(tmp_path, items, DEBIAN, deb("bash", "1.0")) == ([], [])


def test_what_nothing_judges_is_said_once_for_each_kind(tmp_path: Path) -> None:
    packages = [deb("a", "1"), deb("b", "1"), Package(ecosystem="npm", name="c", version="1")]
    found, skipped = match(tmp_path, [advisory("X", before("PyPI", "a", "2"))], Distribution(id="plan9"), *packages)
    assert found == []
    assert {(one.what, one.reason) for one in skipped} == {
        ("2 deb packages", "no advisories are known for plan9"),
        ("1 npm packages", "the database has no advisories for npm"),
    }


def test_packages_that_are_not_judged_are_counted_once_each(tmp_path: Path) -> None:
    """Two that no advisories speak of, and one of which two advisories cannot be decided, in two scopes: three packages, not four."""
    ours = Distribution(id="ubuntu", version_id="22.04")
    items: list[Item] = [
        advisory(f"X-{number}", before(scope, "a", "2"))
        for number, scope in enumerate(("Ubuntu:22.04", "Ubuntu:22.04", "Ubuntu:Pro:22.04"))
    ]
    gems = [Package(ecosystem="gem", name=name, version="1") for name in ("b", "c")]
    skipped = match(tmp_path, items, ours, deb("a", "1 of many"), deb("a", "3"), *gems)[1]
    assert sorted(one.packages for one in skipped) == [0, 0, 1, 2]
    result = ScanResult(findings=(), skipped=tuple(skipped), advisories="some")
    assert (result.unjudged_of(4), result.unjudged_of(2), ScanResult(findings=()).unjudged_of(4)) == (3, 2, 4)


def test_a_version_that_cannot_be_placed_is_skipped_not_clean(tmp_path: Path) -> None:
    found, skipped = match(tmp_path, [advisory("X", before("Debian:12", "a", "2"))], DEBIAN, deb("a", "1 of many"))
    assert found == []
    assert [one.what for one in skipped] == ["deb package a 1 of many, X"]


def test_a_package_owned_by_the_distribution_is_not_judged_by_its_ecosystem(tmp_path: Path) -> None:
    egg = Package(ecosystem="pypi", name="urllib3", version="1.24.2", owner="python3-urllib3")
    items: list[Item] = [advisory("X", before("PyPI", "urllib3", "1.26.5")), advisory("Y", before("AlmaLinux:8", "urllib3", "9"))]
    assert match(tmp_path, items, ALMA, egg) == ([], [])
    assert len(match(tmp_path, items, ALMA, msgspec.structs.replace(egg, owner=""))[0]) == 1


MODULE_FIXES = (
    before("AlmaLinux:8", "nodejs", "1:14.19.0-2.module_el8.5.0+2618+8d46dafd", module="nodejs:14"),
    before("AlmaLinux:8", "nodejs", "1:14.19.0-2.module_el8.6.0+2739+efabdb8f", module="nodejs:14"),
)


def test_what_the_distribution_owns_is_unjudged_where_nobody_speaks_of_the_distribution(tmp_path: Path) -> None:
    wheel = Package(ecosystem="pypi", name="requests", version="2.28.1", owner="python3-requests")
    items: list[Item] = [advisory("CVE-2023-1111", before("Debian:12", "bash", "9"), before("PyPI", "requests", "3"))]
    assert match(tmp_path, items, DEBIAN, wheel) == ([], [])
    for distribution, reason in (
        (Distribution(id="debian", version_id="11"), "the database has no advisories for Debian:11"),
        (Distribution(id="kali", version_id="2024"), "no advisories are known for kali 2024"),
    ):
        found, skipped = match(tmp_path, items, distribution, wheel)
        assert (found, skipped) == ([], [Skipped(what="1 pypi packages that the distribution owns", reason=reason, packages=1)])


@pytest.mark.parametrize(
    ("version", "module", "fixed"),
    [
        ("1:14.18.2-2.module_el8.5.0+2607+61bb8cf9", "nodejs:14", "1:14.19.0-2.module_el8.5.0+2618+8d46dafd"),
        # the earlier of two builds of one fix carries it
        ("1:14.19.0-2.module_el8.5.0+2618+8d46dafd", "nodejs:14", None),
        # another stream: 12 is below 14.19, and is not judged by it
        ("1:12.22.5-1.module_el8.4.0+2521+c668cc9f", "nodejs:12", None),
        # the stream taken from the version
        ("1:14.18.2-2.module_el8.5.0+2607+61bb8cf9", "", "1:14.19.0-2.module_el8.5.0+2618+8d46dafd"),
        ("1:12.22.5-1.module_el8.4.0+2521+c668cc9f", "", None),
        # no build of a module
        ("1:10.0-1.el8", "", None),
    ],
)
def test_a_module_is_judged_by_its_own_stream(tmp_path: Path, version: str, module: str, fixed: str | None) -> None:
    items: list[Item] = [advisory("ALSA-2022:0350", *MODULE_FIXES, fixes=("CVE-2022-21824",))]
    found, skipped = match(tmp_path, items, ALMA, rpm("nodejs", version, module=module))
    assert [one.fixed_version for one in found] == ([] if fixed is None else [fixed])
    assert skipped == []


def test_a_build_outside_modules_is_not_judged_by_a_modules_and_the_other_way_round(tmp_path: Path) -> None:
    plain = before("AlmaLinux:8", "libpq", "13.5-1.el8")
    items: list[Item] = [advisory("ALSA-1", plain, fixes=("CVE-2021-1111",))]
    assert len(match(tmp_path, items, ALMA, rpm("libpq", "13.3-1.el8"))[0]) == 1
    assert match(tmp_path, items, ALMA, rpm("libpq", "12.1-1.module_el8.5.0+1+aa")) == ([], [])


def test_an_unknown_stream_is_skipped(tmp_path: Path) -> None:
    fix = before("AlmaLinux:8", "podman", "4.0-1.module_el8.6.0+1+aa", module="*")
    items: list[Item] = [advisory("ALSA-1", fix, fixes=("CVE-2021-1111",))]
    found, skipped = match(tmp_path, items, ALMA, rpm("podman", "3.0-1.module_el8.5.0+1+bb"))
    assert found == []
    assert [one.reason for one in skipped] == ["it is of an RPM module whose stream is not known"]
    assert match(tmp_path, items, ALMA, rpm("podman", "4.0-1.module_el8.6.0+1+aa")) == ([], [])


def test_a_fix_for_subscribers_is_none_for_others(tmp_path: Path) -> None:
    pro = before("Ubuntu:Pro:18.04", "bash", "4.4.18-2ubuntu1.3+esm1")
    items: list[Item] = [advisory("UBUNTU-CVE-2022-3715", pro, aliases=("CVE-2022-3715",))]
    (finding,), _skipped = match(tmp_path, items, UBUNTU, deb("bash", "4.4.18-2ubuntu1.2"))
    assert (finding.id, finding.fixed_version, finding.state) == ("CVE-2022-3715", "", FixState.WILL_NOT_FIX)
    assert "4.4.18-2ubuntu1.3+esm1 for subscribers of Ubuntu Pro only" in finding.reason
    assert match(tmp_path, items, UBUNTU, deb("bash", "4.4.18-2ubuntu1.3+esm1"))[0] == []
    # where the release itself is spoken of, the subscription's entry adds nothing
    both: list[Item] = [advisory("UBUNTU-CVE-2022-3715", pro, before("Ubuntu:18.04", "bash", "4.4.18-2ubuntu1.2"))]
    assert match(tmp_path, both, UBUNTU, deb("bash", "4.4.18-2ubuntu1.2"))[0] == []


def test_entries_for_other_architectures_do_not_count(tmp_path: Path) -> None:
    items: list[Item] = [advisory("CVE-2021-1111", before("AlmaLinux:8", "a", "2-1", arches=("x86_64",)))]
    assert len(match(tmp_path, items, ALMA, rpm("a", "1-1", arch="x86_64"))[0]) == 1
    assert match(tmp_path, items, ALMA, rpm("a", "1-1", arch="aarch64"))[0] == []
    assert len(match(tmp_path, items, ALMA, rpm("a", "1-1"))[0]) == 1


def test_aliases_are_one_finding_and_errata_join_nothing(tmp_path: Path) -> None:
    package = Package(ecosystem="pypi", name="a", version="1.0")
    items: list[Item] = [
        advisory("PYSEC-1", before("PyPI", "a", "1.5"), aliases=("CVE-2021-2222", "GHSA-x")),
        advisory("GHSA-x", before("PyPI", "a", "1.6"), severity=Severity.HIGH, summary="Bad."),
        advisory("PYSEC-2", before("PyPI", "a", "2"), aliases=("CVE-2021-3333",)),
    ]
    found, _skipped = match(tmp_path, items, DEBIAN, package)
    assert [(one.id, one.aliases, one.fixed_version) for one in found] == [
        ("CVE-2021-2222", ("GHSA-x", "PYSEC-1"), "1.6"),  # only the later fix ends what both say
        ("CVE-2021-3333", ("PYSEC-2",), "2"),
    ]
    assert (found[0].severity, found[0].severity_source, found[0].summary) == (Severity.HIGH, "feed", "Bad.")
    errata: list[Item] = [advisory("ALSA-2021:1", before("AlmaLinux:8", "b", "2-1"), fixes=("CVE-2021-4444", "CVE-2021-5555"))]
    found, _skipped = match(tmp_path, errata, ALMA, rpm("b", "1-1"))
    assert [(one.id, one.aliases) for one in found] == [("CVE-2021-4444", ("ALSA-2021:1",)), ("CVE-2021-5555", ("ALSA-2021:1",))]


def test_withdrawn_and_bug_fixes_are_no_findings(tmp_path: Path) -> None:
    items: list[Item] = [
        advisory("CVE-2021-1111", before("AlmaLinux:8", "a", "2-1"), withdrawn=True),
        advisory("ALBA-2021:1", before("AlmaLinux:8", "a", "2-1")),
        advisory("ALBA-2021:2", before("AlmaLinux:8", "a", "2-1"), fixes=("CVE-2021-2222",)),
    ]
    assert [one.id for one in match(tmp_path, items, ALMA, rpm("a", "1-1"))[0]] == ["CVE-2021-2222"]


def test_severity_of_the_distribution_first_then_cvss_and_signs_of_exploitation(tmp_path: Path) -> None:
    vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
    items: list[Item] = [
        advisory("CVE-2021-1111", before("Debian:12", "a", "2", severity=Severity.LOW)),
        advisory("CVE-2021-2222", before("Debian:12", "a", "2")),
        advisory("GHSA-1", before("PyPI", "other", "2"), aliases=("CVE-2021-2222",), cvss=(vector,)),
        advisory("CVE-2021-3333", before("Debian:12", "a", "2")),
        ("CVE-2021-2222", Exploited(epss=0.5, percentile=0.9)),
        ("CVE-2021-2222", Exploited(kev=True, kev_due="2021-12-24")),
    ]
    found, _skipped = match(tmp_path, items, DEBIAN, deb("a", "1"))
    assert [(one.id, one.severity, one.severity_source, one.score) for one in found] == [
        ("CVE-2021-1111", Severity.LOW, "feed", None),
        ("CVE-2021-2222", Severity.CRITICAL, "cvss", 9.8),
        ("CVE-2021-3333", Severity.UNKNOWN, "", None),
    ]
    assert found[1].exploited == Exploited(epss=0.5, percentile=0.9, kev=True, kev_due="2021-12-24")


def test_enumerated_versions_and_last_affected(tmp_path: Path) -> None:
    listed = Affected(scope="PyPI", name="a", ranges=(Range("2.0", "2.5"), Range("3.0", "", "3.2")), versions=("1.0",))
    items: list[Item] = [advisory("X-1", listed)]
    fixes = {
        version: [
            one.fixed_version for one in match(tmp_path, items, DEBIAN, Package(ecosystem="pypi", name="A", version=version))[0]
        ]
        for version in ("1.0.0", "1.1", "2.4", "2.5", "3.2", "3.2.1")
    }
    assert fixes == {"1.0.0": ["2.5"], "1.1": [], "2.4": ["2.5"], "2.5": [], "3.2": [""], "3.2.1": []}


def test_two_sources_join_by_problem() -> None:
    package = deb("a", "1")
    evidence = Evidence(kind="statement", ref="x")
    one = Finding(id="CVE-2021-1111", package=package, severity=Severity.LOW, source="debian", state=FixState.NOT_FIXED)
    two = Finding(id="CVE-2021-1111", package=package, fixed_version="2", source="bookworm-security", evidence=(evidence,))
    three = Finding(id="debian:a@2", package=package, aliases=("GHSA-1",))
    joined = join_findings([one], [two, three])
    assert [(found.id, found.severity, found.fixed_version, found.state, found.source) for found in joined] == [
        ("CVE-2021-1111", Severity.LOW, "2", FixState.FIXED, "debian, bookworm-security"),
        ("debian:a@2", Severity.UNKNOWN, "", FixState.UNKNOWN, ""),
    ]
    assert joined[0].evidence == (evidence,)
