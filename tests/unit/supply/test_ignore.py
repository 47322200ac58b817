"""Ignore files: what an entry means, that it ends, and where its mistakes are."""

from __future__ import annotations

import pytest

from shipwall.lang.diagnostic import SourceError
from shipwall.model.finding import Finding
from shipwall.model.package import Distribution, Package
from shipwall.supply.ignore import apply_ignores, parse_ignores

DEBIAN = Distribution(id="debian", version_id="12")
NOW = 1_700_000_000 * 10**9  # 2023-11-14
LIBSSL = Package(ecosystem="deb", name="libssl3", version="3", source="openssl", evidence="/var/lib/dpkg/status")
SSL = Finding(id="CVE-1", aliases=("GHSA-1",), package=LIBSSL)
APP = Finding(
    id="CVE-2", package=Package(ecosystem="npm", name="@a/b", version="1", evidence="/app/node_modules/@a/b/package.json")
)


def judge(entry: str, now_ns: int = NOW) -> tuple[list[str], list[str]]:
    ignores = parse_ignores(f"version: 1\nignore:\n  - {{{entry}, reason: r, until: 2023-11-14}}\n".encode(), "i.yaml")
    kept, aside, notices = apply_ignores([SSL, APP], ignores, DEBIAN, now_ns)
    assert [one.by for one in aside] == ["i.yaml:3"] * len(aside)
    assert len(kept) + len(aside) == 2
    return [one.finding.id for one in aside], notices


@pytest.mark.parametrize(
    ("entry", "aside"),
    [
        ("id: CVE-1", ["CVE-1"]),
        ("id: GHSA-1", ["CVE-1"]),
        ("package: openssl", ["CVE-1"]),
        ("package: libssl3", ["CVE-1"]),
        ('package: "pkg:deb/debian/libssl3"', ["CVE-1"]),
        ('package: "pkg:deb/debian/libssl3@4"', []),
        ('package: "pkg:npm/%40a/b"', ["CVE-2"]),
        ("path: /app/**", ["CVE-2"]),
        ("path: /**/package.json", ["CVE-2"]),
        ("path: /app/**/**/b/*.json", ["CVE-2"]),
        ("path: /app/*/@?/b/pack*e.json", ["CVE-2"]),
        ("path: /app/*/package.json", []),
        ("path: /app", []),
        ("path: /app/**/package.json/**", ["CVE-2"]),
        ("id: CVE-1, path: /app/**", []),
        ('path: "**"', ["CVE-1", "CVE-2"]),
    ],
)
def test_what_an_entry_means(entry: str, aside: list[str]) -> None:
    found, notices = judge(entry)
    assert found == aside
    assert len(notices) == (not aside)
    assert all("i.yaml:3: the entry for" in one and "matched nothing" in one for one in notices)


def test_an_entry_holds_through_its_last_day_and_then_is_said() -> None:
    day = 86400 * 10**9
    end = (NOW // day + 1) * day
    assert judge("id: CVE-1", end - 1) == (["CVE-1"], [])
    found, notices = judge("id: CVE-1", end)
    assert found == []
    assert notices == ["i.yaml:3: the entry for CVE-1 ran out on 2023-11-14 and is not applied: r"]


def test_hostile_globs_end() -> None:
    ignores = parse_ignores(b'version: 1\nignore: [{path: "' + b"*a" * 400 + b'", reason: r, until: 2030-01-01}]', "i")
    long = Finding(id="x", package=Package(ecosystem="npm", name="x", version="1", evidence="/" + "a" * 3000 + "b"))
    assert apply_ignores([long], ignores, DEBIAN, NOW)[1] == []


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("version: 1\nignore:\n  - {id: CVE-1, until: 2030-01-01}", (3, 5), "key 'reason' is missing"),
        ("version: 1\nignore:\n  - {id: CVE-1, reason: x}", (3, 5), "key 'until' is missing"),
        ("version: 1\nignore:\n  - {reason: x, until: 2030-01-01}", (3, 5), "would ignore everything"),
        ("version: 1\nignore:\n  - {id: CVE-1, reason: x, until: soon}", (3, 35), "'soon' is not a date"),
        ("version: 1\nignore:\n  - {id: CVE-1, reason: '', until: 2030-01-01}", (3, 25), "the reason is empty"),
        ("version: 1\nignore:\n  - {pakage: x, reason: x, until: 2030-01-01}", (3, 6), "did you mean 'package'?"),
        ("version: 1\nignore:\n  - {package: 'pkg:x', reason: x, until: 2030-01-01}", (3, 15), "not a package URL"),
        ("version: 2\nignore: []", (1, 10), "'2' is not one of 1"),
        ("ignore: []", (1, 1), "key 'version' is missing"),
    ],
)
def test_mistakes_have_a_place(text: str, place: tuple[int, int], words: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_ignores(text.encode(), "i.yaml")
    assert words in caught.value.line()
    assert (caught.value.line_number, caught.value.column) == place
    assert caught.value.excerpt.endswith("^")
