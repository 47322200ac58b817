"""Programs of the distribution that Shipwall starts: found in PATH, else unpacked into the cache, never installed into the system."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from shipwall.adapters.files import locked
from shipwall.adapters.instance import find_cache
from shipwall.model.errors import RemoteError, UnsupportedError

# program → Debian packages that hold it and the libraries a small system may lack.
PACKAGES: dict[str, tuple[str, ...]] = {
    "dockerd": ("docker.io",),
    "docker": ("docker.io",),
    "docker-proxy": ("docker.io",),
    "containerd": ("containerd",),
    "containerd-shim-runc-v2": ("containerd",),
    "runc": ("runc",),
    "docker-registry": ("docker-registry",),
    "slirp4netns": ("slirp4netns", "libslirp0"),
    "mmdebstrap": ("mmdebstrap",),
    "busybox": ("busybox-static",),
}
_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin")
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def find_tool(name: str) -> Path:
    """The program `name`; what is missing is fetched and unpacked once (`find_cache()/engine-tools`).

    *Trust*: apt checks each package against the archive's signed metadata. *Raises* RemoteError when the archive cannot be reached.
    """
    if path := _present(name):
        return path
    if name not in PACKAGES:
        raise UnsupportedError(name, "is not installed", "install it with the system's package manager")
    for package in PACKAGES[name]:
        unpack_package(package)
    if path := _present(name):
        return path
    raise UnsupportedError(name, f"is not in package {PACKAGES[name][0]}", "install it with the system's package manager")


def find_tools(*names: str) -> dict[str, Path]:
    """`find_tool` of each."""
    return {name: find_tool(name) for name in names}


def tools_environment() -> dict[str, str]:
    """PATH and library path with which tools find the system's programs first and each other's next."""
    folders = [*os.environ.get("PATH", "").split(":"), *_SYSTEM_PATH]
    unpacked = sorted(_root().glob("*/")) if _root().is_dir() else []
    folders += [str(package / folder) for package in unpacked for folder in _FOLDERS if (package / folder).is_dir()]
    libraries = [str(path) for package in unpacked for path in sorted(package.glob("usr/lib/*-linux-gnu*/"))]
    environment = {"PATH": ":".join(dict.fromkeys(folder for folder in folders if folder))}
    return environment | ({"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {})


def _root() -> Path:
    return find_cache() / "engine-tools"


def _present(name: str) -> Path | None:
    found = shutil.which(name) or shutil.which(name, path=":".join(_SYSTEM_PATH))
    if found:
        return Path(found)
    for package in PACKAGES.get(name, ())[:1]:
        for folder in _FOLDERS:
            path = _root() / package / folder / name
            if os.access(path, os.X_OK):
                return path
    return None


def unpack_package(package: str) -> Path:
    """The folder with the files of Debian's `package`, fetched if need be. It appears whole: a crash leaves only a temporary folder."""
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / ".lock"):
        if (root / package).is_dir():
            return root / package
        for left in root.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
        try:
            work.chmod(0o755)
            _download(package, work)
            debs = list(work.glob("*.deb"))
            if len(debs) != 1:
                raise RemoteError(f"package {package}", "apt fetched nothing", "run: apt-get update")
            _run(["dpkg", "-x", str(debs[0]), str(work / "root")], f"package {package}", 120)
            (work / "root").chmod(0o755)
            (work / "root").rename(root / package)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return root / package


def _download(package: str, folder: Path) -> None:
    command = ["apt-get", "-q", "-o", "APT::Get::AllowUnauthenticated=false", "download", package]
    try:
        _run(command, f"package {package}", 600, folder)
    except RemoteError:
        # The host may have no package lists, or ones too old: fetch them into a folder of our own, so that the host's stay as they are.
        lists = folder / "lists"
        (lists / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={folder / 'cache'}", "-o", "APT::Sandbox::User="]
        _run(["apt-get", "-q", *own, "update"], "package lists", 600)
        _run([*command[:2], *own, *command[2:]], f"package {package}", 600, folder)


def _run(command: list[str], thing: str, timeout_s: float, folder: Path | None = None) -> None:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False, errors="replace"
        )
    except FileNotFoundError as error:
        raise UnsupportedError(command[0], "is not installed", "this needs a Debian or Ubuntu host") from error
    except subprocess.TimeoutExpired as error:
        raise RemoteError(thing, f"{command[0]} did not end in {timeout_s:.0f} s", "is the package archive reachable?") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg"))] or done.stderr.splitlines()
        raise RemoteError(thing, " ".join(lines)[:500] or f"{command[0]} failed", "is the package archive reachable?")
