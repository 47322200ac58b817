"""What /proc tells about a process, and users as a process in another root sees them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from shipwall.kernel.process_details import read_details
from shipwall.kernel.processes import read_processes
from shipwall.kernel.rootfs import read_accounts
from shipwall.model.container import Process, User

pytestmark = pytest.mark.root


def _of(pid: int) -> Process:
    return next(process for process in read_processes() if process.pid == pid)


def test_details_are_those_of_the_process() -> None:
    command = ["/bin/sh", "-c", "echo ready; read line"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/usr", env={"K": "v=w", "L": ""},
        start_new_session=True, user=65534, group=65534, extra_groups=[],
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        found = read_details(_of(child.pid))
        assert found is not None
        file = Path("/bin/sh").stat()
        assert (found.sid, found.pgid, found.ns_sid, found.tty) == (child.pid, child.pid, child.pid, 0)
        assert (found.cwd, found.stderr, found.threads) == ("/usr", "/dev/null", 1)
        assert {"K=v=w", "L="} <= set(found.env or ())
        assert (found.cap_effective, found.exe_writable) == (0, False)
        assert (found.exe_inode, found.exe_ctime_ns, found.exe_mtime_ns) == (file.st_ino, file.st_ctime_ns, file.st_mtime_ns)
        assert found.stdin is not None
        assert found.stdin.startswith("pipe:[")
        assert found.loginuid is not None
        old = Process(
            pid=child.pid, ppid=1, ns_pid=1, start_ns=time.time_ns() - 3600 * 10**9, uid=0, gid=0, comm="x", path="", argv=()
        )
        assert read_details(old) is None, "an older process of that number is another one"
        child.communicate(b"\n")
    assert read_details(old) is None
    mine = read_details(_of(os.getpid()))
    assert mine is not None
    assert mine.exe_writable


def test_accounts_are_read_inside_the_root_and_never_outside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("app:x:7:8:::/bin/false\n:::\n")
    (root / "etc/group").symlink_to("/etc/hostname")  # of the host, if it were followed there
    pid = os.fork()
    if pid == 0:
        os.chroot(root)
        time.sleep(60)
        os._exit(0)
    try:
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}/root").readlink() == Path("/"):
            assert time.monotonic() < deadline
        found = read_accounts(pid)
        assert found is not None
        assert found.users == {7: User("app", "", "/bin/false")}
        assert found.groups == {}
        (root / "etc/passwd").unlink()
        os.mkfifo(root / "etc/passwd")
        found = read_accounts(pid)
        assert found is not None
        assert found.users == {}
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert read_accounts(pid) is None
