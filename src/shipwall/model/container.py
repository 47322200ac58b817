"""Containers and processes, as the product speaks of them."""

from __future__ import annotations

import msgspec

from shipwall.model.digest import Digest


class MountFact(msgspec.Struct, frozen=True, kw_only=True):
    """A folder or volume of the host inside a container. `mode` as the engine writes it (`ro,z`), `propagation` `rprivate`, ..."""

    source: str
    destination: str
    mode: str = ""
    writable: bool = True
    propagation: str = ""


class ContainerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One container joined with its image.

    `state`: created, running, frozen, exited, gone. `image_config` is the engine's image id; `image_digest` the manifest digest, None if
    not known here. `promotion`: promoted, not-promoted, unknown. `pid` of its first process in the root namespace (0 when not running).
    `ports` as `host:port->port/proto`. `replaces` is the id of the container this one took the place of. `ip`: its first address.
    `host_pid`, `host_network`, `host_ipc`: it shares that namespace with the host. `runtime`: docker, containerd, ...
    """

    id: str
    name: str
    image_ref: str
    image_config: Digest
    image_digest: Digest | None = None
    promotion: str = "unknown"
    state: str = "created"
    cgroup_id: int = 0
    pid: int = 0
    created_ns: int = 0
    privileged: bool = False
    user: str = ""
    ports: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    networks: tuple[str, ...] = ()
    replaces: str = ""
    runtime: str = "docker"
    ip: str = ""
    host_pid: bool = False
    host_network: bool = False
    host_ipc: bool = False
    mounts: tuple[MountFact, ...] = ()


class User(msgspec.Struct, frozen=True):
    """A line of /etc/passwd."""

    name: str
    home: str = ""
    shell: str = ""


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """Users and groups of one container or of the host, by number."""

    users: dict[int, User] = {}
    groups: dict[int, str] = {}


def parse_accounts(passwd: str, group: str) -> Accounts:
    """The accounts in the texts of /etc/passwd and /etc/group; of several lines for a number the first counts. Total."""
    users: dict[int, User] = {}
    groups: dict[int, str] = {}
    for line in passwd.splitlines():
        parts = line.split(":")
        if len(parts) >= 7 and parts[2].isascii() and parts[2].isdigit() and len(parts[2]) <= 10:
            users.setdefault(int(parts[2]), User(parts[0], parts[5], parts[6]))
    for line in group.splitlines():
        parts = line.split(":")
        if len(parts) >= 3 and parts[2].isascii() and parts[2].isdigit() and len(parts[2]) <= 10:
            groups.setdefault(int(parts[2]), parts[0])
    return Accounts(users=users, groups=groups)


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process in the agent's table; `start_ns` with `pid` makes it unique across pid reuse."""

    pid: int
    ppid: int
    ns_pid: int
    start_ns: int
    uid: int
    gid: int
    comm: str
    path: str
    argv: tuple[str, ...]
    container: str = ""
    origin: str = "unknown"


class ProcessDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What an event does not say about a process; None where it is not known. It never leaves the node: `env` holds secrets.

    `tty` is the device number of the terminal, 0 for none. `sid`, `pgid` as the root namespace counts, `ns_sid`, `ns_pgid` as the
    process's own does. `loginuid` -1 when nobody logged in. Capabilities are bit sets. Times in nanoseconds since 1970, sizes in KiB.
    `stdin`, `stdout`, `stderr`: what /proc/PID/fd shows (`/dev/null`, `pipe:[12]`, `socket:[13]`).
    """

    tty: int | None = None
    sid: int | None = None
    ns_sid: int | None = None
    pgid: int | None = None
    ns_pgid: int | None = None
    loginuid: int | None = None
    cwd: str | None = None
    env: tuple[str, ...] | None = None
    cap_effective: int | None = None
    cap_permitted: int | None = None
    cap_inheritable: int | None = None
    exe_inode: int | None = None
    exe_ctime_ns: int | None = None
    exe_mtime_ns: int | None = None
    exe_writable: bool | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    threads: int | None = None
    vm_size_kib: int | None = None
    vm_rss_kib: int | None = None
    vm_swap_kib: int | None = None
