"""The tar walker: dialects as Go reads them, damage refused, sizes bounded."""

from __future__ import annotations

import io
import tarfile

import pytest
from tests.images import make_tar

from shipwall.model.errors import InputError
from shipwall.supply.tar import Entry, TarWalk, clean_path


def walk(data: bytes, wanted: str = "") -> list[Entry]:
    return [entry for entry, _content in read(data, wanted)]


def read(data: bytes, wanted: str) -> list[tuple[Entry, bytes | None]]:
    tar = TarWalk(io.BytesIO(data), "layer x")
    return [(entry, tar.read() if entry.path == wanted else None) for entry in tar]


def header(name: bytes, size: bytes = b"0" * 11, flag: bytes = b"0", magic: bytes = b"ustar\00000", link: bytes = b"") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[100:107] = b"0000644"
    block[124 : 124 + len(size)] = size
    block[156:157] = flag
    block[157 : 157 + len(link)] = link
    block[257 : 257 + len(magic)] = magic
    block[148:156] = b" " * 8
    block[148:155] = f"{sum(block):06o}\0".encode()
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(**records: str) -> bytes:
    body = b""
    for key, value in records.items():
        text = f" {key.replace('__', '.')}={value}\n".encode()
        size = len(text)
        while len(str(size)) + len(text) != size:
            size = len(str(size)) + len(text)
        body += str(size).encode() + text
    return header(b"pax", f"{len(body):011o}".encode(), b"x") + padded(body)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_agrees_with_tarfile(form: int) -> None:
    buffer = io.BytesIO()
    paths = ["a", "folder/" + "x" * 90, "deep/" * 25 + "file"]
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for number, path in enumerate(paths):
            info = tarfile.TarInfo(path)
            info.size = number * 700
            tar.addfile(info, io.BytesIO(b"c" * info.size))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "t/" * 40 + "end"
        tar.addfile(link)
    found = read(buffer.getvalue(), "deep/" * 25 + "file")
    assert [entry.path for entry, _content in found] == [*paths, "link"]
    assert found[2][1] == b"c" * 1400
    assert (found[3][0].kind, found[3][0].link) == ("symlink", "t/" * 40 + "end")


def test_gnu_long_name_beats_pax_and_the_last_pax_header_counts() -> None:
    data = pax(path="first") + pax(path="second") + header(b"short")
    assert walk(data)[0].path == "second"
    long = header(b"././@LongLink", b"00000000005", b"L", b"ustar  \0") + padded(b"gnu!\0")
    assert walk(pax(path="pax") + long + header(b"short"))[0].path == "gnu!"


def test_pax_size_overrides() -> None:
    data = pax(size="3") + header(b"f", b"00000000777") + padded(b"abc") + header(b"g")
    assert [(entry.path, entry.size) for entry in walk(data, "f")] == [("f", 3), ("g", 0)]


def test_sizes_of_entries_without_content_are_ignored() -> None:
    assert [entry.path for entry in walk(header(b"l", b"00000001000", b"2", link=b"t") + header(b"g"))] == ["l", "g"]


def test_old_sparse_maps_are_passed_over() -> None:
    first = bytearray(header(b"s", b"00000000003", b"S", b"ustar  \0"))
    first[482] = 1
    first[148:156] = b" " * 8
    first[148:155] = f"{sum(first):06o}\0".encode()
    data = bytes(first) + bytes(512) + padded(b"abc") + header(b"g")
    assert [(entry.path, entry.kind) for entry in walk(data, "s")] == [("s", "sparse"), ("g", "file")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x" * 512, "checksum"),
        (header(b"f")[:100], "inside a header"),
        (header(b"f", b"00000000777") + b"abc", "inside an entry"),
        (header(b"f", b"\xff" * 12), "negative size"),
        (header(b"f", b"\x80" + b"\xff" * 11), "absurd size"),
        (header(b"f", b"00000000999"), "not octal"),
        (header(b"f", b"77777777777", b"L"), "extended header of"),
        (header(b"f", b"00000000005", b"x") + padded(b"hello"), "pax record"),
        (pax(path="a\0b") + header(b"f"), "zero byte"),
        (pax(size="-3") + header(b"f"), "pax size"),
        (bytes(512) + header(b"f"), "lone zero block"),
    ],
)
def test_damage(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        walk(data)
    assert "layer x" in caught.value.line()


def test_a_flipped_bit_in_a_header_is_found() -> None:
    data = bytearray(make_tar({"a": b""}))
    data[3] ^= 1
    with pytest.raises(InputError, match="checksum"):
        walk(bytes(data))


@pytest.mark.parametrize(
    ("path", "clean"),
    [("./a//b/", "a/b"), ("/a", "a"), ("a/../b", "b"), ("../a", None), ("a/../../b", None), (".", ""), ("", "")],
)
def test_paths(path: str, clean: str | None) -> None:
    assert clean_path(path) == clean


def test_escaping_paths_are_told() -> None:
    found = walk(make_tar({"../../etc/shadow": b"x", "fine": b""}))
    assert [(entry.path, entry.escapes) for entry in found] == [("../../etc/shadow", True), ("fine", False)]


def test_content_is_never_held_unless_wanted() -> None:
    class Endless:
        """Says it is a file of 8 EiB and gives zero blocks for a while."""

        def __init__(self) -> None:
            self.first = header(b"big", b"\x80" + bytes(3) + (1 << 62).to_bytes(8, "big"))
            self.left = 200

        def read(self, size: int, /) -> bytes:
            assert size <= 1 << 20
            if self.first:
                data, self.first = self.first, b""
                return data
            self.left -= 1
            return bytes(size) if self.left > 0 else b""

    with pytest.raises(InputError, match="inside an entry"):
        list(TarWalk(Endless(), "layer x"))
