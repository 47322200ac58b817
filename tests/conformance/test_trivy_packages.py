"""Package lists of real images against those Trivy's own tests expect (aquasecurity/trivy, pkg/fanal/test).

Trivy writes some licences as it guesses them: `BSD` becomes `BSD-3-Clause` there and stays unknown here.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from packaging.licenses import canonicalize_license_expression
from tests.images import dpkg_paragraph, make_tar
from tests.programs import rpm_header

from shipwall.journeys.scan import list_image
from shipwall.model.package import Distribution, Inventory
from shipwall.supply.catalog import list_packages, make_view
from shipwall.supply.licenses import parse_license

FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "trivy/packages"
GOLDENS = sorted((FOLDER / "goldens/packages").glob("*.json.golden"))
_GUESSED = {"BSD-3-Clause": "LicenseRef-BSD"}

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")


def inventory(name: str) -> Inventory:
    return list_image(str(FOLDER / "testdata" / name))


def golden(name: str) -> list[dict[str, Any]]:
    packages: list[dict[str, Any]] = json.loads((FOLDER / f"goldens/packages/{name}.json.golden").read_text())
    return packages


def licences_of(package: dict[str, Any]) -> set[str]:
    return {_GUESSED.get(name, name) for name in package.get("Licenses") or []}


def test_alpine_3_10() -> None:
    """The expected list is of 3.10.2, the image of 3.10.4: two sources were rebuilt between them, all else is the same."""
    found, known = inventory("alpine-310.tar.gz"), golden("alpine-310")
    assert found.distribution == Distribution(id="alpine", version_id="3.10.4")
    assert found.skipped == ()
    assert {(one.name, one.arch, one.source) for one in found.packages} == {
        (one["Name"], one["Arch"], one["SrcName"]) for one in known
    }
    versions = {one["Name"]: (one["Version"], one["SrcVersion"]) for one in known}
    changed = {one.source: one.version for one in found.packages if (one.version, one.source_version) != versions[one.name]}
    assert changed == {"openssl": "1.1.1d-r2", "busybox": "1.30.1-r3"}
    for package in known:
        (own,) = (one for one in found.packages if one.name == package["Name"])
        assert set(own.license.split(" AND ")) == licences_of(package)


def test_alpine_3_11() -> None:
    found = inventory("alpine-311.tar.gz")
    assert found.distribution == Distribution(id="alpine", version_id="3.11.5")
    assert found.skipped == ()
    assert [(one.name, one.version, one.source) for one in found.packages] == [
        ("alpine-baselayout", "3.2.0-r3", "alpine-baselayout"),
        ("alpine-keys", "2.1-r2", "alpine-keys"),
        ("apk-tools", "2.10.4-r3", "apk-tools"),
        ("busybox", "1.31.1-r9", "busybox"),
        ("ca-certificates-cacert", "20191127-r1", "ca-certificates"),
        ("libc-utils", "0.7.2-r0", "libc-dev"),
        ("libcrypto1.1", "1.1.1d-r3", "openssl"),
        ("libssl1.1", "1.1.1d-r3", "openssl"),
        ("libtls-standalone", "2.9.1-r0", "libtls-standalone"),
        ("musl", "1.1.24-r2", "musl"),
        ("musl-utils", "1.1.24-r2", "musl"),
        ("scanelf", "1.2.4-r0", "pax-utils"),
        ("ssl_client", "1.31.1-r9", "busybox"),
        ("zlib", "1.2.11-r3", "zlib"),
    ]


def rpm_database(path: Path, packages: list[dict[str, Any]]) -> bytes:
    """The database that rpm would have for `packages`."""
    blobs = []
    for package in packages:
        texts = {1000: package["Name"], 1001: package["Version"], 1002: package["Release"], 1022: package["Arch"]}
        texts[1014] = (package.get("Licenses") or [""])[0]
        if package.get("SrcName"):
            texts[1044] = f"{package['SrcName']}-{package['SrcVersion']}-{package['SrcRelease']}.src.rpm"
        entries = [(tag, 6, 1, text.encode() + b"\0") for tag, text in texts.items()]
        blobs.append(rpm_header([*entries, (1003, 4, 1, package.get("Epoch", 0).to_bytes(4, "big"))]))
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in blobs])
    connection.close()
    return path.read_bytes()


def full_version(package: dict[str, Any], of: str = "") -> str:
    epoch = package.get(f"{of}Epoch") or 0
    release = f"-{package[f'{of}Release']}" if package.get(f"{of}Release") else ""
    return f"{epoch}:{package[f'{of}Version']}{release}" if epoch else f"{package[f'{of}Version']}{release}"


def listed(files: dict[str, bytes | str | None]) -> list[tuple[str, str, str, str]]:
    view = make_view()
    view.add_layer(io.BytesIO(make_tar(files)), "layer", "layer")
    return sorted((one.name, one.version, one.source, one.source_version) for one in list_packages(view, None, {}).packages)


def expected(packages: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Without a source, a package is its own."""
    return sorted(
        (one["Name"], full_version(one), one.get("SrcName") or one["Name"],
         full_version(one, "Src") if one.get("SrcName") else full_version(one))
        for one in packages
    )  # fmt: skip


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.name.removesuffix(".json.golden"))
def test_databases_made_from_the_lists_whose_images_are_not_here(path: Path, tmp_path: Path) -> None:
    packages: list[dict[str, Any]] = json.loads(path.read_text())
    files: dict[str, bytes | str | None] = {}
    name = path.name
    if name.startswith(("alpine", "vulnimage")):
        files["lib/apk/db/installed"] = "\n".join(
            f"P:{one['Name']}\nV:{one['Version']}\n" + (f"o:{one['SrcName']}\n" if one.get("SrcName") else "") for one in packages
        ).encode()
    elif name.startswith(("debian", "ubuntu", "gcr.io-distroless")):
        files["var/lib/dpkg/status"] = b"".join(
            dpkg_paragraph(one["Name"], full_version(one), source=f"{one['SrcName']} ({full_version(one, 'Src')})")
            for one in packages
        )
    else:
        files["usr/lib/sysimage/rpm/rpmdb.sqlite"] = rpm_database(tmp_path / "db", packages)
    assert listed(files) == expected(packages)


def test_licences_of_all_lists_become_expressions() -> None:
    texts = {text for path in GOLDENS for one in json.loads(path.read_text()) for text in one.get("Licenses") or []}
    found = {text: parse_license(text) for text in texts}
    assert len(found) > 150
    assert all(canonicalize_license_expression(one) == one for one in found.values())
    assert sum("LicenseRef" not in one for one in found.values()) > len(found) / 2
