"""fanotify permission groups: the kernel asks before a file is opened, and waits for the answer.

Source: fanotify_init(2), fanotify_mark(2), fanotify(7), include/uapi/linux/fanotify.h. What the kernel can be asked before: open, open for
exec, access (read), since 6.14 also pre-access; never create, unlink, link or rename: those are only told afterwards.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from shipwall.model.errors import KernelError

OPEN_PERM = 0x10000
IS_FOLDER = 0x40000000
_CLASS_CONTENT, _CLOEXEC, _UNLIMITED_QUEUE, _UNLIMITED_MARKS, _REPORT_TID, _NONBLOCK = 0x4, 0x1, 0x10, 0x20, 0x100, 0x2
_ADD = 0x1
_MOUNT, _FILESYSTEM = 0x10, 0x100
_IGNORE_FOR_GOOD = 0x400 | 0x40 | 0x200  # FAN_MARK_IGNORE, of a changed file too, and the mark does not keep the inode in memory
_ALLOW, _DENY = 0x1, 0x2
_EVENT = struct.Struct("<IBBHQii")
_ANSWER = struct.Struct("<iI")
_READ_BYTES = _EVENT.size * 64
_AT_FDCWD = -100

_AT_EMPTY_PATH, _STATX_NLINK, _STATX_MNT_ID = 0x1000, 0x4, 0x1000
_STATX_LINKS, _STATX_MOUNT = struct.Struct("<I"), struct.Struct("<Q")  # stx_nlink at 16, stx_mnt_id at 144

_statx = ctypes.create_string_buffer(256)
_libc = ctypes.CDLL(None, use_errno=True)


class Asked(NamedTuple):
    """An open that waits for an answer: `fd` of the file as the kernel opened it for us, `tid` of who waits."""

    fd: int
    tid: int
    is_folder: bool


def mount_and_links(fd: int) -> tuple[int, int]:
    """The id of the mount that the file was opened through, and how many names it has. Raises KernelError."""
    if _libc.statx(fd, b"", _AT_EMPTY_PATH, _STATX_NLINK | _STATX_MNT_ID, _statx):
        raise _error("statx", ctypes.get_errno())
    return _STATX_MOUNT.unpack_from(_statx, 144)[0], _STATX_LINKS.unpack_from(_statx, 16)[0]


class Group:
    """One permission group. Closing it, or the end of this process, lets everything that waits go on, allowed."""

    def __init__(self) -> None:
        """Raises KernelError: needs CAP_SYS_ADMIN and CONFIG_FANOTIFY_ACCESS_PERMISSIONS."""
        flags = _CLASS_CONTENT | _CLOEXEC | _UNLIMITED_QUEUE | _UNLIMITED_MARKS | _REPORT_TID | _NONBLOCK
        # Not blocking: the kernel opens each file for us, and a lease that a container took on one would keep us waiting for 45 s.
        self.fd = int(_libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC | os.O_LARGEFILE | os.O_NONBLOCK))
        if self.fd < 0:
            raise _error("group", ctypes.get_errno())

    def mark(self, path: str, *, whole_filesystem: bool) -> None:
        """Be asked about opens through the mount that `path` lies on, or through any mount of its file system. Raises KernelError."""
        self._mark(_ADD | (_FILESYSTEM if whole_filesystem else _MOUNT), OPEN_PERM | IS_FOLDER, path)

    def ignore(self, asked: Asked) -> None:
        """Never be asked about this inode again, whatever it is called or contains. Raises KernelError."""
        mask = OPEN_PERM | (IS_FOLDER if asked.is_folder else 0)
        if _libc.fanotify_mark(self.fd, _ADD | _IGNORE_FOR_GOOD, ctypes.c_uint64(mask), asked.fd, None):
            raise _error("ignore", ctypes.get_errno())

    def _mark(self, flags: int, mask: int, path: str) -> None:
        if _libc.fanotify_mark(self.fd, flags, ctypes.c_uint64(mask), _AT_FDCWD, os.fsencode(path)):
            raise _error(f"mark {path}", ctypes.get_errno())

    def read(self) -> Iterator[Asked]:
        """The opens that wait, at most 64. Each must be answered."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except OSError:  # nothing waits; or the kernel could not open the file for us, and has denied that open itself
            return
        for at in range(0, len(data), _EVENT.size):
            _, _, _, _, mask, fd, tid = _EVENT.unpack_from(data, at)
            if fd >= 0:
                yield Asked(fd, tid, bool(mask & IS_FOLDER))

    def answer(self, asked: Asked, *, deny: bool) -> None:
        """Let the open go on, or end it with EPERM; takes the descriptor back."""
        os.write(self.fd, _ANSWER.pack(asked.fd, _DENY if deny else _ALLOW))
        os.close(asked.fd)

    def close(self) -> None:
        """Let everything go on."""
        os.close(self.fd)


def _error(what: str, errno: int) -> KernelError:
    return KernelError(f"fanotify {what}", os.strerror(errno), "see: shipwall doctor", errno=errno)
