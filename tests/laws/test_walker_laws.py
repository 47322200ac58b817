"""The walker's short cuts mean what the long way means: one engine as the other, a plain entry as any, a dull file as a kept one."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.images import make_tar

from shipwall.adapters.images.background import HashThread, ReadAhead
from shipwall.model.errors import InputError
from shipwall.supply import streams
from shipwall.supply.layers import View, follow_links
from shipwall.supply.streams import LayerStream, inflate
from shipwall.supply.tar import Entry, TarWalk

NAMES = st.sampled_from(
    ["a", "a/b", "a/b/c", "a/.wh.b", ".wh.a", "a/.wh..wh..opq", "l", "l/x", "a/l/x", "./a/d", "a//e", "a/../f", "b/" * 60]
)
PARTS = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), max_size=5).map("/".join)
ENTRIES = st.lists(
    st.tuples(NAMES, st.sampled_from("fdlh"), st.sampled_from(["a", "a/b", "../..", "/a"]), st.booleans()), max_size=12
)


def tar_of(entries: list[tuple[str, str, str, bool]], form: int = tarfile.PAX_FORMAT, *, every: bytes = b"") -> bytes:
    """`entries` are path, kind, target of links, whether executable; `every` is put before each of them."""
    whole = io.BytesIO()
    for path, kind, target, is_executable in entries:
        info = tarfile.TarInfo(path)
        info.mode = 0o755 if is_executable else 0o644
        content = b""
        if kind == "f":
            content = path.encode() * 30
            info.size = len(content)
        else:
            info.type = {"d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE}[kind]
            info.linkname = "" if kind == "d" else target
        whole.write(every + info.tobuf(form) + content + bytes(-len(content) % 512))
    return whole.getvalue() + bytes(1024)


def walked(data: bytes) -> list[tuple[Entry, bytes]]:
    tar = TarWalk(io.BytesIO(data), "tar")
    return [(entry._replace(offset=0), tar.read()) for entry in tar]


@given(ENTRIES, st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
@settings(deadline=None)
def test_a_plain_entry_means_what_it_means_after_an_extended_header(entries: list[tuple[str, str, str, bool]], form: int) -> None:
    comment = tarfile.TarInfo.create_pax_global_header({"comment": "nothing"})
    assert walked(tar_of(entries, form)) == walked(tar_of(entries, form, every=comment))


@given(ENTRIES, st.integers(1, 700))
@settings(deadline=None)
def test_how_the_bytes_arrive_changes_nothing(entries: list[tuple[str, str, str, bool]], piece: int) -> None:
    class Pieces(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            return super().read(piece)

    data = tar_of(entries)
    tar = TarWalk(Pieces(data), "tar")
    found = []
    for number, entry in enumerate(tar):
        content = (tar.peek(5) if number % 2 else b"", tar.read() if number % 3 else b"")
        assert not all(content) or content[1].startswith(content[0])
        found.append(entry)
    assert found == list(TarWalk(io.BytesIO(data), "tar"))


@given(st.lists(ENTRIES, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_what_nobody_wants_changes_folders_and_links_as_what_is_kept_does(layers: list[list[tuple[str, str, str, bool]]]) -> None:
    every, none = View(("**/*",)), View(())
    for entries in layers:
        for view in (every, none):
            view.add_layer(io.BytesIO(tar_of(entries)), "", "layer")
    assert (every.folders, every.links, every.entries) == (none.folders, none.links, none.entries)


@given(ENTRIES)
@settings(max_examples=300, deadline=None)
def test_what_a_hard_link_gives_does_not_depend_on_who_else_wants_its_target(entries: list[tuple[str, str, str, bool]]) -> None:
    data = tar_of(entries)
    every, few = View(("**/*",)), View(("**/b", "l"))
    every.add_layer(io.BytesIO(data), "", "layer")
    if targets := few.add_layer(io.BytesIO(data), "", "layer", None):
        few.add_layer(io.BytesIO(data), "", "layer", targets)
    untold = {one.what[1:] for one in few.skipped}  # a link to a link, or to nothing
    kept = dict(few.matching("**/*"))
    for path, file in every.matching("**/*"):
        if path.rpartition("/")[2] == "b" or path == "l":
            assert kept.get(path) == file or path in untold
    assert (every.folders, every.links, every.entries) == (few.folders, few.links, few.entries)


@given(st.dictionaries(PARTS, PARTS | PARTS.map(lambda path: f"/{path}"), max_size=5), st.lists(PARTS, max_size=5))
@settings(max_examples=500)
def test_where_a_path_lies_does_not_depend_on_what_was_asked_before(links: dict[str, str], paths: list[str]) -> None:
    view = View(())
    view.links = links
    for path in paths:
        assert view.resolve(path) == follow_links(links, path)


def unpacked(open_gzip: Callable[[streams.Stream, bytes, str], streams.Stream], data: bytes, size: int) -> bytes | None:
    whole = b""
    try:
        stream = open_gzip(io.BytesIO(data), b"", "layer")
        while part := stream.read(size):
            assert len(part) <= size
            whole += part
    except InputError:
        return None
    return whole


@given(
    st.lists(st.binary(max_size=2000) | st.integers(1, 60000), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 30) | st.integers(0, 5000), st.integers(0, 255)), max_size=2),
    st.integers(0, 12),
    st.sampled_from([100, 5000, 100_000]),
    st.sampled_from([0, 0, 1, 600_000]),
)
@settings(max_examples=400, deadline=None)
def test_both_gzip_engines_give_the_same(
    parts: list[bytes | int], changes: list[tuple[int, int]], cut: int, size: int, padding: int
) -> None:
    members = [gzip.compress(bytes(part)) + bytes(padding) for part in parts]
    data = bytearray(b"".join(members))
    for place, value in changes:
        data[place % len(data)] = value
    flags = [data[sum(map(len, members[:number])) + 3] for number in range(len(members))]
    assume(not any(flag & 0xE0 for flag in flags))  # reserved: zlib refuses them, ISA-L passes over them, as Go does
    packed = bytes(data[: len(data) - cut])
    assert unpacked(streams._by_zlib, packed, size) == unpacked(streams._Isal, packed, size)


@given(st.integers(0, 3 << 20), st.integers(0, 255), st.booleans())
@settings(max_examples=20, deadline=None)
def test_reading_and_hashing_beside_give_what_they_give_here(size: int, byte: int, is_packed: bool) -> None:
    plain = make_tar({"a": bytes([byte]) * size})
    stored = gzip.compress(plain, 1) if is_packed else plain
    with HashThread() as hashes:
        stream = LayerStream(io.BytesIO(stored), "layer", new_hash=hashes.sha256)
        with ReadAhead(stream) as ahead:
            assert ahead.read(100) == plain[:100]
            ahead.drain()
            assert ahead.read(100) == b""
        beside = stream.finish()
    assert beside == LayerStream(io.BytesIO(stored), "layer").finish()
    assert inflate(io.BytesIO(stored), "layer").read(100) == plain[:100]
