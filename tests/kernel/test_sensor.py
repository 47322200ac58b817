"""One real act per program, asserting every field of the event that came back."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest
from tests.kernel.conftest import Box

from shipwall.model.event import (
    Call,
    Connect,
    Duplicate,
    Exec,
    Exit,
    Fork,
    Module,
    Mount,
    Namespace,
    Open,
    Privilege,
)

pytestmark = [pytest.mark.root, pytest.mark.bpf]

NOBODY = 65534
CLONE_VM, CLONE_VFORK = 0x100, 0x4000
ALL_CAPABILITIES = int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
O_CLOEXEC = os.O_CLOEXEC


def test_fork_exec_and_exit(box: Box) -> None:
    pid = box.run("os.waitpid(os.posix_spawn('/bin/true', ['first', 'se cond', '\\udcff'], {}), 0)")
    (fork,) = box.seen(Fork)
    (run,) = box.seen(Exec)
    child_exit, own_exit = box.seen(Exit)
    facts = Path("/bin/true").stat()
    read_only = bool(os.statvfs("/bin/true").f_flag & os.ST_RDONLY)
    assert fork == Fork(
        **box.header(fork, pid, syscall=fork.syscall),
        child_pid=fork.child_pid,
        child_ns_pid=fork.child_pid - pid + box.ns_pid,
        flags=CLONE_VM | CLONE_VFORK | fork.flags,
    )
    assert fork.syscall in {"clone", "clone3"}  # as the C library likes
    child = {"pid": fork.child_pid, "tid": fork.child_pid, "ppid": pid, "ns_pid": fork.child_ns_pid, "comm": "true"}
    assert run == Exec(
        **box.header(run, pid, **child),
        path=str(Path("/bin/true").resolve()),
        asked="/bin/true",
        argv=("first", "se cond", "\\xff"),
        origin="unknown",
        writable_mount=not read_only,
        inode=facts.st_ino,
        device=facts.st_dev,
        old_uid=0,
        parent_comm=box.comm,
        killed=False,
        truncated=False,
        cwd=str(Path.cwd()),
        session=os.getsid(0),
        group=os.getpgid(0),
        ns_group=run.ns_group,
        tty=run.tty,
        login_uid=_login_uid(),
        cap_effective=ALL_CAPABILITIES,
        cap_permitted=ALL_CAPABILITIES,
        cap_inheritable=0,
        ctime_ns=facts.st_ctime_ns,
        mtime_ns=facts.st_mtime_ns,
        user_writable=True,  # by CAP_DAC_OVERRIDE
    )
    assert child_exit == Exit(**box.header(child_exit, pid, **child))
    assert own_exit == Exit(**box.header(own_exit, pid))


def _login_uid() -> int:
    try:
        found = int(Path("/proc/self/loginuid").read_text())
    except FileNotFoundError:  # a kernel without audit
        return -1
    return -1 if found == 0xFFFFFFFF else found


def test_exec_tells_terminal_group_rights_and_environment(box: Box, tmp_path: Path) -> None:
    program = tmp_path / "own"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    for above in (tmp_path, *list(tmp_path.parents)[:3]):
        above.chmod(above.stat().st_mode | stat.S_IXOTH)
    box.sensor.set_environment(wanted=True)
    try:
        box.run(
            "import fcntl, pty, termios\n"
            "master, slave = pty.openpty(); print(os.fstat(slave).st_rdev, flush=True)\n"
            "def start(path, env):\n"
            "    pid = os.fork()\n"
            "    if pid == 0: os.execve(path, ['x'], env)\n"
            "    os.waitpid(pid, 0)\n"
            "pid = os.fork()\n"
            "if pid == 0:\n"
            "    os.setsid(); fcntl.ioctl(slave, termios.TIOCSCTTY, 0)\n"
            "    os.chdir('/usr/lib')\n"
            "    start('/bin/true', {'A': '1', 'LONG': 'x y'})\n"
            f"    os.chown({str(program)!r}, {NOBODY}, 0); os.setgroups([])\n"
            f"    os.setresgid(*[{NOBODY}]*3); os.setresuid(*[{NOBODY}]*3)\n"
            f"    start({str(program)!r}, {{}}); start('/bin/true', {{}})\n"
            "    os._exit(0)\n"
            "print(pid, flush=True)\n"
            "os.waitpid(pid, 0)\n"
        )
    finally:
        box.sensor.set_environment(wanted=False)
    device, leader = map(int, box.output.split())
    first, own, other = box.seen(Exec)
    for run in (first, own, other):
        assert (run.session, run.group, run.cwd) == (leader, leader, "/usr/lib")
        assert run.tty == os.major(device) * 256 + os.minor(device)
    assert first.environment == ("A=1", "LONG=x y")
    assert own.environment == ()
    assert (first.cap_effective, own.cap_effective, own.cap_permitted) == (ALL_CAPABILITIES, 0, 0)
    assert [run.user_writable for run in (first, own, other)] == [True, True, False]


def test_exit_tells_status_and_signal_once_for_all_threads(box: Box) -> None:
    box.run("threading.Thread(target=lambda: os._exit(7)).start(); threading.Event().wait()", check=False)
    box.run("os.kill(os.getpid(), 9)", check=False)
    assert [os.waitstatus_to_exitcode(event.ret) for event in box.seen(Exit)] == [7, -9]


def test_long_argument_list_is_marked(box: Box) -> None:
    box.run("os.waitpid(os.posix_spawn('/bin/true', ['true', 'a' * 3000, 'b' * 3000], {}), 0)")
    (run,) = box.seen(Exec)
    assert run.truncated
    assert run.argv[1] == "a" * 3000
    assert run.argv[2] == "b" * (4095 - 5 - 3001)


def test_refused_exec_is_told_with_folder_and_arguments(box: Box, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("not executable")
    pid = box.run(
        f"os.chdir({str(tmp_path)!r})\n"
        "for path in ('./x/../plain', '/no/such/file'):\n"
        "    try: os.execv(path, ['one', 'two'])\n"
        "    except OSError as error: pass\n"
    )
    assert box.seen(Exec) == []  # x does not exist: ENOENT, as from any search along PATH
    (tmp_path / "x").mkdir()
    box.events.clear()
    pid = box.run(
        f"os.chdir({str(tmp_path)!r})\ntry: os.execv('./x/../plain', ['one', 'two'])\nexcept PermissionError: pass\n",
    )
    (refused,) = box.seen(Exec)
    assert refused == Exec(
        **box.header(refused, pid, ret=-errno.EACCES, syscall="execve"),
        path=str(tmp_path / "plain"),
        asked="./x/../plain",
        argv=("one", "two"),
        parent_comm=Path("/proc/self/comm").read_text().rstrip("\n"),
    )


def test_setuid_exec_is_a_gain_of_privilege(box: Box, tmp_path: Path) -> None:
    if os.statvfs(tmp_path).f_flag & os.ST_NOSUID:
        pytest.skip("the temporary folder is mounted nosuid")
    program = tmp_path / "gain"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o4755)
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    box.run(f"os.setgroups([]); os.setresgid(*[{NOBODY}]*3); os.setresuid(*[{NOBODY}]*3)\nos.execv({str(program)!r}, ['gain'])")
    (run,) = box.seen(Exec)
    assert (run.uid, run.old_uid, run.path) == (0, NOBODY, str(program))
    gain = box.seen(Privilege)[-1]
    assert (gain.act, gain.syscall, gain.new_uid, gain.new_gid, gain.uid) == ("execve", "execve", 0, -1, 0)
    assert gain.cap_effective


def test_opens_for_writing_are_told_and_others_not(box: Box, tmp_path: Path) -> None:
    written, read = tmp_path / "written", tmp_path / "read"
    read.write_text("x")
    (tmp_path / "link").symlink_to("written")
    pid = box.run(
        f"os.chdir({str(tmp_path)!r})\n"
        "os.open('link', os.O_WRONLY | os.O_CREAT, 0o600)\n"
        "os.open('read', os.O_RDONLY); os.open('/dev/null', os.O_WRONLY)\n"
        f"call(85, {str(tmp_path / 'made')!r}.encode(), 0o600)\n"
        f"how = struct.pack('<QQQ', os.O_RDWR, 0, 0)\n"
        f"call(437, os.open({str(tmp_path)!r}, os.O_PATH), b'read', how, 24)\n"
        "os.open('fresh', os.O_RDONLY | os.O_CREAT, 0o600)\n"
    )
    flags = os.O_WRONLY | os.O_CREAT | O_CLOEXEC | 0o100000
    first, created, second, fresh = box.seen(Open)
    assert first == Open(
        **box.header(first, pid, ret=first.ret, syscall="openat"), path=str(written), asked="link", flags=flags, resolved=True
    )
    assert first.ret > 2
    assert (created.syscall, created.path, created.asked) == ("creat", str(tmp_path / "made"), str(tmp_path / "made"))
    assert created.flags & (os.O_CREAT | os.O_TRUNC | os.O_WRONLY) == os.O_CREAT | os.O_TRUNC | os.O_WRONLY
    assert (second.syscall, second.path, second.asked) == ("openat2", str(read), "read")
    assert second.flags & os.O_ACCMODE == os.O_RDWR
    assert (fresh.path, fresh.flags & os.O_CREAT) == (str(tmp_path / "fresh"), os.O_CREAT)


def test_wanted_prefixes_change_in_flight_and_see_through_links(box: Box, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "alias").symlink_to("secret")
    acts = f"for n in ('secret', 'alias'): os.close(os.open({str(tmp_path)!r} + '/' + n, os.O_RDONLY))"
    box.run(acts)
    assert box.seen(Open) == []
    box.sensor.set_open_prefixes([str(tmp_path / "sec"), "/unrelated"])
    box.run(acts)
    assert [(event.path, event.asked) for event in box.seen(Open)] == [
        (str(tmp_path / "secret"), str(tmp_path / "secret")),
        (str(tmp_path / "secret"), str(tmp_path / "alias")),
    ]
    box.events.clear()
    box.sensor.set_open_prefixes([str(tmp_path / "al")])  # the name that was asked for counts as well
    box.run(acts)
    assert [event.asked for event in box.seen(Open)] == [str(tmp_path / "alias")]
    box.events.clear()
    box.sensor.set_open_prefixes([])
    box.run(acts)
    assert box.seen(Open) == []


def test_refused_opens_are_told_wherever_they_point(box: Box) -> None:
    pid = box.run(
        f"os.setresuid(*[{NOBODY}]*3); os.chdir('/usr')\n"
        "etc = os.open('/etc', os.O_PATH)\n"
        "for path, fd in (('/etc//./shadow', None), ('../etc/shadow', None), ('shadow', etc)):\n"
        "    try: os.open(path, os.O_RDONLY, dir_fd=fd)\n"
        "    except PermissionError: pass\n"
        "    else: raise SystemExit('was let in')\n"
        "try: os.open('/no/such', os.O_RDONLY)\n"
        "except FileNotFoundError: pass\n"
        "print(etc)"
    )
    opens = box.seen(Open)
    for event, asked in zip(opens, ("/etc//./shadow", "../etc/shadow", "shadow"), strict=True):
        assert event == Open(
            **box.header(event, pid, uid=NOBODY, ret=-errno.EACCES, syscall="openat"),
            path="/etc/shadow",
            asked=asked,
            flags=O_CLOEXEC,
            resolved=False,
        )


def test_paths_are_those_of_the_files_own_mounts(box: Box, tmp_path: Path) -> None:
    """Bind mounts, nested mounts, names over 200 bytes, more components than the unrolled walk, and a chroot."""
    deep = Path(*["n" * 200] * 12)
    (tmp_path / "source" / deep).mkdir(parents=True)
    (tmp_path / "target").mkdir()
    box.run(
        f"base = {str(tmp_path)!r}\n"
        "assert libc.unshare(0x20000) == 0 and libc.mount(None, b'/', None, 0x44000, None) == 0\n"
        "assert libc.mount((base + '/source').encode(), (base + '/target').encode(), None, 0x1000, None) == 0\n"
        f"where = base + '/target/{deep}'\n"
        "fd = os.open(where + '/file', os.O_WRONLY | os.O_CREAT, 0o600)\n"
        "print(os.readlink(f'/proc/self/fd/{fd}'))\n"
        "os.chroot(base + '/target')\n"
        f"os.open('/{deep}/file', os.O_WRONLY)\n"
    )
    first, second = box.seen(Open)
    assert first.path == box.output.decode().rstrip("\n") == str(tmp_path / "target" / deep / "file")
    assert second.path == first.path  # a chroot does not hide where it is
    assert second.asked == f"/{deep}/file"


def test_connect_tells_the_real_address(box: Box, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        open_port, closed_port = listener.getsockname()[1], closed.getsockname()[1]
        pid = box.run(
            "s = socket.socket(); print(s.fileno())\n"
            f"s.connect(('127.0.0.1', {open_port}))\n"
            "t = socket.socket(); print(t.fileno())\n"
            f"t.connect_ex(('127.0.0.1', {closed_port}))\n"
            "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); print(u.fileno())\n"
            "u.connect(('127.0.0.2', 53))\n"
        )
    fds = [int(word) for word in box.output.split()]
    wanted = [
        ("tcp", "127.0.0.1", open_port, 0),
        ("tcp", "127.0.0.1", closed_port, -errno.ECONNREFUSED),
        ("udp", "127.0.0.2", 53, 0),
    ]
    for event, fd, (protocol, address, port, ret) in zip(box.seen(Connect), fds, wanted, strict=True):
        assert event == Connect(
            **box.header(event, pid, ret=ret, syscall="connect"),
            family="ipv4",
            protocol=protocol,
            address=address,
            port=port,
            fd=fd,
            local=event.local,
            local_port=event.local_port,
        )
        assert event.local_port or ret
        assert event.local.startswith("127.0.0.") or ret
    assert [(event.differs, event.asked_address) for event in box.seen(Connect)] == [(False, "")] * 3


def test_a_connect_whose_address_was_rewritten_is_told_apart(box: Box) -> None:
    """While the kernel waits for an answer that does not come, a second thread writes another address over the first."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        box.run(
            f"port = {port}\n"
            "head = struct.pack('<H', 2) + port.to_bytes(2, 'big')\n"
            "memory = ctypes.create_string_buffer(head + bytes([127, 0, 0, 1]) + bytes(8), 16)\n"
            "filling = [socket.create_connection(('127.0.0.1', port))]\n"  # nobody accepts it: the next is not answered
            "main = threading.get_native_id()\n"
            "def rewrite():\n"
            "    while not open(f'/proc/self/task/{main}/syscall').read().startswith('42 '): pass\n"
            "    memory[4:8] = bytes([10, 1, 2, 3])\n"
            "other = threading.Thread(target=rewrite); other.start()\n"
            "s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack('ll', 2, 0))\n"
            "libc.connect(s.fileno(), memory, 16); print(ctypes.get_errno()); other.join()\n"
        )
    assert int(box.output) == errno.EINPROGRESS
    honest, event = box.seen(Connect)
    assert (honest.differs, honest.asked_address) == (False, "")
    assert (event.ret, event.address, event.port) == (-errno.EINPROGRESS, "127.0.0.1", port)
    assert (event.differs, event.asked_address, event.asked_port) == (True, "10.1.2.3", port)


def test_connect_over_ipv6_and_unix(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as hidden:
        listener.bind(str(path))
        listener.listen()
        hidden.bind(f"\0shipwall-{os.getpid()}")
        hidden.listen()
        box.run(
            "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
            "for a in ('::1', '::ffff:127.0.0.1'): s.connect_ex((a, 5353))\n"
            f"u = socket.socket(socket.AF_UNIX); u.connect({str(path)!r})\n"
            f"a = socket.socket(socket.AF_UNIX); a.connect('\\0shipwall-{os.getpid()}')\n"
            "n = socket.socket(socket.AF_UNIX); n.connect_ex('/no/such/socket')\n"
        )
    found = [(event.family, event.protocol, event.address, event.port, event.ret) for event in box.seen(Connect)]
    assert found[1:] == [
        ("ipv6", "udp", "127.0.0.1", 5353, found[1][4]),
        ("unix", "unix", str(path), 0, 0),
        ("unix", "unix", f"@shipwall-{os.getpid()}", 0, 0),
        ("unix", "unix", "/no/such/socket", 0, -errno.ENOENT),
    ]
    assert found[0][:4] == ("ipv6", "udp", "::1", 5353)


def test_changes_of_identity(box: Box) -> None:
    pid = box.run(
        "libc.prctl(8, 1)\n"  # keep the capabilities for the capset below
        "os.setgroups([]); os.setresgid(-1, 7, -1); os.setreuid(-1, 6)\n"
        "head = struct.pack('<II', 0x20080522, 0); data = bytes(24)\n"
        "assert call(126, head, data) == 0\n"
        "try: os.setuid(0)\n"
        "except PermissionError: pass\n"
    )
    changes = box.seen(Privilege)
    after = [
        ("setgroups", -1, -1, 0, 0, 0),
        ("setresgid", -1, 7, 0, 7, 0),
        ("setreuid", 6, -1, 6, 7, 0),
        ("capset", -1, -1, 6, 7, 0),
        ("setuid", 0, -1, 0, 7, 0),
    ]
    for event, (act, new_uid, new_gid, uid, gid, ret) in zip(changes, after, strict=True):
        assert event == Privilege(
            **box.header(event, pid, uid=uid, gid=gid, ret=ret, syscall=act),
            act=act,
            new_uid=new_uid,
            new_gid=new_gid,
            cap_effective=event.cap_effective,
        )
    assert changes[0].cap_effective != 0
    assert changes[3].cap_effective == 0


def test_refused_change_of_identity(box: Box) -> None:
    box.run(f"os.setresuid(*[{NOBODY}]*3)\ntry: os.setuid(0)\nexcept PermissionError: pass\n")
    refused = box.seen(Privilege)[-1]
    assert (refused.act, refused.new_uid, refused.ret, refused.uid) == ("setuid", 0, -errno.EPERM, NOBODY)


def test_module_and_bpf_attempts(box: Box, tmp_path: Path) -> None:
    (tmp_path / "evil.ko").write_text("x")
    pid = box.run(
        f"fd = os.open({str(tmp_path / 'evil.ko')!r}, os.O_RDONLY); os.setresuid(*[{NOBODY}]*3)\n"
        "call(313, fd, b'', 0); call(175, b'xx', 2, b''); call(176, b'gone', 0); call(321, 5, bytes(128), 128)\n"
    )
    wanted = [
        ("finit_module", str(tmp_path / "evil.ko")),
        ("init_module", ""),
        ("delete_module", "gone"),
        ("bpf", "BPF_PROG_LOAD"),
    ]
    for event, (act, name) in zip(box.seen(Module), wanted, strict=True):
        assert event.ret in {-errno.EPERM, -errno.ENOSYS}  # ENOSYS: a kernel without modules
        assert event == Module(**box.header(event, pid, uid=NOBODY, ret=event.ret, syscall=act), act=act, name=name)


def test_namespaces(box: Box) -> None:
    pid = box.run(
        "NEWUTS = 0x04000000\n"
        "def born(pid):\n"
        "    if pid == 0: os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "assert libc.unshare(NEWUTS) == 0\n"
        "assert libc.setns(os.open('/proc/self/ns/uts', os.O_RDONLY), NEWUTS) == 0\n"
        "born(call(56, NEWUTS | 17, 0, 0, 0, 0))\n"
        "born(call(435, struct.pack('<11Q', NEWUTS, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88))\n"
        "born(os.fork())\n"
    )
    events = box.seen(Namespace)
    forks = [fork.child_ns_pid for fork in box.seen(Fork)]
    for event, act, ret in zip(events, ("unshare", "setns", "clone", "clone3"), (0, 0, forks[0], forks[1]), strict=True):
        assert event == Namespace(**box.header(event, pid, ret=ret, syscall=act), act=act, flags=0x04000000)


def test_mounts(box: Box, tmp_path: Path) -> None:
    place = str(tmp_path).encode()
    pid = box.run(
        f"place = {place!r}\n"
        "assert libc.unshare(0x20000) == 0 and libc.mount(b'none', b'/', None, 0x44000, None) == 0\n"
        "assert libc.mount(b'name', place, b'tmpfs', 6, None) == 0\n"
        "tree = call(428, -100, place, 1); assert tree >= 0\n"
        "assert call(430, b'tmpfs', 1) >= 0\n"
        "assert call(429, tree, b'', -100, b'/no/such', 4) == -1\n"
        "assert call(155, b'/no/new', b'/no/old') == -1\n"
        "assert libc.umount2(place, 2) == 0\n"
        "os.chroot(place)\n"
    )
    text = place.decode()
    wanted = [
        ("mount", "none", "/", "", 0x44000, 0),
        ("mount", "name", text, "tmpfs", 6, 0),
        ("open_tree", text, "", "", 1, None),
        ("fsopen", "", "", "tmpfs", 1, None),
        ("move_mount", "", "/no/such", "", 4, -errno.ENOENT),
        ("pivot_root", "/no/new", "/no/old", "", 0, -errno.ENOENT),
        ("umount2", "", text, "", 2, 0),
        ("chroot", "", text, "", 0, 0),
    ]
    for event, (act, source, target, fstype, flags, ret) in zip(box.seen(Mount), wanted, strict=True):
        assert event == Mount(
            **box.header(event, pid, ret=event.ret if ret is None else ret, syscall=act),
            act=act,
            source=source,
            target=target,
            fstype=fstype,
            flags=flags,
        )


def test_a_socket_on_a_standard_descriptor(box: Box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        pid = box.run(
            f"s = socket.create_connection(('127.0.0.1', {port})); print(s.fileno(), flush=True)\n"
            "os.dup2(s.fileno(), 0)\n"  # inheritable False would be dup3; Python's default asks dup2
            "call(292, s.fileno(), 2, 0)\n"
            "os.close(0); import fcntl; fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 0)\n"
            "os.close(0); os.dup(s.fileno())\n"
            "n = os.open('/dev/null', os.O_RDWR); os.dup2(n, 0); os.dup2(s.fileno(), 50)\n"
        )
    fd = int(box.output)
    events = box.seen(Duplicate)
    assert [event.syscall for event in events] == ["dup2", "dup3", "fcntl", "fcntl"]  # os.dup is F_DUPFD_CLOEXEC
    for event, new_fd in zip(events, (0, 2, 0, 0), strict=True):
        assert event == Duplicate(
            **box.header(event, pid, ret=new_fd, syscall=event.syscall),
            old_fd=fd,
            new_fd=new_fd,
            address="127.0.0.1",
            port=port,
        )


CODE_32 = "53b8{number}bb{first}b9{second}ba{third}cd805bc3"  # push rbx; mov eax, ebx, ecx, edx; int 0x80; pop rbx; ret


def _call_32(number: int, first: str, second: str = "0", third: str = "0") -> str:
    """Python that makes a 32-bit call; arguments are expressions over `low`, the address of a page under 4 GB that holds `text`."""
    code = CODE_32.format(number=number.to_bytes(4, "little").hex(), first="%s", second="%s", third="%s")
    words = ", ".join(f"({word} & 0xffffffff).to_bytes(4, 'little').hex()" for word in (first, second, third))
    return (
        f"code = bytes.fromhex({code!r} % ({words}))\n"
        "ctypes.memmove(low + 2048, code, len(code))\n"
        "results.append(ctypes.CFUNCTYPE(ctypes.c_int)(low + 2048)())\n"
    )


PAGE_32 = (
    "libc.mmap.restype = ctypes.c_void_p\n"
    "low = libc.mmap(None, 4096, 7, 0x62, -1, 0)\n"  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT
    "results = []\n"
    "def put(text): ctypes.memmove(low, text, len(text))\n"
)


def test_32_bit_calls_are_events_like_the_others(box: Box, tmp_path: Path) -> None:
    """By int 0x80: an open for writing (5), an unlink (10), a refused setuid (213), a connect through socketcall (102)."""
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        box.run(
            PAGE_32
            + f"put({str(path)!r}.encode() + bytes(1))\n"
            + _call_32(5, "low", "os.O_WRONLY | os.O_CREAT", "0o600")
            + _call_32(10, "low")
            + "s = socket.socket(socket.AF_UNIX)\n"
            + f"name = struct.pack('<H', 1) + {str(tmp_path / 's')!r}.encode() + bytes(1)\n"
            + "put(struct.pack('<III', s.fileno(), low + 64, len(name)) + bytes(52) + name)\n"
            + _call_32(102, "3", "low")
            + f"os.setresuid(*[{NOBODY}]*3)\n"
            + _call_32(213, "0")
            + "print(*results, flush=True); os._exit(0)",
            check=False,
        )
    if box.seen(Exit)[0].ret:
        pytest.skip("this kernel runs no 32-bit calls")
    assert [int(word) for word in box.output.split()][1:] == [0, 0, -errno.EPERM]
    opened = box.seen(Open)[-1]
    assert (opened.syscall, opened.foreign, opened.path, opened.asked) == ("open", True, str(path), str(path))
    assert opened.flags & (os.O_WRONLY | os.O_CREAT) == os.O_WRONLY | os.O_CREAT
    unlinked = next(event for event in box.seen(Call) if event.syscall == "unlink")
    assert (unlinked.foreign, unlinked.paths, unlinked.ret) == (True, (str(path),), 0)
    connected = box.seen(Connect)[-1]
    assert (connected.foreign, connected.address, connected.ret) == (True, str(tmp_path / "s"), 0)
    refused = box.seen(Privilege)[-1]
    assert (refused.act, refused.foreign, refused.new_uid, refused.ret) == ("setuid", True, 0, -errno.EPERM)
    assert box.sensor.counters().lost_by_cgroup.get(box.id, {}) == {}


def test_a_32_bit_call_is_not_taken_for_the_64_bit_one_of_its_number(box: Box) -> None:
    """Number 42 is pipe for 32-bit callers and connect for 64-bit ones: counted as what it is."""
    box.run(PAGE_32 + _call_32(42, "0") * 3 + "os._exit(0)", check=False)
    if box.seen(Exit)[0].ret:
        pytest.skip("this kernel runs no 32-bit calls")
    assert box.seen(Connect) == []
    counted = box.sensor.calls()[box.id]
    assert counted["pipe"] == (3, 3)  # EFAULT: the page is not at 0
    assert "connect" not in counted
