"""RPM's database: a real one, made by rpm; the older formats are named."""

from __future__ import annotations

import io
import struct

import pytest
from tests.images import make_tar
from tests.programs import build_rpm, install_rpms, needs_rpm, rpm_header

from shipwall.model.errors import InputError
from shipwall.supply.catalog import list_packages, make_view
from shipwall.supply.catalog.rpm import parse_rpm
from shipwall.supply.catalog.rpm_header import parse_rpm_header, split_source_rpm

METADATA = "/usr/lib/python3.6/site-packages/urllib3-1.24.2.dist-info/METADATA"
DATABASE = "var/lib/rpm/rpmdb.sqlite"


def header(*entries: tuple[int, int, int, bytes]) -> bytes:
    return rpm_header(entries)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("rpm")
    urllib3 = build_rpm(
        folder, "python3-urllib3", "1.24.2", "5.el8", {"/bin/urllib": "x", METADATA: "Name: urllib3\\nVersion: 1.24.2\\n"},
        epoch="2", license="GPLv2+ and (MIT or ASL 2.0)", more="ModularityLabel: python39:3.9:8040020210719:574",
    )  # fmt: skip
    many = build_rpm(
        folder, "many-files", "1", "1", {f"/usr/share/many/{number:04}": "" for number in range(2000)}, vendor="Somebody"
    )
    return install_rpms(folder, urllib3, many)


@needs_rpm
def test_a_real_database(database: bytes) -> None:
    packages, skipped = parse_rpm(DATABASE, database)
    many, urllib3 = sorted(packages, key=lambda package: package.name)
    assert skipped == []
    assert (urllib3.ecosystem, urllib3.name, urllib3.version, urllib3.arch) == (
        "rpm",
        "python3-urllib3",
        "2:1.24.2-5.el8",
        "noarch",
    )
    assert (urllib3.source, urllib3.source_version) == ("python3-urllib3", "2:1.24.2-5.el8")
    assert urllib3.license == "GPL-2.0-or-later AND (MIT OR Apache-2.0)"
    assert (urllib3.module, urllib3.vendor) == ("python39:3.9", "Red Hat, Inc.")
    assert urllib3.files == ("/bin/urllib", METADATA)
    assert (many.version, many.module) == ("1-1", "")
    assert many.files == tuple(f"/usr/share/many/{number:04}" for number in range(2000))


@needs_rpm
def test_python_files_owned_by_an_rpm_belong_to_it(database: bytes) -> None:
    content = b"Name: urllib3\nVersion: 1.24.2\n"
    other = "usr/local/lib/python3.6/site-packages/rsa-4.0.dist-info/METADATA"
    view = make_view()
    files: dict[str, bytes | str | None] = {"usr/bin": None, "bin": "usr/bin", DATABASE: database, METADATA[1:]: content}
    files[other] = b"Name: rsa\nVersion: 4.0\n"
    view.add_layer(io.BytesIO(make_tar(files)), "layer", "layer")
    found = {package.name: package for package in list_packages(view, None, {}).packages}
    assert found["urllib3"].owner == "python3-urllib3"
    assert found["rsa"].owner == ""
    assert found["python3-urllib3"].files == ("/usr/bin/urllib", METADATA)


@needs_rpm
def test_a_damaged_database_gives_what_was_sound(database: bytes) -> None:
    packages, skipped = parse_rpm(DATABASE, database[: len(database) // 2])
    assert len(packages) < 2
    assert skipped


def test_a_log_with_changes_and_older_formats_are_told() -> None:
    for path, data, text in (
        ("var/lib/rpm/rpmdb.sqlite-wal", b"x", "not yet written"),
        ("usr/lib/sysimage/rpm/Packages.db", b"RpmP" + bytes(60), "NDB"),
        ("var/lib/rpm/Packages", bytes(12) + b"\x61\x15\x06\0" + bytes(60), "Berkeley DB"),
        ("var/lib/rpm/Packages", b"something", "no RPM database"),
    ):
        packages, (skipped,) = parse_rpm(path, data)
        assert packages == []
        assert skipped.what == f"/{path}"
        assert text in skipped.reason
    assert parse_rpm("var/lib/rpm/rpmdb.sqlite-wal", b"") == ([], [])


def test_headers_without_epoch_source_or_files() -> None:
    package = parse_rpm_header(
        header((1000, 6, 1, b"gpg-pubkey\0"), (1001, 6, 1, b"307e3d54\0"), (1002, 6, 1, b"5aaa90a5\0")), "db"
    )
    assert (package.name, package.version, package.source, package.arch) == ("gpg-pubkey", "307e3d54-5aaa90a5", "gpg-pubkey", "")


def test_old_file_names_and_folders_left_out() -> None:
    package = parse_rpm_header(
        header(
            (1000, 6, 1, b"a\0"), (1001, 6, 1, b"1\0"), (1027, 8, 2, b"/etc\0/etc/a\0"),
            (1030, 3, 2, struct.pack(">HH", 0o040755, 0o100644)),
        ),
        "db",
    )  # fmt: skip
    assert package.files == ("/etc/a",)


def test_long_folders_do_not_multiply() -> None:
    names = 20_000
    blob = header(
        (1000, 6, 1, b"a\0"), (1001, 6, 1, b"1\0"), (1116, 4, names, bytes(4 * names)), (1117, 8, names, b"x\0" * names),
        (1118, 8, 1, b"/" + b"d" * 4000 + b"\0"),
    )  # fmt: skip
    assert sum(map(len, parse_rpm_header(blob, "db").files)) < 9 * len(blob)


def test_damaged_headers() -> None:
    for blob in (b"", b"\xff" * 8, header(), header((1000, 4, 9, b"\0")), header((1000, 6, 1, b"a"))):
        with pytest.raises(InputError):
            parse_rpm_header(blob, "db")


def test_source_packages() -> None:
    assert split_source_rpm("chkconfig-1.19-1.fc35.src.rpm") == ("chkconfig", "1.19-1.fc35")
    assert split_source_rpm("nosrc-kit-2-3.nosrc.rpm") == ("nosrc-kit", "2-3")
    assert split_source_rpm("(none)") == ("", "")
