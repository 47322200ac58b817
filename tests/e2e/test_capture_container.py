"""A real container recorded by name and judged offline: facts from the engine, users from its own files, terminal and capabilities."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shipwall.adapters.captures import read_capture
from shipwall.adapters.engine import Engine
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.runtime.capture import Known

pytestmark = [pytest.mark.engine, pytest.mark.bpf]

RULES = """
- rule: Shell
  desc: d
  condition: >
    evt.type in (execve, execveat) and container.id != host and proc.name = sh and proc.args contains marked and user.name = nobody
    and container.mount.dest[*/shared] = /mnt and container.privileged = false and container.name startswith box-
  output: >-
    user=%user.name tty=%proc.tty caps=%thread.cap_effective cwd=%proc.cwd mounts=%container.mounts type=%container.type
    ip=%container.ip leader=%proc.is_vpgid_leader
  priority: ERROR
"""


def _capture(socket: Path, name: str, place: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "shipwall",
        "capture",
        name,
        "--engine",
        str(socket),
        "--to",
        str(place),
        "--output",
        "json",
        *words,
    ]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not place.exists() or place.stat().st_size < 200:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return child


def test_a_container_is_recorded_by_name_and_judged_elsewhere(
    private_engine: PrivateEngine, engine: Engine, busybox_image: str, fresh_name: Callable[[str], str], tmp_path: Path
) -> None:
    name = fresh_name("box")
    shared = private_engine.instance.state / "shared"
    shared.mkdir(exist_ok=True)
    body = {
        "Image": busybox_image,
        "Cmd": ["sleep", "600"],
        "User": "65534:65534",
        "HostConfig": {"Binds": [f"{shared}:/mnt:ro"]},
    }
    container = engine.create(name, body)
    place, rules = tmp_path / "c", tmp_path / "rules.yaml"
    rules.write_text(RULES)
    try:
        engine.start(container)
        with _capture(private_engine.socket, name, place, "--for", "6s") as child:
            engine.exec_run(container, ["sh", "-c", "cd /tmp; sleep 1; : marked"])
            said, _ = child.communicate(timeout=60)
    finally:
        engine.remove(container, force=True)
    assert json.loads(said)["lost"] == {}
    known = [record for record in read_capture(place) if isinstance(record, Known)]
    assert any(one.container is not None and one.container.name == name for one in known)
    command = [sys.executable, "-m", "shipwall", "replay", str(place), "--alone", "--rules", str(rules), "--output", "json"]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout)
    (alert,) = answer["alerts"]
    fields = alert["output_fields"]
    assert (fields["user.name"], fields["proc.tty"], fields["thread.cap_effective"]) == ("nobody", "0", "")
    assert fields["container.mounts"] == f"{shared}:/mnt:ro:false:rprivate"
    assert fields["container.type"] == "docker"
    assert fields["container.ip"].count(".") == 3
