"""Laws of layers brought into one form, and of what registries, engines and routes say: total on any bytes."""

from __future__ import annotations

import contextlib
import io
import struct
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from shipwall.adapters.private_network import choose_networks, parse_routes
from shipwall.adapters.registry import parse_manifest, parse_registry
from shipwall.adapters.streams import ChunkFile, split_frames
from shipwall.model.errors import InputError
from shipwall.supply.normalise import clamp_shadow, normalise_layer, parse_from, parse_ignore, parse_saved

names = st.lists(st.sampled_from(["a", "b", "c", "var", "log", "dpkg.log", ".wh.x", "etc"]), min_size=1, max_size=3).map("/".join)
kinds = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
entries = st.lists(st.tuples(names, kinds, st.binary(max_size=40), st.integers(0, 2**33), names), max_size=12)


def tar_of(items: list[tuple[str, bytes, bytes, int, str]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, data, mtime, target in items:
            made = tarfile.TarInfo(name)
            made.type, made.mtime, made.linkname = kind, mtime, target
            made.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(made, io.BytesIO(data))
    return buffer.getvalue()


def normalised(data: bytes) -> bytes:
    sink = io.BytesIO()
    normalise_layer(io.BytesIO(data), sink, 1_700_000_000)
    return sink.getvalue()


@given(entries)
def test_one_form_is_its_own_form(items: list[tuple[str, bytes, bytes, int, str]]) -> None:
    once = normalised(tar_of(items))
    assert normalised(once) == once


@given(entries, st.randoms(use_true_random=False))
def test_order_of_different_paths_does_not_matter(items: list[tuple[str, bytes, bytes, int, str]], random: object) -> None:
    unique = list({name: item for item in items for name in [item[0]]}.values())
    shuffled = unique.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert normalised(tar_of(unique)) == normalised(tar_of(shuffled))


@given(entries, st.integers(0, 4000), st.integers(0, 255))
def test_a_damaged_layer_is_an_input_error_or_a_layer(
    items: list[tuple[str, bytes, bytes, int, str]], at: int, value: int
) -> None:
    data = bytearray(tar_of(items))
    data[at % len(data)] = value
    for damaged in (bytes(data), bytes(data[: at % len(data)])):
        with contextlib.suppress(InputError):
            normalised(damaged)


@given(st.binary(max_size=2000))
def test_parsers_are_total(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (parse_manifest, parse_saved, normalised):
        with contextlib.suppress(InputError):
            parse(data)
    for parse_text in (parse_registry, lambda value: parse_from(value, {})):
        with contextlib.suppress(InputError):
            parse_text(text)
    parse_ignore(text)("some/path")
    parse_routes(text)
    choose_networks(text)
    clamp_shadow(data, 100)
    with contextlib.suppress(InputError):
        list(split_frames([data]))


@given(st.lists(st.tuples(st.integers(1, 2), st.binary(max_size=50)), max_size=6), st.integers(1, 9))
def test_frames_come_whole_however_they_are_cut(frames: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(struct.pack(">BxxxI", stream, len(part)) + part for stream, part in frames)
    got: dict[int, bytes] = {1: b"", 2: b""}
    for stream, part in split_frames(data[at : at + size] for at in range(0, len(data), size)):
        got[stream] += part
    assert got == {number: b"".join(part for stream, part in frames if stream == number) for number in (1, 2)}


@given(st.lists(st.binary(max_size=20)))
def test_a_file_over_chunks_has_their_bytes(chunks: list[bytes]) -> None:
    with ChunkFile(chunks) as file:
        assert file.read() == b"".join(chunks)
