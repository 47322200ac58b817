"""Every version order is an order, on whatever text; its keys say the same in bytes; package URLs go both ways."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipwall.model.errors import InputError
from shipwall.model.package import Distribution, Package
from shipwall.supply.purl import distribution_of, make_purl, package_of, parse_purl, purl_of, render_purl
from shipwall.supply.versions import ORDERS, compare_again, compare_versions, version_key
from shipwall.supply.versions.maven import Item, compare_items, parse_maven_version

BUSY = settings(deadline=None)  # the machine may be busy with other things

NUMBERS = ["0", "00", "1", "2", "9", "10", "01", "123456789012345678901234567890", "7" * 70]
SEMVER = [*NUMBERS, ".", ".", "-", "+", "a", "rc", "Z", "alpha", "v", "."]
PIECES = {
    "deb": [*NUMBERS, ".", "+", "~", ":", "-", "a", "Z", "~~", "deb", "1:"],
    "apk": [*NUMBERS, ".", "_", "-r", "~", "a", "p", "_rc", "_alpha", "_p", "_git", "_x", "-", "A", "."],
    "rpm": [*NUMBERS, ".", "~", "^", "-", ":", "a", "Z", "el", "β", "_", "1:"],
    "maven": [*NUMBERS, ".", "-", ".", "-", "a", "rc", "alpha", "sp", "ga", "final", "x", "SNAPSHOT", "m"],
    "pypi": [*NUMBERS, ".", "-", "!", "+", "a", "rc", ".dev", ".post", "pre", "x", "v", "_"],
    "gem": [*NUMBERS, ".", ".", "-", "a", "b", "rc", "pre"],
    "composer": [*NUMBERS, ".", "-", "+", "dev", "alpha", "b", "RC", "rc", "p", "pl", "x", "stable", "v"],
    "cran": [*NUMBERS, ".", "-", "."],
    "hackage": [*NUMBERS, "."],
    **dict.fromkeys(("nuget", "semver", "npm", "cargo", "pub"), SEMVER),
    "golang": [*SEMVER, "go", "beta", "+incompatible", "-0.20240101120000-abcdefabcdef"],
}


def versions(order: str) -> st.SearchStrategy[str]:
    """Texts of an ecosystem's own pieces, many of them versions, and many with a common beginning."""
    return st.lists(st.sampled_from(PIECES[order]), min_size=1, max_size=7).map("".join)


def compared(order: str, left: str, right: str) -> int | None:
    """-1, 0, 1; None when one is no version."""
    try:
        return compare_versions(order, left, right)
    except InputError:
        return None


def test_every_order_has_pieces() -> None:
    assert set(PIECES) == set(ORDERS)


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_keys_say_what_compare_says(order: str, data: st.DataObject) -> None:
    stem = data.draw(st.just("") | versions(order))
    left, right = stem + data.draw(versions(order)), stem + data.draw(versions(order))
    found = compared(order, left, right)
    assert compared(order, right, left) == (None if found is None else -found)
    if found is None:
        with pytest.raises(InputError):
            version_key(order, left), version_key(order, right)
        return
    a, b = version_key(order, left), version_key(order, right)
    by_key = (a > b) - (a < b)
    if by_key != found:
        assert order == "maven"
        assert_circle(parse_maven_version(left), parse_maven_version(right), by_key)


def assert_circle(left: list[Item], right: list[Item], by_key: int) -> None:
    """Maven puts the common beginning of both between them, contrary to how it compares them: no key could say both."""
    middle = common_beginning(left, right)
    assert compare_items(left, middle) == by_key
    assert compare_items(middle, right) == by_key
    assert compare_items(left, right) == -by_key


def common_beginning(left: list[Item], right: list[Item]) -> list[Item]:
    common: list[Item] = []
    for a, b in zip(left, right, strict=False):
        if a != b:
            return [*common, common_beginning(a, b)] if isinstance(a, list) and isinstance(b, list) else common
        common.append(a)
    return common


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_comparing_again_is_comparing(order: str, data: st.DataObject) -> None:
    left, right = data.draw(versions(order)), data.draw(versions(order))

    def said(compare: Callable[[str, str, str], int]) -> int | None:
        try:
            return compare(order, left, right)
        except InputError:
            return None

    assert said(compare_again) == said(compare_versions)


@pytest.mark.parametrize("order", [name for name in ORDERS if name != "maven"])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_compare_is_transitive(order: str, data: st.DataObject) -> None:
    texts = [data.draw(versions(order)) for _ in range(3)]
    for a, b, c in itertools.permutations(texts):
        if compared(order, a, b) in {-1, 0} and compared(order, b, c) in {-1, 0}:
            assert compared(order, a, c) in {-1, 0}


@pytest.mark.parametrize("order", ORDERS)
@BUSY
@given(left=st.text(max_size=40) | st.text("0123456789.-~^:+ab_", max_size=700), right=st.text(max_size=40))
def test_any_text_is_a_version_or_refused(order: str, left: str, right: str) -> None:
    assert compared(order, left, right) in {-1, 0, 1, None}
    for text in (left, right):
        assert compared(order, text, text) in {0, None}
        with contextlib.suppress(InputError):
            assert version_key(order, text)
            assert compared(order, text, text) == 0


@BUSY
@given(st.text(max_size=60) | st.text("pkg:/@?#&=%2Fanpm.-", max_size=60).map("pkg:".__add__))
def test_any_text_is_a_package_url_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        purl = parse_purl(text)
        assert parse_purl(render_purl(purl)) == purl


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
SEGMENTS = WORDS.filter(lambda text: "/" not in text)


@BUSY
@given(
    st.sampled_from(["deb", "rpm", "npm", "maven", "golang", "generic", "nuget", "hex", "unheard-of"]),
    SEGMENTS,
    st.lists(SEGMENTS, max_size=3).map("/".join),
    WORDS | st.just(""),
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9_.-]{0,5}", fullmatch=True), WORDS, max_size=3),
    st.lists(SEGMENTS, max_size=3).map("/".join),
)
def test_parts_go_into_a_url_and_back(
    kind: str, name: str, namespace: str, version: str, qualifiers: dict[str, str], subpath: str
) -> None:
    namespace = "" if kind == "nuget" else namespace
    purl = make_purl(kind, name, namespace=namespace, version=version, qualifiers=qualifiers, subpath=subpath)
    assert parse_purl(render_purl(purl)) == purl


NAMES = st.from_regex(r"[a-z][a-z0-9+~.%@-]{0,8}", fullmatch=True)


@BUSY
@given(
    st.one_of(
        *(st.tuples(st.just(kind), NAMES) for kind in ("deb", "apk", "rpm", "cargo", "gem", "pypi", "generic")),
        *(
            st.tuples(st.just(kind), st.tuples(NAMES, NAMES).map(mark.join) | NAMES)
            for kind, mark in (("npm", "/"), ("maven", ":"), ("golang", "/"), ("composer", "/"))
        ),
    ),
    st.from_regex(r"([0-9]:)?[0-9][0-9a-z.+~^-]{0,8}", fullmatch=True),
    st.sampled_from(["", "amd64", "x86_64"]),
    st.sampled_from([Distribution(), Distribution(id="debian", version_id="12"), Distribution(id="rocky", version_id="8.9")]),
)
def test_a_package_goes_into_a_url_and_back(named: tuple[str, str], version: str, arch: str, distribution: Distribution) -> None:
    package = Package(ecosystem=named[0], name=named[1], version=version, arch=arch)
    purl = parse_purl(purl_of(package, distribution))
    assert package_of(purl) == package
    assert distribution_of(purl) == (distribution if named[0] in {"deb", "apk", "rpm"} else Distribution())
