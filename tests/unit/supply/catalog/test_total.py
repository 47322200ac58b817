"""Every reader is total: whatever the bytes, it ends soon with packages or an InputError, and what it gives is bounded and printable."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.jars import make_jar, maven_jar

from shipwall.model.errors import InputError
from shipwall.model.package import Package
from shipwall.supply.catalog import READERS
from shipwall.supply.catalog.rpm_header import parse_rpm_header
from shipwall.supply.catalog.rust import parse_crates

BY_NAME = {reader.name: reader for reader in READERS}
GO_INFO = (
    b"\xff Go buildinf:\x08\x02" + bytes(16) + b"\x08go1.22.5" + b"\x30" + b"s" * 16 + b"mod\texample.org/x\tv1\n" + b"e" * 16
)


def elf(section: bytes, content: bytes) -> bytes:
    """A 64-bit ELF file of one named section."""
    names = b"\0" + section + b"\0.names\0"
    at = 64 + len(content)
    sections = at + len(names)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, sections, 0, 64, 56, 0, 64, 3, 2)
    rows = struct.pack("<IIQQQQIIQQ", *[0] * 10)
    rows += struct.pack("<IIQQQQIIQQ", 1, 1, 3, 0, 64, len(content), 0, 0, 1, 0)
    rows += struct.pack("<IIQQQQIIQQ", 2 + len(section), 3, 0, 0, at, len(names), 0, 0, 1, 0)
    return header + content + names + rows


CRATES = zlib.compress(json.dumps({"packages": [{"name": "serde", "version": "1.0.0"}]}).encode())
SAMPLES: list[tuple[str, str, bytes, str]] = [
    ("apk", "lib/apk/db/installed", b"P:musl\nV:1.2-r0\nL:MIT\no:musl\nF:lib\nR:libc.so\n\n", "musl"),
    ("python", "a-1.dist-info/METADATA", b"Name: requests\nVersion: 1.0\nClassifier: License :: OSI Approved :: MIT License\n",
     "requests"),
    ("python", "a-1.dist-info/RECORD", b'a.py,sha256=x,1\n"b,c.py",,\n', ""),
    ("python egg", "six-1.egg", make_jar({"EGG-INFO/PKG-INFO": b"Name: six\nVersion: 1\n"}), "six"),
    ("npm", "node_modules/a/package.json", b'{"name": "left-pad", "version": "1.0.0", "license": {"type": "MIT"}}', "left-pad"),
    ("java", "a-1.jar", maven_jar("org.example", "part", "1.0", {"in.jar": maven_jar("g", "inner", "2")}), "org.example:part"),
    ("java", "a-1.jar", make_jar({"META-INF/MANIFEST.MF": "Implementation-Title: tool\nImplementation-Version: 1\n"}), "a"),
    ("gem", "specifications/rack-2.0.gemspec", b's.name = "rack".freeze\ns.version = "2.0"\ns.licenses = ["MIT"]\n', "rack"),
    ("composer", "vendor/composer/installed.json", b'{"packages": [{"name": "a/b", "version": "1.0", "license": ["MIT"]}]}', "a/b"),
    ("binary", "usr/bin/go", elf(b".go.buildinfo", GO_INFO), "stdlib"),
    ("binary", "usr/bin/rust", elf(b".dep-v0", CRATES), "serde"),
    ("dpkg copyright", "usr/share/doc/a/copyright", b"Format: x\n\nFiles: *\nLicense: GPL-2+ or MIT\n", ""),
    ("rpm", "var/lib/rpm/rpmdb.sqlite", b"SQLite format 3\0" + bytes(600), "-"),
]  # fmt: skip


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
    assert name in found or name == "-"


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
