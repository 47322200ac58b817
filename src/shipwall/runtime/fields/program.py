"""Fields of the program that acts and of those that started it: name, command line, file, ancestors.

`proc.name` is the name from the last exec, not what a thread calls itself; for a program executed through /proc/self/exe it is the first
word of the command line. `proc.aname` without index is every ancestor but the process itself. The lineage is who started whom, even when
a parent has ended.
"""

from __future__ import annotations

from collections.abc import Callable

from shipwall.model.container import Process
from shipwall.model.event import Exec
from shipwall.runtime.conditions import WORDS, Found
from shipwall.runtime.facts import ASKED_PROCESS, Facts, Meaning
from shipwall.runtime.fields.event import of_header
from shipwall.runtime.fields.kinds import EXEC


def exe_path(facts: Facts) -> str:
    """The file of the program that acts: after an exec the new one, when an exec was refused the one that asked."""
    event = facts.event
    if isinstance(event, Exec) and event.ret >= 0:
        return event.path
    return facts.process.path if facts.process is not None else ""


def exe_flags(facts: Facts) -> Found:
    """What is particular about the executed file, as Falco's execve has it."""
    origin = facts.event.origin  # type: ignore[attr-defined]
    layer = {"upper": "EXE_UPPER_LAYER", "image": "EXE_LOWER_LAYER", "memfd": "EXE_FROM_MEMFD"}.get(origin, "")
    is_writable = facts.detail("exe_writable")
    return "|".join(flag for flag in ("EXE_WRITABLE" if is_writable else "", layer) if flag)


def _argv_rest(process: Process | None) -> Found:
    return None if process is None or not process.argv else " ".join(process.argv[1:])


def _cmdline(process: Process | None) -> Found:
    return None if process is None else " ".join((process.comm, *process.argv[1:]))


def _exeline(process: Process | None) -> Found:
    return None if process is None or not process.argv else " ".join(process.argv)


def _exe(process: Process | None) -> Found:
    return None if process is None or not process.argv else process.argv[0]


def _path(process: Process | None) -> Found:
    return None if process is None else process.path or None


def _name(process: Process | None) -> Found:
    return None if process is None else process.comm


def _parent_name(facts: Facts) -> Found:
    parent = facts.ancestor(1)
    if parent is not None:
        return parent.comm
    return (facts.event.parent_comm or None) if isinstance(facts.event, Exec) else None


def ancestor_index(argument: str) -> int | None:
    """The number in brackets; None when it is none."""
    return int(argument) if argument.isascii() and argument.isdigit() and len(argument) <= 3 else None


def _nth(part: Callable[[Process | None], Found]) -> Callable[[Facts, str], Found]:
    """A part of the ancestor that the argument counts to."""

    def get(facts: Facts, argument: str) -> Found:
        distance = ancestor_index(argument)
        if distance is None:
            return None
        if distance == 1 and part is _name:
            return _parent_name(facts)
        return part(facts.ancestor(distance))

    return get


def _ancestors(part: Callable[[Process | None], Found]) -> Callable[[Facts], Found]:
    """A part of every ancestor."""

    def get(facts: Facts) -> Found:
        found: list[str | int | bool] = []
        for process in facts.lineage[1:]:
            value = part(process)
            if value is not None and not isinstance(value, tuple):
                found.append(value)
        if not found and part is _name:
            name = _parent_name(facts)
            return (name,) if isinstance(name, str) else None
        return tuple(found) or None

    return get


def _of_process(part: Callable[[Process | None], Found]) -> Callable[[Facts], Found]:
    return lambda facts: part(facts.process)


def _of_parent(part: Callable[[Process | None], Found]) -> Callable[[Facts], Found]:
    return lambda facts: part(facts.ancestor(1))


def _arguments(facts: Facts, argument: str) -> Found:
    index = ancestor_index(argument)
    argv = facts.process.argv[1:] if facts.process is not None else ()
    if argument == WORDS:
        return argv or None
    return argv[index] if index is not None and index < len(argv) else None


def _origin(facts: Facts) -> Found:
    event = facts.event
    if isinstance(event, Exec) and event.ret >= 0:
        return event.origin
    return facts.process.origin if facts.process is not None else None


def _is_origin(origin: str) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        found = _origin(facts)
        return None if found in {None, "unknown"} else found == origin

    return get


def _old_uid(facts: Facts) -> Found:
    event = facts.event
    if isinstance(event, Exec):
        return event.old_uid
    return facts.process.uid if facts.process is not None else None


def _package(facts: Facts) -> Found:
    container = facts.container
    if container is None:
        return None
    return facts.context.package_of(container.image_digest, exe_path(facts)) or None


PROGRAM_FIELDS: dict[str, Meaning] = {
    "proc.name": Meaning("name of the program, at most 15 bytes", "text",
                         lambda facts: facts.process.comm if facts.process is not None else facts.event.comm),
    "proc.exepath": Meaning("file of the program", "text", lambda facts: exe_path(facts) or None),
    "proc.exe": Meaning("first word of its command line", "text", _of_process(_exe)),
    "proc.args": Meaning("the other words of its command line; with an index one of them", "text", _of_process(_argv_rest),
                         argument="optional", get_with=_arguments),
    "proc.cmdline": Meaning("name and arguments", "text", _of_process(_cmdline)),
    "proc.exeline": Meaning("whole command line", "text", _of_process(_exeline)),
    "proc.cmdnargs": Meaning("number of arguments", "number",
                             lambda facts: None if facts.process is None else max(0, len(facts.process.argv) - 1)),
    "proc.pid": Meaning("process id on the host", "number", of_header("pid"), asks=ASKED_PROCESS),
    "proc.ppid": Meaning("process id of the parent on the host", "number", of_header("ppid"), asks=ASKED_PROCESS),
    "proc.vpid": Meaning("process id in the container", "number", of_header("ns_pid"), asks=ASKED_PROCESS),
    "proc.pvpid": Meaning("process id of the parent in the container", "number",
                          _of_parent(lambda parent: None if parent is None else parent.ns_pid)),
    "thread.tid": Meaning("thread id on the host", "number", of_header("tid"), asks=ASKED_PROCESS),
    "proc.pname": Meaning("name of the parent", "text", _parent_name),
    "proc.pexe": Meaning("first word of the parent's command line", "text", _of_parent(_exe)),
    "proc.pexepath": Meaning("file of the parent's program", "text", _of_parent(_path)),
    "proc.pcmdline": Meaning("name and arguments of the parent", "text", _of_parent(_cmdline)),
    "proc.aname": Meaning("names of all ancestors; [0] the process, [1] its parent, ...", "text", _ancestors(_name), many=True,
                          argument="optional", get_with=_nth(_name)),
    "proc.aexe": Meaning("as proc.exe, of the ancestors", "text", _ancestors(_exe), many=True, argument="optional",
                         get_with=_nth(_exe)),
    "proc.aexepath": Meaning("as proc.exepath, of the ancestors", "text", _ancestors(_path), many=True, argument="optional",
                             get_with=_nth(_path)),
    "proc.acmdline": Meaning("as proc.cmdline, of the ancestors", "text", _ancestors(_cmdline), many=True, argument="optional",
                             get_with=_nth(_cmdline)),
    "proc.apid": Meaning("process ids of the ancestors", "number",
                         _ancestors(lambda process: None if process is None else process.pid), many=True, argument="optional",
                         get_with=_nth(lambda process: None if process is None else process.pid)),
    "proc.aargs": Meaning("as proc.args, of the ancestors", "text", _ancestors(_argv_rest), many=True, argument="optional",
                          get_with=_nth(_argv_rest)),
    "proc.is_exe_upper_layer": Meaning("whether the program was written in the running container", "flag", _is_origin("upper")),
    "proc.is_exe_lower_layer": Meaning("whether the program came with the image", "flag", _is_origin("image")),
    "proc.is_exe_from_memfd": Meaning("whether the program lies in memory only", "flag", _is_origin("memfd")),
    "user.uid": Meaning("effective user id, after the call", "number", of_header("uid")),
    "group.gid": Meaning("effective group id, after the call", "number", of_header("gid")),
    "shipwall.origin": Meaning("where the program's bytes come from: image, upper, tmpfs, memfd, mount, deleted, unknown", "text", _origin),
    "shipwall.writable_mount": Meaning("whether the program lies on a file system mounted writable", "flag",
                                       lambda facts: facts.event.writable_mount, EXEC),  # type: ignore[attr-defined]
    "shipwall.killed": Meaning("whether the kernel part killed it before its first instruction", "flag",
                               lambda facts: facts.event.killed, EXEC),  # type: ignore[attr-defined]
    "shipwall.package": Meaning("name and version of the package that owns the program", "text", _package),
    "shipwall.old_uid": Meaning("user id before the act", "number", _old_uid, frozenset({"exec", "privilege"})),
    "shipwall.runtime": Meaning("whether the engine's runtime acts while it sets up the container", "flag",
                                lambda facts: facts.is_runtime),
}  # fmt: skip
