"""SBOM files through the commands: written by `image list`, read by `sbom parse`, listed again as the image they are of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.images import debian_files, make_tar, save_docker

from shipwall.model.package import Inventory


def shipwall(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {"SHIPWALL_STATE": str(folder / "none"), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    command = [sys.executable, "-m", "shipwall", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, timeout=120, check=False, env=environment)


@pytest.mark.parametrize("form", ["cyclonedx", "spdx"])
def test_an_sbom_lists_as_the_image(tmp_path: Path, form: str) -> None:
    save_docker(tmp_path / "shop.tar", [make_tar(debian_files({"bash": "5.2-1"}, {"bash": ["/bin/bash"]}))], ["shop:1"])
    made = shipwall(tmp_path, "image", "list", "shop.tar", "--output", form, "--to", "shop.json")
    assert (made.returncode, made.stdout, made.stderr) == (0, b"", b"")
    of_image = shipwall(tmp_path, "image", "list", "shop.tar", "--output", "json", "--files")
    of_sbom = shipwall(tmp_path, "image", "list", "shop.json", "--output", "json", "--files")
    assert of_sbom.stdout == of_image.stdout != b""
    parsed = shipwall(tmp_path, "sbom", "parse", "-", "--output", "json", stdin=(tmp_path / "shop.json").read_bytes())
    assert parsed.stdout == of_image.stdout
    assert Inventory.__struct_fields__ == tuple(json.loads(parsed.stdout))
    assert b"bash" in shipwall(tmp_path, "sbom", "parse", "shop.json").stdout


def test_what_is_no_sbom(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{\n  "bomFormat": oops}')
    for arguments, words in (
        (["sbom", "parse", "x.json"], "x.json:2:16"),
        (["image", "list", "x.json"], "x.json:2:16"),
        (["sbom", "parse", "none.json"], "no SBOM file"),
        (["sbom", "parse", "-"], "no SBOM file"),
    ):
        answer = shipwall(tmp_path, *arguments)
        assert (answer.returncode, answer.stdout) == (3, b"")
        assert words in answer.stderr.decode()
