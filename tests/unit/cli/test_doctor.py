"""`shipwall doctor` answers on every host, with and without root, and changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent / "shipwall"


def _doctor(*arguments: str, cache: Path, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SHIPWALL_CACHE": str(cache)}
    return subprocess.run(
        [*before, str(BIN), "doctor", *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_json_names_what_is_there_and_what_is_missing(tmp_path: Path) -> None:
    suite = tmp_path / "cache/archive/suites/x"
    suite.mkdir(parents=True)
    (suite / "InRelease").write_text("-----BEGIN PGP SIGNED MESSAGE-----\nDate: Sat, 01 Jan 2022 10:00:00 UTC\n")
    result = _doctor("--output", "json", "--engine", str(tmp_path / "no.sock"), cache=tmp_path / "cache")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["host"]["cgroup_mode"] in {"unified", "hybrid", "legacy"}
    features = {feature["name"]: feature for feature in answer["host"]["features"]}
    assert {"network_guard", "fanotify"} <= set(features)
    assert {"btf", "tp_btf", "iter", "lsm", "fentry", "cgroup_connect4", "tcx", "xdp", "send_signal", "sensor"} <= set(features)
    if os.geteuid() == 0 and features["btf"]["present"]:
        assert features["sensor"]["present"], features["sensor"]
        assert features["network_guard"]["present"], features["network_guard"]
        assert features["fanotify"]["present"], features["fanotify"]
    assert answer["engine"] == ""
    assert answer["advisories"] == "2022-01-01 10:00 UTC"
    assert answer["advisories_age_s"] > 86400
    assert any(line.startswith("engine: ") and "no.sock does not answer" in line for line in answer["missing"])


def test_table_says_what_absence_costs(tmp_path: Path) -> None:
    result = _doctor("--engine", str(tmp_path / "no.sock"), cache=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "missing, and what that costs:" in result.stdout
    assert "advisories: none cached" in result.stdout


def test_without_root_it_says_what_was_not_probed(tmp_path: Path) -> None:
    """In a user namespace without a mapping: nobody, with the files of whoever runs the tests still readable."""
    if subprocess.run(["unshare", "--user", "true"], capture_output=True, timeout=10, check=False).returncode:
        pytest.skip("no user namespaces here")
    result = _doctor("--output", "json", cache=tmp_path, before=("unshare", "--user"))
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert not answer["root"]
    features = {feature["name"]: feature for feature in answer["host"]["features"]}
    assert features["tp_btf"]["present"] is None
    assert "root" in features["tp_btf"]["detail"]
