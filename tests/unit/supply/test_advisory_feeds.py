"""Each feed's form, by records as their publishers write them (shortened)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.errors import InputError
from shipwall.model.finding import Exploited, FixState, Severity
from shipwall.model.package import Skipped
from shipwall.supply.advisories import FORMATS, find_format
from shipwall.supply.advisories.osv import parse_osv
from shipwall.supply.advisories.records import refuse_bad


def items(kind: str, value: Any) -> list[Any]:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return list(FORMATS[kind].parse(data, "feed"))


def osv(**fields: Any) -> Advisory:
    return parse_osv(json.dumps({"id": "X-1", **fields}).encode(), "feed")


def ranges_of(events: list[dict[str, str]], ecosystem: str = "PyPI", kind: str = "ECOSYSTEM") -> tuple[Range, ...]:
    package = {"name": "a", "ecosystem": ecosystem}
    return osv(affected=[{"package": package, "ranges": [{"type": kind, "events": events}]}]).affected[0].ranges


@pytest.mark.parametrize(
    ("events", "ranges"),
    [
        ([{"introduced": "0"}, {"fixed": "2"}], (Range("", "2"),)),
        ([{"introduced": "1"}, {"last_affected": "2"}], (Range("1", "", "2"),)),
        ([{"introduced": "0"}], (Range(),)),
        ([{"introduced": "0"}, {"fixed": "1"}, {"introduced": "2"}, {"fixed": "3"}], (Range("", "1"), Range("2", "3"))),
        ([{"introduced": "0"}, {"fixed": "1"}, {"introduced": "2"}], (Range("", "1"), Range("2"))),
        # several ends: the first by version closes, whatever the order they are written in
        ([{"introduced": "0"}, {"fixed": "3"}, {"fixed": "2"}], (Range("", "2"),)),
        # openings first, then ends
        ([{"introduced": "0"}, {"introduced": "2"}, {"fixed": "1"}, {"fixed": "3"}], (Range("", "1"), Range("2", "3"))),
        # an opening inside an open span changes nothing
        ([{"introduced": "1"}, {"introduced": "1.5"}, {"fixed": "2"}], (Range("1", "2"),)),
        # a limit ends what nothing closes
        ([{"introduced": "1"}, {"limit": "4"}], (Range("1", "4"),)),
        ([{"fixed": "1"}], ()),
        ([], ()),
    ],
)
def test_osv_events(events: list[dict[str, str]], ranges: tuple[Range, ...]) -> None:
    assert ranges_of(events) == ranges


def test_osv_commit_ranges_are_left_out() -> None:
    assert ranges_of([{"introduced": "0"}, {"fixed": "abcdef"}], kind="GIT") == ()


def test_osv_of_an_enterprise_linux_erratum() -> None:
    advisory = osv(
        id="ALSA-2022:1830",
        summary="Moderate: postgresql:10 security update",
        related=["CVE-2021-23214", "CVE-2021-23222", "RHSA-1"],
        affected=[
            {
                "package": {"ecosystem": "AlmaLinux:8", "name": "postgresql"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "10.19-2.module_el8.6.0+2758+4f4474df"}]}],
            },
            {
                "package": {"ecosystem": "AlmaLinux:8", "name": "libpq"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "13.5-1.el8"}]}],
            },
        ],
    )  # fmt: skip
    assert (advisory.fixes, advisory.aliases, advisory.severity) == (
        ("CVE-2021-23214", "CVE-2021-23222"),
        (),
        Severity.MEDIUM,
    )
    assert [(one.name, one.module, one.by_source) for one in advisory.affected] == [
        ("postgresql", "postgresql:10", False),
        ("libpq", "", False),
    ]


def test_osv_of_ubuntu() -> None:
    def affected(ecosystem: str, *fixed: str) -> dict[str, Any]:
        events = [{"introduced": "0"}, *({"fixed": one} for one in fixed)]
        return {
            "package": {"ecosystem": ecosystem, "name": "openssl"},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
            "ecosystem_specific": {"ubuntu_priority": "low", "binaries": [{"binary_name": "libssl3"}]},
        }

    advisory = osv(
        id="UBUNTU-CVE-2022-0778",
        upstream=["CVE-2022-0778"],
        severity=[
            {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"},
            {"type": "Ubuntu", "score": "high"},
        ],
        affected=[affected("Ubuntu:22.04:LTS", "3.0.2-0ubuntu1"), affected("Ubuntu:Pro:16.04:LTS", "1.0.2g-1ubuntu4.20+esm2")],
    )
    assert (advisory.aliases, advisory.fixes, advisory.severity) == (("CVE-2022-0778",), (), Severity.HIGH)
    assert advisory.cvss == ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H",)
    assert [(one.scope, one.by_source, one.severity, one.state) for one in advisory.affected] == [
        ("Ubuntu:22.04", True, Severity.LOW, FixState.FIXED),
        ("Ubuntu:Pro:16.04", True, Severity.LOW, FixState.FIXED),
    ]
    notice = osv(id="USN-5328-1", upstream=["CVE-2022-0778", "CVE-2022-0779"])
    assert (notice.aliases, notice.fixes) == ((), ("CVE-2022-0778", "CVE-2022-0779"))


def test_osv_of_red_hat_keeps_extended_streams_apart() -> None:
    scopes = ["Red Hat:enterprise_linux:8::baseos", "Red Hat:enterprise_linux:8::appstream", "Red Hat:rhel_eus:8.4::baseos"]
    affected = [{"package": {"ecosystem": scope, "name": "bash"}} for scope in scopes]
    found = osv(id="RHSA-2024:1", summary="Red Hat Security Advisory: bash", affected=affected).affected
    assert [one.scope for one in found] == ["Red Hat:8", "Red Hat:8", "Red Hat:rhel_eus:8.4::baseos"]


def test_osv_names_severities_and_withdrawal() -> None:
    advisory = osv(
        aliases=["CVE-2021-1234", "X-1"],
        withdrawn="2022-01-01T00:00:00Z",
        published="2021-07-30T22:15:00Z",
        details="First line.\nSecond line.",
        affected=[
            {
                "package": {"ecosystem": "PyPI", "name": "My_Package.Name"},
                "versions": ["1.0"],
                "severity": [{"type": "CVSS_V2", "score": "AV:N/AC:L/Au:N/C:P/I:P/A:P"}],
            },
            {"ranges": [{"type": "GIT", "events": []}]},
        ],
        database_specific={"severity": "MODERATE"},
    )
    assert (advisory.aliases, advisory.withdrawn, advisory.severity) == (("CVE-2021-1234",), True, Severity.MEDIUM)
    assert (advisory.summary, advisory.published_ns) == ("First line.", 1627683300 * 10**9)
    assert advisory.cvss == ("AV:N/AC:L/Au:N/C:P/I:P/A:P",)
    assert advisory.affected == (Affected(scope="PyPI", name="my-package-name", versions=("1.0",)),)


def test_debian_tracker() -> None:
    def release(status: str, **fields: str) -> dict[str, str]:
        return {"status": status, **fields}

    found = items(
        "debian-tracker",
        {
            "bash": {
                "CVE-2019-18276": {
                    "description": "An issue\nin bash",
                    "releases": {
                        "bookworm": release("resolved", fixed_version="5.2-1", urgency="unimportant"),
                        "bullseye": release("open", urgency="low**", nodsa="Minor issue", nodsa_reason="ignored"),
                        "buster": release("open", urgency="end-of-life"),
                        "trixie": release("resolved", fixed_version="0", urgency="low"),
                        "sid": release("undetermined", urgency="not yet assigned"),
                        "forky": release("open", nodsa="can wait", nodsa_reason="postponed", urgency="medium"),
                        "stretch": release("unheard of"),
                    },
                }
            },
            "other": {"CVE-2019-18276": {"releases": {"bookworm": release("open", urgency="high")}}},
        },
    )
    assert isinstance(found[-1], Skipped)
    assert len(found) == 2
    advisory = found[0]
    assert (advisory.id, advisory.summary) == ("CVE-2019-18276", "An issue in bash")
    assert {(one.name, one.scope): (one.ranges, one.severity, one.state, one.reason) for one in advisory.affected} == {
        ("bash", "Debian:12"): ((Range(fixed="5.2-1"),), Severity.NEGLIGIBLE, FixState.FIXED, ""),
        ("bash", "Debian:11"): ((Range(),), Severity.LOW, FixState.WILL_NOT_FIX, "Minor issue"),
        ("bash", "Debian:10"): ((Range(),), Severity.UNKNOWN, FixState.END_OF_LIFE, ""),
        ("bash", "Debian:sid"): (
            (Range(),),
            Severity.UNKNOWN,
            FixState.UNKNOWN,
            "Debian has not determined whether it is affected",
        ),
        ("bash", "Debian:14"): ((Range(),), Severity.MEDIUM, FixState.NOT_FIXED, "postponed: can wait"),
        ("other", "Debian:12"): ((Range(),), Severity.HIGH, FixState.NOT_FIXED, ""),
    }


def test_alpine_secdb() -> None:
    secfixes = {
        "1.1.1d-r2": ["CVE-2019-1551"],
        "1.1.1d-r0": ["CVE-2019-1549 XSA-300 (+ regression fix)", "CVE-2019-1000 CVE-2019-1563"],
        "0": ["CVE-2020-1000"],
        "1.0-r0": ["nothing"],
        "0.9-r0": None,
    }
    packages = [{"pkg": {"name": "openssl", "secfixes": secfixes}}, {"pkg": {"name": "none", "secfixes": None}}]
    found = items("alpine-secdb", {"distroversion": "v3.10", "reponame": "main", "packages": packages})
    advisories = [one for one in found if isinstance(one, Advisory)]
    assert {one.id: (one.aliases, one.affected[0].ranges[0].fixed) for one in advisories} == {
        "CVE-2019-1551": ((), "1.1.1d-r2"),
        "CVE-2019-1549": (("XSA-300",), "1.1.1d-r0"),
        "CVE-2019-1000": ((), "1.1.1d-r0"),
        "CVE-2019-1563": ((), "1.1.1d-r0"),
    }
    assert {(one.scope, one.by_source) for advisory in advisories for one in advisory.affected} == {("Alpine:v3.10", True)}
    assert [one.what for one in found if isinstance(one, Skipped)] == ["openssl 1.0-r0 in Alpine's secdb"]
    wolfi = {"urlprefix": "https://packages.wolfi.dev", "reponame": "os", "packages": packages}
    assert {one.affected[0].scope for one in items("alpine-secdb", wolfi) if isinstance(one, Advisory)} == {"Wolfi"}


def test_kev_and_epss() -> None:
    catalogue = {"vulnerabilities": [{"cveID": "CVE-2021-44228", "dueDate": "2021-12-24"}, {"cveID": "bad"}]}
    assert items("kev", catalogue)[0] == ("CVE-2021-44228", Exploited(kev=True, kev_due="2021-12-24"))
    assert isinstance(items("kev", catalogue)[1], Skipped)
    rows = b"#model_version:v2025.03.14,score_date:2026-11-20\ncve,epss,percentile\nCVE-2021-44228,0.94358,0.99962\nCVE-1,x,1\n"
    found = items("epss", rows)
    assert found[0] == ("CVE-2021-44228", Exploited(epss=0.94358, percentile=0.99962))
    assert [type(one) for one in found] == [tuple, Skipped]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"<html>Log in</html>", b'{"id": 3}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_of_another_kind_is_refused(kind: str, data: bytes) -> None:
    with pytest.raises(InputError):
        list(find_format(kind).parse(data, "feed"))


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="debian-tracker"):
        find_format("nvd")


GOOD_AND_BAD: dict[str, tuple[object, str]] = {
    "kev": ({"vulnerabilities": [{"cveID": "CVE-2021-1001"}, {"cveID": 7}, 3]}, "entry 2 of CISA's catalogue"),
    "debian-tracker": (
        {"a": {"CVE-2021-1001": {"releases": {"bookworm": {"status": "open"}}}, "CVE-2021-1002": {"releases": 5}}, "b": []},
        "CVE-2021-1002 of a in Debian's tracker",
    ),
    "alpine-secdb": (
        {"distroversion": "v3.18", "packages": [{"pkg": {"name": "a", "secfixes": {"1": ["CVE-2021-1001"]}}}, {"pkg": 1}, None]},
        "package 2 in Alpine's secdb",
    ),
}


@pytest.mark.parametrize("kind", GOOD_AND_BAD)
def test_a_bad_record_takes_none_of_the_others_away(kind: str) -> None:
    document, first = GOOD_AND_BAD[kind]
    found = items(kind, document)
    skipped = [one for one in found if isinstance(one, Skipped)]
    assert (len(found) - len(skipped), len(skipped), skipped[0].what) == (1, 2, first)


@pytest.mark.parametrize(
    ("good", "bad", "refused"),
    [
        (1, 1, False),
        (1, 2, True),
        (0, 1, True),
        (0, 0, False),
        (12, 10, False),
        (98, 11, True),
        (99, 11, False),
        (1000, 0, False),
    ],
)
def test_a_feed_of_too_many_bad_records_is_refused(good: int, bad: int, refused: bool) -> None:
    missed = Skipped(what="a record", reason="no")
    found = refuse_bad([*[("CVE-2021-1001", Exploited())] * good, *[missed] * bad], "ours")
    if refused:
        with pytest.raises(InputError, match=f"feed ours: {bad} of {good + bad} records cannot be read, first a record: no"):
            list(found)
    else:
        assert len(list(found)) == good + bad
