"""A folder is scanned by a database made from files on this machine: nothing else is asked, nothing is guessed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.images import debian_files, make_tar, save_docker

RECORD = {
    "id": "DEBIAN-CVE-2023-1111",
    "upstream": ["CVE-2023-1111"],
    "summary": "Trouble in bash",
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}],
    "affected": [
        {
            "package": {"ecosystem": "Debian:12", "name": "bash"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "5.2-2"}]}],
        }
    ],
}
KEV = {"vulnerabilities": [{"cveID": "CVE-2023-1111", "dueDate": "2023-12-24"}]}


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    environment = {**os.environ, "SHIPWALL_STATE": str(folder / "state"), "SHIPWALL_CACHE": str(folder / "cache")}
    answer = subprocess.run(
        [sys.executable, "-m", "shipwall", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    return answer.returncode, answer.stdout, answer.stderr


def scan(folder: Path, *arguments: str) -> dict[str, Any]:
    code, said, error = run(folder, "image", "scan", "shop.tar", *arguments, "--output", "json")
    assert (code, error) == (0, "")
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_docker(tmp_path / "shop.tar", [make_tar(debian_files({"bash": "5.2-1", "dash": "0.5-1"}, {}))], ["shop:1"])
    (tmp_path / "debian.json").write_text(json.dumps(RECORD))
    (tmp_path / "kev.json").write_text(json.dumps(KEV))
    return tmp_path


def test_only_the_named_database_judges(folder: Path) -> None:
    assert run(folder, "db", "import", "--format", "osv", "debian.json", "--to", "my.sqlite")[0] == 0
    assert run(folder, "db", "import", "--format", "kev", "kev.json", "--to", "my.sqlite")[0] == 0
    found = scan(folder, "--db", "my.sqlite")
    assert [
        (one["id"], one["package"]["name"], one["fixed_version"], one["severity"], one["score"], one["exploited"]["kev"])
        for one in found["findings"]
    ] == [("CVE-2023-1111", "bash", "5.2-2", "high", 7.5, True)]
    assert found["findings"][0]["aliases"] == ["DEBIAN-CVE-2023-1111"]
    assert found["skipped"] == []
    assert found["summary"]["judged"] is True


def test_a_database_without_a_word_on_the_image_leaves_its_findings_unknown(folder: Path) -> None:
    record = {**RECORD, "affected": [{**RECORD["affected"][0], "package": {"ecosystem": "PyPI", "name": "bash"}}]}  # type: ignore[index]
    (folder / "pypi.json").write_text(json.dumps(record))
    run(folder, "db", "import", "--format", "osv", "pypi.json", "--to", "my.sqlite")
    code, said, error = run(folder, "image", "scan", "shop.tar", "--db", "my.sqlite", "--output", "json")
    assert code == 7
    assert "findings unknown" in error
    found = json.loads(said)
    assert (found["summary"]["judged"], found["skipped"][0]["reason"]) == (False, "the database has no advisories for Debian:12")


def test_no_database_of_that_name(folder: Path) -> None:
    code, _said, error = run(folder, "image", "scan", "shop.tar", "--db", "none.sqlite")
    assert code == 8
    assert "db update" in error


def test_offline_from_one_signed_file(folder: Path) -> None:
    assert run(folder, "db", "status")[0] == 8
    assert run(folder, "db", "import", "--format", "osv", "debian.json")[0] == 0
    assert run(folder, "db", "export", "--to", "out.swdb")[0] == 0
    (folder / "advisories.pub").write_text(run(folder, "key", "export", "advisories")[1])
    there = folder / "there"
    there.mkdir()
    (there / "shop.tar").hardlink_to(folder / "shop.tar")
    code, _said, error = run(there, "db", "import", "../out.swdb")
    assert (code, "unknown key" in error) == (4, True)
    code, said, _error = run(there, "db", "import", "../out.swdb", "--key", "../advisories.pub", "--output", "json")
    assert code == 0
    assert json.loads(said)["statement"]["time_ns"] > 0
    status = json.loads(run(there, "db", "status", "--output", "json")[1])
    assert ([one["name"] for one in status["feeds"]], status["scopes"], status["notices"]) == (["debian"], {"Debian:12": 1}, [])


def test_update_from_a_configured_mirror(folder: Path) -> None:
    (folder / "feeds.yaml").write_text(
        f"version: 1\nfeeds:\n  - {{name: debian, format: osv, url: 'file://{folder}/debian.json'}}\n"
        f"  - {{name: gone, format: kev, url: 'file://{folder}/none.json'}}\n"
    )
    code, said, error = run(folder, "db", "update", "--config", "feeds.yaml", "--output", "json")
    assert code == 6
    assert [(one["name"], one["outcome"]) for one in json.loads(said)] == [("debian", "updated"), ("gone", "failed")]
    assert "feed gone" in error
    assert run(folder, "db", "update", "--config", "feeds.yaml", "--feed", "debian")[0] == 0
    assert run(folder, "db", "update", "--config", "feeds.yaml", "--feed", "nonsense")[0] == 3


def test_the_end_of_a_release_is_told(folder: Path) -> None:
    files = debian_files({"bash": "5.2-1"}) | {"usr/lib/os-release": b'ID=debian\nVERSION_ID="9"\n'}
    save_docker(folder / "shop.tar", [make_tar(files)], ["shop:1"])
    record = json.dumps(RECORD).replace("Debian:12", "Debian:9")
    (folder / "debian.json").write_text(record)
    assert run(folder, "db", "import", "--format", "osv", "debian.json", "--to", "my.sqlite")[0] == 0
    notices = scan(folder, "--db", "my.sqlite")["notices"]
    assert any(one.startswith("Debian 9 gets no security updates since 2022-06-30") for one in notices)


def test_layers_are_told_with_their_owners(folder: Path) -> None:
    base = make_tar(debian_files({"bash": "5.2-1"}, {"bash": ["/usr/bin/bash"]}))
    shop = make_tar(debian_files({"bash": "5.2-1", "dash": "0.5-1"}, {"dash": ["/usr/bin/dash"]}))
    save_docker(folder / "base.tar", [base], ["base:1"])
    save_docker(folder / "shop.tar", [base, shop], ["shop:1"])
    run(folder, "db", "import", "--format", "osv", "debian.json", "--to", "my.sqlite")
    options = ["--db", "my.sqlite", "--output", "json"]
    code, said, error = run(folder, "image", "layers", "shop.tar", *options)
    assert (code, error) == (0, "")
    unknown = json.loads(said)
    assert (unknown["bases"], unknown["mended_by"]) == ([], {"this image's build, or its base": 1})
    told = json.loads(run(folder, "image", "layers", "shop.tar", "--base", "base.tar", *options)[1])
    assert [(one["name"], one["layers"]) for one in told["bases"]] == [("base.tar", 1)]
    assert [[one["name"] for one in layer["packages"]] for layer in told["layers"]] == [["bash"], ["dash"]]
    assert [layer["base"] == told["bases"][0]["image"] for layer in told["layers"]] == [True, False]
    assert [(one["id"], one["layer"], one["mended_by"]) for one in told["findings"]] == [("CVE-2023-1111", 1, "a newer base")]
    (folder / "state").mkdir()  # an installation: what it has listed is known to it
    run(folder, "fleet", "add", "base.tar")
    text = run(folder, "image", "layers", "shop.tar", "--db", "my.sqlite")[1].splitlines()
    assert text[1].split()[:2] == ["1", "base.tar"]
    assert text[2].split()[:3] == ["2", "this", "image"]
    assert "findings: 1 by a newer base" in text
    code, _said, error = run(folder, "image", "layers", ".", "--db", "my.sqlite")
    assert (code, "is no image, so it has no layers" in error) == (3, True)
