"""Who judges a package, however a feed spells the release."""

from __future__ import annotations

import pytest

from shipwall.model.errors import InputError
from shipwall.model.package import Distribution, Package
from shipwall.supply.advisory_ids import cve_number, is_bug_fix, is_erratum
from shipwall.supply.ecosystems import ECOSYSTEMS, distribution_scopes, order_of, parse_name, parse_scope, scopes_of
from shipwall.supply.modules import find_modules


@pytest.mark.parametrize(
    ("distribution", "version", "codename", "scopes"),
    [
        ("debian", "12", "bookworm", ("Debian:12",)),
        ("debian", "", "trixie", ("Debian:13",)),
        ("debian", "", "forky/sid", ("Debian:sid",)),
        ("debian", "", "", ()),
        ("ubuntu", "22.04", "", ("Ubuntu:22.04", "Ubuntu:Pro:22.04")),
        ("alpine", "3.18.4", "", ("Alpine:v3.18",)),
        ("alpine", "3.21_alpha20240923", "", ("Alpine:edge",)),
        ("almalinux", "8.9", "", ("AlmaLinux:8",)),
        ("rocky", "9.3", "", ("Rocky Linux:9",)),
        ("rhel", "8.10", "", ("Red Hat:8",)),
        ("centos", "7", "", ("Red Hat:7",)),
        ("ol", "8.0", "", ("Oracle Linux:8",)),
        ("amzn", "2023", "", ("Amazon Linux:2023",)),
        ("fedora", "41", "", ("Fedora:41",)),
        ("opensuse-leap", "15.6", "", ("openSUSE:Leap 15.6",)),
        ("opensuse-tumbleweed", "20240607", "", ("openSUSE:Tumbleweed",)),
        ("sles", "15.3", "", ("SUSE:15.3",)),
        ("sles", "15", "", ("SUSE:15",)),
        ("photon", "3.0", "", ("Photon OS:3.0",)),
        ("mariner", "2.0", "", ("Azure Linux:2",)),
        ("wolfi", "20230201", "", ("Wolfi",)),
        ("plan9", "4", "", ()),
        ("", "", "", ()),
    ],
)
def test_scopes_of_distributions(distribution: str, version: str, codename: str, scopes: tuple[str, ...]) -> None:
    assert distribution_scopes(Distribution(id=distribution, version_id=version, codename=codename)) == scopes


@pytest.mark.parametrize(
    ("spelling", "scope"),
    [
        ("Debian:12", "Debian:12"),
        ("Ubuntu:22.04:LTS", "Ubuntu:22.04"),
        ("Ubuntu:23.10", "Ubuntu:23.10"),
        ("Ubuntu:Pro:18.04:LTS", "Ubuntu:Pro:18.04"),
        ("Ubuntu:Pro:FIPS-updates:18.04:LTS", "Ubuntu:Pro:FIPS-updates:18.04"),
        ("Alpine:v3.18", "Alpine:v3.18"),
        ("Alpine:edge", "Alpine:edge"),
        ("Red Hat:enterprise_linux:8::baseos", "Red Hat:8"),
        ("Red Hat:enterprise_linux:10.0", "Red Hat:10"),
        ("Red Hat:rhel_eus:8.4::baseos", "Red Hat:rhel_eus:8.4::baseos"),
        ("Rocky Linux:8", "Rocky Linux:8"),
        ("SUSE:Linux Enterprise Server 15 SP3", "SUSE:15.3"),
        ("SUSE:Linux Enterprise Module for Basesystem 15 SP3", "SUSE:15.3"),
        ("SUSE:Linux Enterprise Server 15 SP3-LTSS", "SUSE:Linux Enterprise Server 15 SP3-LTSS"),
        ("openSUSE:Leap 15.6", "openSUSE:Leap 15.6"),
        ("Maven:https://repo.example/maven2", "Maven"),
        ("PyPI", "PyPI"),
        ("Something:else", "Something:else"),
    ],
)
def test_spellings_of_feeds(spelling: str, scope: str) -> None:
    assert parse_scope(spelling) == scope


def test_every_ecosystem_has_an_order() -> None:
    for name, ecosystem in ECOSYSTEMS.items():
        assert order_of(f"{name}:1") == {"hex": "semver", "swift": "semver", "github": "semver", "bitnami": "semver"}.get(
            ecosystem.purl, ecosystem.purl
        )
    with pytest.raises(InputError):
        order_of("Something:else")
    with pytest.raises(InputError):
        parse_scope("")


def test_a_package_of_another_kind_than_the_distribution_is_judged_by_none() -> None:
    debian = Distribution(id="debian", version_id="12")
    assert scopes_of(Package(ecosystem="rpm", name="a", version="1"), debian) == ()
    assert scopes_of(Package(ecosystem="generic", name="a", version="1"), debian) == ()
    assert scopes_of(Package(ecosystem="cargo", name="a", version="1"), debian) == ("crates.io",)


def test_spellings_of_names() -> None:
    assert parse_name("PyPI", "Zope.Interface__x") == "zope-interface-x"
    assert parse_name("crates.io", "Serde_JSON") == "serde-json"
    assert parse_name("Packagist", "Symfony/Http") == "symfony/http"
    assert parse_name("npm", "@Scope/Name") == "@Scope/Name"


def test_ids() -> None:
    assert [is_erratum(name) for name in ("ALSA-2021:1", "USN-1-1", "DSA-1", "openSUSE-SU-2020:1", "CVE-2021-1234", "GHSA-x")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip
    assert [is_bug_fix(name) for name in ("ALBA-2021:1", "RHEA-1", "ALSA-1")] == [True, True, False]
    assert cve_number("CVE-2021-44228") == 20210044228
    assert [cve_number(name) for name in ("CVE-2021-1", "CVE-2021-012345", "GHSA-x", "CVE-2021-1234 ")] == [None] * 4


def test_modules_in_titles() -> None:
    assert find_modules("Important: virt:rhel and virt-devel:rhel security update") == ("virt:rhel", "virt-devel:rhel")
    assert find_modules("Important: httpd:2.4/mod_http2 security update") == ("httpd:2.4",)
    assert find_modules("Moderate: bash security update") == ()
