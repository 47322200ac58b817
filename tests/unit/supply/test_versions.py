"""Version orders: what each specification says, by example; bounds; names of ecosystems."""

from __future__ import annotations

import itertools

import pytest

from shipwall.model.errors import InputError
from shipwall.supply.versions import ORDERS, compare_versions, find_order, version_key

# Each line from oldest to newest; `=` joins versions that are the same. Sources: see the modules.
CHAINS = {
    "deb": "1.0~~ < 1.0~rc1 < 1.0 = 1.0-0 = 0:1.0 < 1.0-1~bpo1 < 1.0-1 < 1.0-1+b1 < 1.0a < 1.0+ < 1.0.1 < 1.10 < 1:0.1",
    "apk": (
        "1.0_alpha < 1.0_alpha1 < 1.0_rc1 < 1.0 < 1.0-r0 < 1.0-r10 < 1.0~ab < 1.0_git1 < 1.0_p1 < 1.0a < 1.0a1"
        " < 1.0.1 < 1.1 < 1.9 < 1.10"
    ),
    "rpm": ("1.0~rc1 < 1.0~rc1^git < 1.0 < 1.0-1 < 1.0-1.el8 < 1.0^git1 < 1.0a < 1.0.1 < 1.00001.2 < 1.10 < 1:0-1 = 01:0.-1"),
    "maven": (
        "1-alpha-1 = 1a1 < 1-beta < 1-milestone1 < 1-rc1 = 1-cr1 < 1-SNAPSHOT < 1 = 1.0.0 = 1-ga = 1.Final"
        " < 1-sp < 1-x < 1-1 < 1.0.1 < 1.1"
    ),
    "pypi": (
        "junk < 1.0.dev1 < 1.0a1.dev1 < 1.0a1 < 1.0b1 < 1.0c1 = 1.0rc1 = v1.0-pre.1 < 1.0 = 1 = 1.0.0 < 1.0+a"
        " < 1.0+1 < 1.0.post1.dev1 < 1.0.post1 = 1.0-1 < 1.0.1 < 1!0"
    ),
    "gem": "1.a < 1.b1 = 1.0.b1 < 1.0.0-1 = 1.pre.1 < 1 = 1.0 = 1.0.0 < 1.0.1.rc1 < 1.0.1 < 1.1",
    "composer": (
        "1.x < 1.dev < 1.0x < 1.0-dev < 1.0a1 = 1.0-alpha.1 < 1.0beta < 1.0RC1 = v1.0-rc1 < 1.0 < 1.0.0 < 1.0.1"
        " < 1.0pl1 = 1.0-patch1 < 1.1"
    ),
    "nuget": "1.0-a = 1.0.0-A < 1.0-b.2 < 1.0-b.10 < 1.0-b.x < 1 = 1.0.0.0 = 1.0+meta < 1.0.0.1",
    "semver": "1.0.0-1 < 1.0.0-2 < 1.0.0-10 < 1.0.0-A < 1.0.0-a = 1.0.0a < 1.0.0-a.1 < 1.0.0 = 1 = v1.0+x < 1.0.1",
    "npm": "1.2.3-beta = =v1.2.3beta < 1.2.3-beta.2 < 1.2.3 < 1.10.0",
    "cargo": "0.1.0-alpha < 0.1.0 = 0.1.0+build < 0.1.1",
    "golang": (
        "v0.0.0-20200101000000-abcdefabcdef < v0.0.1-0.20210101000000-abcdefabcdef < v0.0.1 < 1.21beta1"
        " < go1.21rc2 < 1.21.0-rc.3 < go1.21 = v1.21.0 < v2.0.0+incompatible"
    ),
    "cran": "0.1 < 0.1-0 = 0.1.0 < 0.1.0.0 < 0.2 < 0.10",
    "hackage": "0 < 0.1 < 0.1.0 < 0.2 < 0.10",
    "pub": "1.0.0-a < 1.0.0 < 1.0.0+1 < 1.0.0+1.1 < 1.0.0+2 < 1.0.0+a < 1.0.1",
}

NO_VERSIONS = {
    "deb": ["", "1 2", "a:1", "-1", "1_0"],
    "cran": ["", "a", "1..2", "1-"],
    "hackage": ["", "1-2", "v1"],
    "semver": ["", "latest", "-1", ".1"],
    "golang": ["(devel)", ""],
    "gem": ["", "..."],
    "composer": ["", "---"],
    **{name: ["", "1\n2", "\x00"] for name in ("apk", "rpm", "maven", "pypi", "nuget", "npm", "cargo", "pub")},
}


@pytest.mark.parametrize("order", ORDERS)
def test_chain_of_versions(order: str) -> None:
    groups = [group.split(" = ") for group in CHAINS[order].split(" < ")]
    for (at, left), (other, right) in itertools.product(enumerate(groups), repeat=2):
        expected = (at > other) - (at < other)
        for a, b in itertools.product(left, right):
            key_a, key_b = version_key(order, a), version_key(order, b)
            assert (a, b, compare_versions(order, a, b), (key_a > key_b) - (key_a < key_b)) == (a, b, expected, expected)


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_no_version_is_refused_by_both(order: str) -> None:
    for text in [*NO_VERSIONS[order], "1" * 513]:
        with pytest.raises(InputError):
            compare_versions(order, text, "1")
        with pytest.raises(InputError):
            version_key(order, text)


@pytest.mark.parametrize("order", ORDERS)
def test_numbers_of_any_size(order: str) -> None:
    short, long, longer = "9" * 46, "1" + "0" * 46, "1" + "0" * 200
    assert version_key(order, short) < version_key(order, long) < version_key(order, longer)
    assert compare_versions(order, short, long) == compare_versions(order, long, longer) == -1


def test_damaged_apk_versions_are_before_whole_ones() -> None:
    assert compare_versions("apk", "1.2_blah", "1.2_hurz") == 0
    assert compare_versions("apk", "1.2_rc1", "1.2_blah") == compare_versions("apk", "1.2_blah", "1.2") == -1
    assert compare_versions("apk", "1.2-r", "1.2-r1") == -1


def test_maven_runs_in_a_circle_and_the_key_does_not() -> None:
    circle = ["2.9.0.RC1", "2.9.0", "2.9.0-1"]
    assert [compare_versions("maven", a, b) for a, b in itertools.pairwise([*circle, circle[0]])] == [-1, -1, -1]
    keys = [version_key("maven", text) for text in circle]
    assert keys == sorted(keys)


def test_what_no_key_can_place_has_none() -> None:
    assert compare_versions("composer", "1.#", "1.2") == compare_versions("composer", "1.#", "1.3") == 0
    with pytest.raises(InputError, match="equals every number"):
        version_key("composer", "1.#")


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("Debian:12", "deb"),
        ("Ubuntu:22.04:LTS", "deb"),
        ("Alpine:v3.18", "apk"),
        ("Red Hat:enterprise_linux:8::baseos", "rpm"),
        ("redhat", "rpm"),
        ("Rocky Linux:8", "rpm"),
        ("crates.io", "cargo"),
        ("Go", "golang"),
        ("RubyGems", "gem"),
        ("Packagist", "composer"),
        ("PyPI", "pypi"),
        ("SemVer", "semver"),
    ],
)
def test_ecosystems_by_their_other_names(name: str, order: str) -> None:
    assert find_order(name).name == order
    assert compare_versions(name, "1", "2") == -1


def test_an_unknown_ecosystem_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean debian"):
        find_order("debain")
    with pytest.raises(InputError, match="known: deb"):
        find_order("")
