"""Events: what a container's processes did, as the sensor decoded it.

Wire and memory form are the same msgspec structs (tagged by `kind`), made at the decoding edge only.
Times are nanoseconds since 1970. `pid` is the kernel's tgid in the root namespace, `tid` a thread, `ns_pid` inside the container.
Strings from containers are hostile bytes decoded with `backslashreplace`; only renderers may put them on a terminal.
"""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """The header every event carries. `ret` is the call's result (negative errno when refused), 0 where none exists.

    `container` is the engine's 64-hex id, filled by the agent from the cgroup, empty while unknown. `seq` counts per node.
    `syscall` is the name of the call (`openat`), empty for events that are not calls. `foreign`: asked for by 32-bit or x32 code, told by
    the name of the call that does the same.
    """

    seq: int
    time_ns: int
    cgroup_id: int
    pid: int
    tid: int
    ppid: int
    ns_pid: int
    uid: int
    gid: int
    comm: str
    ret: int = 0
    syscall: str = ""
    container: str = ""
    foreign: bool = False


class Fork(Event, frozen=True, kw_only=True, tag="fork"):
    """`pid` is the parent, `child_pid` the new process (threads are not reported), `flags` the CLONE_* ones of the call."""

    child_pid: int
    child_ns_pid: int
    flags: int = 0


class Exit(Event, frozen=True, kw_only=True, tag="exit"):
    """The last thread of `pid` ended. `ret` is the wait status."""


class Exec(Event, frozen=True, kw_only=True, tag="exec"):
    """A program was, or (`ret` < 0) should have been, executed.

    `path` the file as its own mount tree names it; `asked` what was asked for; `origin`: where the bytes came from:
    `image` (overlay lower layer), `upper` (written in the running container), `tmpfs`, `memfd`, `mount` (another file system),
    `deleted` (unlinked file), `unknown`. `killed`: the kernel part sent SIGKILL before its first instruction.
    `truncated`: the argument list (or environment) was longer than the record. `cwd` the working folder as its own mount tree names it;
    `session`, `group` the leaders' pids, `ns_group` the group's inside the container; `tty` its number, 0 none; `login_uid` -1 none;
    capabilities as masks; `ctime_ns`, `mtime_ns` of the file; `user_writable` whether the caller may write to it; `environment` only when
    asked for. Of a refused exec these are not told.
    """

    path: str
    asked: str = ""
    argv: tuple[str, ...] = ()
    origin: str = "unknown"
    writable_mount: bool = False
    inode: int = 0
    device: int = 0
    old_uid: int = 0
    parent_comm: str = ""
    killed: bool = False
    truncated: bool = False
    cwd: str = ""
    session: int = 0
    group: int = 0
    ns_group: int = 0
    tty: int = 0
    login_uid: int = -1
    cap_effective: int = 0
    cap_permitted: int = 0
    cap_inheritable: int = 0
    ctime_ns: int = 0
    mtime_ns: int = 0
    user_writable: bool = False
    environment: tuple[str, ...] = ()


class Open(Event, frozen=True, kw_only=True, tag="open"):
    """A file of interest was opened (`ret` = fd) or refused (`ret` < 0).

    `path`: resolved by the kernel when opened; when refused, `asked` joined to the working folder and normalised (`resolved` False).
    `differs`: no symbolic link can have been followed (O_NOFOLLOW, or a file made anew), and yet the file has another name than the one
    in the caller's memory after the call: it was rewritten to deceive who looks there.
    """

    path: str
    asked: str
    flags: int
    resolved: bool
    differs: bool = False


class Connect(Event, frozen=True, kw_only=True, tag="connect"):
    """A connection was asked for. `address` textual (`10.0.0.1`, `::1`, or a unix path), `port` 0 for unix. `protocol`: tcp udp unix other.

    `fd` is the descriptor of the socket, `local` and `local_port` its own end. `asked_address` and `asked_port`: what the caller's memory
    says after the call, where that is not where the socket went (`differs`): it was rewritten to deceive who looks there.
    """

    family: str
    protocol: str
    address: str
    port: int
    fd: int = -1
    local: str = ""
    local_port: int = 0
    differs: bool = False
    asked_address: str = ""
    asked_port: int = 0


class Privilege(Event, frozen=True, kw_only=True, tag="privilege"):
    """A change of identity or capabilities was asked for: `act` is the call (setuid, setresuid, setgroups, capset, prctl...)."""

    act: str
    new_uid: int = -1
    new_gid: int = -1
    cap_effective: int = 0


class Module(Event, frozen=True, kw_only=True, tag="module"):
    """A kernel module or BPF program was to be loaded or removed: `act` init_module, finit_module, delete_module, bpf."""

    act: str
    name: str = ""


class Namespace(Event, frozen=True, kw_only=True, tag="namespace"):
    """unshare, setns or clone with new namespaces: `act`, and the CLONE_NEW* `flags`."""

    act: str
    flags: int


class Mount(Event, frozen=True, kw_only=True, tag="mount"):
    """mount, umount2, move_mount, open_tree, fsopen, pivot_root, chroot: `act` and what was asked."""

    act: str
    source: str = ""
    target: str = ""
    fstype: str = ""
    flags: int = 0


class Duplicate(Event, frozen=True, kw_only=True, tag="duplicate"):
    """dup2/dup3 of a socket onto standard input, output or error: how a shell is bound to a connection."""

    old_fd: int
    new_fd: int
    address: str = ""
    port: int = 0


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the kernel knows of a descriptor after the call. `type`: file directory ipv4 ipv6 unix fifo char block anon netlink other.

    Files: `path` (of a unix socket the peer's name), `inode`, `device`, `layer` (of an overlay: upper, lower, else empty).
    Sockets: `protocol` (tcp udp icmp raw, else empty), `local` and `remote` addresses and ports.
    """

    fd: int
    type: str
    path: str = ""
    inode: int = 0
    device: int = 0
    layer: str = ""
    protocol: str = ""
    local: str = ""
    local_port: int = 0
    remote: str = ""
    remote_port: int = 0


class Call(Event, frozen=True, kw_only=True, tag="call"):
    """A call without a kind of its own. `syscall` names it, `abi.calls` its parameters; `raw` are the six arguments as registers held them.

    `asked` are its strings as given, `paths` the same as whole paths (a string that is no path is empty there); `descriptors` those of the
    call, the event's own first. `address` and `port` (`family` ipv4, ipv6, unix) come from the caller's memory, as does `data`, the head
    of a buffer. `differs`: the address in memory is not where the socket is bound. `truncated`: something did not fit.
    """

    raw: tuple[int, ...]
    asked: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    descriptors: tuple[Descriptor, ...] = ()
    family: str = ""
    address: str = ""
    port: int = 0
    data: str = ""
    differs: bool = False
    truncated: bool = False


class Lost(Event, frozen=True, kw_only=True, tag="lost"):
    """`count` events of class `of` from this cgroup were not delivered.

    `cause`: `ring`, there was no room; `budget`, this cgroup had more than its share of it unread.
    """

    of: str
    count: int
    cause: str = "ring"


class Cgroup(Event, frozen=True, kw_only=True, tag="cgroup"):
    """A cgroup was made or removed: `act` made or removed, `path` below the cgroup mount, `made_id` its id (not the maker's)."""

    act: str
    path: str
    made_id: int


AnyEvent = Fork | Exit | Exec | Open | Connect | Privilege | Module | Namespace | Mount | Duplicate | Call | Lost | Cgroup
