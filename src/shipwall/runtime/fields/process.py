"""Fields of a process beyond its command line: session and group, terminal, capabilities, file of its program, users and groups.

They come from `Facts.detail`: what the process's exec told, or what the system says when a rule first asks. For a process that has ended
by then only what it inherited is known. Names of users are the container's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from shipwall.model.container import Process, User
from shipwall.runtime.conditions import Found
from shipwall.runtime.facts import ASKED_MORE, ASKED_PROCESS, Facts, Meaning
from shipwall.runtime.flags import render_capabilities

_SHELL = re.compile(r"(?:[a-z]{0,3}sh|bash|busybox)\Z")
_ROOT = User("root", "/root")


def _detail(name: str) -> Callable[[Facts], Found]:
    return lambda facts: facts.detail(name)


def _capabilities(name: str) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        mask = _detail(name)(facts)
        return render_capabilities(mask) if isinstance(mask, int) else None

    return get


def _working_folder(facts: Facts) -> Found:
    folder = facts.detail("cwd")
    return None if folder is None else folder.rstrip("/") + "/"


def _environment(facts: Facts) -> Found:
    env = facts.detail("env")
    return None if env is None else " ".join(env)


def _variable(facts: Facts, name: str) -> Found:
    return next((text[len(name) + 1 :] for text in facts.detail("env") or () if text.startswith(name + "=")), None)


def _stream_type(name: str) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        target = _detail(name)(facts)
        if not isinstance(target, str):
            return None
        if target.startswith("pipe:"):
            return "pipe"
        return None if ":[" in target else "file"  # of a socket only its number is known

    return get


def _leader(detail: str, part: Callable[[Process], Found]) -> Callable[[Facts], Found]:
    """A part of the process that leads the session or group; when it has ended, of the eldest ancestor in the same one."""

    def get(facts: Facts) -> Found:
        wanted = _detail(detail)(facts)
        if not isinstance(wanted, int) or isinstance(wanted, bool):
            return None
        leader = facts.table.get(wanted)
        if leader is None:
            for process in facts.lineage:
                known, _ = facts.table.details(process.pid)
                if known is not None and getattr(known, detail) == wanted:
                    leader = process
        return None if leader is None else part(leader)

    return get


def _name(process: Process) -> Found:
    return process.comm


def _exe(process: Process) -> Found:
    return process.argv[0] if process.argv else None


def _path(process: Process) -> Found:
    return process.path or None


def _is_leader(detail: str, number: str) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        value = _detail(detail)(facts)
        return None if value is None else value == getattr(facts.event, number)

    return get


def _login_shell(facts: Facts) -> Found:
    shells = [process.pid for process in facts.lineage if _SHELL.match(process.comm)]
    return shells[-1] if shells else None


def _started(distance: int) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        process = facts.process if distance == 0 else facts.ancestor(distance)
        return None if process is None else process.start_ns

    return get


def _since_start(distance: int) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        began = _started(distance)(facts)
        return max(0, facts.event.time_ns - began) if isinstance(began, int) else None

    return get


def _first_process(facts: Facts) -> Found:
    """When the first process of the container began."""
    first = facts.table.get(facts.container.pid) if facts.container is not None and facts.container.pid else None
    return None if first is None else first.start_ns


def _since_change(until: Callable[[Facts], Found]) -> Callable[[Facts], Found]:
    """Nanoseconds from the last change of the program's inode until something."""

    def get(facts: Facts) -> Found:
        changed, then = _detail("exe_ctime_ns")(facts), until(facts)
        if not isinstance(changed, int) or not isinstance(then, int):
            return None
        return max(0, then - changed)

    return get


def _threads(facts: Facts) -> Found:
    threads = facts.detail("threads")
    return None if threads is None else max(0, threads - 1)


def _bytes(name: str) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        size = _detail(name)(facts)
        return size * 1024 if isinstance(size, int) else None

    return get


# --- users and groups ---


def _user(facts: Facts, uid: int) -> User | None:
    """The user `uid` where the event happened; number 0 is root everywhere, whatever the file says or does not."""
    accounts = facts.accounts
    found = accounts.users.get(uid) if accounts is not None else None
    return found or (_ROOT if uid == 0 else None)


def _of_user(part: Callable[[User], str]) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        user = _user(facts, facts.event.uid)
        return None if user is None else part(user) or None

    return get


def _group(facts: Facts) -> Found:
    accounts = facts.accounts
    name = accounts.groups.get(facts.event.gid) if accounts is not None else None
    return name or ("root" if facts.event.gid == 0 else None)


def _login_name(facts: Facts) -> Found:
    """The name on the host: that is where somebody logs in."""
    uid = _detail("loginuid")(facts)
    if not isinstance(uid, int) or uid < 0:
        return None
    accounts = facts.context.accounts("")
    found = accounts.users.get(uid) if accounts is not None else None
    return found.name if found is not None else ("root" if uid == 0 else None)


def _number_of_arguments(facts: Facts) -> Found:
    return None if facts.process is None else sum(map(len, facts.process.argv[1:]))


PROCESS_FIELDS: dict[str, Meaning] = {
    "proc.pid.ts": Meaning("when the process began, nanoseconds since 1970", "number", _started(0)),
    "proc.ppid.ts": Meaning("when the parent began, nanoseconds since 1970", "number", _started(1)),
    "proc.duration": Meaning("nanoseconds since the process began", "number", _since_start(0), asks=ASKED_MORE),
    "proc.ppid.duration": Meaning("nanoseconds since the parent began", "number", _since_start(1), asks=ASKED_MORE),
    "proc.tty": Meaning("number of the controlling terminal, 0 for none", "number", _detail("tty")),
    "proc.cwd": Meaning("working folder when the program was executed, with a slash at its end", "text", _working_folder),
    "proc.env": Meaning("environment as NAME=value; with a name in brackets its value", "text",
                        _environment,
                        argument="optional", get_with=_variable),
    "proc.cmdlenargs": Meaning("characters in all arguments", "number", _number_of_arguments),
    "proc.sid": Meaning("session id in the container", "number", _detail("ns_sid")),
    "proc.sname": Meaning("name of the session's leader", "text", _leader("sid", _name)),
    "proc.sid.exe": Meaning("as proc.exe, of the session's leader", "text", _leader("sid", _exe)),
    "proc.sid.exepath": Meaning("as proc.exepath, of the session's leader", "text", _leader("sid", _path)),
    "proc.pgid": Meaning("process group on the host", "number", _detail("pgid")),
    "proc.vpgid": Meaning("process group in the container", "number", _detail("ns_pgid")),
    **{f"proc.{group}.{name}": Meaning(f"as proc.{'name' if name == 'name' else name}, of the process group's leader", "text",
                                       _leader("pgid", part))
       for group in ("pgid", "vpgid") for name, part in (("name", _name), ("exe", _exe), ("exepath", _path))},
    "proc.is_sid_leader": Meaning("whether it leads its session", "flag", _is_leader("sid", "pid")),
    "proc.is_pgid_leader": Meaning("whether it leads its process group", "flag", _is_leader("pgid", "pid")),
    "proc.is_vpgid_leader": Meaning("whether it leads its process group, in the container's numbers", "flag",
                                    _is_leader("ns_pgid", "ns_pid")),
    "proc.loginshellid": Meaning("process id of the eldest shell among it and its ancestors", "number", _login_shell),
    "proc.nthreads": Meaning("threads it has", "number", _detail("threads")),
    "proc.nchilds": Meaning("threads it has beside the first", "number", _threads),
    "proc.exe_ino": Meaning("inode of its program", "number", _detail("exe_inode")),
    "proc.exe_ino.ctime": Meaning("when that inode was last changed, nanoseconds since 1970", "number", _detail("exe_ctime_ns")),
    "proc.exe_ino.mtime": Meaning("when the program was last written, nanoseconds since 1970", "number", _detail("exe_mtime_ns")),
    "proc.exe_ino.ctime_duration_proc_start": Meaning("nanoseconds from that change to the start of the process", "number",
                                                      _since_change(_started(0))),
    "proc.exe_ino.ctime_duration_pidns_start": Meaning("nanoseconds from that change to the start of the container", "number",
                                                       _since_change(_first_process)),
    "proc.pidns_init_start_ts": Meaning("when the container's first process began", "number", _first_process),
    "proc.is_exe_writable": Meaning("whether it may write its own program", "flag", _detail("exe_writable")),
    **{f"proc.{stream}.name": Meaning(f"what {stream} is: a path, `pipe:[N]` or `socket:[N]`", "text", _detail(stream))
       for stream in ("stdin", "stdout", "stderr")},
    **{f"proc.{stream}.type": Meaning(f"file or pipe; missing when {stream} is something else", "text", _stream_type(stream))
       for stream in ("stdin", "stdout", "stderr")},
    "proc.vmsize": Meaning("virtual memory, KiB", "number", _detail("vm_size_kib")),
    "proc.vmrss": Meaning("resident memory, KiB", "number", _detail("vm_rss_kib")),
    "proc.vmswap": Meaning("swapped memory, KiB", "number", _detail("vm_swap_kib")),
    "thread.vmsize": Meaning("as proc.vmsize", "number", _detail("vm_size_kib")),
    "thread.vmrss": Meaning("as proc.vmrss", "number", _detail("vm_rss_kib")),
    "thread.vmsize.b": Meaning("virtual memory in bytes", "number", _bytes("vm_size_kib")),
    "thread.vmrss.b": Meaning("resident memory in bytes", "number", _bytes("vm_rss_kib")),
    "thread.ismain": Meaning("whether the first thread of its process acts", "flag",
                             lambda facts: facts.event.pid == facts.event.tid, asks=ASKED_PROCESS),
    "thread.nametid": Meaning("name and thread id", "text", lambda facts: f"{facts.event.comm}{facts.event.tid}", asks=ASKED_PROCESS),
    "thread.cap_effective": Meaning("effective capabilities, joined by blanks", "text", _capabilities("cap_effective")),
    "thread.cap_permitted": Meaning("permitted capabilities, joined by blanks", "text", _capabilities("cap_permitted")),
    "thread.cap_inheritable": Meaning("inheritable capabilities, joined by blanks", "text", _capabilities("cap_inheritable")),
    "user.name": Meaning("name of the effective user, where the event happened", "text", _of_user(lambda user: user.name)),
    "user.homedir": Meaning("home folder of that user", "text", _of_user(lambda user: user.home)),
    "user.shell": Meaning("login shell of that user", "text", _of_user(lambda user: user.shell)),
    "user.loginuid": Meaning("user id of whoever logged in on the host, -1 for nobody", "number", _detail("loginuid")),
    "user.loginname": Meaning("name on the host of whoever logged in", "text", _login_name),
    "group.name": Meaning("name of the effective group, where the event happened", "text", _group),
}  # fmt: skip
