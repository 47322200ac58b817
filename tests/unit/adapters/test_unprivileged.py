"""The server's user reaches the code and his folders below a closed folder, and nothing else there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shipwall.adapters.unprivileged import SERVER_ID, closed_ancestor, unprivileged_argv

PROGRAM = """
import os, sys, shipwall
from pathlib import Path
closed = Path(sys.argv[1])
(closed / "mine" / "written").write_text("x")
print(os.getuid(), os.getgid(), os.getgroups(), sorted(path.name for path in closed.iterdir()))
print([line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))])
"""


@pytest.mark.root
def test_only_what_is_needed_can_be_reached(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "secret").write_text("root's")
    mine = closed / "mine"
    mine.mkdir()
    os.chown(mine, SERVER_ID, SERVER_ID)
    assert closed_ancestor(mine) is not None
    argv = unprivileged_argv([sys.executable, "-c", PROGRAM, str(closed)], SERVER_ID, [mine])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == f"{SERVER_ID} {SERVER_ID} [] ['mine']"
    assert second == "['CapEff:\\t0000000000000000', 'CapBnd:\\t0000000000000000', 'NoNewPrivs:\\t1']"
    assert (mine / "written").stat().st_uid == SERVER_ID
    assert (closed / "secret").read_text() == "root's"
