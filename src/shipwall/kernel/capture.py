"""What /proc tells of frozen processes: who they are, what they hold open, whom they talk to, and their memory.

Everything is read from outside, by root, while the processes stand still. Strings come from the container and are hostile: they are
kept as bytes or written out as text, never interpreted. What cannot be read is `Skipped`, never silently left out.
Source: proc_pid_*(5), Documentation/admin-guide/mm/pagemap.rst.
"""

from __future__ import annotations

import array
import hashlib
import os
import re
import socket
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from shipwall.kernel.rootfs import readable
from shipwall.model.package import Skipped

PAGE_BYTES = os.sysconf("SC_PAGESIZE")
PART_BYTES = 4 * 1024 * 1024
MAX_PROC_FILE_BYTES = 64 * 1024 * 1024
MAX_MAPPING_BYTES = 64 * 1024 * 1024 * 1024
MAX_FDS = 65_536
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")

_WINDOW_PAGES = 65_536
_JOIN_PAGES = 16
_PRESENT, _SWAPPED, _FILE_PAGE = 1 << 63, 1 << 62, 1 << 61
_KERNEL_MAPPINGS = ("[vvar", "[vdso]", "[vsyscall]", "[uprobes]")
_IMAGELESS = ("/memfd:", "/dev/zero", "/SYSV", "/dev/shm/", "anon_inode:")  # noqa: S108
_MAP = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) ([rwxsp-]{4}) [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+) ([0-9]+) *(.*)")
_STATES = {
    1: "established",
    2: "syn-sent",
    3: "syn-received",
    4: "fin-wait-1",
    5: "fin-wait-2",
    6: "time-wait",
    7: "close",
    8: "close-wait",
    9: "last-ack",
    10: "listen",
    11: "closing",
    12: "new-syn",
}

Skip = Callable[[Skipped], None]


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """One open file. `target` as the kernel names it (`/path`, `socket:[inode]`, `pipe:[inode]`, `/memfd:x (deleted)`)."""

    fd: int
    target: str
    position: int = 0
    flags: int = 0
    mount: int = 0
    inode: int = 0


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """One frozen process. `pid`, `ppid` in the root namespace, `ns_pid` in its own. `start_ticks` since boot. `exe_sha256` is of the
    bytes that run, deleted or not. `namespaces` name → inode."""

    pid: int
    ppid: int
    ns_pid: int
    comm: str
    argv: tuple[str, ...]
    environment: tuple[str, ...]
    exe: str
    exe_sha256: str
    exe_bytes: int
    cwd: str
    root: str
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    cap_effective: str
    cap_bounding: str
    no_new_privs: bool
    seccomp: int
    threads: int
    start_ticks: int
    namespaces: dict[str, int]
    descriptors: tuple[Descriptor, ...]


class Socket(msgspec.Struct, frozen=True, kw_only=True):
    """One socket of the container's network namespace and who holds it (`pid/fd`)."""

    protocol: str
    inode: int
    local: str
    remote: str = ""
    state: str = ""
    holders: tuple[str, ...] = ()


class Mapping(NamedTuple):
    """One line of /proc/PID/maps. `device` hexadecimal `major:minor`."""

    start: int
    end: int
    flags: str
    device: str
    inode: int
    name: str


class Run(NamedTuple):
    """Pages of one mapping worth reading, back to back: addresses `start` to `end`."""

    start: int
    end: int
    mapping: Mapping


def read_process(pid: int, skip: Skip) -> ProcessState | None:
    """The process `pid`, None when it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        status = parse_status((folder / "status").read_bytes())
        argv = (folder / "cmdline").read_bytes()
        start_ticks = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError) as error:
        skip(Skipped(what=f"process {pid}", reason=f"gone while it was read: {error}"))
        return None
    environment = read_small(folder / "environ", f"environment of {pid}", skip)
    exe_sha256, exe_bytes = _hash_exe(pid, skip)
    uids, gids = _numbers(status.get("Uid", "")), _numbers(status.get("Gid", ""))
    return ProcessState(
        pid=pid,
        ppid=int(status.get("PPid", "0")),
        ns_pid=(_numbers(status.get("NSpid", "")) or (0,))[-1],
        comm=status.get("Name", ""),
        argv=_strings(argv),
        environment=_strings(environment),
        exe=_link(folder / "exe"),
        exe_sha256=exe_sha256,
        exe_bytes=exe_bytes,
        cwd=_link(folder / "cwd"),
        root=_link(folder / "root"),
        uids=uids,
        gids=gids,
        groups=_numbers(status.get("Groups", "")),
        cap_effective=status.get("CapEff", ""),
        cap_bounding=status.get("CapBnd", ""),
        no_new_privs=status.get("NoNewPrivs", "0") == "1",
        seccomp=int(status.get("Seccomp", "0") or 0),
        threads=int(status.get("Threads", "1") or 1),
        start_ticks=start_ticks,
        namespaces=_namespaces(folder),
        descriptors=tuple(_descriptors(pid, skip)),
    )


def read_small(path: Path, what: str, skip: Skip) -> bytes:
    """A file of /proc, whole up to a limit; empty, and told, when it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PROC_FILE_BYTES + 1)
    except OSError as error:
        skip(Skipped(what=what, reason=error.strerror or str(error)))
        return b""
    if len(data) > MAX_PROC_FILE_BYTES:
        skip(Skipped(what=what, reason=f"cut at {MAX_PROC_FILE_BYTES} bytes"))
    return data[:MAX_PROC_FILE_BYTES]


def read_descriptor(pid: int, fd: int) -> Iterator[bytes]:
    """The bytes of the regular file behind an open descriptor, although it may have no name; nothing of other kinds. Raises OSError."""
    return _read_link(f"/proc/{pid}/fd/{fd}")


def read_exe(pid: int) -> Iterator[bytes]:
    """The bytes of the running program, deleted or not. Raises OSError."""
    return _read_link(f"/proc/{pid}/exe")


def read_sockets(processes: Iterable[ProcessState], skip: Skip) -> list[Socket]:
    """The sockets of the network namespaces of `processes`, joined with the descriptors that hold them; each namespace once."""
    holders: dict[int, list[str]] = {}
    spaces: dict[int, int] = {}
    for process in processes:
        spaces.setdefault(process.namespaces.get("net", 0), process.pid)
        for descriptor in process.descriptors:
            if descriptor.target.startswith("socket:["):
                holders.setdefault(int(descriptor.target[8:-1]), []).append(f"{process.pid}/{descriptor.fd}")
    found: list[Socket] = []
    for pid in spaces.values():
        for protocol in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
            path = Path(f"/proc/{pid}/net/{protocol}")
            if path.exists():  # tcp6 is absent without IPv6
                found += parse_inet_sockets(protocol, read_small(path, f"net/{protocol} of {pid}", skip), holders)
        found += parse_unix_sockets(read_small(Path(f"/proc/{pid}/net/unix"), f"net/unix of {pid}", skip), holders)
    return found


def listening_ports(pid: int) -> set[int]:
    """TCP ports on which somebody listens in the network namespace of `pid`. Empty when the process is gone."""
    ports = set()
    for protocol in ("tcp", "tcp6"):
        data = read_small(Path(f"/proc/{pid}/net/{protocol}"), protocol, lambda _: None)
        ports |= {int(one.local.rpartition(":")[2]) for one in parse_inet_sockets(protocol, data, {}) if one.state == "listen"}
    return ports


def parse_status(data: bytes) -> dict[str, str]:
    """/proc/PID/status as key → text. Total."""
    lines = (line.partition(":") for line in data.decode("utf-8", "backslashreplace").split("\n"))
    return {key: value.strip() for key, colon, value in lines if colon}


def parse_maps(data: bytes) -> list[Mapping]:
    """/proc/PID/maps as mappings; lines that are none are left out. Total."""
    found = []
    for line in data.split(b"\n"):
        match = _MAP.match(line)
        if match and len(match.group(1)) <= 16 and len(match.group(2)) <= 16:
            start, end = int(match.group(1), 16), int(match.group(2), 16)
            name = match.group(6).decode("utf-8", "backslashreplace")
            inode = int(match.group(5)[:20])
            found.append(Mapping(start, end, match.group(3).decode(), match.group(4).decode(), inode, name))
    return found


def parse_inet_sockets(protocol: str, data: bytes, holders: dict[int, list[str]]) -> list[Socket]:
    """/proc/net/{tcp,udp,raw}{,6} as sockets; lines that are none are left out. Total."""
    found = []
    for line in data.decode("ascii", "replace").split("\n")[1:]:
        fields = line.split()
        try:
            local, remote, state, inode = _address(fields[1]), _address(fields[2]), int(fields[3], 16), int(fields[9][:20])
        except (IndexError, ValueError):
            continue
        name = _STATES.get(state, str(state)) if protocol.startswith("tcp") else ""
        found.append(
            Socket(protocol=protocol, inode=inode, local=local, remote=remote, state=name, holders=tuple(holders.get(inode, ())))
        )
    return found


def parse_unix_sockets(data: bytes, holders: dict[int, list[str]]) -> list[Socket]:
    """/proc/net/unix as sockets; lines that are none are left out. Total."""
    found = []
    for line in data.decode("utf-8", "backslashreplace").split("\n")[1:]:
        fields = line.split(None, 7)
        if len(fields) < 7 or not fields[6].isdecimal() or len(fields[6]) > 20:
            continue
        inode = int(fields[6])
        path = fields[7] if len(fields) > 7 else ""
        found.append(Socket(protocol="unix", inode=inode, local=path, state=fields[5], holders=tuple(holders.get(inode, ()))))
    return found


def find_runs(pid: int, skip: Skip, unsafe_devices: frozenset[str] = frozenset()) -> list[Run]:
    """The memory of `pid` worth keeping: pages that hold something and came from no file that is kept elsewhere.

    That is: stack, heap, anonymous and copied-on-write pages whatever their protection (what hides behind PROT_NONE is wanted too), and
    shared memory without a file. Pages of files as they are on disk are not memory of this process. Stack and heap come first.
    `unsafe_devices`: `major:minor` (hexadecimal) of file systems whose pages must not be touched.
    """
    maps = parse_maps(read_small(Path(f"/proc/{pid}/maps"), f"memory map of {pid}", skip))
    runs: list[Run] = []
    try:
        fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        skip(Skipped(what=f"memory of {pid}", reason=error.strerror or str(error)))
        return []
    try:
        for mapping in maps:
            if mapping.name.startswith(_KERNEL_MAPPINGS):
                continue
            what = f"memory of {pid} at {mapping.start:x}-{mapping.end:x} {mapping.name}".rstrip()
            is_fileless = not mapping.inode or mapping.name.startswith(_IMAGELESS) or mapping.name.endswith(" (deleted)")
            if mapping.device in unsafe_devices:
                skip(Skipped(what=what, reason="its file system may not answer"))
            elif mapping.end - mapping.start > MAX_MAPPING_BYTES:
                skip(Skipped(what=what, reason=f"mapping of more than {MAX_MAPPING_BYTES} bytes"))
            elif is_fileless or mapping.flags.endswith("p"):
                wanted = 0 if is_fileless else _FILE_PAGE
                runs += [Run(start, end, mapping) for start, end in _present(fd, mapping, wanted)]
    except OSError as error:
        skip(Skipped(what=f"memory of {pid}", reason=error.strerror or str(error)))
    finally:
        os.close(fd)
    return sorted(runs, key=lambda run: (not run.mapping.name.startswith(("[heap", "[stack")), run.start))


def read_run(pid: int, run: Run, skip: Skip) -> Iterator[bytes]:
    """The bytes of `run`, in parts. Pages that cannot be read are told and come as zeros, so that offsets stay true."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        at = run.start
        while at < run.end:
            count = min(PART_BYTES, run.end - at)
            try:
                data = os.pread(fd, count, at)
            except OSError as error:
                data = b""
                reason = error.strerror or str(error)
            else:
                reason = "not readable"
            if not data:
                count = min(PAGE_BYTES, run.end - at)
                skip(Skipped(what=f"memory of {pid} at {at:x}-{at + count:x}", reason=reason))
                data = bytes(count)
            yield data
            at += len(data)
    finally:
        os.close(fd)


def _present(fd: int, mapping: Mapping, unwanted: int) -> Iterator[tuple[int, int]]:
    """Address ranges of the mapping with pages present or swapped and without the bits `unwanted`, near ones joined."""
    first, last = mapping.start // PAGE_BYTES, mapping.end // PAGE_BYTES
    begun, end = -1, -1
    for window in range(first, last, _WINDOW_PAGES):
        count = min(_WINDOW_PAGES, last - window)
        data = os.pread(fd, count * 8, window * 8)
        if len(data) >= 16 and data[8:] == data[:-8] and not int.from_bytes(data[:8], "little") & (_PRESENT | _SWAPPED):
            continue  # one comparison for a whole window that was never touched
        entries = array.array("Q", data[: len(data) // 8 * 8])
        for number, entry in enumerate(entries, window):
            if not entry & (_PRESENT | _SWAPPED) or entry & unwanted:
                continue
            if begun >= 0 and number - end > _JOIN_PAGES:
                yield begun * PAGE_BYTES, end * PAGE_BYTES
                begun = number
            elif begun < 0:
                begun = number
            end = number + 1
    if begun >= 0:
        yield begun * PAGE_BYTES, end * PAGE_BYTES


def _hash_exe(pid: int, skip: Skip) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        for part in read_exe(pid):
            digest.update(part)
            size += len(part)
    except OSError as error:
        skip(Skipped(what=f"program of {pid}", reason=error.strerror or str(error)))
        return "", 0
    return "sha256:" + digest.hexdigest(), size


def _read_link(path: str) -> Iterator[bytes]:
    """The bytes of the regular file a link of /proc leads to; nothing for other kinds."""
    look = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(look).st_mode):
            return
        fd = os.open(f"/proc/self/fd/{look}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(look)
    try:
        offset = 0
        while part := os.pread(fd, 1024 * 1024, offset):
            yield part
            offset += len(part)
    finally:
        os.close(fd)


def _descriptors(pid: int, skip: Skip) -> Iterator[Descriptor]:
    folder = Path(f"/proc/{pid}/fd")
    try:
        numbers = sorted(int(name) for name in os.listdir(folder))  # noqa: PTH208  -- names only, thousands of them
    except OSError as error:
        skip(Skipped(what=f"open files of {pid}", reason=error.strerror or str(error)))
        return
    if len(numbers) > MAX_FDS:
        skip(Skipped(what=f"open files of {pid}", reason=f"{len(numbers) - MAX_FDS} more than {MAX_FDS}"))
    for number in numbers[:MAX_FDS]:
        info = parse_status(read_small(Path(f"/proc/{pid}/fdinfo/{number}"), f"open file {number} of {pid}", skip))
        try:
            flags = int(info.get("flags", "0"), 8)
            position, mount, inode = (int(info.get(key, "0")) for key in ("pos", "mnt_id", "ino"))
        except ValueError:
            position = flags = mount = inode = 0
        target = _link(folder / str(number))
        yield Descriptor(fd=number, target=target, position=position, flags=flags, mount=mount, inode=inode)


def _namespaces(folder: Path) -> dict[str, int]:
    found = {}
    for name in NAMESPACES:
        kind, _, inode = _link(folder / "ns" / name).partition(":[")
        if kind and inode:
            found[name] = int(inode[:-1])
    return found


def _link(path: Path) -> str:
    try:
        return readable(str(path.readlink()))
    except OSError:
        return ""


def _strings(data: bytes) -> tuple[str, ...]:
    return tuple(part.decode("utf-8", "backslashreplace") for part in data.removesuffix(b"\0").split(b"\0")) if data else ()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split() if word.isdecimal())


def _address(text: str) -> str:
    """`0100007F:1F90` → `127.0.0.1:8080`. The kernel writes each 32-bit word in host order."""
    address, _, port = text.partition(":")
    raw = bytes.fromhex(address)
    words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    if len(words) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, words)}:{int(port, 16)}"
    if len(words) == 16:
        return f"[{socket.inet_ntop(socket.AF_INET6, words)}]:{int(port, 16)}"
    raise ValueError(text)
