"""`shipwall evidence` on a bundle with hostile names in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from shipwall.adapters.evidence import EvidenceStore
from shipwall.adapters.instance import Instance
from shipwall.adapters.keys import Keys
from shipwall.cli.evidence import app
from shipwall.journeys.collect import KEY_NAME, seal_with
from shipwall.model.errors import InputError, StorageError, TrustError
from shipwall.response.evidence import Writer

PROCESS = {
    "pid": 7, "ppid": 1, "argv": ["sh\x1b[2J", "--password", "hunter2"], "comm": "sh", "exe": "/bin/sh",
    "environment": ["DB_PASSWORD=hunter2"],
}  # fmt: skip
HOSTILE = ["files/../../../escaped", "/absolute", "files/a\nb", "files/" + "n" * 300, "files/sub/./x"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    instance = Instance(tmp_path / "state")
    store = EvidenceStore(instance.evidence)
    with store.writing("b1") as file:
        writer = Writer(file)
        writer.add("plan", "plan.json", b'{"id":"b1","container":"c","container_name":"shop"}')
        writer.add("processes", "processes.json", json.dumps([PROCESS]).encode())
        for name in HOSTILE:
            writer.add("file", name, name.encode())
        writer.seal(
            seal_with(Keys(instance.keys).signer(KEY_NAME)),
            bundle="b1", node="n", container="c", alert="", plan="b1", image_digest=None, sealed_ns=1,
        )  # fmt: skip
    return instance.state


def run(state: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--state", str(state)])


def test_list_verify_show(state: Path) -> None:
    listed = json.loads(run(state, "list", "--output", "json").stdout)
    assert [row["bundle"] for row in listed] == ["b1"]
    head = listed[0]["head"]
    report = json.loads(run(state, "verify", "b1", "--expect", head, "--output", "json").stdout)
    assert [step["result"] for step in report["steps"]] == ["passed"] * 7
    shown = run(state, "show", "b1").stdout
    assert "hunter2" not in shown
    assert "\x1b" not in shown
    assert "[redacted]" in shown
    assert "hunter2" not in run(state, "show", "b1", "--output", "json").stdout
    assert json.loads(run(state, "show", "b1", "--records", "--output", "json").stdout)[0]["name"] == "plan.json"


def test_extract_stays_in_its_folder(state: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    assert run(state, "extract", "b1", "--to", str(to)).exit_code == 0
    found = {path.read_bytes() for path in to.rglob("*") if path.is_file()}
    assert {name.encode() for name in HOSTILE} <= found
    assert {path.name for path in tmp_path.iterdir()} == {"state", "out"}
    assert not Path("/absolute").exists()
    again = run(state, "extract", "b1", "--to", str(to))
    assert isinstance(again.exception, InputError)


def test_wrong_key_wrong_head_and_missing_file(state: Path, tmp_path: Path) -> None:
    other = Keys(tmp_path / "other").signer("theirs")
    assert other.public.name == "theirs"
    refused = run(state, "verify", "b1", "--key", str(tmp_path / "other/theirs.pub"))
    assert isinstance(refused.exception, TrustError)
    assert refused.exception.step == "5 signature"
    refused = run(state, "verify", "b1", "--expect", "sha256:" + "0" * 64)
    assert isinstance(refused.exception, TrustError)
    assert refused.exception.step == "7 expected"
    assert isinstance(run(state, "verify", "nothing").exception, StorageError)


def test_broken_bundle_ends_with_exit_code_4_and_one_line(state: Path) -> None:
    path = state / "evidence/b1.evidence"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-m", "shipwall", "evidence", "verify", "b1", "--state", state],
        capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "PYTHONPATH": "src"},
    )  # fmt: skip
    assert done.returncode == 4, done
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("shipwall: evidence bundle: ")
