"""Whatever an image or an archive holds, reading it ends with a value or an InputError; version order is an order."""

from __future__ import annotations

import contextlib
import io

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.images import debian_files, make_tar

from shipwall.model.errors import InputError
from shipwall.supply.archive_index import parse_packages, parse_release
from shipwall.supply.catalog import list_packages, make_view
from shipwall.supply.catalog.os_release import parse_os_release
from shipwall.supply.changelog import find_fixes
from shipwall.supply.deb import read_changelog
from shipwall.supply.deb822 import parse_paragraphs
from shipwall.supply.layers import View, follow_links
from shipwall.supply.manifest import parse_config, parse_manifest_or_index
from shipwall.supply.streams import LayerStream
from shipwall.supply.tar import TarWalk
from shipwall.supply.versions.deb import compare_versions, parse_version

LAYER = make_tar(debian_files({"bash": "5.2-1"}, {"bash": ["/bin/bash"]}))
VERSIONS = st.from_regex(r"([0-9]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-c.+~]{1,5})?", fullmatch=True)
PATHS = st.lists(st.sampled_from(["a", "b", "..", "."]), max_size=5).map("/".join)


@given(st.binary(max_size=3000))
def test_walking_arbitrary_bytes(data: bytes) -> None:
    with contextlib.suppress(InputError):
        tar = TarWalk(io.BytesIO(data), "layer")
        for entry in tar:
            if entry.size < 4096:
                assert tar.read().startswith(tar.peek(4))


@given(st.lists(st.tuples(st.integers(0, len(LAYER) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_layer_is_listed_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(LAYER)
    for place, value in changes:
        data[place] = value
    view = make_view()
    with contextlib.suppress(InputError):
        view.add_layer(io.BytesIO(bytes(data)), "", "layer")
    list_packages(view, None, {})


@given(st.binary(max_size=2000), st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"!<arch>\n"]))
def test_unpacking_arbitrary_bytes(data: bytes, start: bytes) -> None:
    for read in (lambda stream: LayerStream(stream, "layer").finish(), lambda stream: read_changelog(stream, "deb")):
        with contextlib.suppress(InputError):
            read(io.BytesIO(start + data))


@given(st.binary(max_size=2000))
def test_texts_of_dpkg_and_archive(data: bytes) -> None:
    fields = frozenset({"package", "version"})
    assert all(set(paragraph) <= fields for paragraph in parse_paragraphs(data, fields))
    parse_packages(b"Package: a\nVersion: 1\n" + data, "suite", ["a"], [])
    parse_os_release(data)
    find_fixes(data, "1", "2")
    find_fixes(b"a (2) s; urgency=low\n" + data, "1", "2")
    with contextlib.suppress(InputError):
        parse_release(b"SHA256:\n" + data, "Release")
    view = make_view()
    view.add_layer(io.BytesIO(make_tar({"var/lib/dpkg/status": data, "var/lib/dpkg/status.d/x": data})), "", "layer")
    list_packages(view, None, {})


@given(st.one_of(st.binary(max_size=500), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["manifests", "layers", "config", "digest", "size", "platform", "rootfs", "diff_ids"]), inner, max_size=4),
    max_leaves=8,
).map(lambda value: __import__("json").dumps(value).encode())))  # fmt: skip
def test_manifests_and_configurations(data: bytes) -> None:
    for parse in (parse_manifest_or_index, parse_config):
        with contextlib.suppress(InputError):
            parse(data, "manifest")


@given(st.text(max_size=20), st.text(max_size=20))
def test_comparing_arbitrary_texts(left: str, right: str) -> None:
    with contextlib.suppress(InputError):
        assert compare_versions(left, right) == -compare_versions(right, left)


@given(VERSIONS, VERSIONS, VERSIONS)
@settings(max_examples=300)
def test_version_order_is_an_order(a: str, b: str, c: str) -> None:
    for text in (a, b, c):
        try:
            parse_version(text)
        except InputError:
            assume(False)
    assert compare_versions(a, a) == 0
    assert compare_versions(a, b) == -compare_versions(b, a)
    if compare_versions(a, b) <= 0 and compare_versions(b, c) <= 0:
        assert compare_versions(a, c) <= 0


@given(st.dictionaries(PATHS, PATHS, max_size=4), PATHS)
def test_following_links_ends_inside_the_root(links: dict[str, str], path: str) -> None:
    assert ".." not in follow_links(links, path).split("/")


@given(
    st.lists(st.dictionaries(st.sampled_from(["a/b", "a/c", "a/.wh.b", ".wh.a", "a/.wh..wh..opq"]), st.just(b"x")), max_size=4)
)
def test_merging_agrees_with_unpacking_one_over_the_other(layers: list[dict[str, bytes]]) -> None:
    """The obvious meaning: for each layer first take away what it whites out, then put its files."""
    files: set[str] = set()
    for layer in layers:
        if ".wh.a" in layer or "a/.wh..wh..opq" in layer:
            files = set()
        if "a/.wh.b" in layer:
            files.discard("a/b")
        files |= {path for path in layer if ".wh." not in path}
    view = View(["a/*"])
    for layer in layers:
        view.add_layer(io.BytesIO(make_tar(layer)), "", "layer")
    assert {path for path, _file in view.matching("a/*")} == files
