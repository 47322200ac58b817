"""What an open costs in a container with file rules: the first of a file, which is asked about, and the following, which are not."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.bench.table import Row

from shipwall.journeys.file_guard import FileGuard, take_away
from shipwall.kernel import attack
from shipwall.kernel.cgroups import unified_mount
from shipwall.runtime.file_refusals import FileRefusal

FILES = 500
ROUNDS = 10
LIMIT_NS = 15_000
CONDITIONS = (
    "fd.name = /data/secret",
    "evt.is_open_write = true and fd.name startswith /etc/",
    "fd.filename in (shadow, id_rsa)",
)

_OPENS = """
import json, os, sys, time
box = {"__name__": "attack"}
exec(open(sys.argv[1]).read(), box)
box["enter"](sys.argv[2], sys.argv[3])
for number in range(FILES):
    open(f"/data/{number}", "w").close()
def once():
    taken = []
    for number in range(FILES):
        began = time.perf_counter_ns()
        os.close(os.open(f"/data/{number}", os.O_RDONLY))
        taken.append(time.perf_counter_ns() - began)
    return taken
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps([once() for _ in range(int(line))]), flush=True)
"""


def measure(files: int = FILES, rounds: int = ROUNDS) -> list[Row]:
    """Medians, so that other work on the machine is not measured; the guard answers each first open from a process of its own."""
    with tempfile.TemporaryDirectory(prefix="shipwall-bench-") as made:
        base = Path(made)
        (base / "root").mkdir()
        cgroup = unified_mount() / f"shipwall-bench-files-{os.getpid()}"
        cgroup.mkdir()
        script = _OPENS.replace("FILES", str(files))
        command = [sys.executable, "-I", "-S", "-c", script, attack.__file__, str(base / "root"), str(cgroup / "cgroup.procs")]
        try:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                if child.stdout.readline() != "ready\n":
                    sys.exit("bench: the container did not start")
                without = _opens(child, rounds)
                with FileGuard(base / "files") as guard:
                    refusals = tuple(FileRefusal(rule="bench", condition=condition) for condition in CONDITIONS)
                    guard.guard("bench", child.pid, f"/{cgroup.name}", refusals)
                    first, *later = _opens(child, rounds)
                    (state,) = guard.states()
                if (state.asked, state.ignored) != (files, files):
                    sys.exit(f"bench: {state.asked} opens were asked about, not {files}: nothing was measured")
                take_away(base / "files")
                after = _opens(child, rounds)
                child.kill()
        finally:
            take_away(base / "files")
            cgroup.rmdir()
    floor = min(statistics.median(taken) for taken in without)
    again = min(statistics.median(taken) for taken in later) - floor
    asked = statistics.median(first) - floor
    gone = min(statistics.median(taken) for taken in after) - floor
    limit = f"at most {LIMIT_NS / 1000:.0f} us"
    return [
        Row(
            f"open with {len(CONDITIONS)} file rules, first of each file",
            f"+{asked / 1000:.1f} us of {floor / 1000:.1f}",
            limit,
            asked <= LIMIT_NS,
        ),
        Row("open with file rules, file known", f"{again / 1000:+.1f} us", limit, again <= LIMIT_NS),
        Row(
            "open after the rules were taken away",
            f"{gone / 1000:+.1f} us",
            "0 (within a quarter of an open)",
            gone < floor / 4,
        ),
    ]


def _opens(child: subprocess.Popen[str], rounds: int) -> list[list[int]]:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{rounds}\n")
    child.stdin.flush()
    found: list[list[int]] = json.loads(child.stdout.readline())
    return found
