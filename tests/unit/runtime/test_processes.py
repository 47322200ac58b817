"""The process table: lineage, pid reuse, the engine's runtime, bounds."""

from __future__ import annotations

from typing import Any

from shipwall.model.container import Process
from shipwall.model.event import Connect, Exec, Exit, Fork, Namespace, Privilege
from shipwall.runtime.processes import MAX_LINEAGE, ProcessTable

C = "ab" * 32


def _header(pid: int, ppid: int, comm: str = "x", **more: Any) -> dict[str, Any]:
    return {"seq": 1, "time_ns": 5, "cgroup_id": 1, "pid": pid, "tid": pid, "ppid": ppid, "ns_pid": pid, "uid": 7, "gid": 7,
            "comm": comm, "container": C, **more}  # fmt: skip


def _take(table: ProcessTable, *events: Any) -> None:
    for event in events:
        table.before(event)
        table.after(event)


def _fork(pid: int, ppid: int, child: int, comm: str = "x") -> Fork:
    return Fork(**_header(pid, ppid, comm), child_pid=child, child_ns_pid=child)


def _exec(pid: int, ppid: int, path: str, **more: Any) -> Exec:
    return Exec(**_header(pid, ppid, path.rpartition("/")[2]), path=path, argv=(path,), **more)


def _names(table: ProcessTable, pid: int) -> list[str]:
    return [process.comm for process in table.lineage(pid)]


def test_a_lineage_survives_the_end_of_its_middle() -> None:
    table = ProcessTable()
    _take(table, _exec(10, 1, "/bin/api"), _fork(10, 1, 11), _exec(11, 10, "/bin/sh"), _fork(11, 10, 12), Exit(**_header(11, 10)))
    _take(table, _exec(12, 1, "/tmp/tool"))  # reparented to 1
    assert _names(table, 12) == ["tool", "sh", "api"]
    assert table.get(11) is None


def test_a_pid_used_again_is_another_process() -> None:
    table = ProcessTable()
    _take(table, _exec(10, 1, "/bin/api"), _fork(10, 1, 11), _exec(11, 10, "/bin/sh"), Exit(**_header(11, 10)))
    _take(table, _fork(20, 1, 11, "other"), _exec(11, 20, "/bin/ls"))
    assert _names(table, 11) == ["ls", "other"]


def test_a_pid_used_again_is_seen_even_when_exit_and_fork_were_lost() -> None:
    table = ProcessTable()
    _take(table, _exec(10, 1, "/bin/api"), _fork(10, 1, 11), _exec(11, 10, "/bin/sh"), _exec(30, 1, "/bin/cron"))
    _take(table, _exec(11, 30, "/bin/ls"))  # its recorded parent 10 lives, so this is no reparenting
    assert _names(table, 11) == ["ls", "cron"]


def test_a_snapshot_in_any_order_gives_lineages_and_never_circles() -> None:
    def process(pid: int, ppid: int) -> Process:
        return Process(pid=pid, ppid=ppid, ns_pid=pid, start_ns=0, uid=0, gid=0, comm=f"p{pid}", path="", argv=())

    table = ProcessTable()
    table.load([process(3, 2), process(2, 1), process(1, 0), process(8, 9), process(9, 8)])
    assert _names(table, 3) == ["p3", "p2", "p1"]
    assert len(table.lineage(8)) <= 2


def test_identity_changes_are_learnt_after_the_event_is_judged() -> None:
    table = ProcessTable()
    _take(table, _exec(10, 1, "/bin/api"))
    event = Privilege(**_header(10, 1), act="setuid", new_uid=0)
    table.before(event)
    known = table.get(10)
    assert known is not None
    assert known.uid == 7
    table.after(event)
    known = table.get(10)
    assert known is not None
    assert known.uid == 0


def test_the_runtime_is_told_from_what_it_starts() -> None:
    table = ProcessTable()
    _take(table, _exec(10, 1, "/memfd:runc_cloned:/proc/self/exe"), _exec(11, 1, "/usr/bin/api"))
    assert table.is_runtime(10)
    assert not table.is_runtime(11)
    _take(table, Namespace(**_header(20, 1, "runc:[1:CHILD]"), act="unshare", flags=0), _fork(20, 1, 21, "runc:[1:CHILD]"))
    assert table.is_runtime(20)
    assert table.is_runtime(21)
    _take(table, _exec(21, 1, "/bin/api"))
    assert not table.is_runtime(21)
    assert _names(table, 21) == ["api"]
    _take(table, _fork(21, 1, 22, "api"), Namespace(**_header(22, 21, "runc:[2:INIT]"), act="unshare", flags=0))
    assert not table.is_runtime(22)  # forked in the container: a name does not make it the runtime


def test_memory_is_bounded() -> None:
    table = ProcessTable(limit=100)
    for pid in range(1, 1000):
        _take(table, _fork(pid, pid - 1, pid + 1), Exit(**_header(pid, pid - 1)))
    assert len(table) <= 100
    assert len(table.lineage(1000)) <= MAX_LINEAGE
    for pid in range(2000, 3000):
        _take(table, _exec(pid, 1, "/bin/x"))
    assert len(table) == 100
    assert table.forgotten > 0


def test_a_program_executed_through_proc_is_called_as_its_command_line_says() -> None:
    table = ProcessTable()
    _take(table, Exec(**_header(10, 1, "exe"), path="/bin/busybox", asked="/proc/self/exe", argv=("/bin/nc", "-l")))
    assert _names(table, 10) == ["nc"]


def test_a_connection_nobody_asked_for_was_accepted() -> None:
    table = ProcessTable()
    asked = Connect(**_header(10, 1, ret=-115), family="ipv4", protocol="tcp", address="192.0.2.1", port=9)
    refused = Connect(**_header(10, 1, ret=-111), family="ipv4", protocol="tcp", address="192.0.2.2", port=9)
    _take(table, _exec(10, 1, "/bin/api"), asked, refused, _fork(10, 1, 11), _exec(11, 10, "/bin/sh"))
    assert table.has_connected(11, "192.0.2.1", 9)
    assert not table.has_connected(11, "192.0.2.2", 9)
    assert not table.has_connected(99, "192.0.2.1", 9)
