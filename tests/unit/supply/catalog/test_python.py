"""Python distributions: every form of metadata, real ones of this environment included."""

from __future__ import annotations

import importlib.metadata
import io
from pathlib import Path

import pytest
from tests.images import make_tar
from tests.jars import make_jar

from shipwall.model.errors import InputError
from shipwall.model.package import Package
from shipwall.supply.catalog import READERS, list_packages, make_view
from shipwall.supply.catalog.python import parse_egg, parse_python
from shipwall.supply.wanted import Wanted


def one(data: bytes, path: str = "usr/lib/python3/dist-packages/a-1.dist-info/METADATA") -> Package:
    (package,), skipped = parse_python(path, data)
    assert skipped == []
    return package


def test_the_fields_end_where_the_description_starts() -> None:
    package = one(b"Metadata-Version: 2.1\r\nName: Some.Thing\r\nVersion: 1.0.post1\r\n\r\nName: other\r\nVersion: 2\r\n")
    assert (package.ecosystem, package.name, package.version) == ("pypi", "Some.Thing", "1.0.post1")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: BSD", "MIT OR Apache-2.0"),
        ("License: BSD 3-Clause", "BSD-3-Clause"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License: BSD\nClassifier: License :: OSI Approved :: BSD License", "LicenseRef-BSD"),
        ("Classifier: License :: OSI Approved :: GNU General Public License v2 or later (GPLv2+)", "GPL-2.0-or-later"),
        ("License: MIT License\n        \n        Copyright (c) somebody\n        Permission is hereby granted", "MIT"),
        ("Classifier: Programming Language :: Python", ""),
    ],
)
def test_licences(fields: str, expected: str) -> None:
    assert one(f"Name: a\nVersion: 1\n{fields}\n".encode()).license == expected


@pytest.mark.parametrize(
    "path",
    [
        "usr/lib/python3/dist-packages/six-1.16.0.egg-info",
        "usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO",
        "usr/lib/python2.7/site-packages/six-1.16.0-py2.7.egg/EGG-INFO/PKG-INFO",
        "six-1.16.0.dist-info/METADATA",
    ],
)
def test_every_place_is_read(path: str) -> None:
    (reader,) = Wanted((), READERS).choose(path, is_executable=False).readers
    (package,), _ = reader.parse(path, b"Metadata-Version: 1.1\nName: six\nVersion: 1.16.0\n")
    assert (package.name, package.version, package.evidence) == ("six", "1.16.0", f"/{path}")


def test_an_egg_that_was_left_packed() -> None:
    egg = make_jar({"six.py": b"", "EGG-INFO/PKG-INFO": b"Metadata-Version: 1.1\nName: six\nVersion: 1.16.0\n"})
    (package,), _ = parse_egg("usr/lib/python2.7/site-packages/six-1.16.0-py2.7.egg", egg)
    assert (package.name, package.version) == ("six", "1.16.0")
    assert package.evidence == "/usr/lib/python2.7/site-packages/six-1.16.0-py2.7.egg!/EGG-INFO/PKG-INFO"
    assert parse_egg("a.egg", make_jar({})) == ([], [])


def test_other_metadata_files_are_not_read() -> None:
    wanted = Wanted((), READERS)
    for path in ("src/PKG-INFO", "a.dist-info/sub/METADATA", "METADATA", "a.egg-info/RECORD"):
        assert wanted.choose(path, is_executable=False).readers == ()


def test_metadata_without_name_or_version() -> None:
    with pytest.raises(InputError, match="no name or no version"):
        one(b"Metadata-Version: 2.1\nName: a\n")
    assert parse_python("a.egg-info/PKG-INFO", b"") == ([], [])


def test_files_come_from_record_and_installed_files() -> None:
    folder = "usr/lib/python3/site-packages"
    files: dict[str, bytes | str | None] = {
        "lib": "usr/lib",
        f"{folder}/a-1.dist-info/METADATA": b"Name: a\nVersion: 1\n",
        f"{folder}/a-1.dist-info/RECORD": b'a/__init__.py,sha256=x,1\n"a/with, comma.py",,\na/__pycache__/a.pyc,,\n../../../bin/a,,\n',
        f"{folder}/b-1.egg-info/PKG-INFO": b"Name: b\nVersion: 1\n",
        f"{folder}/b-1.egg-info/installed-files.txt": b"../b.py\nPKG-INFO\n",
        f"{folder}/gone-1.dist-info/RECORD": b"gone.py,,\n",
    }
    view = make_view()
    view.add_layer(io.BytesIO(make_tar(files)), "layer", "layer")
    a, b = list_packages(view, None, {}).packages
    assert a.files == ("/usr/bin/a", f"/{folder}/a/__init__.py", f"/{folder}/a/with, comma.py")
    assert b.files == (f"/{folder}/b-1.egg-info/PKG-INFO", f"/{folder}/b.py")


def test_every_distribution_of_this_environment() -> None:
    seen = 0
    for distribution in importlib.metadata.distributions():
        place = Path(str(distribution.locate_file(""))) / f"{distribution.name}"
        raw = distribution.read_text("METADATA")
        if raw is None:
            continue
        package = one(raw.encode(), f"{str(place)[1:]}.dist-info/METADATA")
        assert (package.name, package.version) == (distribution.name, distribution.version)
        seen += 1
    assert seen > 20
