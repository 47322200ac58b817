"""Every reader is total: whatever the bytes, it ends soon with packages or an InputError, and what it gives is bounded and printable."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.jars import make_jar
from tests.package_files import GO_INFO, SAMPLES, elf

from shipwall.model.errors import InputError
from shipwall.model.package import Package
from shipwall.supply.catalog import READERS
from shipwall.supply.catalog.rpm_header import parse_rpm_header
from shipwall.supply.catalog.rust import parse_crates

BY_NAME = {reader.name: reader for reader in READERS}


def check(parse: Callable[[], tuple[list[Package], object]], size: int) -> list[Package]:
    """What `parse` gives; fails for any other error, endless work, or names no terminal should be shown."""
    started = time.process_time()
    try:
        packages, _skipped = parse()
    except InputError:
        packages = []
    assert time.process_time() - started < 1 + size / 50_000
    for package in packages:
        for text in (package.name, package.version, package.arch, package.source, package.license):
            assert len(text) <= 2000
            assert text.isprintable()
    return packages


@pytest.mark.parametrize(("reader", "path", "data", "name"), SAMPLES)
def test_the_samples_are_read(reader: str, path: str, data: bytes, name: str) -> None:
    found = [one.name for one in check(lambda: BY_NAME[reader].parse(path, data), len(data))]
    assert name in found


@pytest.mark.parametrize(("reader", "path", "data", "name"), SAMPLES)
@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=2000))
def test_arbitrary_bytes(reader: str, path: str, data: bytes, name: str, junk: bytes) -> None:
    check(lambda: BY_NAME[reader].parse(path, junk), len(junk))
    check(lambda: BY_NAME[reader].parse(path, data[:16] + junk), len(junk))


@pytest.mark.parametrize(("reader", "path", "data", "name"), SAMPLES)
@settings(max_examples=150, deadline=None)
@given(choices=st.data())
def test_damaged_samples(reader: str, path: str, data: bytes, name: str, choices: st.DataObject) -> None:
    bad = bytearray(data)
    for _ in range(choices.draw(st.integers(1, 6))):
        at = choices.draw(st.integers(0, len(bad) - 1))
        piece = choices.draw(
            st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff\xff\xff\xff", bytes(8), b"\n\n", b'"', b"("]))
        )
        bad[at : at + choices.draw(st.integers(0, 8))] = piece
    check(lambda: BY_NAME[reader].parse(path, bytes(bad)), len(bad))


@given(blob=st.binary(max_size=400), tags=st.lists(st.tuples(st.sampled_from([1000, 1001, 1002, 1003, 1014, 1027, 1030, 1116, 1117, 1118]),
       st.integers(0, 9), st.integers(0, 450), st.integers(0, 2**32 - 1)), max_size=12))  # fmt: skip
def test_headers_of_rpm(blob: bytes, tags: list[tuple[int, int, int, int]]) -> None:
    index = b"".join(struct.pack(">IIII", *tag) for tag in tags)
    check(lambda: ([parse_rpm_header(struct.pack(">II", len(tags), len(blob)) + index + blob, "db")], None), len(blob))


@given(st.binary(max_size=500), st.booleans())
def test_lists_of_crates(data: bytes, packed: bool) -> None:
    check(lambda: (parse_crates("a", zlib.compress(data) if packed else data), None), len(data))


@pytest.mark.parametrize(
    ("reader", "path", "data"),
    [
        ("npm", "node_modules/a/package.json", b"[" * 1_000_000),
        ("npm", "node_modules/a/package.json", b'{"a":' * 200_000),
        ("gem", "specifications/a-1.gemspec", b"s.name = " * 100_000),
        ("gem", "specifications/a-1.gemspec", b's.licenses = ["' * 60_000),
        ("python", "a.dist-info/METADATA", b"Classifier: License :: OSI Approved :: " * 25_000),
        ("python", "a.dist-info/METADATA", b"License: (" + b"MIT and (" * 110_000),
        ("python", "a.dist-info/RECORD", b'"' * 1_000_000),
        ("apk", "lib/apk/db/installed", b"\n\n" * 500_000),
        ("apk", "lib/apk/db/installed", b"A:\n\n" * 200_000),
        ("java", "a.jar", make_jar({"META-INF/maven/a/b/pom.xml": "<licenses><license><name>" * 40_000})),
        ("java", "a.jar", make_jar({"META-INF/maven/a/b/pom.xml": "<parent>" * 100_000 + "<version>" * 100_000})),
        ("java", "a.jar", make_jar({"META-INF/MANIFEST.MF": "a:" + " " * 1_000_000})),
        ("java", "a.jar", make_jar({f"META-INF/maven/a/{number}/pom.xml": "" for number in range(6000)})),
        ("dpkg copyright", "usr/share/doc/a/copyright", b"Format: x\n\nFiles: *\n" + b"License: MIT or " * 60_000),
        ("binary", "usr/bin/a", elf(b".go.buildinfo", b"\xff Go buildinf:" * 70_000)),
        ("binary", "usr/bin/a", elf(b".dep-v0", zlib.compress(bytes(200 << 20)))),
        ("binary", "usr/bin/a", elf(b".go.buildinfo", GO_INFO[:41] + b"\xff\xff\x3f" + b"s" * 16 + b"dep\ta\tv1\n" * 100_000)),
    ],
)  # fmt: skip
def test_hostile_sizes_end_soon_and_stay_small(reader: str, path: str, data: bytes) -> None:
    tracemalloc.start()
    try:
        check(lambda: BY_NAME[reader].parse(path, data), len(data))
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 << 20
