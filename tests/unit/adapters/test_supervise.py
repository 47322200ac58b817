"""Supervised children: real processes, small ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shipwall.adapters.supervise import (
    Child,
    ProcessRecord,
    Supervisor,
    find_marked,
    is_alive,
    read_process,
    signal_process,
    stop_process,
    wait_gone,
    wait_until,
)
from shipwall.model.errors import RemoteError, UnsupportedError


def test_ready_stop_and_nothing_left(tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    with Child("probe", ["sh", "-c", f"touch {flag}; exec sleep 60"], log=tmp_path / "log") as child:
        child.wait_ready(flag.exists)
        assert is_alive(child.record)
        assert child.ended() is None
    assert not Path(f"/proc/{child.pid}").exists()


def test_one_that_ends_tells_its_last_words(tmp_path: Path) -> None:
    words = r"probe: ended at once \(3\): no such thing"
    program = ["sh", "-c", "echo no such thing >&2; exit 3"]
    with Child("probe", program, log=tmp_path / "log") as child, pytest.raises(RemoteError, match=words):
        child.wait_ready(lambda: False)
    with Child("slow", ["sleep", "60"], log=tmp_path / "log2") as child, pytest.raises(RemoteError, match="was not ready in 0 s"):
        child.wait_ready(lambda: False, 0.1)
    with pytest.raises(UnsupportedError, match="is not installed"):
        Child("none", ["shipwall-no-such-program"], log=tmp_path / "log3", dies_with_us=False)


def test_one_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    child = Child("deaf", ["sh", "-c", f"trap '' TERM; touch {flag}; while :; do sleep 60 & wait; done"], log=tmp_path / "log")
    child.wait_ready(flag.exists)
    assert child.stop(0.1) == -signal.SIGKILL


def test_a_child_dies_with_its_supervisor(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from shipwall.adapters.supervise import Child\n"
        "child = Child('probe', ['sleep', '60'], log=Path(sys.argv[1]))\n"
        "child.wait_ready(lambda: b'sleep' in Path(f'/proc/{child.pid}/cmdline').read_bytes().split(b'\\0')[0])\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "log")], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        record = read_process(int(parent.stdout.readline()))
    finally:
        parent.kill()
        parent.communicate()
    assert record is not None
    assert wait_gone(record, 5)


def test_a_reused_pid_is_another_process(tmp_path: Path) -> None:
    with Child("probe", ["sleep", "60"], log=tmp_path / "log") as child:
        stranger = ProcessRecord(child.pid, child.record.start_ticks - 1)
        assert not is_alive(stranger)
        assert not signal_process(stranger, signal.SIGKILL)
        assert not stop_process(stranger)
        assert child.ended() is None
        mark = os.urandom(8).hex()
        with Child("marked", ["sleep", "60"], log=tmp_path / "log", env={**os.environ, "PROBE_MARK": mark}) as marked:
            assert wait_until(lambda: find_marked("PROBE_MARK", mark) == [marked.record], 5)
            assert stop_process(marked.record)
        assert find_marked("PROBE_MARK", mark) == []


def test_restarted_when_it_ends(tmp_path: Path) -> None:
    count = tmp_path / "count"
    supervisor = Supervisor()
    supervisor.add("short", lambda: Child("short", ["sh", "-c", f"echo x >> {count}"], log=tmp_path / "log"))
    ended: list[str] = []

    def has_run_twice() -> bool:
        ended.extend(supervisor.check())
        return count.exists() and len(count.read_text().split()) >= 2

    try:
        assert wait_until(has_run_twice, 10)
        assert ended[0] == "short"
    finally:
        supervisor.stop()
