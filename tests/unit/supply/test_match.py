"""Installed against available, and the CVE ids of what lies between."""

from __future__ import annotations

import pytest

from shipwall.model.finding import Severity
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.supply.archive_index import ArchivePackage, is_inside, parse_packages, parse_release
from shipwall.supply.changelog import find_fixes
from shipwall.supply.match import find_updates, rank_carriers, render_findings

DEBIAN = Distribution(id="debian", version_id="12", codename="bookworm")
CHANGELOG = b"""shop (2.0-1+deb12u3) bookworm-security; urgency=high

  * Fix of a later update, CVE-2026-9999.

 -- A <a@example.invalid>  Thu, 01 Jan 2026 00:00:00 +0000

shop (2.0-1+deb12u2) bookworm-security; urgency=high

  * CVE-2026-0001, cve-2026-0002: two holes (CVE-2026-0001 again).

shop (2.0-1+deb12u1) bookworm; urgency=medium

  * CVE-2025-1111 was fixed before.
"""


def installed(name: str = "shop", version: str = "2.0-1+deb12u1", arch: str = "amd64", source: str = "shop") -> Package:
    return Package(
        ecosystem="deb", name=name, version=version, arch=arch, source=source, source_version=version.split("+b", maxsplit=1)[0],
        evidence="/var/lib/dpkg/status", layer="sha256:" + "0" * 64, files=("/usr/bin/shop",),
    )  # fmt: skip


def available(
    name: str = "shop", version: str = "2.0-1+deb12u2", arch: str = "amd64", source: str = "shop", size: int = 9
) -> ArchivePackage:
    return ArchivePackage(name, version, arch, source, version, f"pool/{name}.deb", size, "0" * 64, "bookworm-security")


def inventory(*packages: Package) -> Inventory:
    return Inventory(image=None, distribution=DEBIAN, packages=packages)


def test_behind_equal_and_ahead() -> None:
    for version, expected in (("2.0-1+deb12u1", 1), ("2.0-1+deb12u2", 0), ("2.0-2", 0)):
        assert len(find_updates(inventory(installed(version=version)), [available()])[0]) == expected


def test_the_newest_of_several_suites_counts() -> None:
    updates, _ = find_updates(
        inventory(installed()), [available(), available(version="2.0-1+deb12u10"), available(version="2.0-0")]
    )
    assert [update.fixed_version for update in updates] == ["2.0-1+deb12u10"]


@pytest.mark.parametrize(("mine", "theirs", "expected"), [("amd64", "arm64", 0), ("amd64", "all", 1), ("all", "amd64", 1)])
def test_architectures(mine: str, theirs: str, expected: int) -> None:
    assert len(find_updates(inventory(installed(arch=mine)), [available(arch=theirs)])[0]) == expected


def test_a_library_renamed_by_its_fix_is_found_by_its_source() -> None:
    updates, _ = find_updates(inventory(installed(name="libshop1")), [available(name="libshop2")])
    assert [(update.by_source, update.fixed_version) for update in updates] == [(True, "2.0-1+deb12u2")]


def test_what_cannot_be_compared_is_told() -> None:
    others = [Package(ecosystem="pypi", name=name, version="1") for name in ("flask", "jinja2")]
    owned = Package(ecosystem="npm", name="shop", version="1", owner="shop")
    updates, skipped = find_updates(inventory(*others, owned, installed(version="???")), [available(), available(version="!")])
    assert updates == []
    assert [one.what for one in skipped] == ["pool/shop.deb of the archive", "package shop", "2 pypi packages"]


def test_cves_of_the_entries_between() -> None:
    fixes = find_fixes(CHANGELOG, "2.0-1+deb12u1", "2.0-1+deb12u2")
    assert fixes.cves == {"CVE-2026-0001": "2.0-1+deb12u2", "CVE-2026-0002": "2.0-1+deb12u2"}
    assert fixes.entries == 1
    assert find_fixes(b"shop (2-1) s; urgency=low\n\n * GHSA-5qpq-xqfv-j9pg\n", "1", "2-1").others == {
        "GHSA-5qpq-xqfv-j9pg": "2-1"
    }


def test_findings_carry_their_evidence_and_no_guess() -> None:
    updates, _ = find_updates(inventory(installed()), [available()])
    findings, skipped = render_findings(updates, {("shop", "2.0-1+deb12u2"): (available(), CHANGELOG)}, DEBIAN)
    assert [one.id for one in findings] == ["CVE-2026-0001", "CVE-2026-0002"]
    assert {one.severity for one in findings} == {Severity.UNKNOWN}
    assert {one.fixed_version for one in findings} == {"2.0-1+deb12u2"}
    assert findings[0].package.files == ()
    assert [proof.kind for proof in findings[0].evidence] == ["file", "package", "statement"]
    assert skipped == []


def test_an_update_without_a_cve_has_the_updates_own_id() -> None:
    updates, _ = find_updates(inventory(installed()), [available()])
    findings, skipped = render_findings(updates, {}, DEBIAN)
    assert [one.id for one in findings] == ["debian:shop@2.0-1+deb12u2"]
    assert [one.what for one in skipped] == ["changelog of shop"]


def test_carriers_smallest_first_but_development_packages_last() -> None:
    packages = [
        available(name="shop-dev", size=1),
        available(name="b", size=3),
        available(name="a", size=2),
        available(version="9"),
    ]
    updates, _ = find_updates(inventory(installed()), [available()])
    assert [one.name for one in rank_carriers(updates[0], packages)] == ["a", "b", "shop-dev"]


def test_packages_index() -> None:
    good = (
        "Package: shop\nVersion: 1-1+b1\nSource: store (1-1)\nArchitecture: amd64\nFilename: pool/s.deb\nSize: 12\nSHA256: "
        + "a" * 64
    )
    text = "\n\n".join([
        good,
        good.replace("pool/s.deb", "../../etc/passwd"),
        good.replace("Size: 12", "Size: -1"),
        good.replace("a" * 64, "short"),
        good.replace("shop", "other"),
    ])  # fmt: skip
    packages = parse_packages(text.encode(), "suite", ["shop"], [])
    assert [(one.source, one.source_version, one.size) for one in packages] == [("store", "1-1", 12)]
    assert len(parse_packages(text.encode(), "suite", [], ["store"])) == 2


def test_release() -> None:
    text = "Suite: s\nCodename: c\nDate: Sat, 21 Nov 2026 00:53:02 UTC\nValid-Until: nonsense\nSHA256:\n"
    listed = f" {'a' * 64} 12 main/binary-amd64/Packages\n {'b' * 64} 9 main/binary-amd64/Packages.xz\n {'c' * 64} 1 ../x\n bad\n"
    release = parse_release((text + listed).encode(), "InRelease")
    assert release.date_ns == 1795222382 * 10**9
    assert release.valid_until_ns == 0
    assert release.indexes("amd64") == {"main": "main/binary-amd64/Packages.xz"}
    assert release.indexes("arm64") == {}
    assert len(release.files) == 2


@pytest.mark.parametrize("path", ["", "/a", "a/../b", "./a", "a//b", "a\nb", "a\\b", "ü"])
def test_paths_that_leave_the_archive(path: str) -> None:
    assert not is_inside(path)
