"""The generic handler: one real act per family of calls, every part of the event asserted; and counting that is exact."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest
from tests.kernel.conftest import Box

from shipwall.abi.calls import CALLS, CALLS_BY_NAME
from shipwall.kernel.sensor import DEFAULT_CALLS, Sensor
from shipwall.model.event import Call, Descriptor
from shipwall.runtime.arguments import arguments

pytestmark = [pytest.mark.root, pytest.mark.bpf]

ALL = tuple(call.name for call in CALLS)


def named(box: Box, name: str) -> list[Call]:
    """The events of the call `name`."""
    return [event for event in box.seen(Call) if isinstance(event, Call) and event.syscall == name]


def said(event: Call) -> str:
    """Its arguments as a rule's output has them."""
    return " ".join(f"{name}={value}" for name, value in arguments(event))


def test_names_in_the_file_system(box: Box, tmp_path: Path) -> None:
    """Each call with a relative and an absolute path, or with a folder's descriptor; what was asked and what it means."""
    place = str(tmp_path)
    (tmp_path / "d").mkdir()
    pid = box.run(
        f"os.chdir({place!r}); d = os.open('d', os.O_PATH); print(d)\n"
        "os.mkdir('one', 0o751); os.mkdir('two', 0o700, dir_fd=d)\n"
        "call(83, b'../%s/three', 0o700)\n"
        % tmp_path.name
        + "open('f', 'w').close(); os.link('f', 'g'); os.link('f', 'h', dst_dir_fd=d, src_dir_fd=d) if 0 else None\n"
        "call(86, b'f', b'k'); call(265, -100, b'f', d, b'h', 0x400)\n"
        "call(88, b'/etc/shadow', b'link'); os.symlink('x', 'l', dir_fd=d)\n"
        "call(82, b'g', b'moved'); call(264, d, b'h', -100, b'back'); call(316, -100, b'back', d, b'h', 1)\n"
        "call(90, b'f', 0o4755); os.fchmodat = None; call(268, d, b'h', 0o600); call(452, d, b'h', 0o111, 0x100)\n"
        "call(92, b'f', 1, 2); call(94, b'link', 3, 4); call(260, d, b'h', 5, -1, 0x100)\n"
        "call(76, b'f', 10); call(133, b'fifo', 0o10644, 0); call(259, d, b'fifo', 0o10600, 0)\n"
        "call(188, b'f', b'user.x', b'v', 1, 0)\n"
        "call(280, d, b'h', None, 0x100)\n"
        "call(87, b'f'); call(263, d, b'two', 0x200); call(84, b'one'); call(87, b'/no/such//x/../y')\n"
    )
    d = int(box.output)
    below = f"{place}/d"
    expected = [
        ("mkdir", f"path={place}/one mode=751"),
        ("mkdirat", f"dirfd={d} path={below}/two mode=700"),
        ("mkdir", f"path={place}/three mode=700"),
        ("link", f"oldpath={place}/f newpath={place}/k"),
        ("linkat", f"olddir=AT_FDCWD oldpath={place}/f newdir={d} newpath={below}/h flags=AT_SYMLINK_FOLLOW"),
        ("symlink", f"target=/etc/shadow linkpath={place}/link"),
        ("symlinkat", f"target=x linkdirfd={d} linkpath={below}/l"),
        ("rename", f"oldpath={place}/g newpath={place}/moved"),
        ("renameat", f"olddirfd={d} oldpath={below}/h newdirfd=AT_FDCWD newpath={place}/back"),
        ("renameat2", f"olddirfd=AT_FDCWD oldpath={place}/back newdirfd={d} newpath={below}/h flags=RENAME_NOREPLACE"),
        ("chmod", f"filename={place}/f mode=S_IXOTH|S_IROTH|S_IXGRP|S_IRGRP|S_IXUSR|S_IWUSR|S_IRUSR|S_ISUID"),
        ("fchmodat", f"dirfd={d} filename={below}/h mode=S_IWUSR|S_IRUSR"),
        ("fchmodat2", f"dirfd={d} filename={below}/h mode=S_IXOTH|S_IXGRP|S_IXUSR flags=AT_SYMLINK_NOFOLLOW"),
        ("chown", f"path={place}/f uid=1 gid=2"),
        ("lchown", f"path={place}/link uid=3 gid=4"),
        ("fchownat", f"dirfd={d} pathname={below}/h uid=5 gid=-1 flags=AT_SYMLINK_NOFOLLOW"),
        ("truncate", f"path={place}/f length=10"),
        ("mknod", f"path={place}/fifo mode=S_IROTH|S_IRGRP|S_IWUSR|S_IRUSR dev=0"),
        ("mknodat", f"dirfd={d} path={below}/fifo mode=S_IWUSR|S_IRUSR dev=0"),
        ("setxattr", f"path={place}/f name=user.x"),
        ("utimensat", f"dirfd={d} path={below}/h flags=AT_SYMLINK_NOFOLLOW"),
        ("unlink", f"path={place}/f"),
        ("unlinkat", f"dirfd={d} name={below}/two flags=AT_REMOVEDIR"),
        ("rmdir", f"path={place}/one"),
        ("unlink", "path=/no/such/y"),
    ]
    linked = [event for event in box.seen(Call) if event.syscall in {"link", "linkat"}]
    events = [event for event in box.seen(Call) if isinstance(event, Call)]
    assert linked[0].paths == (f"{place}/f", f"{place}/g")  # os.link
    events.remove(linked[0])
    assert [(event.syscall, said(event)) for event in events] == expected
    assert events[0] == Call(
        **box.header(events[0], pid, syscall="mkdir"),
        raw=events[0].raw,
        asked=("one",),
        paths=(f"{place}/one",),
    )
    assert [event.ret for event in events if event.syscall not in {"fchmodat2", "setxattr"}] == [0] * 22 + [-errno.ENOENT]


def test_a_path_is_told_as_seen_from_the_host(box: Box, tmp_path: Path) -> None:
    (tmp_path / "root" / "etc").mkdir(parents=True)
    box.run(f"os.chroot({str(tmp_path / 'root')!r}); os.chdir('/'); os.mkdir('/etc/x'); os.mkdir('y')")
    assert [event.paths for event in named(box, "mkdir")] == [(f"{tmp_path}/root/etc/x",), (f"{tmp_path}/root/y",)]


def test_long_paths_all_fit(box: Box, tmp_path: Path) -> None:
    """Two folders and two names of nearly the greatest length each."""
    deep = "/".join(["n" * 200] * 18)
    box.run(
        f"os.chdir({str(tmp_path)!r})\n"
        f"for part in {deep!r}.split('/'): os.mkdir(part); os.chdir(part)\n"
        f"call(82, b'../' * 900 + b'a', b'../' * 901 + b'b')\n"
    )
    (event,) = named(box, "rename")
    assert [len(asked) for asked in event.asked] == [2701, 2704]
    assert event.paths == ("/a", "/b")


def test_descriptors_tell_what_was_really_changed(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "real"
    path.write_text("x")
    (tmp_path / "link").symlink_to("real")
    facts = path.stat()
    pid = box.run(
        f"f = os.open({str(tmp_path / 'link')!r}, os.O_RDONLY); r, w = os.pipe(); print(f, w)\n"
        "os.fchmod(f, 0o6755); os.fchown(f, 7, 8); os.fchmod(w, 0o600); call(91, 999, 0)\n"
    )
    f, w = map(int, box.output.split())
    chmod, pipe, none = named(box, "fchmod")
    (chown,) = named(box, "fchown")
    what = Descriptor(fd=f, type="file", path=str(path), inode=facts.st_ino, device=facts.st_dev)
    assert chmod == Call(**box.header(chmod, pid, syscall="fchmod"), raw=chmod.raw, descriptors=(what,))
    assert chmod.raw[:2] == (f, 0o6755)
    assert (chown.descriptors, said(chown)) == ((what,), f"fd={f} uid=7 gid=8")
    assert (pipe.descriptors[0].fd, pipe.descriptors[0].type, pipe.descriptors[0].path) == (w, "fifo", "")
    assert (none.ret, none.descriptors) == (-errno.EBADF, (Descriptor(fd=999, type=""),))


def test_signals_and_other_processes(box: Box) -> None:
    pid = box.run(
        "me = os.getpid(); call(62, me, 0); call(200, me, 0); call(234, me, me, 0)\n"
        "p = call(434, me, 0); call(424, p, 0, 0, 0); call(438, p, 0, 0); print(p)\n"
        "v = struct.pack('QQ', 0, 0); call(310, me, v, 1, v, 1, 0); call(311, me, v, 1, v, 1, 0)\n"
        "call(101, 0x4206, 999999, 0, 0); call(101, 16, 999999, 0, 0); call(129, me, 17, bytes(128))\n"
    )
    p = int(box.output)
    tid = pid
    expected = {
        "kill": f"pid={pid} sig=0",
        "tkill": f"tid={tid} sig=0",
        "tgkill": f"pid={pid} tid={tid} sig=0",
        "pidfd_open": f"fd={p} pid={pid} flags=0",
        "pidfd_send_signal": f"fd={p} sig=0",
        "process_vm_readv": f"pid={pid}",
        "process_vm_writev": f"pid={pid}",
        "rt_sigqueueinfo": f"pid={pid} sig=SIGCHLD",
    }
    assert {name: said(named(box, name)[0]) for name in expected} == expected
    assert [said(event) for event in named(box, "ptrace")] == [
        "request=PTRACE_SEIZE pid=999999 addr=0 data=0",
        "request=PTRACE_ATTACH pid=999999 addr=0 data=0",
    ]
    assert named(box, "ptrace")[0].ret == -errno.ESRCH
    (got,) = named(box, "pidfd_getfd")
    assert said(got) == f"fd={got.ret} pid_fd={p} target_fd=0 flags=0"


def test_memory_and_kernel_interfaces(box: Box) -> None:
    box.sensor.set_calls(ALL)
    try:
        box.run(
            "m = call(319, b'name', 3); print(m)\n"
            "libc.mmap.restype = ctypes.c_void_p\n"
            "libc.mmap(None, 4096, 3, 0x22, -1, 0)\n"  # not executable: no event
            "a = libc.mmap(None, 4096, 5, 0x22, -1, 0); libc.mprotect(ctypes.c_void_p(a), 4096, 7)\n"
            "call(425, 0, None); call(426, 999, 1, 2, 3, None, 0); call(427, 999, 9, None, 0)\n"
            "call(323, 1); call(298, bytes(112), 1, -1, -1, 0)\n"
            "call(157, 38, 1, 0, 0, 0); call(317, 9, 0, None); call(135, 0xffffffff)\n"
            "call(250, 0, 0); call(431, 999, 1, b'key', None, 0); call(432, 999, 0, 0); call(433, -100, b'/no', 0)\n"
            "call(442, -100, b'/no', 0x8000, None, 0)\n"
        )
    finally:
        box.sensor.set_calls(DEFAULT_CALLS)
    m = int(box.output)
    (memfd,) = named(box, "memfd_create")
    assert said(memfd) == f"fd={m} name=name flags=MFD_CLOEXEC|MFD_ALLOW_SEALING"
    assert (memfd.descriptors[0].fd, memfd.descriptors[0].type, memfd.descriptors[0].path) == (m, "file", "/memfd:name")
    (mapped,) = named(box, "mmap")
    assert said(mapped) == "addr=0 length=4096 prot=PROT_READ|PROT_EXEC flags=MAP_PRIVATE|MAP_ANONYMOUS fd=-1 offset=0"
    (protected,) = named(box, "mprotect")
    assert said(protected) == f"addr={mapped.ret & 0xFFFFFFFFFFFFFFFF:x} length=4096 prot=PROT_READ|PROT_WRITE|PROT_EXEC"
    expected = {
        "io_uring_setup": "entries=0",
        "io_uring_enter": "fd=999 to_submit=1 min_complete=2 flags=3",
        "io_uring_register": "fd=999 opcode=IORING_REGISTER_PERSONALITY arg=0 nr_args=0",
        "prctl": "option=PR_SET_NO_NEW_PRIVS arg2_int=1",
        "seccomp": "op=9 flags=0",
        "personality": "persona=ffffffff",
        "keyctl": "cmd=0",
        "fsconfig": "fd=999 cmd=1 key=key",
        "fsmount": "fs_fd=999 flags=0",
        "fspick": "dirfd=AT_FDCWD path=/no flags=0",
        "mount_setattr": "dirfd=AT_FDCWD path=/no flags=AT_RECURSIVE",
    }
    for name, text in expected.items():
        (event,) = named(box, name)
        assert said(event).removeprefix(f"fd={event.ret} ") == text, name
    assert len(named(box, "userfaultfd")) == len(named(box, "perf_event_open")) == 1
    assert named(box, "perf_event_open")[0].raw[1] & 0xFFFFFFFF == 0xFFFFFFFF or "pid=1" in said(named(box, "perf_event_open")[0])


def test_a_server_and_its_client(box: Box) -> None:
    """socket, bind, listen, accept, and messages with their ends as the kernel has them."""
    box.sensor.set_calls(ALL)
    try:
        pid = box.run(
            "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(5); port = s.getsockname()[1]\n"
            "c = socket.create_connection(('127.0.0.1', port)); a, peer = s.accept()\n"
            "c.send(b'hello'); a.recv(100); c.sendmsg([b'wor', b'ld']); a.recvmsg(100); c.shutdown(1)\n"
            "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.sendto(b'\\xffping', ('127.0.0.9', 53))\n"
            "u.sendmsg([b'pong'], [], 0, ('127.0.0.8', 54))\n"
            "a.setblocking(False)\n"
            "try: s.setblocking(False); s.accept()\n"
            "except BlockingIOError: pass\n"
            "p = socket.socketpair()[0]\n"
            "try: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()\n"
            "except OSError: pass\n"
            "print(s.fileno(), c.fileno(), a.fileno(), u.fileno(), port, peer[1])\n"
        )
    finally:
        box.sensor.set_calls(DEFAULT_CALLS)
    s, c, a, u, port, client = map(int, box.output.split())
    made = named(box, "socket")
    assert said(made[0]) == f"fd={s} domain=AF_INET type={socket.SOCK_STREAM | socket.SOCK_CLOEXEC} proto=0"
    assert any("domain=AF_PACKET" in said(event) for event in made)
    (bind,) = named(box, "bind")
    own = bind.descriptors[0]
    assert (bind.family, bind.address, bind.port, bind.differs) == ("ipv4", "127.0.0.1", 0, False)
    assert own == Descriptor(
        fd=s, type="ipv4", inode=own.inode, device=own.device, protocol="tcp", local="127.0.0.1", local_port=port
    )
    (listen,) = named(box, "listen")
    assert said(listen) == f"fd={s} backlog=5"
    (accept,) = named(box, "accept4")  # the empty wait is no event
    assert accept == Call(**box.header(accept, pid, ret=a, syscall="accept4"), raw=accept.raw, descriptors=accept.descriptors)
    taken, listener = accept.descriptors
    assert (taken.fd, taken.local, taken.local_port, taken.remote, taken.remote_port) == (
        a,
        "127.0.0.1",
        port,
        "127.0.0.1",
        client,
    )
    assert (listener.fd, listener.local_port, listener.remote) == (s, port, "")
    sent, datagram = named(box, "sendto")
    assert (sent.data, sent.ret, sent.descriptors[0].fd, sent.descriptors[0].remote_port) == ("hello", 5, c, port)
    assert (datagram.data, datagram.family, datagram.address, datagram.port) == ("\\xffping", "ipv4", "127.0.0.9", 53)
    assert (datagram.descriptors[0].fd, datagram.descriptors[0].protocol, datagram.descriptors[0].remote) == (u, "udp", "")
    (received,) = named(box, "recvfrom")
    assert (received.data, received.descriptors[0].remote_port) == ("hello", client)
    first, other = named(box, "sendmsg")
    assert (first.data, first.address, first.ret) == ("wor", "", 5)
    assert (other.data, other.address, other.port) == ("pong", "127.0.0.8", 54)
    (message,) = named(box, "recvmsg")
    assert message.ret == 5
    assert message.data.startswith("world")
    assert said(named(box, "shutdown")[0]) == f"fd={c} how=1"
    assert said(named(box, "socketpair")[0]).startswith("domain=AF_UNIX type=")


def test_only_refused_forks_are_told_as_calls(box: Box) -> None:
    box.run("import resource\nos.waitpid(os.fork() or os._exit(0), 0)\n")
    assert named(box, "fork") == []


def test_every_described_call_is_tried_with_nonsense(box: Box) -> None:
    """Bad pointers, bad descriptors: an event each, nothing undecodable, whatever could not be read is empty."""
    left_out = {
        "fork",
        "vfork",
        "reboot",
        "settimeofday",
        "clock_settime",
        "kexec_load",
        "sethostname",
        "setdomainname",
        "iopl",
        "ioperm",
    }
    wanted = [call for call in CALLS if call.family == "call" and call.name not in left_out and not call.options & {"exec"}]
    numbers = [call.number for call in wanted]
    before = box.sensor.counters().undecodable
    box.sensor.set_calls(ALL)
    try:
        box.run(f"os.setresuid(*[65534]*3)\nfor n in {numbers}: call(n, -1, 1, -1, 1, -1, -1)\n")
    finally:
        box.sensor.set_calls(DEFAULT_CALLS)
    seen = {event.syscall for event in box.seen(Call)}
    assert {call.name for call in wanted} - seen == set()
    assert box.sensor.counters().undecodable == before
    for event in box.seen(Call):
        assert isinstance(event, Call)
        arguments(event)


@pytest.mark.parametrize("poll", [True, False])
def test_counting_is_exact(sensor: Sensor, folder: Path, poll: bool) -> None:
    """Known numbers of several calls, failing ones too, from two threads; also while nobody reads events."""
    sensor.watch_parent(folder)
    box = Box(sensor, folder)
    box.run(
        "def act():\n"
        "    for _ in range(5000): call(110)\n"  # getppid
        "    for _ in range(700): call(3, 999)\n"  # close: EBADF
        "other = threading.Thread(target=act); other.start(); act(); other.join()\n"
        "for _ in range(300): call(83, b'/no/such/folder', 0)\n"  # mkdir, also an event
        "for _ in range(11): call(500)\n"  # no such call
        "for _ in range(7): call(100000)\n",
        poll=poll,
    )
    counted = sensor.calls()[box.id]
    assert counted["getppid"] == (10_000, 0)
    assert counted["close"].errors == 1400
    assert counted["mkdir"] == (300, 300)
    assert counted["other"] == (18, 18)
    assert box.id not in sensor.uncounted()
    sensor.unwatch(box.id)


def test_hot_calls_are_only_read_when_asked_for(box: Box) -> None:
    assert not {"sendto", "recvfrom", "mmap"} & set(DEFAULT_CALLS)
    act = "a, b = socket.socketpair(); a.send(b'x'); b.recv(1)\n"
    box.run(act)
    assert named(box, "sendto") == []
    assert box.sensor.calls()[box.id]["sendto"].calls == 1
    assert all(name in CALLS_BY_NAME for name in DEFAULT_CALLS)
