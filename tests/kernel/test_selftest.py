"""The self-test tells a guard that holds from one that does not, and leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shipwall.adapters.instance import Instance
from shipwall.cli.app import build_app
from shipwall.journeys import selftest
from shipwall.journeys.cleanup import clean_up
from shipwall.journeys.selftest import PROMISES, run_selftest
from shipwall.kernel.cgroups import unified_mount
from shipwall.model.selftest import OPEN

pytestmark = [pytest.mark.root, pytest.mark.bpf]


def _traces() -> set[str]:
    places = [unified_mount(), Path("/tmp")]
    return {path.name for place in places for path in place.iterdir() if path.name.startswith("shipwall-selftest-")}


def test_every_promise_is_kept_and_what_is_not_promised_shows(tmp_path: Path, objects: Path) -> None:
    before = _traces()
    found = run_selftest(Instance(tmp_path), "n", 20)
    assert [leak.unmeasured for leak in found.leaks] == [""] * len(PROMISES)
    assert {leak.action: leak.completed for leak in found.leaks} == {
        name: 20 if promise.claim == OPEN else 0 for name, promise in PROMISES.items()
    }
    assert {leak.without_guard for leak in found.leaks} == {"5 of 5"}
    assert found.kept
    assert _traces() <= before
    assert clean_up(Instance(tmp_path)).done == ()


def test_a_guard_that_does_not_hold_is_found(tmp_path: Path, objects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_guard_network", lambda _stack, _attacked: None)
    words = [
        "node",
        "selftest",
        "--attempts",
        "3",
        "--action",
        "connect",
        "--action",
        "open",
        "--state",
        str(tmp_path),
        "-o",
        "json",
    ]
    done = CliRunner().invoke(build_app(), words)
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert {leak["action"]: leak["completed"] for leak in said["leaks"]} == {"open": 0, "connect": 3}
    assert said["kept"] is False


def test_killed_in_the_middle_its_container_is_found_and_taken_away(tmp_path: Path, objects: Path) -> None:
    before = _traces()
    code = """
import os, signal, sys
from pathlib import Path
from shipwall.adapters.instance import Instance
from shipwall.journeys import selftest
attack = selftest._Attacked.attack
def dying(self, action, attempts):
    if attempts == 7: os.kill(os.getpid(), signal.SIGKILL)
    return attack(self, action, attempts)
selftest._Attacked.attack = dying
selftest.run_selftest(Instance(Path(sys.argv[1])), "n", 7, ("connect", "open"))
"""
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == -signal.SIGKILL
    try:
        assert _traces() - before
    finally:
        report = clean_up(Instance(tmp_path))
    assert [(done.act, done.what) for done in report.done] == [("selftest", ("took the container of a self-test away",))]
    assert _traces() <= before
