"""The system calls the sensor decodes: one table that the kernel's generic handler, the decoder and the rules' fields all read.

A call of a *family* has a program of its own in the kernel (`sensor.bpf.c`) and a kind of event of its own. Every other one is described
by its parameters, under the names Falco's event table gives them: `name=kind`, with `#n` the argument when it is not the next one, `@n`
the argument with the folder a relative path starts from, `/n` the argument with a length. Its event is `model.event.Call`.

Kinds: `int long uint hex octal pid uid gid signal` numbers · `mode` the bits of a file's mode ·
`fd` a descriptor, looked up in the kernel · `newfd` the one returned ·
`dirfd` a descriptor that a path refers to · `path` and `text` strings in the caller's memory · `address` a sockaddr in the caller's memory
(`name` of a msghdr) · `data` the first bytes of a buffer · `flags.X` and `enum.X` names of bits and values (`runtime.flags`).
Options: `hot` not read unless asked for (loaded services make thousands a second) · `failed` only refused ones (success is told otherwise)
· `exec` only with PROT_EXEC in argument 2 · `waits` an interrupted or empty wait is no event.
"""

from __future__ import annotations

from typing import NamedTuple

from shipwall.abi.call_numbers import NUMBERS
from shipwall.model.errors import InputError

FAMILIES = ("open", "connect", "privilege", "module", "namespace", "mount", "duplicate", "exec", "call")
"""Slots of the tail-call table, numbered from 1 (0 in the table of calls: not wanted)."""

RESULT = 6
"""The place of the result after the six arguments."""

_OF_FAMILIES = {
    "open": "open creat openat openat2 open_by_handle_at",
    "connect": "connect",
    "privilege": "setuid setgid setreuid setregid setgroups setresuid setresgid setfsuid setfsgid capset",
    "module": "init_module finit_module delete_module bpf",
    "namespace": "unshare setns clone clone3",
    "mount": "mount umount2 move_mount open_tree fsopen pivot_root chroot",
    "duplicate": "dup dup2 dup3 fcntl",
    "exec": "execve execveat",
}

_DESCRIBED = """
fork failed |
vfork failed |
kill | pid=pid sig=signal
tkill | tid=pid sig=signal
tgkill | pid=pid tid=pid sig=signal
rt_sigqueueinfo | pid=pid sig=signal
pidfd_send_signal | fd=fd sig=signal
pidfd_open | fd=newfd pid=pid#0 flags=hex#1
pidfd_getfd | fd=newfd pid_fd=fd#0 target_fd=int#1 flags=hex#2
process_vm_readv | pid=pid
process_vm_writev | pid=pid
ptrace | request=enum.ptrace pid=pid addr=hex data=hex
userfaultfd | fd=newfd flags=flags.open#0
perf_event_open | fd=newfd pid=pid#1 cpu=int#2 group_fd=int#3 flags=hex#4
mmap hot exec | addr=hex length=uint prot=flags.prot flags=flags.mmap fd=fd offset=uint
mprotect hot exec | addr=hex length=uint prot=flags.prot
pkey_mprotect hot exec | addr=hex length=uint prot=flags.prot pkey=int
memfd_create | fd=newfd name=text#0 flags=flags.memfd#1
memfd_secret | fd=newfd flags=hex#0
io_uring_setup | fd=newfd entries=uint#0
io_uring_enter hot | fd=fd to_submit=uint min_complete=uint flags=hex
io_uring_register | fd=fd opcode=enum.io_uring arg=hex nr_args=uint
prctl | option=enum.prctl arg2_int=long
seccomp | op=uint flags=hex
personality | persona=hex
keyctl | cmd=uint
fsconfig | fd=fd cmd=uint key=text
fsmount | fd=newfd fs_fd=fd#0 flags=hex#1
fspick | fd=newfd dirfd=dirfd#0 path=path#1@0 flags=hex#2
mount_setattr | dirfd=dirfd path=path@0 flags=flags.at
chmod | filename=path mode=mode
fchmod | fd=fd mode=mode
fchmodat | dirfd=dirfd filename=path@0 mode=mode
fchmodat2 | dirfd=dirfd filename=path@0 mode=mode flags=flags.at
chown | path=path uid=uid gid=gid
lchown | path=path uid=uid gid=gid
fchown | fd=fd uid=uid gid=gid
fchownat | dirfd=dirfd pathname=path@0 uid=uid gid=gid flags=flags.at
link | oldpath=path newpath=path
linkat | olddir=dirfd oldpath=path@0 newdir=dirfd newpath=path@2 flags=flags.at
symlink | target=text linkpath=path
symlinkat | target=text linkdirfd=dirfd linkpath=path@1
rename | oldpath=path newpath=path
renameat | olddirfd=dirfd oldpath=path@0 newdirfd=dirfd newpath=path@2
renameat2 | olddirfd=dirfd oldpath=path@0 newdirfd=dirfd newpath=path@2 flags=flags.rename
unlink | path=path
unlinkat | dirfd=dirfd name=path@0 flags=flags.at
mkdir | path=path mode=octal
mkdirat | dirfd=dirfd path=path@0 mode=octal
rmdir | path=path
mknod | path=path mode=mode dev=hex
mknodat | dirfd=dirfd path=path@0 mode=mode dev=hex
truncate | path=path length=long
utimensat | dirfd=dirfd path=path@0 flags=flags.at#3
setxattr | path=path name=text
socket | fd=newfd domain=enum.domain#0 type=int#1 proto=int#2
socketpair | domain=enum.domain type=int proto=int
bind | fd=fd addr=address/2
listen | fd=fd backlog=int
accept waits | fd=newfd listener=fd#0
accept4 waits | fd=newfd listener=fd#0 flags=flags.accept#3
shutdown | fd=fd how=int
sendto hot waits | fd=fd data=data/2 size=uint flags=hex addr=address/5
sendmsg hot waits | fd=fd addr=name flags=hex#2
sendmmsg hot waits | fd=fd
recvfrom hot waits | fd=fd data=data/2 size=uint flags=hex
recvmsg hot waits | fd=fd addr=name flags=hex#2
recvmmsg hot waits | fd=fd
reboot | magic=hex magic2=hex cmd=hex
swapon | path=path
swapoff | path=path
acct | path=path
sethostname | name=text
setdomainname | name=text
settimeofday |
clock_settime | clock=int
kexec_load |
kexec_file_load | kernel_fd=fd initrd_fd=fd
iopl | level=int
ioperm | from=uint num=uint turn_on=int
"""


class Parameter(NamedTuple):
    """One argument as rules name it. `at`: 0 to 5, or RESULT. `other`: the argument with the folder or the length, -1 none."""

    name: str
    kind: str
    at: int
    other: int = -1


class Call(NamedTuple):
    """A system call the sensor reads. `family`: who handles it; `parameters` only where that is `call`. See the module for `options`."""

    name: str
    number: int
    family: str
    parameters: tuple[Parameter, ...] = ()
    options: frozenset[str] = frozenset()

    def of_kind(self, *kinds: str) -> list[Parameter]:
        """The parameters of these kinds, in order."""
        return [parameter for parameter in self.parameters if parameter.kind in kinds]


class Shape(NamedTuple):
    """What the kernel's generic handler does for a call. Places are those of arguments + 1, 0 for none: see `schema.SHAPE`."""

    strings: tuple[int, int] = (0, 0)
    starts: tuple[int, int] = (0, 0)
    descriptors: tuple[int, int] = (0, 0)
    address: int = 0
    address_size: int = 0
    data: int = 0
    data_size: int = 0
    bits: int = 0


SHAPE_ONLY_FAILED, SHAPE_ONLY_EXEC, SHAPE_WAITS, SHAPE_MSGHDR = 1, 2, 4, 8
START_CWD = 255


def shape_of(call: Call) -> Shape:
    """What the kernel is told about `call`. At most two strings, two descriptors, one address and one buffer: the first of each."""
    strings, descriptors = call.of_kind("path", "text")[:2], call.of_kind("fd", "newfd")[:2]
    addresses, buffers = call.of_kind("address", "name"), call.of_kind("data")
    bits = sum(
        bit
        for option, bit in (("failed", SHAPE_ONLY_FAILED), ("exec", SHAPE_ONLY_EXEC), ("waits", SHAPE_WAITS))
        if option in call.options
    )
    if call.of_kind("name"):
        bits |= SHAPE_MSGHDR
    return Shape(
        strings=_pair([parameter.at + 1 for parameter in strings]),
        starts=_pair([_start(parameter) for parameter in strings]),
        descriptors=_pair([parameter.at + 1 for parameter in descriptors]),
        address=addresses[0].at + 1 if addresses else 0,
        address_size=addresses[0].other + 1 if addresses else 0,
        data=buffers[0].at + 1 if buffers else 0,
        data_size=buffers[0].other + 1 if buffers else 0,
        bits=bits,
    )


def _start(parameter: Parameter) -> int:
    if parameter.kind != "path":
        return 0
    return parameter.other + 1 if parameter.other >= 0 else START_CWD


def _pair(places: list[int]) -> tuple[int, int]:
    first, second = (*places, 0, 0)[:2]
    return first, second


def _parse(line: str) -> Call:
    head, _, tail = line.partition("|")
    name, *options = head.split()
    parameters = []
    following = 0
    for word in tail.split():
        label, _, kind = word.partition("=")
        other = -1
        for mark in "@/":
            if mark in kind:
                kind, _, number = kind.partition(mark)
                other = int(number)
        kind, _, place = kind.partition("#")
        at = RESULT if kind == "newfd" else int(place) if place else following
        if not 0 <= at <= RESULT:
            raise InputError(f"system call {name}", f"has no argument {at}")
        if kind != "newfd":
            following = at + 1
        parameters.append(Parameter(label, kind, at, other))
    return Call(name, NUMBERS[name], "call", tuple(parameters), frozenset(options))


CALLS = (
    *(Call(name, NUMBERS[name], family) for family, names in _OF_FAMILIES.items() for name in names.split()),
    *(_parse(line) for line in _DESCRIBED.strip().splitlines()),
)
CALLS_BY_NAME = {call.name: call for call in CALLS}
CALLS_BY_NUMBER = {call.number: call for call in CALLS}
