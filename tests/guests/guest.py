"""A small virtual machine with a kernel of Debian's: an initrd of our own, the checkout's package in it, no disk, no network.

Emulated (TCG), because nested virtualisation cannot be counted on: half a minute for a boot. What runs inside says its result as one line.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shipwall.adapters.tools import unpack_package

ROOT = Path(__file__).resolve().parents[2]
MARK = "guest-result "
_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t tmpfs none /tmp
/bin/busybox mount -t cgroup2 none /sys/fs/cgroup
/bin/busybox mount -t securityfs none /sys/kernel/security
/bin/busybox insmod /overlay.ko
HOME=/tmp PATH=/usr/bin:/bin /usr/bin/python3 -u /guest/inside.py
/bin/busybox poweroff -f
"""
_NOT_NEEDED = (
    "test",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "tkinter",
    "turtledemo",
    "distutils",
    "unittest",
    "__pycache__",
    "pydoc_data",
)
_MODULES = ("msgspec", "typing_extensions.py")
_EXTENSIONS = (
    "_ctypes",
    "_json",
    "mmap",
    "_posixsubprocess",
    "_hashlib",
    "_opcode",
    "_queue",
    "_lzma",
    "_bz2",
    "_contextvars",
    "_uuid",
)


def newest_kernel(meta: str) -> str:
    """The package that `meta` (`linux-image-cloud-amd64`) stands for today."""
    said = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True, check=True, timeout=60).stdout
    return next(word for word in said.split() if word.startswith("linux-image-") and word != meta)


def boot(package: str, inside: Path, timeout_s: float = 400) -> Any:
    """What `inside` says in a guest with the kernel of `package`. Fails with the guest's last words."""
    kernel = unpack_package(package)
    image = next((kernel / "boot").glob("vmlinuz-*"))
    with tempfile.NamedTemporaryFile(suffix=".cpio") as initrd:
        initrd.write(build_initrd(kernel, inside))
        initrd.flush()
        command = [
            "qemu-system-x86_64", "-accel", "tcg", "-m", "1536", "-smp", "2", "-nographic", "-no-reboot", "-nic", "none",
            "-kernel", str(image), "-initrd", initrd.name, "-append", "console=ttyS0 quiet panic=-1",
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False)
            words = done.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as late:
            words = (late.stdout or b"").decode(errors="replace")
    line = next((line for line in words.splitlines() if line.startswith(MARK)), None)
    assert line is not None, words[-4000:]
    return json.loads(line.removeprefix(MARK))


def build_initrd(kernel: Path, inside: Path) -> bytes:
    """The archive: Python with what the package's kernel part imports, busybox, the module for overlays."""
    archive = Archive()
    busybox = unpack_package("busybox-static") / "bin/busybox"
    archive.add("bin/busybox", busybox.read_bytes(), 0o755)
    archive.link("bin/sh", "busybox")
    archive.add("init", _INIT.encode(), 0o755)
    for name in ("proc", "sys", "dev", "tmp", "lib", "lib64", "root"):
        archive.folder(name)
    overlay = next(kernel.rglob("overlay.ko*"))
    archive.add("overlay.ko", lzma.decompress(overlay.read_bytes()) if overlay.suffix == ".xz" else overlay.read_bytes())
    python = Path(sys.executable).resolve()
    archive.add("usr/bin/python3", python.read_bytes(), 0o755)
    library = Path(sysconfig.get_paths()["stdlib"])
    site = Path(sysconfig.get_paths()["purelib"])
    binaries = [python, Path("/usr/lib/x86_64-linux-gnu/libbpf.so.1")]
    for path in files_below(library):
        if path.suffix == ".py":
            archive.add(str(path.relative_to("/")), path.read_bytes())
        elif path.suffix == ".so" and path.name.split(".")[0] in _EXTENSIONS:
            archive.add(str(path.relative_to("/")), path.read_bytes(), 0o755)
            binaries.append(path)
    for name in _MODULES:
        for path in files_below(site / name):
            archive.add(f"usr/lib/python3/dist-packages/{path.relative_to(site)}", path.read_bytes())
            if path.suffix == ".so":
                binaries.append(path)
    for path in files_below(ROOT / "src/shipwall"):
        if path.suffix in {".py", ".o"}:
            archive.add(f"usr/lib/python3/dist-packages/{path.relative_to(ROOT / 'src')}", path.read_bytes())
    archive.add("guest/inside.py", inside.read_bytes())
    for path in libraries_of(binaries):
        archive.add(str(path.relative_to("/")), path.resolve().read_bytes(), 0o755)
    archive.add("usr/lib/x86_64-linux-gnu/libbpf.so.1", binaries[1].resolve().read_bytes(), 0o755)
    return archive.finish()


def files_below(top: Path) -> Iterator[Path]:
    """Files at and below `top` that a guest may need."""
    if top.is_file():
        yield top
    for folder, names, files in os.walk(top):
        names[:] = sorted(name for name in names if name not in _NOT_NEEDED)
        for name in sorted(files):
            yield Path(folder) / name


def libraries_of(binaries: list[Path]) -> set[Path]:
    """The shared libraries they load, the loader included."""
    found = set()
    for binary in binaries:
        for word in subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True).stdout.split():
            if word.startswith("/"):
                found.add(Path(word))
    return found


class Archive:
    """A cpio archive as the kernel unpacks it (newc: Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self) -> None:
        self._data = io.BytesIO()
        self._known: set[str] = set()
        self._inode = 0

    def add(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A file, and the folders above it."""
        self.folder(str(Path(name).parent))
        self._entry(name, data, stat.S_IFREG | mode)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._entry(name, target.encode(), stat.S_IFLNK | 0o777)

    def folder(self, name: str) -> None:
        """A folder, and those above it."""
        for path in reversed([Path(name), *Path(name).parents]):
            if str(path) != "." and str(path) not in self._known:
                self._entry(str(path), b"", stat.S_IFDIR | 0o755)

    def _entry(self, name: str, data: bytes, mode: int) -> None:
        if name in self._known:
            return
        self._known.add(name)
        self._inode += 1
        encoded = name.encode() + b"\0"
        numbers = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        self._data.write(b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded)
        self._pad()
        self._data.write(data)
        self._pad()

    def _pad(self) -> None:
        self._data.write(bytes(-self._data.tell() % 4))

    def finish(self) -> bytes:
        """The whole archive."""
        self._entry("TRAILER!!!", b"", 0)
        return self._data.getvalue()


def missing() -> str:
    """Why no guest can be started here; empty when one can."""
    return "" if shutil.which("qemu-system-x86_64") else "needs qemu-system-x86_64"
