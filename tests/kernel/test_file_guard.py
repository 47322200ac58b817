"""What a container's rules refuse to open is not opened by any road; nothing hangs when whoever answers is stopped or killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Journal
from shipwall.adapters.supervise import ProcessRecord, read_process
from shipwall.journeys.cleanup import clean_up
from shipwall.journeys.file_guard import FileGuard, take_away
from shipwall.kernel.file_guard_loop import PACKET_BYTES, Ask, Unmarked
from shipwall.model.errors import InputError, KernelError
from shipwall.runtime.file_refusals import FileRefusal

pytestmark = [pytest.mark.root]

_CONTAINER = """
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
base, procs = sys.argv[1:]
open(procs, 'w').write('0')
def mount(source, target, kind, flags, options=None):
    assert libc.mount(source.encode(), target.encode(), kind, flags, options and options.encode()) == 0, (target, ctypes.get_errno())
assert libc.unshare(0x20000) == 0 and libc.mount(None, b'/', None, 0x44000, None) == 0
mount('none', base + '/root', b'overlay', 0, f'lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work')
mount('none', base + '/root/tmp', b'tmpfs', 0)
mount('none', base + '/root/proc', b'proc', 0)
mount(base + '/host', base + '/root/volume', None, 0x1000)
os.chroot(base + '/root'); os.chdir('/')
def attempt(path, flags=os.O_RDONLY, **more):
    try: os.close(os.open(path, flags, **more)); return 'done'
    except OSError as error: return errno.errorcode[error.errno]
def execute(path):
    pid = os.fork()
    if pid == 0:
        try: os.execv(path, ['x'])
        except OSError as error: os._exit(error.errno)
    return errno.errorcode[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
print('ready', flush=True)
for line in sys.stdin:
    print(repr(eval(line)), flush=True)
"""


class Container:
    """A process in a root of its own, which answers with what an expression gives there."""

    def __init__(self, base: Path, cgroup: Path) -> None:
        for name in ("lower/etc/inner", "lower/tmp", "lower/proc", "lower/volume", "upper", "work", "root", "host"):
            (base / name).mkdir(parents=True)
        for name in ("lower/etc/secret", "lower/etc/open", "lower/etc/inner/key", "host/secret"):
            (base / name).write_text("x")
        (base / "lower/etc/inner/tool").write_text("#!/nowhere\n")
        (base / "lower/etc/inner/tool").chmod(0o755)
        (base / "lower/etc/link").symlink_to("/etc/secret")
        command = [sys.executable, "-I", "-S", "-c", _CONTAINER, str(base), str(cgroup / "cgroup.procs")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.cgroup = f"/{cgroup.name}"
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, expression: str) -> object:
        """What `expression` gives inside."""
        self.send(expression)
        return eval(self._line())

    def send(self, expression: str) -> None:
        """Begin it."""
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def container(tmp_path: Path, folder: Path) -> Iterator[Container]:
    """A container of an overlay, a tmpfs and a folder of the host."""
    made = Container(tmp_path / "c", folder)
    yield made
    made.end()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for the guard, short enough for a socket; nothing of it is left."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made) / "g"
        take_away(Path(made) / "g")


@pytest.fixture
def guard(place: Path) -> Iterator[FileGuard]:
    """A guard."""
    with FileGuard(place) as made:
        yield made


def put(guard: FileGuard, container: Container, *conditions: str, mode: str = "deny") -> tuple[Unmarked, ...]:
    """The mounts left out when each condition is in force as a rule of its own name."""
    refusals = tuple(FileRefusal(rule=condition, condition=condition, mode=mode) for condition in conditions)
    return guard.guard("c", container.process.pid, container.cgroup, refusals).unmarked


def test_by_whatever_road_a_refused_name_is_not_opened(guard: FileGuard, container: Container) -> None:
    assert put(guard, container, "fd.name in (/etc/secret, /volume/secret, /tmp/secret)", "fd.name startswith /etc/inner/") == (
        Unmarked("/proc", "proc is not asked about"),
    )
    roads = [
        "'/etc/secret'", "'/etc/../etc/./secret'", "'/etc/link'", "'secret', dir_fd=os.open('/etc', os.O_PATH)", "'/volume/secret'",
        "'/etc/secret', os.O_RDWR", "'/etc/secret', os.O_WRONLY | os.O_TRUNC",
        "'/etc/inner/key'", "'/tmp/secret', os.O_CREAT | os.O_WRONLY",
        "f'/proc/self/fd/{os.open(\"/etc/secret\", os.O_PATH)}'",
    ]  # fmt: skip
    assert [container.ask(f"attempt({road})") for road in roads] == ["EPERM"] * len(roads)
    assert container.ask("os.stat('/etc/secret').st_size") == 1  # not even emptied
    assert container.ask("os.stat('/tmp/secret').st_size") == 0  # a creating open is refused, the empty file is there
    assert [container.ask(f"attempt({path!r})") for path in ("/etc/open", "/etc", "/etc/inner")] == ["done"] * 3
    decisions, untold = guard.take()
    assert untold == 0
    assert [(one.path, one.denied, one.container) for one in decisions] == [
        (path, True, "c")
        for path in [*["/etc/secret"] * 4, "/volume/secret", *["/etc/secret"] * 2, "/etc/inner/key", "/tmp/secret", "/etc/secret"]
    ]
    assert decisions[7].rules == ("fd.name startswith /etc/inner/",)


def test_for_reading_and_for_writing_are_told_apart_and_an_exec_is_no_open(guard: FileGuard, container: Container) -> None:
    put(guard, container, "evt.is_open_write = true and fd.directory = /etc", "fd.name = /etc/inner/tool")
    found = [container.ask(f"attempt('/etc/open', {flags})") for flags in ("os.O_RDONLY", "os.O_WRONLY", "os.O_RDWR")]
    assert found == ["done", "EPERM", "EPERM"]
    assert container.ask("execute('/etc/inner/tool')") == "ENOENT"  # its interpreter is what is missing
    assert container.ask("attempt('/etc/inner/tool')") == "EPERM"


def test_monitored_it_is_told_and_goes_on(guard: FileGuard, container: Container) -> None:
    put(guard, container, "fd.name = /etc/secret", mode="monitor")
    assert container.ask("[attempt('/etc/secret'), attempt('/etc/secret')]") == ["done", "done"]
    decisions, _ = guard.take()
    assert [(one.path, one.denied) for one in decisions] == [("/etc/secret", False)] * 2


def test_what_nobody_refuses_is_asked_about_once(guard: FileGuard, container: Container) -> None:
    put(guard, container, "fd.name = /etc/secret")
    assert container.ask("[attempt('/etc/open') for _ in range(100)]") == ["done"] * 100
    (state,) = guard.states()
    assert (state.asked, state.ignored, state.denied) == (1, 1, 0)
    container.ask("os.link('/etc/inner/key', '/etc/second')")  # of two names the one may hide the other
    assert container.ask("[attempt('/etc/second') for _ in range(10)]") == ["done"] * 10
    assert guard.states()[0].asked == 11
    container.ask("os.rename('/etc/open', '/etc/inner/new')")
    put(guard, container, "fd.name = /etc/inner/new", "fd.name = /etc/later")  # what was judged by other rules is judged again
    assert container.ask("[attempt('/etc/inner/new'), attempt('/etc/secret')]") == ["EPERM", "done"]
    container.ask("os.rename('/etc/secret', '/etc/later')")  # the stated limit: its content was open under another name before
    assert container.ask("attempt('/etc/later')") == "done"


def test_the_host_and_other_containers_are_not_refused(guard: FileGuard, container: Container, tmp_path: Path) -> None:
    put(guard, container, "fd.filename = secret")
    inside = Path(f"/proc/{container.process.pid}/root/etc/secret")
    assert inside.read_text() == "x"  # through the container's own file system, by a process that is not in it
    assert (tmp_path / "c/host/secret").read_text() == "x"
    assert container.ask("attempt('/etc/secret')") == "EPERM"  # and that did not teach it to look away


def test_killed_agent_goes_on_killed_guard_lets_go(place: Path, container: Container) -> None:
    code = f"""
import os, signal
from pathlib import Path
from shipwall.journeys.file_guard import FileGuard
from shipwall.runtime.file_refusals import FileRefusal
guard = FileGuard(Path({str(place)!r}))
guard.guard("c", {container.process.pid}, {container.cgroup!r}, (FileRefusal(rule="kept", condition="fd.name = /etc/secret"),))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert container.ask("attempt('/etc/secret')") == "EPERM"
    with FileGuard(place) as second:
        assert [(state.container, state.rules, state.denied) for state in second.states()] == [("c", ("kept",), 1)]
        assert [one.rules for one in second.take()[0]] == [("kept",)]
        second.release("c")
        assert container.ask("attempt('/etc/secret')") == "done"
        put(second, container, "fd.name = /etc/secret")
        assert container.ask("attempt('/etc/secret')") == "EPERM"
        said = take_away(place)
        assert len(said) == 1
        assert container.ask("attempt('/etc/secret')") == "done"
        with pytest.raises(KernelError, match="opens are allowed"):
            second.states()
    with FileGuard(place) as third:
        assert third.states() == ()


def test_a_guard_that_does_not_answer_is_ended_and_what_waits_goes_on(place: Path, container: Container) -> None:
    with FileGuard(place) as guard:
        put(guard, container, "fd.name = /etc/secret")
        guard._socket.settimeout(0.3)
        pid = int((place / "process.json").read_text().partition(":")[2].partition(",")[0])
        os.kill(pid, signal.SIGSTOP)
        container.send("attempt('/etc/open')")
        with pytest.raises(KernelError, match="does not answer"):
            guard.states()
        assert container._line() == "'done'"
        assert read_process(pid) is None


def test_a_name_longer_than_the_kernel_tells_is_refused_and_nothing_stops(guard: FileGuard, container: Container) -> None:
    put(guard, container, "fd.name = /etc/secret")
    deep = "[os.mkdir('d' * 200) or os.chdir('d' * 200) for _ in range(30)]"
    container.ask(f"[os.chdir('/tmp'), {deep}]")
    assert container.ask("attempt('f', os.O_CREAT | os.O_WRONLY)") == "EPERM"
    assert container.ask("[os.chdir('/'), attempt('/etc/open'), attempt('/etc/secret')]") == [None, "done", "EPERM"]
    assert [one.path for one in guard.take()[0]] == ["", "/etc/secret"]


def test_hostile_names_and_many_rules_do_not_silence_it(guard: FileGuard, container: Container) -> None:
    # Each path is as long as a path may be, of bytes that are no text: 400 of them are far more than one answer holds.
    put(guard, container, "fd.filename startswith refused", "fd.name startswith /tmp/")
    name = "b'/tmp/' + b'/'.join([b'\\xff' * 250] * 15)"
    container.ask(f"os.makedirs({name})")
    tries = f"{{attempt({name} + b'/refused%d' % number, os.O_CREAT | os.O_WRONLY) for number in range(400)}}"
    assert container.ask(tries) == {"EPERM"}
    decisions, untold = guard.take()
    assert (len(decisions), untold) == (400, 0)
    assert decisions[0].path.endswith("/refused0")
    many = tuple(FileRefusal(rule=f"{number:0300}", condition="fd.name = /" + "x" * 2000) for number in range(90))
    with pytest.raises(InputError, match="take 2"):
        guard.guard("c", container.process.pid, container.cgroup, many)
    assert container.ask(tries) == {"EPERM"}
    for number in range(3):
        guard.guard(f"d{number}", container.process.pid, container.cgroup, many[:55])
    states = guard.states()
    assert [state.container for state in states] == ["c", "d0", "d1", "d2"]
    assert states[1].rules[-1] == "and 5 more"


def test_a_root_that_is_the_hosts_is_not_guarded(guard: FileGuard, container: Container) -> None:
    with pytest.raises(KernelError, match="none of its mounts can be guarded"):
        guard.guard("host", os.getpid(), container.cgroup, (FileRefusal(rule="r", condition="fd.name = /etc/secret"),))
    with pytest.raises(KernelError, match="file refusal"):
        put(guard, container, "fd.name =")


def test_cleanup_finds_it_in_the_journal(container: Container) -> None:
    with tempfile.TemporaryDirectory() as state:
        instance = Instance(Path(state))
        journal = Journal(instance.state / "journal.jsonl")
        journal.begin(str(instance.file_guard), "guard-files")
        with FileGuard(instance.file_guard) as guard:
            put(guard, container, "fd.name = /etc/secret")
        journal.confirm(str(instance.file_guard), "guard-files")
        assert container.ask("attempt('/etc/secret')") == "EPERM"
        (done,) = clean_up(instance).done
        assert done.act == "guard-files"
        assert container.ask("attempt('/etc/secret')") == "done"


def test_a_container_let_go_while_its_opens_wait_does_not_end_the_guard(
    guard: FileGuard, container: Container, place: Path
) -> None:
    """Question and open come to the guard in one round, the question first: it stands still meanwhile."""
    put(guard, container, "fd.name = /etc/secret")
    pid = msgspec.json.decode((place / "process.json").read_bytes(), type=ProcessRecord).pid
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
        asker.settimeout(10)
        asker.connect(str(place / "socket"))
        asker.send(msgspec.json.encode(Ask("state")))
        assert asker.recv(PACKET_BYTES)
        os.kill(pid, signal.SIGSTOP)
        _wait(f"/proc/{pid}/stat", ") T ")
        asker.send(msgspec.json.encode(Ask("release", "c")))
        container.send("attempt('/etc/secret')")
        _wait(f"/proc/{container.process.pid}/stack", "fanotify")
        os.kill(pid, signal.SIGCONT)
        assert asker.recv(PACKET_BYTES)
    assert container.ask("1") == "EPERM"  # what waited was answered before
    assert guard.states() == ()


def _wait(path: str, text: str) -> None:
    """Until the file says so."""
    until = time.monotonic() + 10
    while text not in Path(path).read_text():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_no_file_of_a_container_stops_the_guard(guard: FileGuard, container: Container) -> None:
    """Names of any bytes, a pipe nobody writes to, a file whose lease an open would have to break."""
    put(guard, container, "fd.name startswith /etc/inner/")
    assert container.ask(r"attempt(b'/etc/inner/\xff\n', os.O_CREAT | os.O_RDWR)") == "EPERM"
    assert container.ask(r"[os.mkfifo('/etc/pipe'), attempt('/etc/pipe', os.O_RDWR)][1]") == "done"
    assert container.ask("libc.signal(29, ctypes.c_void_p(1))") == 0  # SIGIO says that a lease ought to end
    assert container.ask("[os.mknod('/tmp/leased'), os.link('/tmp/leased', '/tmp/other')]") == [None, None]
    lease = "__import__('fcntl').fcntl(os.open('/tmp/leased', os.O_RDWR), 1024, 1)"
    assert container.ask(lease) == 0
    assert container.ask("attempt('/tmp/leased', os.O_RDONLY | os.O_NONBLOCK)") == "EPERM"
    assert len(guard.states()) == 1
    assert container.ask("attempt('/etc/inner/key')") == "EPERM"
