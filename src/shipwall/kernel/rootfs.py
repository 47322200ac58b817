"""The files of a container, read through /proc/PID/root without ever leaving it.

Every path from the container is opened with openat2(RESOLVE_IN_ROOT): links planted in it cannot lead to the host's files. Devices, pipes
and sockets are looked at, never opened. File systems that could answer never (FUSE, network) are not read: their server may be frozen.
Source: openat2(2), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec

from shipwall.model.container import Accounts, parse_accounts
from shipwall.model.errors import KernelError
from shipwall.model.package import Skipped

MAX_ENTRIES = 200_000
MAX_DEPTH = 64
PART_BYTES = 1024 * 1024

_SYS_OPENAT2 = 437  # the same number on every architecture
_NO_MAGICLINKS, _IN_ROOT = 0x02, 0x10
_VIRTUAL = frozenset({
    "proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "securityfs", "debugfs", "tracefs", "bpf", "pstore", "configfs",
    "binfmt_misc", "efivarfs", "fusectl", "hugetlbfs",
})  # fmt: skip
_UNSAFE = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "autofs", "glusterfs", "virtiofs")

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class MountPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One mount as the container sees it. `path` inside the container, `device` `major:minor`, `source_root` the folder mounted."""

    path: str
    kind: str
    device: str
    source_root: str
    is_readable: bool


class FileFact(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `change`: added, changed, deleted (against the image) or present (on a mount). `kind`: file, folder, link, device, pipe,
    socket, gone. `sha256` empty when it was not read. Times in nanoseconds since 1970; the container cannot set `changed_ns`."""

    path: str
    mount: str
    change: str
    kind: str
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    modified_ns: int = 0
    changed_ns: int = 0
    inode: int = 0
    target: str = ""
    sha256: str = ""


class RootFolder:
    """The root folder of process `pid`. A context manager. Raises KernelError when the process is gone."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError(f"root folder of process {pid}", error.strerror or str(error), errno=error.errno or 0) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def mounts(self) -> list[MountPoint]:
        """What is mounted in it, in order of mounting."""
        text = Path(f"/proc/{self.pid}/mountinfo").read_text(errors="backslashreplace")
        return parse_mounts(text)

    def open(self, path: str, flags: int) -> int:
        """A descriptor of `path`, resolved inside this root. Raises OSError."""
        how = _OpenHow(flags | os.O_CLOEXEC, 0, _NO_MAGICLINKS | _IN_ROOT)
        name = os.fsencode(path) if path.startswith("/") else b"/" + os.fsencode(path)
        fd = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(self._fd), name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))
        )
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
        return int(fd)

    def look(self, path: str, mount: str, change: str) -> FileFact:
        """What `path` is, without opening it."""
        try:
            fd = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                return FileFact(path=readable(path), mount=mount, change=change, kind="gone")
            raise
        try:
            facts = os.fstat(fd)
            target = readable(os.readlink("", dir_fd=fd)) if stat.S_ISLNK(facts.st_mode) else ""
        finally:
            os.close(fd)
        return FileFact(
            path=readable(path),
            mount=mount,
            change=change,
            kind=_kind(facts.st_mode),
            size=facts.st_size if stat.S_ISREG(facts.st_mode) else 0,
            mode=stat.S_IMODE(facts.st_mode),
            uid=facts.st_uid,
            gid=facts.st_gid,
            modified_ns=facts.st_mtime_ns,
            changed_ns=facts.st_ctime_ns,
            inode=facts.st_ino,
            target=target,
        )

    def read(self, path: str) -> Iterator[bytes]:
        """The bytes of a regular file, in parts. Raises OSError, also when it is something else by now."""
        fd = self.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "is not a regular file", path)
            while part := os.read(fd, PART_BYTES):
                yield part
        finally:
            os.close(fd)

    def walk(self, top: str, skipped: Callable[[Skipped], None]) -> Iterator[str]:
        """Every path on the mount at `top` (which may be a file), not crossing into other mounts. Bounded; what is left out is told."""
        try:
            fd = self.open(top, os.O_PATH | os.O_NOFOLLOW)
            facts = os.fstat(fd)
            os.close(fd)
        except OSError as error:
            skipped(Skipped(what=f"mount {readable(top)}", reason=error.strerror or str(error)))
            return
        if not stat.S_ISDIR(facts.st_mode):
            yield top
            return
        count = 0
        waiting = [(top, 0)]
        while waiting:
            folder, depth = waiting.pop()
            try:
                fd = self.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError as error:
                skipped(Skipped(what=f"folder {readable(folder)}", reason=error.strerror or str(error)))
                continue
            try:
                if os.fstat(fd).st_dev != facts.st_dev:
                    continue
                names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in os.scandir(fd)]
            finally:
                os.close(fd)
            for name, is_folder in sorted(names):
                path = f"{folder.rstrip('/')}/{name}"
                count += 1
                if count > MAX_ENTRIES:
                    skipped(Skipped(what=f"mount {readable(top)}", reason=f"more than {MAX_ENTRIES} entries"))
                    return
                if not is_folder:
                    yield path
                elif depth >= MAX_DEPTH:
                    skipped(Skipped(what=f"folder {readable(path)}", reason=f"deeper than {MAX_DEPTH} levels"))
                else:
                    waiting.append((path, depth + 1))

    def hash(self, path: str) -> str:
        """SHA-256 of a regular file. Raises OSError."""
        digest = hashlib.sha256()
        for part in self.read(path):
            digest.update(part)
        return "sha256:" + digest.hexdigest()


MAX_ACCOUNT_BYTES = 4 * 1024 * 1024


def read_accounts(pid: int) -> Accounts | None:
    """Users and groups as the process `pid` sees them; None when it is gone. A file that is missing or odd tells none."""
    try:
        with RootFolder(pid) as root:
            return parse_accounts(_head(root, "/etc/passwd"), _head(root, "/etc/group"))
    except KernelError:
        return None


def _head(root: RootFolder, path: str) -> str:
    found = bytearray()
    try:
        for part in root.read(path):
            found += part
            if len(found) >= MAX_ACCOUNT_BYTES:
                break
    except OSError:
        return ""
    return bytes(found[:MAX_ACCOUNT_BYTES]).decode("utf-8", "backslashreplace")


def parse_mounts(mountinfo: str) -> list[MountPoint]:
    """Mounts in the text of /proc/PID/mountinfo; lines that are none are left out. Total."""
    found = []
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if not separator or len(fields) < 5:
            continue
        found.append(
            MountPoint(
                path=_unescape(fields[4]),
                kind=kind[0],
                device=fields[2],
                source_root=_unescape(fields[3]),
                is_readable=kind[0] not in _VIRTUAL and not kind[0].startswith(_UNSAFE),
            )
        )
    return found


def readable(path: str) -> str:
    """`path` with bytes that are not UTF-8 written out, so that it can be stored as text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _kind(mode: int) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")
