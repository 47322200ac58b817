"""`shipwall engine`, `image build` and `cleanup` as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipwall.adapters.instance import Instance
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.journeys.cleanup import clean_up

pytestmark = [pytest.mark.engine]


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        try:
            yield Path(folder)
        finally:
            assert not clean_up(Instance(Path(folder))).left  # not by the command: it is under test, and may be what failed


def shipwall(state: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "shipwall", *words], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "SHIPWALL_STATE": str(state)},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def answer(state: Path, *words: str) -> Any:
    code, out, err = shipwall(state, *words, "--output", "json")
    assert code == 0, err
    return json.loads(out)


def test_start_build_stop_and_clean_up(state: Path, busybox_rootfs: bytes, tmp_path: Path) -> None:
    listing = [sorted(Path(folder).iterdir()) for folder in ("/etc", "/opt", "/run", "/var/lib")]
    started = answer(state, "engine", "start")
    assert started == {**answer(state, "engine", "start")}  # outlives the command, and is found
    assert started["version"]
    from shipwall.adapters.engine import Engine

    with Engine(Path(started["socket"])) as engine:
        engine.import_rootfs([busybox_rootfs], "probe/busybox", "1")
    (tmp_path / "Dockerfile").write_text("ARG BASE\nFROM $BASE\nRUN echo hi > /hi\n")
    to = ["--to", f"{started['registry']}/dev/probe:1"]
    built = answer(state, "image", "build", str(tmp_path), *to, "--base", "probe/busybox:1")
    assert built["image"].startswith(f"{started['registry']}/dev/probe@sha256:")
    again = answer(state, "image", "build", str(tmp_path), *to, "--base", "probe/busybox:1", "--no-cache")
    assert {key for key in built if built[key] != again[key]} <= {"seconds", "started_ns", "finished_ns"}
    code, _, err = shipwall(state, "image", "build", str(tmp_path), *to, "--build-arg", "x")
    assert (code, err) == (3, "shipwall: --build-arg 'x': is not NAME=VALUE\n")
    code, _, err = shipwall(state, "image", "build", str(tmp_path), *to, "--base", f"{started['registry']}/none:1")
    assert code == 6
    assert "is not there; push it first" in err
    report = answer(state, "cleanup")
    assert [done["act"] for done in report["done"]] == ["start-private-engine", "keep-private-engine-data"]
    assert any(line.startswith("ended process") for line in report["done"][0]["what"])
    assert report["left"] == []
    code, out, _ = shipwall(state, "engine", "status")
    assert (code, out.split()) == (1, ["state", "not", "running"])
    assert [path.name for path in state.iterdir()] == ["journal.jsonl"]
    assert listing == [sorted(Path(folder).iterdir()) for folder in ("/etc", "/opt", "/run", "/var/lib")]


def test_an_existing_engine_is_only_looked_at(private_engine: PrivateEngine, state: Path) -> None:
    facts = answer(state, "engine", "status", "--engine", str(private_engine.socket))
    assert facts["socket"] == str(private_engine.socket)
    assert "registry" not in facts
    code, _, err = shipwall(state, "engine", "status", "--engine", str(state / "none.sock"))
    assert code == 6
    assert err.endswith("No such file or directory; start it, or name another with --engine\n")
    assert err.count("\n") == 1
