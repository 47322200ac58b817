"""Updating from upstreams on loopback: conditional, resumable, verified; what fails leaves its old data in force."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.journeys.advisories import describe_database, import_files, update_advisories
from shipwall.lang.diagnostic import SourceError
from shipwall.model.errors import InputError
from shipwall.supply.advisories.sources import KNOWN, Source, Sources, parse_sources
from shipwall.supply.feeds import find_old

DAY_NS = 86_400 * 10**9
NOW_NS = 1_700_000_000 * 10**9


@dataclass
class Upstream:
    """What the server serves. `cut`: bytes after which it breaks off, once. `asked`: (path, status) of every answer."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    cut: int = 0
    with_etag: bool = True
    asked: list[tuple[str, int]] = field(default_factory=list)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    served = Upstream()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = served.files.get(self.path, b"")
            etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
            status, start = served.status, 0
            if status == 200 and served.with_etag and self.headers.get("If-None-Match") == etag:
                status = 304
            if status == 200 and "Range" in self.headers and self.headers.get("If-Range") == etag:
                status, start = 206, int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            served.asked.append((self.path, status))
            self.send_response(status)
            for name, value in served.headers.items():
                self.send_header(name, value)
            if served.with_etag:
                self.send_header("ETag", etag)
            if status == 304:
                self.end_headers()
                return
            body = data[start:]
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut, served.cut = served.cut, 0
            self.wfile.write(body[:cut] if cut else body)
            self.wfile.flush()

        def log_message(self, *_arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def osv_zip(*ids: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ids:
            events = [{"introduced": "0"}, {"fixed": "2"}]
            record = {
                "id": name,
                "affected": [
                    {"package": {"ecosystem": "PyPI", "name": "a"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
                ],
            }
            archive.writestr(f"{name}.json", json.dumps(record))
    return out.getvalue()


def sources(upstream: Upstream, *feeds: tuple[str, str, str]) -> Sources:
    return Sources(feeds=tuple(Source(name=name, format=kind, url=upstream.url + path) for name, kind, path in feeds))


PYPI = ("pypi", "osv", "/all.zip")
EPSS = ("epss", "epss", "/epss.csv.gz")


def ids(database: Path) -> list[str]:
    with AdvisoryDb(database) as opened:
        return [one.id for _number, one in opened.advisories()]


def test_what_did_not_change_is_not_fetched_again(tmp_path: Path, upstream: Upstream) -> None:
    upstream.files["/all.zip"] = osv_zip("A-1", "A-2")
    upstream.files["/epss.csv.gz"] = gzip.compress(b"cve,epss,percentile\nCVE-2021-44228,0.9,0.99\n")
    wanted = sources(upstream, PYPI, EPSS)
    database, cache = tmp_path / "db", tmp_path / "cache"
    assert [one.outcome for one in update_advisories(database, wanted, cache, NOW_NS)] == ["updated", "updated"]
    assert [one.outcome for one in update_advisories(database, wanted, cache, NOW_NS + 1)] == ["current", "current"]
    assert upstream.asked == [("/all.zip", 200), ("/epss.csv.gz", 200), ("/all.zip", 304), ("/epss.csv.gz", 304)]
    upstream.files["/all.zip"] = osv_zip("A-3")
    assert [one.outcome for one in update_advisories(database, wanted, cache, NOW_NS + 2, names=["pypi"])] == ["updated"]
    assert ids(database) == ["A-3"]
    status = describe_database(database, NOW_NS + 3)
    assert {one.name: (one.time_ns, one.checked_ns, one.signs) for one in status.feeds} == {
        "epss": (NOW_NS, NOW_NS + 1, 1),
        "pypi": (NOW_NS + 2, NOW_NS + 2, 0),
    }
    assert sorted(path.suffix for path in cache.iterdir()) == [".lock"] * 3


def test_without_validators_equal_bytes_are_current(tmp_path: Path, upstream: Upstream) -> None:
    upstream.with_etag = False
    upstream.files["/all.zip"] = osv_zip("A-1")
    for outcome in ("updated", "current"):
        assert [one.outcome for one in update_advisories(tmp_path / "db", sources(upstream, PYPI), tmp_path, NOW_NS)] == [outcome]


def test_an_interrupted_download_goes_on(tmp_path: Path, upstream: Upstream) -> None:
    data = upstream.files["/all.zip"] = osv_zip(*(f"A-{number}" for number in range(50)))
    upstream.cut = len(data) // 2
    wanted = sources(upstream, PYPI)
    (first,) = update_advisories(tmp_path / "db", wanted, tmp_path / "cache", NOW_NS)
    assert (first.outcome, first.exit_code) == ("failed", 6)
    (second,) = update_advisories(tmp_path / "db", wanted, tmp_path / "cache", NOW_NS)
    assert (second.outcome, upstream.asked[-1]) == ("updated", ("/all.zip", 206))
    assert len(ids(tmp_path / "db")) == 50


def test_an_interrupted_download_of_what_changed_begins_anew(tmp_path: Path, upstream: Upstream) -> None:
    data = upstream.files["/all.zip"] = osv_zip(*(f"A-{number}" for number in range(50)))
    upstream.cut = len(data) // 2
    update_advisories(tmp_path / "db", sources(upstream, PYPI), tmp_path / "cache", NOW_NS)
    upstream.files["/all.zip"] = osv_zip("B-1")
    update_advisories(tmp_path / "db", sources(upstream, PYPI), tmp_path / "cache", NOW_NS)
    assert upstream.asked[-1] == ("/all.zip", 200)
    assert ids(tmp_path / "db") == ["B-1"]


@pytest.mark.parametrize("trouble", ["status", "garbage", "empty", "md5", "sha256"])
def test_a_feed_that_fails_keeps_its_data_and_the_others_go_on(tmp_path: Path, upstream: Upstream, trouble: str) -> None:
    upstream.files |= {
        "/all.zip": osv_zip("A-1"),
        "/epss.csv.gz": gzip.compress(b"cve,epss,percentile\nCVE-2021-44228,0.9,0.99\n"),
    }
    database = tmp_path / "db"
    wanted = sources(upstream, PYPI, EPSS)
    update_advisories(database, wanted, tmp_path, NOW_NS)
    upstream.files["/all.zip"] = {"garbage": b"<html>Log in</html>", "empty": osv_zip()}.get(trouble, osv_zip("A-2"))
    wrong = base64.b64encode(hashlib.md5(b"something else", usedforsecurity=False).digest()).decode()
    upstream.headers = {"x-goog-hash": f"crc32c=AAAAAA==,md5={wrong}"} if trouble == "md5" else {}
    if trouble == "status":
        upstream.status = 503
    if trouble == "sha256":
        wanted = Sources(
            feeds=(Source(name="pypi", format="osv", url=upstream.url + "/all.zip", sha256="0" * 64), wanted.feeds[1])
        )
    outcomes = update_advisories(database, wanted, tmp_path, NOW_NS + 5)
    codes = {"status": 6, "garbage": 3, "empty": 3, "md5": 4, "sha256": 4}
    assert (outcomes[0].outcome, outcomes[0].exit_code) == ("failed", codes[trouble])
    assert outcomes[1].outcome == ("failed" if trouble == "status" else "current")
    assert ids(database) == ["A-1"]


def test_a_stated_digest_that_fits_is_accepted(tmp_path: Path, upstream: Upstream) -> None:
    data = upstream.files["/all.zip"] = osv_zip("A-1")
    upstream.headers = {
        "x-goog-hash": f"md5={base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}",
        "Repr-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:",
    }
    assert update_advisories(tmp_path / "db", sources(upstream, PYPI), tmp_path, NOW_NS)[0].outcome == "updated"


def test_files_of_a_mirror_on_disk(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(osv_zip("A-1"))
    wanted = Sources(feeds=(Source(name="pypi", format="osv", url=f"file://{tmp_path}/all.zip"),))
    for outcome in ("updated", "current"):
        assert [one.outcome for one in update_advisories(tmp_path / "db", wanted, tmp_path / "cache", NOW_NS)] == [outcome]
    (tmp_path / "all.zip").unlink()
    assert update_advisories(tmp_path / "db", wanted, tmp_path / "cache", NOW_NS)[0].outcome == "failed"
    assert ids(tmp_path / "db") == ["A-1"]


def test_only_old_feeds_are_called_old(tmp_path: Path, upstream: Upstream) -> None:
    upstream.files["/all.zip"] = osv_zip("A-1")
    update_advisories(tmp_path / "db", sources(upstream, PYPI), tmp_path, NOW_NS)
    with AdvisoryDb(tmp_path / "db") as database:
        feeds = database.feeds()
    assert find_old(feeds, NOW_NS + 7 * DAY_NS) == []
    (line,) = find_old(feeds, NOW_NS + 12 * DAY_NS)
    assert "12 days old (pypi)" in line


def test_every_kind_of_file_is_imported(tmp_path: Path) -> None:
    records = [{"id": f"A-{number}", "affected": []} for number in range(3)]
    lines = "\n".join(json.dumps(one) for one in records).encode()
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    for record in records:
        (folder / "deep" / f"{record['id']}.json").write_text(json.dumps(record, indent=2))
    (folder / "link.json").symlink_to("/etc/passwd")
    (tmp_path / "lines.jsonl").write_bytes(lines)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "one.json").write_text(json.dumps(records[0], indent=2))
    (tmp_path / "list.json").write_text(json.dumps(records))
    (tmp_path / "all.zip").write_bytes(osv_zip("A-0", "A-1", "A-2"))
    paths = [folder, *(tmp_path / name for name in ("lines.jsonl", "packed.jsonl.gz", "one.json", "list.json", "all.zip"))]
    outcomes = import_files(paths, "osv", tmp_path / "db", NOW_NS)
    assert {one.name: one.state.advisories for one in outcomes if one.state} == {
        "folder": 3, "lines": 3, "packed": 3, "one": 1, "list": 3, "all": 3,
    }  # fmt: skip
    with pytest.raises(InputError, match="one feed"):
        import_files(paths, "osv", tmp_path / "db", NOW_NS, feed="same")
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(lines + b"\n{\n" + b'{"id": "A-9"}')
    (outcome,) = import_files([bad], "osv", tmp_path / "db", NOW_NS)
    assert outcome.state is not None
    assert (outcome.state.advisories, [one.what for one in outcome.skipped]) == (4, ["bad.jsonl:4"])


def test_configuration() -> None:
    text = """
version: 1
max_age_days: 3
mirrors: {https://security-tracker.debian.org/: https://mirror.example/debian/}
feeds:
  - debian
  - {name: ours, format: osv, url: file:/srv/all.zip}
"""
    found = parse_sources(text, "advisories.yaml")
    assert [(one.name, one.format, one.url) for one in found.feeds] == [
        ("debian", "debian-tracker", "https://mirror.example/debian/tracker/data/json"),
        ("ours", "osv", "file:/srv/all.zip"),
    ]
    assert found.max_age_days == 3
    assert len(parse_sources("version: 1", "x").feeds) == len(KNOWN)
    for wrong in (
        "version: 2",
        "version: 1\nfeeds: [debiann]",
        "version: 1\nfeeds: [kev, kev]",
        "version: 1\nmirrors: {a: ftp://x}",
        "feeds: []",
    ):
        with pytest.raises(SourceError):
            parse_sources(wrong, "advisories.yaml")
