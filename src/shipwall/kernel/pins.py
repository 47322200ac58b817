"""Programs, maps and links that outlive this process: pinned in a BPF file system of our own.

A host may have none mounted, or one that others use; ours lies in a folder of the installation and goes with it.
"""

from __future__ import annotations

import ctypes
import errno as errnos
import os
from pathlib import Path

from shipwall.kernel.bpf import libbpf
from shipwall.model.errors import KernelError

_LAZY = 2
_NOSUID_NODEV_NOEXEC = 14
_MEMBARRIER, _GLOBAL = 324, 1


def is_pin_folder(folder: Path) -> bool:
    """Whether a BPF file system is mounted at `folder`."""
    wanted = str(folder.resolve())
    for line in Path("/proc/self/mountinfo").read_text("latin-1").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[4] == wanted and after.startswith("bpf "):
            return True
    return False


def mount_pins(folder: Path) -> None:
    """A BPF file system at `folder`, made when there is none yet. Raises KernelError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if is_pin_folder(folder):
        return
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"bpf", os.fsencode(folder), b"bpf", _NOSUID_NODEV_NOEXEC, b"mode=0700"):
        raise _error(f"BPF file system {folder}", "mount", ctypes.get_errno())


def unmount_pins(folder: Path) -> bool:
    """Take the BPF file system at `folder` away with all that is pinned in it; whether there was one. Raises KernelError."""
    found = False
    while folder.exists() and is_pin_folder(folder):
        if ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(folder), _LAZY):
            raise _error(f"BPF file system {folder}", "unmount", ctypes.get_errno())
        found = True
    return found


def pin(fd: int, path: Path) -> None:
    """Let the program, map or link `fd` live on as `path`. Raises KernelError."""
    result = libbpf().bpf_obj_pin(fd, os.fsencode(path))
    if result:
        raise _error(f"BPF pin {path.name}", "pin", -result)


def open_pin(path: Path) -> int | None:
    """A descriptor of what is pinned as `path`, None when nothing is. Raises KernelError."""
    fd = int(libbpf().bpf_obj_get(os.fsencode(path)))
    if fd == -errnos.ENOENT:
        return None
    if fd < 0:
        raise _error(f"BPF pin {path.name}", "open", -fd)
    return fd


def link_to_cgroup(program: int, folder: Path, attach_type: int) -> int:
    """A descriptor of the link that attaches `program` to the cgroup at `folder`, beside what others attached. Raises KernelError."""
    try:
        cgroup = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _error(f"cgroup {folder}", "open", error.errno or 0) from error
    try:
        fd = int(libbpf().bpf_link_create(program, cgroup, attach_type, None))
    finally:
        os.close(cgroup)
    if fd < 0:
        raise _error(f"cgroup {folder}", "attach", -fd)
    return fd


def wait_for_programs() -> None:
    """Return after every BPF program that is running now has ended (the kernel waits for a grace period). Raises KernelError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(_MEMBARRIER, _GLOBAL, 0, 0):
        raise _error("membarrier", "wait", ctypes.get_errno())


def _error(thing: str, act: str, errno: int) -> KernelError:
    return KernelError(thing, f"{act}: {os.strerror(errno)}", "see: shipwall doctor", errno=errno)
