"""Control groups: where they are mounted, their ids, paths and processes.

The id of a v2 cgroup is the inode number of its folder (64-bit kernels since 5.5) and what BPF programs see.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from shipwall.model.errors import InputError, KernelError, UnsupportedError
from shipwall.runtime.decode import container_of_cgroup

_FILEID_KERNFS = 0xFE
_O_PATH = 0o10000000
_OCTAL = re.compile(r"\\([0-3][0-7]{2})")


class CgroupMounts(NamedTuple):
    """`mode` unified, hybrid or legacy; `unified` the v2 mount (None in legacy mode), `v1` controller → mount."""

    mode: str
    unified: Path | None
    v1: dict[str, Path]


class _Handle(ctypes.Structure):
    """struct file_handle with room for an id."""

    _fields_ = [("handle_bytes", ctypes.c_uint32), ("handle_type", ctypes.c_int), ("id", ctypes.c_uint64)]


def parse_mounts(text: str) -> CgroupMounts:
    """The cgroup mounts in `text`, the contents of /proc/self/mountinfo."""
    unified: Path | None = None
    v1: dict[str, Path] = {}
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, more = before.split(), after.split()
        if not dash or len(fields) < 5 or len(more) < 3:
            continue
        where = Path(_OCTAL.sub(lambda found: chr(int(found.group(1), 8)), fields[4]))  # as the kernel escapes spaces
        if more[0] == "cgroup2" and (unified is None or fields[3] == "/"):
            unified = where
        elif more[0] == "cgroup":
            for option in more[2].split(","):
                if option not in {"rw", "ro", "clone_children", "xattr"} and not option.startswith("release_agent="):
                    v1[option.removeprefix("name=")] = where
    mode = "legacy" if unified is None else "hybrid" if v1 else "unified"
    return CgroupMounts(mode, unified, v1)


def find_mounts() -> CgroupMounts:
    """The cgroup mounts of this process's namespace."""
    return parse_mounts(Path("/proc/self/mountinfo").read_text("latin-1"))


def unified_mount() -> Path:
    """Where v2 is mounted. Raises UnsupportedError in legacy mode."""
    found = find_mounts().unified
    if found is None:
        raise UnsupportedError("cgroup v2", "is not mounted", "mount -t cgroup2 none /sys/fs/cgroup/unified")
    return found


def read_id(path: Path) -> int:
    """The id of the v2 cgroup with folder `path`. Raises KernelError."""
    try:
        return path.stat().st_ino
    except OSError as error:
        raise KernelError(f"cgroup {path}", error.strerror or str(error), errno=error.errno or 0) from error


def find_path(cgroup_id: int, mount: Path | None = None) -> Path | None:
    """The folder of the v2 cgroup `cgroup_id`; None when it is gone. Needs CAP_DAC_READ_SEARCH."""
    mount = mount or unified_mount()
    library = ctypes.CDLL(None, use_errno=True)
    handle = _Handle(handle_bytes=8, handle_type=_FILEID_KERNFS, id=cgroup_id)
    root = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fd = library.open_by_handle_at(root, ctypes.byref(handle), _O_PATH)
        if fd < 0:
            return None
        try:
            found = Path(f"/proc/self/fd/{fd}").readlink()
        finally:
            os.close(fd)
    finally:
        os.close(root)
    return found if found.is_relative_to(mount) else None


def read_pids(path: Path) -> list[int]:
    """Processes in the cgroup with folder `path`, as this process's pid namespace counts them; empty when it is gone."""
    try:
        return [int(line) for line in (path / "cgroup.procs").read_text().split()]
    except (FileNotFoundError, OSError):
        return []


def list_descendants(path: Path) -> list[Path]:
    """The folder `path` and all cgroups below it, parents first."""
    found = []
    for folder, names, _ in os.walk(path):
        found.append(Path(folder))
        names.sort()
    return found


class Found(NamedTuple):
    """A cgroup of interest: a container's (`container` its id, `is_own`: below one of the parents), or one of the parents."""

    folder: Path
    container: str
    is_own: bool


def list_cgroups(mount: Path, parents: Collection[str]) -> list[Found]:
    """The containers' cgroups under `mount` and those of `parents` (`/docker`) that exist, a parent before what lies below.

    What a container makes below its own cgroup is left out.
    """
    found = []
    own = {mount / path.strip("/") for path in parents}
    for name, names, _ in os.walk(mount):
        folder = Path(name)
        names.sort()
        if container := container_of_cgroup(folder.name):
            names.clear()
            found.append(Found(folder, container, folder.parent in own))
        elif folder in own:
            found.append(Found(folder, "", is_own=True))
    return found


def list_containers(folder: Path) -> dict[str, int]:
    """Container id → cgroup id of the containers at and below `folder`."""
    found = {}
    for cgroup in list_cgroups(folder, ()):
        with contextlib.suppress(KernelError):  # gone meanwhile
            found[cgroup.container] = read_id(cgroup.folder)
    return found


def join(path: Path, pid: int) -> None:
    """Move process `pid` into the cgroup with folder `path`. Raises KernelError."""
    try:
        (path / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise KernelError(f"cgroup {path}", f"cannot take process {pid}: {error.strerror}", errno=error.errno or 0) from error


def checked_id(value: int) -> int:
    """`value` as a cgroup id. Raises InputError when it cannot be one."""
    if not 0 < value < 1 << 64:
        raise InputError(f"cgroup id {value}", "is not a positive 64-bit number")
    return value
