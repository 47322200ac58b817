"""What fields mean beyond the event: the container, its users, and details of the process."""

from __future__ import annotations

from typing import Any

import pytest

from shipwall.lang.condition import parse_condition
from shipwall.model.container import Accounts, ContainerFacts, MountFact, Process, ProcessDetails, parse_accounts
from shipwall.model.event import Connect, Event, Exec, Fork
from shipwall.runtime.conditions import evaluate
from shipwall.runtime.facts import Context, Facts
from shipwall.runtime.fields import MEANINGS, look_up
from shipwall.runtime.processes import ProcessTable
from shipwall.runtime.untold import UNTOLD

C = "ab" * 32
BOX = ContainerFacts(
    id=C, name="web", image_ref="reg:5000/a/b:1.2", image_config="sha256:" + "0" * 64, created_ns=100, pid=9, ip="172.17.0.2",
    host_pid=True, privileged=True, labels={"a": "b", "io.kubernetes.pod.uid": "u"},
    mounts=(MountFact(source="/proc", destination="/host/proc", mode="ro", writable=False, propagation="rprivate"),
            MountFact(source="/var/lib/v", destination="/data")),
)  # fmt: skip
DETAILS = ProcessDetails(
    tty=34816, sid=7, ns_sid=1, pgid=9, ns_pgid=9, loginuid=1000, cwd="/dev/shm", env=("PATH=/bin", "K=v=w"), cap_effective=1 << 21,
    exe_inode=5, exe_ctime_ns=400, exe_mtime_ns=300, exe_writable=True, stdin="/dev/pts/0", stdout="pipe:[4]", stderr="socket:[5]",
    threads=3, vm_rss_kib=4,
)  # fmt: skip


class _World(Context):
    """Knows one container, one process and its users; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def container(self, container_id: str) -> ContainerFacts | None:
        return BOX if container_id == C else None

    def package_of(self, image_digest: str | None, path: str) -> str:  # noqa: ARG002
        return ""

    def details(self, process: Process) -> ProcessDetails | None:
        self.asked += 1
        return DETAILS if process.pid == 9 else None

    def accounts(self, container_id: str) -> Accounts | None:
        inside = parse_accounts("www:x:33:33:w:/var/www:/sbin/nologin\nbad\nagain:x:33:1::/:/x\n", "www-data:x:33:\n")
        return {C: inside, "": parse_accounts("me:x:1000:1000::/home/me:/bin/sh\n", "")}.get(container_id)

    def names_of(self, address: str) -> tuple[str, ...]:
        return ("kubernetes.default",) if address == "10.0.0.1" else ()


def _event(kind: type[Event] = Exec, **more: Any) -> Any:
    header = {"seq": 4, "time_ns": 1_700_000_000_000_000_007, "cgroup_id": 1, "pid": 9, "tid": 9, "ppid": 7, "ns_pid": 9, "uid": 33,
              "gid": 33, "comm": "nginx", "container": C}  # fmt: skip
    own = {"path": "/bin/x", "argv": ("x", "-a", "b c")} if kind is Exec else {}
    return kind(**header | own | more)


def _facts(event: Event | None = None, world: _World | None = None) -> Facts:
    event = event if event is not None else _event()
    table = ProcessTable()
    table.load([
        Process(pid=7, ppid=1, ns_pid=1, start_ns=50, uid=0, gid=0, comm="bash", path="/bin/bash", argv=("-bash",), container=C),
        Process(pid=9, ppid=7, ns_pid=9, start_ns=450, uid=33, gid=33, comm="x", path="/bin/x", argv=("x",), container=C),
    ])  # fmt: skip
    table.before(event)
    return Facts(event, table, world or _World(), "node")


@pytest.mark.parametrize(
    "condition",
    [
        "container.type = docker", "container.ip = 172.17.0.2", "container.host_pid = true", "container.host_network = false",
        "container.privileged = true", "container.mount.dest[/proc*] = /host/proc", "container.mount.source[/data] = /var/lib/v",
        "container.mount.rdwr[0] = false", "not container.mount[7] exists", "container.mount[/proc] = '/proc:/host/proc:ro:false:rprivate'",
        "container.mounts contains '/var/lib/v:/data::true:'", "container.labels contains 'a:b,'", "k8s.pod.uid = u",
        "container.id = abababababab", "container.duration > 0",
        "user.name = www", "user.homedir = /var/www", "user.shell = /sbin/nologin", "group.name = www-data", "user.loginuid = 1000",
        "user.loginname = me",
        "proc.tty = 34816", "proc.cwd = '/dev/shm/'", "proc.env contains 'K=v'", "proc.env[K] = 'v=w'", "not proc.env[Q] exists",
        "proc.sid = 1", "proc.sname = bash", "proc.sid.exe = -bash", "proc.sid.exepath = /bin/bash", "proc.vpgid.name = nginx",
        "proc.is_vpgid_leader = true", "proc.is_sid_leader = false", "proc.is_pgid_leader = true", "proc.loginshellid = 7",
        "proc.nthreads = 3", "proc.nchilds = 2", "proc.exe_ino = 5", "proc.exe_ino.ctime = 400",
        "proc.exe_ino.ctime_duration_proc_start = 50", "proc.is_exe_writable = true", "thread.cap_effective contains CAP_SYS_ADMIN",
        "not thread.cap_permitted exists", "proc.stdin.type = file", "proc.stdout.type = pipe", "not proc.stderr.type exists",
        "proc.stderr.name = 'socket:[5]'", "thread.vmrss.b = 4096", "proc.cmdlenargs = 5", "evt.arg.flags startswith EXE_WRITABLE",
        "proc.ppid.ts = 50", "evt.time.s = '22:13:20'", "evt.time.iso8601 = '2023-11-14T22:13:20.000000007+0000'",
        "evt.category = process", "evt.rawtime.ns = 7", "thread.ismain = true", "join('+', proc.args) = '-a+b c'",
        "getopt(proc.args, 'a:')[a] = 'b c'",
    ],
)  # fmt: skip
def test_fields(condition: str) -> None:
    facts = _facts()
    assert evaluate(parse_condition(condition), look_up(facts)), look_up(facts)


def test_host_names_of_rules_stand_for_addresses() -> None:
    event = _event(Connect, family="ipv4", protocol="tcp", address="10.0.0.1", port=443)
    tree = parse_condition("fd.sip.name = kubernetes.default and fd.sip.name in (x, kubernetes.default)")
    assert evaluate(tree, look_up(_facts(event)))
    other = _event(Connect, family="ipv4", protocol="tcp", address="10.0.0.2", port=443)
    assert not evaluate(parse_condition("fd.sip.name exists"), look_up(_facts(other)))


def test_outside_containers_the_id_is_host_and_root_is_root() -> None:
    facts = _facts(_event(container="", uid=0, gid=0))
    assert evaluate(parse_condition("container.id = host and user.name = root and group.name = root"), look_up(facts))
    unknown = _facts(_event(container="cd" * 32, uid=77))
    assert not evaluate(parse_condition("user.name exists"), look_up(unknown))


def test_details_are_asked_for_once_per_program_and_outlive_it_in_part() -> None:
    world = _World()
    facts = _facts(world=world)
    lookup = look_up(facts)
    for _ in range(3):
        assert evaluate(parse_condition("proc.tty = 34816 and thread.cap_effective exists"), lookup)
    assert world.asked == 1
    facts.table.after(_event(Fork, child_pid=10, child_ns_pid=10))
    child = _event(Exec, pid=10, ppid=9)
    facts.table.before(child)
    later = look_up(Facts(child, facts.table, world, "node"))
    assert evaluate(parse_condition("proc.tty = 34816 and not thread.cap_effective exists and not proc.env exists"), later)
    assert world.asked == 2


class _TellingExec(Exec, frozen=True, kw_only=True, tag="exec"):
    """An exec as a sensor tells it that reads the process too."""

    session: int = 9
    group: int = 9
    ns_group: int = 9
    tty: int = 5
    login_uid: int = -1
    cwd: str = "/srv"
    cap_effective: int = 1
    cap_permitted: int = 1
    cap_inheritable: int = 0
    ctime_ns: int = 3
    mtime_ns: int = 2
    user_writable: bool = False
    environment: tuple[str, ...] = ()


def test_what_an_exec_tells_itself_is_not_looked_up_and_not_overruled() -> None:
    world = _World()
    facts = _facts(_event(_TellingExec, path="/bin/x", argv=("x",)), world)
    lookup = look_up(facts)
    told = "proc.tty = 5 and proc.cwd = '/srv/' and thread.cap_effective = CAP_CHOWN and proc.sid = 9 and user.loginuid = -1"
    assert evaluate(parse_condition(told), lookup)
    assert world.asked == 0
    assert evaluate(parse_condition("proc.stdin.name = /dev/pts/0 and proc.tty = 5 and proc.env[K] = 'v=w'"), lookup)
    assert world.asked == 1


def test_no_field_is_both_told_and_untold() -> None:
    assert not MEANINGS.keys() & UNTOLD.keys()
    assert len(MEANINGS) + len(UNTOLD) > 260
