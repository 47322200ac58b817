"""What is not from the image is killed before its first instruction; what is from the image is not."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.kernel.conftest import Box, tiny_program

from shipwall.kernel.sensor import CHILDREN, EVENTS, KILL_DRIFT
from shipwall.model.event import Exec

pytestmark = [pytest.mark.root, pytest.mark.bpf]

# Runs `path` with its output in a pipe; how it ended and what it wrote.
_TRY = """
def attempt(path, fd=None, pid_namespace=False):
    back, out = os.pipe()
    if pid_namespace:
        assert libc.unshare(0x20000000) == 0
    pid = os.fork()
    if pid == 0:
        os.dup2(out, 1)
        try: os.execve(path if fd is None else fd, ['victim'], {})
        finally: os._exit(99)
    os.close(out)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    wrote = os.read(back, 100)
    os.close(back)
    return status, wrote
def own_namespace():
    assert libc.unshare(0x20000) == 0 and libc.mount(None, b'/', None, 0x44000, None) == 0
def plant(path, mode=0o755):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, mode); os.write(fd, program); os.close(fd)
"""


def _code(program: bytes, body: str) -> str:
    return f"program = {program!r}\n{_TRY}\n{body}"


def test_none_of_200_dropped_programs_writes(box: Box, tmp_path: Path) -> None:
    body = (
        f"own_namespace(); assert libc.mount(b'none', {str(tmp_path).encode()!r}, b'tmpfs', 0, None) == 0\n"
        f"path = {str(tmp_path / 'victim')!r}; plant(path)\n"
        "print([attempt(path) for _ in range(200)])\n"
    )
    box.run(_code(tiny_program(), body))
    assert eval(box.output) == [(0, b"x")] * 200  # without the flag every one of them writes
    assert {(run.origin, run.killed, run.path) for run in box.seen(Exec)} == {("tmpfs", False, str(tmp_path / "victim"))}
    box.events.clear()
    box.sensor.set_flags(box.id, EVENTS | CHILDREN | KILL_DRIFT)
    box.run(_code(tiny_program(), body))
    assert eval(box.output) == [(-signal.SIGKILL, b"")] * 200
    runs = box.seen(Exec)
    assert len(runs) == 200
    assert {(run.origin, run.killed, run.writable_mount) for run in runs} == {("tmpfs", True, True)}


def test_by_origin_in_a_container_made_of_an_overlay(box: Box, tmp_path: Path) -> None:
    for name in ("lower/bin", "upper", "work", "root", "host"):
        (tmp_path / name).mkdir(parents=True)
    program = tiny_program()
    for place in ("lower/bin/image", "lower/bin/touched", "lower/bin/leaving", "lower/bin/init", "host/bound"):
        (tmp_path / place).write_bytes(program)
        (tmp_path / place).chmod(0o755)
    for name in ("tmp", "writable", "fixed", "own"):
        (tmp_path / "lower" / name).mkdir()
    box.sensor.set_flags(box.id, EVENTS | CHILDREN | KILL_DRIFT)
    box.run(
        _code(
            program,
            f"base = {str(tmp_path)!r}\n"
            "def mount(source, target, kind, flags, options=None):\n"
            "    done = libc.mount(source.encode(), target.encode(), kind, flags, options and options.encode())\n"
            "    assert done == 0, (target, ctypes.get_errno())\n"
            "own_namespace(); root = base + '/root'\n"
            "mount('none', root, b'overlay', 0, f'lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work')\n"
            "mount('none', root + '/tmp', b'tmpfs', 0)\n"
            "for name in ('writable', 'fixed'): mount(base + '/host', f'{root}/{name}', None, 0x1000)\n"
            "mount('none', root + '/fixed', None, 0x1021)\n"
            "os.chroot(root); os.chdir('/')\n"
            "found = {}\n"
            "found['image'] = attempt('/bin/image')\n"
            "plant('/bin/new'); found['new'] = attempt('/bin/new')\n"
            "os.chmod('/bin/touched', 0o711); found['touched'] = attempt('/bin/touched')\n"
            "plant('/tmp/t'); found['tmpfs'] = attempt('/tmp/t')\n"
            "found['writable'] = attempt('/writable/bound'); found['fixed'] = attempt('/fixed/bound')\n"
            "memory = os.memfd_create('m'); os.write(memory, program); found['memfd'] = attempt('', memory)\n"
            "gone = os.open('/bin/leaving', os.O_RDONLY); os.unlink('/bin/leaving'); found['deleted'] = attempt('', gone)\n"
            "for name in 'low', 'up', 'work': os.mkdir('/tmp/' + name)\n"
            "plant('/tmp/low/mine')\n"
            "mount('none', '/own', b'overlay', 0, 'lowerdir=/tmp/low,upperdir=/tmp/up,workdir=/tmp/work')\n"
            "found['own'] = attempt('/own/mine')\n"
            "found['again'] = attempt('/bin/image')\n"
            "found['init'] = attempt('/tmp/t', pid_namespace=True)\n"
            "print(found)\n",
        )
    )
    killed, ran = (-signal.SIGKILL, b""), (0, b"x")
    assert eval(box.output) == {
        "image": ran,
        "new": killed,
        "touched": killed,
        "tmpfs": killed,
        "writable": killed,
        "fixed": ran,
        "memfd": killed,
        "deleted": killed,
        "own": killed,
        "again": ran,
        "init": killed,
    }
    host = str(tmp_path / "root")
    assert [(run.path.removeprefix(host), run.origin, run.killed) for run in box.seen(Exec)] == [
        ("/bin/image", "image", False),
        ("/bin/new", "upper", True),
        ("/bin/touched", "upper", True),
        ("/tmp/t", "tmpfs", True),
        ("/writable/bound", "mount", True),
        ("/fixed/bound", "mount", False),
        ("/memfd:m", "memfd", True),
        ("/bin/leaving", "deleted", True),
        ("/own/mine", "mount", True),
        ("/bin/image", "image", False),
        ("/tmp/t", "tmpfs", True),
    ]
    assert box.seen(Exec)[-1].ns_pid == 1  # the first process of a pid namespace is no exception


def test_a_read_only_mount_of_a_user_namespace_is_no_excuse(box: Box, tmp_path: Path) -> None:
    """Whoever may make user namespaces may mount; that it is read-only then says nothing about where it came from."""
    box.sensor.set_flags(box.id, EVENTS | KILL_DRIFT)
    box.run(
        _code(
            tiny_program(),
            f"base = {str(tmp_path)!r}\n"
            "if libc.unshare(0x10020000): raise SystemExit\n"
            "for name, text in (('setgroups', 'deny'), ('uid_map', '0 0 1'), ('gid_map', '0 0 1')):\n"
            "    with open(f'/proc/self/{name}', 'w') as file: file.write(text)\n"
            "assert libc.mount(b'none', base.encode(), b'tmpfs', 0, None) == 0, ctypes.get_errno()\n"
            "for name in ('a', 'b', 'mnt'): os.mkdir(f'{base}/{name}')\n"
            "plant(base + '/a/mine')\n"
            "options = f'lowerdir={base}/a:{base}/b'.encode()\n"
            "assert libc.mount(b'none', (base + '/mnt').encode(), b'overlay', 0, options) == 0, ctypes.get_errno()\n"
            "print(attempt(base + '/mnt/mine'))\n",
        ),
    )
    if not box.output:
        pytest.skip("no user namespaces here")
    assert eval(box.output) == (-signal.SIGKILL, b"")
    (run,) = box.seen(Exec)
    assert (run.path, run.origin, run.writable_mount, run.killed) == (str(tmp_path / "mnt/mine"), "mount", False, True)


def test_nothing_is_killed_in_the_engines_own_mount_namespace(box: Box) -> None:
    """As runc does, which copies itself into memory before it enters the container."""
    box.sensor.set_flags(box.id, EVENTS | KILL_DRIFT)
    body = "memory = os.memfd_create('runc'); os.write(memory, program); print(attempt('', memory))\n"
    box.run(_code(tiny_program(), body))  # in this host's own namespace
    assert eval(box.output) == (0, b"x")
    with subprocess.Popen(["unshare", "--mount", "sleep", "60"]) as engine:
        try:
            own, deadline = Path("/proc/self/ns/mnt").stat().st_ino, time.monotonic() + 30
            while (inum := Path(f"/proc/{engine.pid}/ns/mnt").stat().st_ino) == own:
                assert time.monotonic() < deadline
            inside = f"assert libc.setns(os.open('/proc/{engine.pid}/ns/mnt', os.O_RDONLY), 0x20000) == 0\n"
            box.run(_code(tiny_program(), inside + body))
            assert eval(box.output) == (-signal.SIGKILL, b"")
            box.sensor.leave_mount_namespace(inum)
            box.run(_code(tiny_program(), inside + body))
            assert eval(box.output) == (0, b"x")
        finally:
            engine.kill()
    assert [(run.origin, run.killed) for run in box.seen(Exec)] == [("memfd", False), ("memfd", True), ("memfd", False)]
