"""Which processes there are before the first event, from /proc; one that ends while it is read is left out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from shipwall.kernel.capture import parse_maps
from shipwall.model.container import Process

_MAX_MAPS_BYTES = 4 * 1024 * 1024
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def read_processes() -> Iterator[Process]:
    """Every process of the root namespace. Kernel threads have an empty path."""
    boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (process := _read(folder, boot_ns)) is not None:
            yield process


def read_mapped(pid: int) -> frozenset[str]:
    """The files that the process has mapped executable (its program, loader and libraries), as it sees them. Empty when it is gone."""
    try:
        with Path(f"/proc/{pid}/maps").open("rb") as file:
            mappings = parse_maps(file.read(_MAX_MAPS_BYTES))
    except OSError:
        return frozenset()
    return frozenset(
        one.name.removesuffix(" (deleted)") for one in mappings if one.flags[2:3] == "x" and one.name.startswith("/")
    )


def _read(folder: Path, boot_ns: int) -> Process | None:
    try:
        stat = (folder / "stat").read_bytes()
        status = dict(line.split(b":", 1) for line in (folder / "status").read_bytes().splitlines() if b":" in line)
        argv = (folder / "cmdline").read_bytes()[:65536]
    except OSError:
        return None
    try:
        path = os.readlink(folder / "exe")  # noqa: PTH115  # a Path would resolve what lies in another mount namespace
    except OSError:
        path = ""  # a kernel thread, or ended meanwhile
    after = stat.rpartition(b")")[2].split()
    words = [word.decode(errors="backslashreplace") for word in argv.rstrip(b"\0").split(b"\0")] if argv else []
    return Process(
        pid=int(folder.name),
        ppid=int(after[1]),
        ns_pid=int(status.get(b"NSpid", folder.name.encode()).split()[-1]),
        start_ns=boot_ns + int(after[19]) * _TICK_NS,
        uid=int(status[b"Uid"].split()[1]),
        gid=int(status[b"Gid"].split()[1]),
        comm=stat[stat.index(b"(") + 1 : stat.rindex(b")")].decode(errors="backslashreplace"),
        path=path.removesuffix(" (deleted)"),
        argv=tuple(words),
    )
