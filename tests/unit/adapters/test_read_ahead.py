"""Reading ahead in a thread gives what reading gives: bytes, errors at their place, and an end when nobody wants more."""

from __future__ import annotations

import gzip
import io
import itertools
import threading

import pytest

from shipwall.adapters.images.background import ReadAhead
from shipwall.model.errors import InputError
from shipwall.supply.streams import LayerStream, inflate

DATA = bytes(itertools.islice(itertools.cycle(range(251)), 3_000_000))


class Endless:
    """Zeros without end, counted."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self, size: int, /) -> bytes:
        """`size` zeros."""
        self.reads += 1
        return bytes(size)


@pytest.mark.parametrize("size", [7_000, 999_999, 1 << 20, 5 << 20])
def test_every_size_of_reading_gives_the_same(size: int) -> None:
    with ReadAhead(io.BytesIO(DATA)) as ahead:
        parts = list(iter(lambda: ahead.read(size), b""))
    assert b"".join(parts) == DATA
    assert max(map(len, parts)) <= size


def test_damage_is_raised_after_all_that_comes_before_it() -> None:
    packed = gzip.compress(DATA, 1)
    with ReadAhead(LayerStream(io.BytesIO(packed[:-4]), "layer x")) as ahead:
        seen = []
        with pytest.raises(InputError, match="layer x: its gzip stream ends too early"):
            seen.extend(iter(lambda: ahead.read(100_000), b""))
        assert len(b"".join(seen)) >= len(DATA) - (1 << 20)
        with pytest.raises(InputError, match="ends too early"):
            ahead.read(1)


def test_leaving_ends_the_thread_and_nothing_is_read_any_more() -> None:
    endless = Endless()
    with ReadAhead(endless) as ahead:
        ahead.read(10)
    assert not [one for one in threading.enumerate() if one.name == "read ahead"]
    assert endless.reads <= 8


def test_a_gzip_header_without_end_is_damage_and_not_kept() -> None:
    class Header:
        """A gzip header whose file name never ends."""

        given = 0

        def read(self, size: int, /) -> bytes:
            """More of it."""
            start = b"" if self.given else b"\x1f\x8b\x08\x08" + bytes(6)
            self.given += size
            return start + b"a" * (size - len(start))

    header = Header()
    with pytest.raises(InputError, match="damaged gzip stream"):
        inflate(header, "layer").read(1 << 20)
    assert header.given <= 4 << 20
