"""The answers of `shipwall image` on a small image and a signed local archive, as JSON and as a table."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.archive import Archive, make_archive
from tests.images import debian_files, dpkg_paragraph, make_tar, save_docker

FOLDER = Path(__file__).parent / "scan"
DATES_S = (1_700_000_000, 4_000_000_000)

pytestmark = pytest.mark.skipif(
    not (shutil.which("gpg") and shutil.which("gpgv") and shutil.which("dpkg-deb")), reason="needs gpg, gpgv and dpkg-deb"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Archive]:
    folder = tmp_path_factory.mktemp("golden")
    archive = make_archive(folder)
    try:
        text = "harbour (2.0-1) bookworm-security; urgency=high\n\n" + "".join(f"  * CVE-2026-100{n}\n" for n in range(5))
        archive.add("harbour", "2.0-1", text)
        archive.add("quay", "1:3-1", "quay (1:3-1) bookworm-security; urgency=low\n\n  * Quietly.\n")
        archive.publish(DATES_S)
    finally:
        archive.close()
    files = debian_files({"bash": "5.2-1"}, {"bash": ["/bin/bash", "/etc/bash.bashrc"]})
    status = [dpkg_paragraph("harbour", "1.0-1"), dpkg_paragraph("quay", "1:2-1"), dpkg_paragraph("odd", "\x1b[31m!")]
    status = [("bash", "5.2-1"), ("harbour", "1.0-1"), ("quay", "1:2-1"), ("odd", "\x1b[31m!")]
    files["var/lib/dpkg/status"] = b"".join(dpkg_paragraph(name, version) for name, version in status)
    save_docker(folder / "shop.tar", [make_tar(files)], ["shop:1"])
    status = [("bash", "5.2-2"), ("harbour", "1.5-1"), ("pier", "1"), ("odd", "\x1b[31m!")]
    files["var/lib/dpkg/status"] = b"".join(dpkg_paragraph(name, version) for name, version in status)
    save_docker(folder / "next.tar", [make_tar(files)], ["shop:2"])
    return folder, archive


def run(place: tuple[Path, Archive], *arguments: str) -> tuple[int, str, str]:
    folder, archive = place
    source = ["--archive", archive.url, "--keyring", str(archive.keyring), "--cache", str(folder / "cache")]
    command = [sys.executable, "-m", "shipwall", "image", *arguments, *(source if arguments[0] in {"scan", "diff"} else [])]
    environment = {**os.environ, "SHIPWALL_STATE": str(folder / "none"), "SHIPWALL_CACHE": str(folder / "cache")}
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=environment)
    return answer.returncode, answer.stdout, answer.stderr


def settle(text: str) -> str:
    """Digests of packages built just now, and nothing else, differ from run to run."""
    return re.sub(r"sha256:[0-9a-f]{64} named", "sha256:… named", text)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("scan.json", ("scan", "shop.tar", "--output", "json")),
        ("scan.txt", ("scan", "shop.tar")),
        ("list.json", ("list", "shop.tar", "--output", "json", "--files")),
        ("list.txt", ("list", "shop.tar")),
        ("files.txt", ("list", "shop.tar", "--files")),
        ("diff.txt", ("diff", "shop.tar", "next.tar")),
        ("diff.json", ("diff", "shop.tar", "next.tar", "--output", "json")),
    ],
)
def test_answers(place: tuple[Path, Archive], name: str, arguments: tuple[str, ...]) -> None:
    code, out, err = run(place, *arguments)
    assert (code, err) == (0, "")
    said = settle(out)
    expected = FOLDER / name
    if os.environ.get("SHIPWALL_RENEW_GOLDEN"):
        expected.write_text(said)
    assert said == expected.read_text()


def test_conditions_are_refused_before_anything_is_read(place: tuple[Path, Archive]) -> None:
    code, out, err = run(place, "scan", "nowhere.tar", "--fail-on", "finding.severty > LOW")
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        "shipwall: --fail-on:1:9: finding has no field 'severty'; did you mean 'severity'?",
        "  finding.severty > LOW",
        "          ^",
    ]


def test_what_people_said_is_applied_and_shown(place: tuple[Path, Archive]) -> None:
    folder, _archive = place
    purls = ("pkg:deb/debian/harbour", "pkg:deb/debian/harbour?distro=debian-12.13")
    why = {"status": "not_affected", "justification": "component_not_present"}
    statements = [
        {"vulnerability": {"name": f"CVE-2026-100{n}"}, "products": [{"@id": purl}], **why} for n, purl in enumerate(purls)
    ]
    document = {"@context": "https://openvex.dev/ns/v0.2.0", "timestamp": "2026-01-01T00:00:00Z", "statements": statements}
    (folder / "vex.json").write_text(json.dumps(document))
    (folder / "ignore.yaml").write_text("version: 1\nignore:\n  - {package: quay, reason: not used, until: 2999-12-31}\n")
    said = ("--vex", "vex.json", "--ignore", "ignore.yaml", "--fail-on", "finding.package.name == 'quay'")
    code, out, err = run(place, "scan", "shop.tar", *said)
    assert (code, err) == (0, ""), "what is set aside fails nothing"
    assert "4 findings in 1 of 3 packages: 4 unknown; with a fix: 4; set aside: 2; skipped: 1" in out
    assert (
        "note: vex.json statement 2 (CVE-2026-1001, not_affected) matched nothing: nearest is harbour 1.0-1, whose distro is"
        in out
    )
    code, out, _err = run(place, "scan", "shop.tar", *said, "--output", "openvex", "--to", "out.json")
    assert (code, out) == (0, "")
    written = json.loads((folder / "out.json").read_text())["statements"]
    assert [(one["vulnerability"]["name"], one["status"]) for one in written] == [
        ("CVE-2026-1000", "not_affected"),
        ("debian:quay@1:3-1", "affected"),
    ]
    assert run(place, "scan", "shop.tar", "--vex", "none.json")[0] == 3


@pytest.mark.parametrize("form", ["cyclonedx", "spdx"])
def test_a_scan_of_the_sbom_finds_what_a_scan_of_the_image_finds(place: tuple[Path, Archive], form: str) -> None:
    assert run(place, "list", "shop.tar", "--output", form, "--to", f"shop.{form}.json")[0] == 0
    of_image, of_sbom = (json.loads(run(place, "scan", one, "--output", "json")[1]) for one in ("shop.tar", f"shop.{form}.json"))
    assert (of_image.pop("source"), of_sbom.pop("source")) == ("shop.tar", f"shop.{form}.json")
    assert of_sbom == of_image
    assert of_image["findings"]


@pytest.mark.parametrize("form", ["sarif", "cyclonedx", "spdx", "html"])
def test_a_file_is_written_whole_or_not_at_all(place: tuple[Path, Archive], form: str) -> None:
    folder, _archive = place
    code, out, err = run(place, "scan", "shop.tar", "--output", form, "--to", f"scan.{form}")
    assert (code, out, err) == (0, "", "")
    assert b"CVE-2026-1004" in (folder / f"scan.{form}").read_bytes()
    (folder / "blocked").write_text("a file, no folder")
    assert run(place, "scan", "shop.tar", "--output", form, "--to", "blocked/x")[0] == 8
    assert (folder / "blocked").read_text() == "a file, no folder"


def test_only_what_came_fails_a_diff(place: tuple[Path, Archive]) -> None:
    assert run(place, "diff", "shop.tar", "next.tar", "--fail-on", "finding.fixed")[0] == 0
    code, _out, err = run(place, "diff", "next.tar", "shop.tar", "--fail-on", "finding.fixed")
    assert (code, err) == (1, "shipwall: --fail-on 'finding.fixed' is true of 1 finding: debian:quay@1:3-1\n")


def test_exit_codes_and_one_line_errors(place: tuple[Path, Archive]) -> None:
    folder, _archive = place
    assert run(place, "scan", "shop.tar", "--fail-on", "finding.fixed")[0] == 1
    (folder / "broken.tar").write_bytes(b"broken")
    for source, expected in (("broken.tar", 3), ("nowhere.tar", 3), ("localhost:9/x:1", 6)):
        code, out, err = run(place, "scan", source)
        assert (code, out, err.count("\n")) == (expected, "", 1), err
        assert err.startswith("shipwall: ")
    assert run(place, "scan", "shop.tar", "--no-such-flag")[0] == 2


def test_without_advisories_packages_are_listed_and_findings_unknown(place: tuple[Path, Archive]) -> None:
    folder, archive = place
    command = [sys.executable, "-m", "shipwall", "image", "scan", "shop.tar", "--fail-on", "finding.fixed", "--output", "json"]
    command += ["--archive", "http://127.0.0.1:9/none", "--keyring", str(archive.keyring), "--cache", str(folder / "empty")]
    environment = {**os.environ, "SHIPWALL_CACHE": str(folder / "cache")}
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert answer.returncode == 6
    assert "findings unknown" in answer.stderr
    report = json.loads(answer.stdout)
    assert report["summary"]["judged"] is False
    assert report["summary"]["packages"] == 3


def test_a_changed_archive_ends_with_the_code_of_broken_trust(place: tuple[Path, Archive]) -> None:
    _folder, archive = place
    release = archive.root / "dists/bookworm-security/InRelease"
    good = release.read_bytes()
    try:
        release.write_bytes(good.replace(b"Test-Security", b"Tost-Security"))
        code, out, err = run(place, "scan", "shop.tar")
    finally:
        release.write_bytes(good)
    assert (code, out) == (4, "")
    assert "signature" in err


def test_help_names_examples_and_exit_codes(place: tuple[Path, Archive]) -> None:
    code, out, _err = run(place, "scan", "--help")
    assert code == 0
    assert "Examples" in out
    assert "Exit codes" in out
