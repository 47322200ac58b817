"""One small good file for every reader of packages: (reader, path, content, name of a package in it; empty for none)."""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib

from tests.jars import make_jar, maven_jar
from tests.programs import rpm_header

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


def rpm_database() -> bytes:
    """A database of one package in pages of 512 bytes: its header goes over several of them."""
    texts = {
        1000: "bash",
        1001: "5.1.8",
        1002: "6.el9",
        1011: "Red Hat, Inc.",
        1014: "GPLv3+",
        1022: "x86_64",
        1044: "bash-5.1.8-6.el9.src.rpm",
    }
    entries = [(tag, 6, 1, text.encode() + b"\0") for tag, text in texts.items()]
    entries += [(1116, 4, 40, bytes(160)), (1117, 8, 40, b"file\0" * 40), (1118, 8, 1, b"/usr/bin/\0")]
    with sqlite3.connect(":memory:") as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        connection.execute("INSERT INTO Packages (blob) VALUES (?)", (rpm_header(entries),))
    data = connection.serialize()
    connection.close()
    return data


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
    ("rpm", "var/lib/rpm/rpmdb.sqlite", rpm_database(), "bash"),
]  # fmt: skip
