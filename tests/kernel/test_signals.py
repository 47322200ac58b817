"""One process is ended or stopped, and never another one: real processes, held by pidfd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipwall.kernel.signals import NotSignalledError, Signals

THREADS = "import threading, time; [threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in range(3)]; "


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process with four threads."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", THREADS + "print('ready', flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == b"ready\n"
        yield one
        one.kill()


def _states(pid: int) -> set[bytes]:
    return {(task / "stat").read_bytes().rpartition(b")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()}


def _refused(signals: Signals, pid: int, before_ns: int) -> str:
    with pytest.raises(NotSignalledError) as refused:
        signals.send("kill", pid, before_ns)
    return refused.value.cause


def test_kill_ends_it(child: subprocess.Popen[bytes]) -> None:
    Signals().send("kill", child.pid, _boot_ns())
    assert child.wait(10) == -signal.SIGKILL


def test_stop_stops_every_thread(child: subprocess.Popen[bytes]) -> None:
    assert len(list(Path(f"/proc/{child.pid}/task").iterdir())) == 4
    Signals().send("stop", child.pid, _boot_ns())
    deadline = time.monotonic() + 30
    while _states(child.pid) != {b"T"}:
        assert time.monotonic() < deadline, _states(child.pid)
        time.sleep(0.001)
    assert child.poll() is None


def test_a_later_process_with_the_number_is_left_alone(child: subprocess.Popen[bytes]) -> None:
    """An act before the process began was another one's: what a pid used again looks like."""
    began = int(Path(f"/proc/{child.pid}/stat").read_bytes().rpartition(b")")[2].split()[19]) * 10_000_000
    assert _refused(Signals(), child.pid, began - 1) == "other"
    assert child.poll() is None


def test_one_that_is_gone_is_gone(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended and not yet reaped: its number still answers
    assert _refused(Signals(), child.pid, _boot_ns()) == "gone"
    child.wait(10)
    assert _refused(Signals(), child.pid, _boot_ns()) == "gone"
    assert _refused(Signals(), 2**22 + 5, _boot_ns()) == "gone"


def test_engine_agent_and_init_are_never_touched(child: subprocess.Popen[bytes]) -> None:
    for pid in (1, os.getpid(), os.getppid()):
        assert _refused(Signals(), pid, _boot_ns()) == "protected"
    assert _refused(Signals([child.pid]), child.pid, _boot_ns()) == "protected"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
    ) as same:  # the engine's program, another pid
        assert _refused(Signals([child.pid]), same.pid, _boot_ns()) == "protected"
        assert same.poll() is None
        same.kill()
    assert child.poll() is None


@pytest.mark.root
def test_what_the_kernel_does_not_allow_is_said(child: subprocess.Popen[bytes]) -> None:
    signals = Signals()
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setuid(65534)
            signals.send("kill", child.pid, _boot_ns())
        except NotSignalledError as error:
            os.write(tell, error.cause.encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(tell)
    with os.fdopen(told, "rb") as said:
        assert said.read() == b"not-allowed"
    assert child.poll() is None
