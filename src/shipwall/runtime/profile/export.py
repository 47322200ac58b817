"""A profile in the words of others: a seccomp profile as engines take it, rules in the language the agent loads."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from shipwall.abi.call_numbers import NUMBERS
from shipwall.model.errors import InputError, UnsupportedError
from shipwall.runtime.profile.acts import Act
from shipwall.runtime.profile.document import Profile
from shipwall.runtime.profile.learn import believed

EPERM = 1

_RUNTIME = """
arch_prctl brk capget capset chdir clone close close_range dup2 dup3 epoll_create1 epoll_ctl epoll_pwait execve exit exit_group faccessat2
fchdir fchown fcntl fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getpid getppid getrandom gettid getuid keyctl lseek
madvise mmap mprotect munmap nanosleep newfstatat openat openat2 pipe2 prctl prlimit64 read readlinkat restart_syscall rseq rt_sigaction
rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield set_robust_list set_tid_address setgid setgroups setresgid setresuid setsid
setuid sigaltstack statfs statx sysinfo tgkill umask uname unlinkat write
"""
RUNTIME_CALLS = frozenset(_RUNTIME.split())
"""What runc's own process and the C library's loader may call between the filter's loading and the program's start, before anybody counts.
Source: runc 1.1, libcontainer/standard_init_linux.go and init_linux.go; glibc 2.36, elf/rtld.c."""

_PLAIN = re.compile(r"[\w./@+*:=~%-]+\Z", re.ASCII)


def render_seccomp(profile: Profile) -> bytes:
    """The profile's calls as a seccomp profile for engines: everything else is answered EPERM.

    Source: OCI runtime spec, config-linux.md, Seccomp. Raises UnsupportedError while the list of calls is not known to be whole.
    """
    if not profile.counted:
        thing, why = (
            f"seccomp profile of {profile.image[:19]}",
            "its calls were not counted by the kernel, so their list is not whole",
        )
        raise UnsupportedError(thing, why, "learn from a running container or a capture")
    names = {act.what for act in believed(profile) if act.kind == "call" and act.what in NUMBERS}
    calls = sorted(names | RUNTIME_CALLS & set(NUMBERS))
    made: dict[str, Any] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": calls, "action": "SCMP_ACT_ALLOW"}],
    }
    return json.dumps(made, indent=2).encode() + b"\n"


def render_rules(profile: Profile, repository: str) -> bytes:
    """Rules that raise an alert for a program, a program's parent or a connection that is not in the profile.

    `repository`: the image's, by which the rules know its containers. Acts whose text the language could misread are left to
    their own comment: more alerts, never fewer. Raises InputError for a profile without programs or a name that is no repository.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._:/-]{0,254}", repository):
        raise InputError(
            f"repository {repository[:80]!r}", "is not a repository's name", "as in --repository 127.0.0.1:5000/prod/shop"
        )
    acts = believed(profile)
    programs = sorted(act.what for act in acts if act.kind == "program" and _PLAIN.match(act.what))
    if not programs:
        raise InputError(f"profile of {profile.image[:19]}", "has no programs to make rules of", "learn first")
    word = re.sub(r"[^a-z0-9]", "_", profile.image.removeprefix("sha256:")[:12])
    ports = sorted({port for act in acts if (port := _port(act))})
    listed = f"profile_{word}_programs"
    scope = f"container.image.repository = {json.dumps(repository)}"
    made: list[dict[str, Any]] = [
        {"list": listed, "items": programs},
        {
            "rule": f"Program outside of the profile {word}",
            "desc": f"A program was executed that the profile of {profile.image} does not have.",
            "condition": f"evt.type in (execve, execveat) and evt.rawres >= 0 and {scope} and not proc.exepath in ({listed})",
            "output": "A program outside of the profile | program=%proc.exepath command=%proc.cmdline container=%container.name",
            "priority": "WARNING",
            "tags": ["anomaly"],
            "exceptions": [{"name": "parents", "fields": ["proc.exepath", "proc.pexepath"], "comps": ["=", "="], "values": []}],
        },
    ]
    destination = f"fd.rport in (profile_{word}_ports)" if ports else "fd.rport = 0"
    if ports:
        made.append({"list": f"profile_{word}_ports", "items": ports})
    made.append(
        {
            "rule": f"Connection outside of the profile {word}",
            "desc": f"A connection went to a port that the profile of {profile.image} does not have.",
            "condition": f"evt.type = connect and fd.typechar in (4, 6) and {scope} and not {destination}",
            "output": "A connection outside of the profile | destination=%fd.name program=%proc.exepath container=%container.name",
            "priority": "WARNING",
            "tags": ["anomaly"],
            "exceptions": [{"name": "programs", "fields": ["proc.exepath", "fd.rport"], "comps": ["=", "="], "values": []}],
        }
    )
    left = sum(act.kind == "program" and not _PLAIN.match(act.what) for act in acts)
    head = f"# From the profile of {profile.image}; {left} programs left out whose names cannot stand in a rule.\n"
    return (head + yaml.safe_dump(made, sort_keys=False, width=130)).encode()


def _port(act: Act) -> int:
    parts = act.what.split("/")
    return int(parts[2]) if act.kind == "out" and len(parts) > 2 and parts[1] in {"tcp", "udp"} and parts[2].isdigit() else 0
