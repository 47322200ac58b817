"""What /proc says about one living process beyond its entry in the table. Some 100 µs: for when a rule asks, not for every event."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from shipwall.model.container import Process, ProcessDetails

MAX_ENVIRONMENT_BYTES = 16 * 1024

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_SAME_NS = 2_000_000_000
_NO_LOGIN = 0xFFFFFFFF
_DAC_OVERRIDE = 1 << 1


def read_details(process: Process) -> ProcessDetails | None:
    """The details of `process`; None when it has ended, or another has its number. What single files refuse is None."""
    folder = Path(f"/proc/{process.pid}")
    try:
        after = (folder / "stat").read_bytes().rpartition(b")")[2].split()
        status = dict(line.split(b":", 1) for line in (folder / "status").read_bytes().splitlines() if b":" in line)
        boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        began_ns = boot_ns + int(after[19]) * _TICK_NS
    except (OSError, IndexError, ValueError):
        return None
    if began_ns > process.start_ns + _SAME_NS and process.start_ns:  # the table may have met it later than it began, never before
        return None
    login = _text(folder / "loginuid", 32)
    environment = _text(folder / "environ", MAX_ENVIRONMENT_BYTES)
    effective = int(status.get(b"CapEff", b"0"), 16)
    inode, changed_ns, written_ns, writable = _program(folder, status, effective)
    return ProcessDetails(
        tty=int(after[4]),
        sid=int(after[3]),
        ns_sid=_last(status, b"NSsid", int(after[3])),
        pgid=int(after[2]),
        ns_pgid=_last(status, b"NSpgid", int(after[2])),
        loginuid=None if not login else (-1 if int(login) == _NO_LOGIN else int(login)),
        cwd=_link(folder / "cwd"),
        env=None if environment is None else tuple(environment.rstrip("\0").split("\0")),
        cap_effective=effective,
        cap_permitted=int(status.get(b"CapPrm", b"0"), 16),
        cap_inheritable=int(status.get(b"CapInh", b"0"), 16),
        exe_inode=inode,
        exe_ctime_ns=changed_ns,
        exe_mtime_ns=written_ns,
        exe_writable=writable,
        stdin=_link(folder / "fd/0"),
        stdout=_link(folder / "fd/1"),
        stderr=_link(folder / "fd/2"),
        threads=int(after[17]),
        vm_size_kib=int(after[20]) // 1024,
        vm_rss_kib=int(after[21]) * _PAGE_KIB,
        vm_swap_kib=int(status[b"VmSwap"].split()[0]) if b"VmSwap" in status else None,
    )


def _last(status: dict[bytes, bytes], name: bytes, otherwise: int) -> int:
    """The number in the innermost namespace."""
    numbers = status.get(name, b"").split()
    return int(numbers[-1]) if numbers else otherwise


def _text(path: Path, most_bytes: int) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(most_bytes).decode("utf-8", "backslashreplace")
    except OSError:
        return None


def _link(path: Path) -> str | None:
    try:
        return os.fsencode(os.readlink(path)).decode("utf-8", "backslashreplace")  # noqa: PTH115  # may lie in another mount namespace
    except OSError:
        return None


def _program(folder: Path, status: dict[bytes, bytes], effective: int) -> tuple[int | None, int | None, int | None, bool | None]:
    """Inode of the program, when it was changed and written, and whether the process may write it, as mode and capabilities say."""
    try:
        found = (folder / "exe").stat()
    except OSError:
        return None, None, None, None
    uid, gid = int(status[b"Uid"].split()[3]), int(status[b"Gid"].split()[3])
    groups = {gid, *map(int, status.get(b"Groups", b"").split())}
    if uid == found.st_uid:
        writable = bool(found.st_mode & stat.S_IWUSR)
    elif found.st_gid in groups:
        writable = bool(found.st_mode & stat.S_IWGRP)
    else:
        writable = bool(found.st_mode & stat.S_IWOTH)
    return found.st_ino, found.st_ctime_ns, found.st_mtime_ns, writable or bool(effective & _DAC_OVERRIDE)
