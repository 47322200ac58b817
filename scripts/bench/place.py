"""Cgroups of our own that look like a container's, in the v2 hierarchy and in the one that freezes; and the processes in them."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shipwall.kernel.cgroups import join, unified_mount
from shipwall.kernel.freezer import Freezer

PARENT = f"shipwall-bench-{os.getpid()}"


class Place:
    """One container's cgroups: `id` as an engine would name it, `folders` in each hierarchy, v2 first."""

    def __init__(self, mounts: list[Path]) -> None:
        self.id = secrets.token_hex(32)
        self.folders = [mount / PARENT / self.id for mount in mounts]
        for folder in self.folders:
            folder.mkdir(parents=True)

    def start(self, script: str) -> subprocess.Popen[bytes]:
        """A Python process inside, which has written its first line and waits for one."""
        command = [sys.executable, "-I", "-S", "-c", script]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout is not None
        if child.stdout.readline() != b"ready\n":
            sys.exit("bench: the process to be watched did not start")
        for folder in self.folders:
            join(folder, child.pid)
        return child

    def remove(self) -> None:
        """End what runs inside, and take the cgroups away."""
        with suppress(OSError):
            (self.folders[0] / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + 10
        for folder in self.folders:
            while folder.exists() and time.monotonic() < deadline:
                with suppress(OSError):
                    folder.rmdir()


class Places:
    """Makes places below a parent of our own."""

    def __init__(self) -> None:
        freezing = [mount for mount, version in Freezer().hierarchies if version == 1]
        self.mounts = [unified_mount(), *freezing]
        self.parent = unified_mount() / PARENT

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A fresh place, gone at the end."""
        made = Place(self.mounts)
        try:
            yield made
        finally:
            made.remove()


@contextmanager
def places() -> Iterator[Places]:
    """Our own parent cgroup in every hierarchy that is needed, gone at the end."""
    made = Places()
    for mount in made.mounts:
        (mount / PARENT).mkdir(exist_ok=True)
    try:
        yield made
    finally:
        for mount in made.mounts:
            (mount / PARENT).rmdir()
