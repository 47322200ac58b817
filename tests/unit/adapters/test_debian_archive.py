"""Findings against a real, signed, local Debian archive of invented packages; tampering is refused wherever it happens."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.archive import Archive, make_archive
from tests.images import debian_files, make_tar, save_docker

from shipwall.adapters.debian_archive import DebianArchive
from shipwall.journeys.archive_feed import import_archive
from shipwall.journeys.scan import list_image, scan_image, scan_inventory
from shipwall.model.errors import InputError, TrustError, UnsupportedError
from shipwall.model.finding import ScanResult
from shipwall.model.package import Inventory

pytestmark = pytest.mark.skipif(
    not (shutil.which("gpg") and shutil.which("gpgv") and shutil.which("dpkg-deb")), reason="needs gpg, gpgv and dpkg-deb"
)

NOW_S = 1_795_000_000
DAY_S = 86_400
NOW_NS = NOW_S * 10**9
CHANGELOG = """harbour (1.0-1+deb12u1) bookworm-security; urgency=high

  * Invented hole CVE-2026-4242 is closed.

 -- A <a@example.invalid>  Thu, 01 Jan 2026 00:00:00 +0000

harbour (1.0-1) bookworm; urgency=medium

  * CVE-2020-1000 was closed long ago.
"""


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = make_archive(tmp_path)
    try:
        made.add("libharbour1", "1.0-1+deb12u1", "", source="harbour")
        made.add("harbour-tools", "1.0-1+deb12u1", CHANGELOG, source="harbour", compression="gzip")
        made.publish((NOW_S - DAY_S, NOW_S + DAY_S))
        yield made
    finally:
        made.close()


def image(tmp_path: Path, version: str = "1.0-1") -> Inventory:
    files = debian_files({})
    files["var/lib/dpkg/status"] = (
        f"Package: libharbour1\nStatus: install ok installed\nSource: harbour\nArchitecture: amd64\nVersion: {version}\n"
    ).encode()
    return list_image(str(save_docker(tmp_path / f"{version}.tar", [make_tar(files)])))


def opened(archive: Archive, tmp_path: Path, url: str = "", **options: bool) -> DebianArchive:
    return DebianArchive(
        url=url or archive.url, suites=(archive.suite,), keyring=archive.keyring, cache=tmp_path / "cache", **options
    )


def scan(archive: Archive, tmp_path: Path, version: str = "1.0-1", **options: bool) -> ScanResult:
    with opened(archive, tmp_path, **options) as source:
        return scan_inventory(image(tmp_path, version), source, NOW_NS)


def test_an_invented_update_is_found_and_its_fix_makes_the_finding_vanish(archive: Archive, tmp_path: Path) -> None:
    result = scan(archive, tmp_path)
    assert [(one.id, one.package.name, one.fixed_version) for one in result.findings] == [
        ("CVE-2026-4242", "libharbour1", "1.0-1+deb12u1")
    ]
    assert "harbour-tools_1.0-1+deb12u1_amd64.deb" in result.findings[0].evidence[2].ref
    assert result.skipped == ()
    assert result.advisories == "Test-Security bookworm-security of 2026-11-17 11:06 UTC"
    assert result.advisories_time_ns == (NOW_S - DAY_S) * 10**9
    fixed = scan(archive, tmp_path, "1.0-1+deb12u1")
    assert (fixed.findings, fixed.skipped, bool(fixed.advisories)) == ((), (), True)


def test_the_database_judges_by_the_archive_as_the_archive_itself(archive: Archive, tmp_path: Path) -> None:
    """By CVE, by an update that names none, and by one built again from the same source; what is not behind has no finding."""
    archive.add("quiet", "2.0-2", "quiet (2.0-2) x; urgency=low\n\n  * Nothing is said.\n\n -- A <a@b.invalid>  Thu\n")
    archive.add(
        "again", "3.0-1+b2", "again (3.0-1) x; urgency=low\n\n  * First.\n\n -- A <a@b.invalid>  Thu\n", source="again (3.0-1)"
    )
    later = CHANGELOG.replace("u1)", "u2)").replace("4242", "5353") + CHANGELOG
    archive.add("harbour-tools", "1.0-1+deb12u2", later, source="harbour")
    archive.add("libharbour1", "1.0-1+deb12u2", "", source="harbour")
    archive.publish((NOW_S - DAY_S, NOW_S + DAY_S))

    def listed(harbour: str, quiet: str, again: str) -> Inventory:
        lines = (("libharbour1", "harbour", harbour), ("quiet", "quiet", quiet), ("again", "again (3.0-1)", again))
        files = debian_files({})
        files["var/lib/dpkg/status"] = "\n".join(
            f"Package: {name}\nStatus: install ok installed\nSource: {source}\nArchitecture: amd64\nVersion: {version}\n"
            for name, source, version in lines
        ).encode()
        return list_image(str(save_docker(tmp_path / f"{harbour}.tar", [make_tar(files)])))

    old, newer = listed("1.0-1", "2.0-1", "3.0-1"), listed("1.0-1+deb12u1", "2.0-2", "3.0-1+b2")
    database = tmp_path / "advisories.sqlite"
    with opened(archive, tmp_path) as source:
        outcome = import_archive(database, source, [old, newer], NOW_NS)
        for inventory, ids in ((old, {"CVE-2026-4242", "CVE-2026-5353", "debian:quiet@2.0-2", "debian:again@3.0-1"}),
                               (newer, {"CVE-2026-5353"})):  # fmt: skip
            by_archive, by_database = scan_inventory(inventory, source, NOW_NS), scan_inventory(inventory, None, NOW_NS, database)
            expected = sorted((one.id, one.package.name) for one in by_archive.findings)
            assert sorted((one.id, one.package.name) for one in by_database.findings) == expected
            assert {id_ for id_, _name in expected} == ids
            assert by_database.advisories_time_ns == by_archive.advisories_time_ns, "as old as the archive's own date"
        current = listed("1.0-1+deb12u2", "2.0-2", "3.0-1+b2")
        with pytest.raises(InputError, match="holds nothing"):
            import_archive(database, source, [current], NOW_NS)
    assert scan_inventory(current, None, NOW_NS, database).findings == ()
    assert (outcome.outcome, outcome.state.advisories if outcome.state else 0) == ("updated", 4)


@pytest.mark.parametrize("compression", ["xz", "gzip", "zstd", "none"])
def test_packages_of_every_compression(archive: Archive, tmp_path: Path, compression: str) -> None:
    archive.add("libharbour1", "1.0-1+deb12u2", CHANGELOG.replace("u1)", "u2)"), source="harbour", compression=compression)
    archive.publish((NOW_S, NOW_S + DAY_S))
    result = scan(archive, tmp_path)
    assert [(one.id, one.fixed_version) for one in result.findings] == [("CVE-2026-4242", "1.0-1+deb12u2")]


def flip(path: Path, what: bytes, by: bytes) -> None:
    data = path.read_bytes()
    assert what in data
    path.write_bytes(data.replace(what, by, 1))


def test_a_changed_release_is_refused(archive: Archive, tmp_path: Path) -> None:
    flip(archive.root / "dists/bookworm-security/InRelease", b"Label: Test-Security", b"Label: Tost-Security")
    with pytest.raises(TrustError, match="does not match its text") as caught:
        scan(archive, tmp_path)
    assert caught.value.exit_code == 4


def test_text_around_the_signed_message_is_refused(archive: Archive, tmp_path: Path) -> None:
    release = archive.root / "dists/bookworm-security/InRelease"
    good = release.read_bytes()
    for data in (b"SHA256:\n" + good, good + good, b"Origin: x\nSHA256:\n " + b"a" * 64 + b" 1 x\n"):
        release.write_bytes(data)
        with pytest.raises(TrustError, match="clear-signed"):
            scan(archive, tmp_path)
    release.write_bytes(good + b"\nSuite: evil\n")  # unsigned words after the signature are not read
    assert len(scan(archive, tmp_path).findings) == 1


def test_a_release_signed_by_a_stranger_is_refused(archive: Archive, tmp_path: Path) -> None:
    archive.make_key("stranger@example.invalid")
    archive.publish((NOW_S, NOW_S + DAY_S), key="stranger@example.invalid")
    with pytest.raises(TrustError, match="keys the keyring does not hold"):
        scan(archive, tmp_path)


def test_an_armoured_keyring_serves_and_a_missing_one_is_named(archive: Archive, tmp_path: Path) -> None:
    archive.keyring = tmp_path / "keys.asc"
    archive.gpg("--armor", "--output", str(archive.keyring), "--export", "archive@example.invalid")
    assert len(scan(archive, tmp_path).findings) == 1
    archive.keyring = tmp_path / "nowhere.gpg"
    result = scan(archive, tmp_path)
    assert "nowhere.gpg" in result.skipped[0].reason


def test_the_release_of_another_suite_is_refused(archive: Archive, tmp_path: Path) -> None:
    archive.publish((NOW_S, NOW_S + DAY_S), codename="bullseye-security")
    with pytest.raises(TrustError, match="suite: is the Release of bullseye-security"):
        scan(archive, tmp_path)


@pytest.mark.parametrize("change", ["content", "size"])
def test_a_changed_index_is_refused(archive: Archive, tmp_path: Path, change: str) -> None:
    for path in (archive.root / "dists/bookworm-security/main/binary-amd64").iterdir():
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:] if change == "content" else data + b"\n")
    with pytest.raises(TrustError, match=r"index digest|size"):
        scan(archive, tmp_path)


def test_a_changed_package_is_refused_and_leaves_nothing(archive: Archive, tmp_path: Path) -> None:
    for path in (archive.root / "pool").iterdir():
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(TrustError, match="package digest"):
        scan(archive, tmp_path)
    assert list((tmp_path / "cache/archive/partial").iterdir()) == []


def test_a_missing_package_is_a_finding_with_an_unread_changelog(archive: Archive, tmp_path: Path) -> None:
    shutil.rmtree(archive.root / "pool")
    result = scan(archive, tmp_path)
    assert [one.id for one in result.findings] == ["debian:harbour@1.0-1+deb12u1"]
    assert "changelog of harbour" in result.skipped[0].what


def test_without_the_archive_the_cache_answers_and_says_its_age(archive: Archive, tmp_path: Path) -> None:
    before = scan(archive, tmp_path)
    archive.root.rename(tmp_path / "gone")
    assert scan(archive, tmp_path, offline=True).findings == before.findings
    with opened(archive, tmp_path, url="http://127.0.0.1:9/x") as source:
        assert scan_inventory(image(tmp_path), source, NOW_NS).skipped[0].what.startswith("findings of 1 packages")


def test_an_unreachable_archive_falls_back_to_what_was_cached(archive: Archive, tmp_path: Path) -> None:
    with serve(archive.root) as (url, _seen), opened(archive, tmp_path, url=url) as source:
        assert len(scan_inventory(image(tmp_path), source, NOW_NS).findings) == 1
    with opened(archive, tmp_path, url=url) as source:  # the server is gone now
        result = scan_inventory(image(tmp_path), source, NOW_NS + 3 * DAY_S * 10**9)
    assert len(result.findings) == 1
    assert [one.what for one in result.skipped] == ["freshness of bookworm-security"] * 2
    assert "used what was cached" in result.skipped[0].reason
    assert "valid until" in result.skipped[1].reason


def test_an_archive_that_went_back_in_time_is_not_believed(archive: Archive, tmp_path: Path) -> None:
    scan(archive, tmp_path)
    archive.packages.clear()
    archive.publish((NOW_S - 9 * DAY_S, NOW_S + DAY_S))
    result = scan(archive, tmp_path)
    assert len(result.findings) == 1
    assert "older than" in result.skipped[0].reason


def test_a_suite_that_is_not_served_means_unknown_not_clean(archive: Archive, tmp_path: Path) -> None:
    archive.suite = "buster-security"
    with opened(archive, tmp_path) as source:
        report = scan_image(str(save_docker(tmp_path / "x.tar", [make_tar(debian_files({"a": "1"}))])), source, NOW_NS)
    assert report.unjudged is not None
    assert report.unjudged[0] == UnsupportedError.exit_code
    assert "end of life" in report.result.skipped[0].reason
    assert report.result.advisories == ""


def test_a_distribution_without_a_codename_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    path.write_bytes(make_tar(debian_files({"a": "1"}) | {"usr/lib/os-release": b"ID=strange\n"}))
    with DebianArchive(cache=tmp_path / "cache") as source:
        report = scan_image(str(path), source, NOW_NS)
    assert report.unjudged is not None
    assert "codename" in report.unjudged[1]


def test_addresses_of_other_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="http"):
        DebianArchive(url="ftp://example.invalid/debian")


class serve:  # noqa: N801  (used as a context manager)
    """The folder over loopback HTTP, with ranges; `seen` collects (path, Range)."""

    def __init__(self, root: Path) -> None:
        seen: list[tuple[str, str]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = root / self.path.lstrip("/")
                asked = self.headers.get("Range", "")
                seen.append((self.path, asked))
                if not path.is_file():
                    self.send_error(404)
                    return
                start = int(asked[6:-1]) if asked else 0
                data = path.read_bytes()
                self.send_response(206 if asked else 200)
                if asked:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                self.wfile.write(data[start:])

            def log_message(self, *_: object) -> None:
                pass

        self.seen = seen
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> tuple[str, list[tuple[str, str]]]:
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}", self.seen

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_an_interrupted_download_goes_on_where_it_stopped(archive: Archive, tmp_path: Path) -> None:
    deb = next((archive.root / "pool").glob("libharbour1_*"))
    tools = next((archive.root / "pool").glob("harbour-tools*"))
    partial = tmp_path / "cache/archive/partial"
    partial.mkdir(parents=True)
    import hashlib

    for path in (deb, tools):
        (partial / hashlib.sha256(path.read_bytes()).hexdigest()).write_bytes(path.read_bytes()[:100])
    with serve(archive.root) as (url, seen), opened(archive, tmp_path, url=url) as source:
        assert len(scan_inventory(image(tmp_path), source, NOW_NS).findings) == 1
        fetched = dict(seen)
    assert fetched[f"/pool/{tools.name}"] == "bytes=100-"
    assert list(partial.iterdir()) == []


def test_a_second_scan_fetches_only_the_release(archive: Archive, tmp_path: Path) -> None:
    with serve(archive.root) as (url, seen):
        for _ in range(2):
            seen.clear()
            with opened(archive, tmp_path, url=url) as source:
                assert len(scan_inventory(image(tmp_path), source, NOW_NS).findings) == 1
    assert [path for path, _range in seen] == ["/dists/bookworm-security/InRelease"]
