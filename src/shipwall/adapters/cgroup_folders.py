"""Cgroup folders of a parent of our own, under whichever cgroup mounts (v1, v2, both) the host has: thawed and taken away."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from shipwall.adapters.supervise import wait_until
from shipwall.model.errors import InputError, RemoteError


def cgroup_mounts() -> list[Path]:
    """Where cgroup file systems are mounted, v1 and v2."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and fields[2] in {"cgroup", "cgroup2"}:
            found.append(Path(fields[1]))
    return found


def cgroup_folders(parent: str) -> list[Path]:
    """`parent` (`/shipwall-...`) and all below it in every mount, deepest first. Raises InputError for a parent that is not ours."""
    name = parent.removeprefix("/")
    if not name.startswith("shipwall-") or "/" in name:
        raise InputError(f"cgroup {parent!r}", "is not one of Shipwall's")
    found: list[Path] = []
    for mount in cgroup_mounts():
        if (mount / name).is_dir():
            found += [Path(folder) for folder, _, _ in os.walk(mount / name, topdown=False)]
    return found


def thaw_cgroups(parent: str) -> None:
    """Thaw everything below `parent`: a frozen process of the v1 freezer takes no signal, not even SIGKILL."""
    for folder in reversed(cgroup_folders(parent) if parent else []):
        for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            with suppress(OSError):
                if (folder / name).exists():
                    (folder / name).write_text(word)


def remove_cgroups(parent: str, timeout_s: float = 5.0) -> list[str]:
    """Remove the emptied cgroups below `parent`, and it; returns what was done. Raises RemoteError when processes stay in them."""
    if not parent:
        return []
    count = len(cgroup_folders(parent))

    def are_gone() -> bool:
        for folder in cgroup_folders(parent):
            with suppress(OSError):  # a process on its way out holds it for a moment
                folder.rmdir()
        return not cgroup_folders(parent)

    if count and not wait_until(are_gone, timeout_s):
        raise RemoteError(f"cgroup {parent}", "still holds processes", "end them, then run: shipwall cleanup")
    return [f"removed {count} cgroups of {parent}"] if count else []
