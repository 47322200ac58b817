"""apk's list of installed packages."""

from __future__ import annotations

from shipwall.supply.catalog.apk import parse_apk

MUSL = b"""C:Q11Ing8/u1VIdY9czSxaDO9wJg72I=
P:musl-utils
V:1.1.22-r3
A:x86_64
L:MIT BSD GPL2+
o:musl
F:
R:top
F:sbin
R:ldconfig
a:0:0:755
F:usr
F:usr/bin
R:getconf
R:ldd

"""


def test_fields_files_source_and_licence() -> None:
    (package,), skipped = parse_apk("lib/apk/db/installed", MUSL)
    assert skipped == []
    assert (package.ecosystem, package.name, package.version, package.arch) == ("apk", "musl-utils", "1.1.22-r3", "x86_64")
    assert (package.source, package.source_version) == ("musl", "1.1.22-r3")
    assert package.license == "MIT AND LicenseRef-BSD AND GPL-2.0-or-later"
    assert package.files == ("/sbin/ldconfig", "/top", "/usr/bin/getconf", "/usr/bin/ldd")
    assert package.evidence == "/lib/apk/db/installed"


def test_virtual_packages_are_packages_and_their_own_source() -> None:
    (package,), _ = parse_apk("lib/apk/db/installed", b"P:.build-deps\nV:0\nA:noarch\n\n")
    assert (package.name, package.version, package.source, package.license) == (".build-deps", "0", ".build-deps", "")


def test_what_has_no_name_or_version_is_told() -> None:
    packages, skipped = parse_apk("lib/apk/db/installed", MUSL + b"P:half\nA:x\n\nV:1\n")
    assert [one.name for one in packages] == ["musl-utils"]
    assert [one.what for one in skipped] == ["/lib/apk/db/installed paragraph 2", "/lib/apk/db/installed paragraph 3"]


def test_one_long_folder_does_not_multiply() -> None:
    data = b"P:a\nV:1\nF:" + b"d" * 4000 + b"\n" + b"R:x\n" * 50_000 + b"\n"
    (package,), _ = parse_apk("lib/apk/db/installed", data)
    assert sum(map(len, package.files)) < 9 * len(data)
