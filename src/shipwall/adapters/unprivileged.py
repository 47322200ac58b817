"""Starting a program as an unprivileged user who can read Shipwall's code and nothing else that root keeps closed.

A checkout, a virtual environment or a state folder often lies below a folder that only root may enter (`/root`, a temporary folder).
The program gets a mount namespace of its own in which each such closed folder is replaced by an empty one that holds only what the
program needs; then every identity and capability is given up for good (`setpriv`), before the program starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shipwall.model.errors import StorageError

SERVER_ID = 61899
"""The uid and gid of the server when none is configured: no account needs it, none is created (Debian allots up to 59999 and from 61184
only for services started by systemd with a dynamic user, which has its own lock on each)."""


def unprivileged_argv(argv: list[str], uid: int, needs: list[Path]) -> list[str]:
    """`argv` run as `uid`:`uid` in a mount namespace where the paths of `needs` (and Python's own) can be reached. Needs root."""
    paths = [*_python_paths(), *needs]
    inner = [sys.executable, "-I", str(Path(__file__)), str(uid), os.pathsep.join(map(str, paths)), "--", *argv]
    return ["unshare", "--mount", "--propagation", "private", "--", *inner]


def closed_ancestor(path: Path) -> Path | None:
    """The topmost folder above `path` that others may not enter; None when all may be entered."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def open_way(paths: list[Path]) -> None:
    """In this (private) mount namespace, make `paths` reachable by everybody, showing nothing else of what was closed."""
    needed: dict[Path, list[Path]] = {}
    for path in sorted({path for path in paths if path.exists()}):
        closed = closed_ancestor(path)
        if closed is not None and not any(path.is_relative_to(other) for other in needed.get(closed, [])):
            needed.setdefault(closed, []).append(path)
    for closed, inside in needed.items():
        held = {path: os.open(path, os.O_PATH) for path in inside}
        _mount(["-t", "tmpfs", "-o", "mode=0755,size=64k", "tmpfs", str(closed)])
        for path, fd in held.items():
            path.mkdir(parents=True)
            _mount(["--bind", f"/proc/self/fd/{fd}", str(path)], fd)
            os.close(fd)


def _mount(arguments: list[str], *fds: int) -> None:
    done = subprocess.run(["mount", "--no-canonicalize", *arguments], capture_output=True, text=True, check=False, pass_fds=fds)
    if done.returncode:
        raise StorageError(
            f"mount {arguments[-1]}", done.stderr.strip(), "run as root, outside a container without CAP_SYS_ADMIN"
        )


def _python_paths() -> list[Path]:
    """What this interpreter reads: its prefixes, and every folder it imports from."""
    roots = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent, *map(Path, sys.path)]
    return sorted({path for path in roots if path.is_absolute() and path.is_dir() and path != Path("/")})


def _main(uid: str, needs: str, argv: list[str]) -> None:
    open_way([Path(text) for text in needs.split(os.pathsep) if text])
    identity = ["--reuid", uid, "--regid", uid, "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    identity += ["--pdeathsig", "KILL"]  # a change of identity clears what the supervisor had set
    os.chdir("/")
    os.execvp("setpriv", ["setpriv", *identity, "--", *argv])  # noqa: S606  # replaces this process; no shell


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[4:])
