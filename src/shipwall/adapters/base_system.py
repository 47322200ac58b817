"""Base file systems out of the host's distribution archive, by mmdebstrap; kept in the cache by what the archive held."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

import httpx
import msgspec

from shipwall.adapters.files import locked, write_whole
from shipwall.adapters.instance import find_cache
from shipwall.adapters.supervise import Child
from shipwall.adapters.tools import find_tool, tools_environment
from shipwall.model.errors import InputError, RemoteError, StorageError, UnsupportedError
from shipwall.supply.normalise import normalise_layer

_FORM = 4  # part of the cache's key: raise it when the same archive is to give another file system
_MAX_RELEASE_BYTES = 8 << 20
_KEPT_S = 30 * 86400.0
_SECURITY = re.compile(r"(.+)(?:-security|/updates)\Z")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,127}\Z")
# What nobody reads in a container is left out, now and of what is installed on it later; the licences (copyright) stay. An image is
# made whole or thrown away, so dpkg need not wait for the disk after each file. The folders of manuals stay: Java's set-up puts a
# link into one, and fails without it.
_DPKG = (
    *(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "groff", "info", "lintian", "locale", "man/*")),
    "path-include=/usr/share/doc/*/copyright",
    "path-include=/usr/share/locale/locale.alias",
    "force-unsafe-io",
)
_DATE = re.compile(r"^Date: (.{1,80})$", re.MULTILINE)


class Pocket(msgspec.Struct, frozen=True, order=True):
    """One suite of an archive. `components` separated by spaces, `keyring` as it lies on the host and in the file system."""

    url: str
    suite: str
    components: str
    keyring: str

    @property
    def line(self) -> str:
        """The line of sources.list."""
        return f"deb [signed-by={self.keyring}] {self.url} {self.suite} {self.components}"


class BaseSystem(msgspec.Struct, frozen=True, kw_only=True):
    """A file system's tar in its one form. `epoch_s` is the newest date of the archive's releases it was made from."""

    path: Path
    diff_id: str
    size: int
    epoch_s: int
    pockets: tuple[Pocket, ...]
    packages: tuple[str, ...]
    was_cached: bool = False


def find_pockets(*, security: bool) -> tuple[Pocket, ...]:
    """The release pocket of the host's distribution, and its security pocket when asked for, from the host's apt configuration.

    *Raises* UnsupportedError when apt knows none.
    """
    try:
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(CODENAME)", "Created-By: Packages"],
            capture_output=True, text=True, timeout=60, check=False, errors="replace", env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise UnsupportedError("base image", "needs apt", "this needs a Debian or Ubuntu host") from error
    facts = _os_release()
    keyring = f"/usr/share/keyrings/{facts.get('ID', 'debian')}-archive-keyring.gpg"
    return choose_pockets(done.stdout, facts.get("VERSION_CODENAME", ""), keyring, security=security)


def choose_pockets(targets: str, codename: str, keyring: str, *, security: bool) -> tuple[Pocket, ...]:
    """`find_pockets` on the lines `URL|SUITE|COMPONENT|CODENAME` that apt lists."""
    rows = [row for row in (line.split("|") for line in targets.splitlines()) if len(row) == 4]
    guarded = {match.group(1): (row[0], row[1]) for row in rows if (match := _SECURITY.match(row[1]))}
    # The distribution's own release is the one that a security suite stands beside; others' archives have none.
    release = next(
        (row for row in rows if not _SECURITY.match(row[1]) and (row[1] in guarded or codename in {row[1], row[3]} - {""})), None
    )
    if release is None:
        raise UnsupportedError(
            "base image", f"apt is configured for no release of {codename or 'this distribution'}", "add it, then try again"
        )
    wanted = [(release[0], release[1])]
    if security:
        found = guarded.get(release[1]) or guarded.get(codename)
        if found is None:
            raise UnsupportedError(
                "base image", f"apt is configured for no security suite of {release[1]}", "add it, then try again"
            )
        wanted.append(found)
    pockets = []
    for url, suite in wanted:
        components = dict.fromkeys(row[2] for row in rows if row[:2] == [url, suite])
        pockets.append(Pocket(url, suite, " ".join(components), keyring))
    return tuple(pockets)


def make_base_system(
    pockets: tuple[Pocket, ...], packages: tuple[str, ...], log: Callable[[str], None] = lambda _line: None
) -> BaseSystem:
    """The file system of `pockets` with apt, the essential packages and `packages`; from the cache if the archive has not changed.

    When the archive cannot be reached, the newest cached one of the same pockets and packages serves, and `log` is told. Needs root, or
    what `why_no_namespaces` looks for. *Raises* RemoteError, UnsupportedError, InputError (package names).
    """
    for package in packages:
        if not _PACKAGE.match(package):
            raise InputError(f"package {package[:80]!r}", "is not a name of a Debian package")
    if any(urlsplit(pocket.url).scheme == "https" for pocket in pockets):
        packages = (*packages, "ca-certificates")  # or apt in the image could not use its own sources
    packages = tuple(sorted(set(packages)))
    folder = find_cache() / "bases"
    folder.mkdir(parents=True, exist_ok=True)
    spec = hashlib.sha256(msgspec.json.encode([_FORM, pockets, packages, os.uname().machine])).hexdigest()[:16]
    with locked(folder / ".lock"):
        try:
            releases = [_fetch_release(pocket) for pocket in pockets]
        except RemoteError as error:
            if left := _newest(folder, spec):
                log(f"{error.line()}: using the file system of an earlier day")
                return left
            raise
        key = hashlib.sha256(b"".join(hashlib.sha256(release).digest() for release in releases)).hexdigest()[:16]
        record = folder / f"{spec}-{key}.json"
        if found := _load(record):
            os.utime(record)
            return found
        if why := why_no_namespaces():
            raise UnsupportedError("base image", f"cannot be made here: {why}", "run it as root")
        dates = [match.group(1) for release in releases if (match := _DATE.search(release.decode("utf-8", "replace")))]
        epoch_s = max((int(parsedate_to_datetime(date).timestamp()) for date in dates), default=0)
        return _make(folder, record, pockets, packages, epoch_s, log)


def _make(
    folder: Path, record: Path, pockets: tuple[Pocket, ...], packages: tuple[str, ...], epoch_s: int, log: Callable[[str], None]
) -> BaseSystem:
    for left in folder.glob(".new-*"):  # of a run that was killed; nobody else is here, the lock is ours
        _remove(left)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    try:
        work.chmod(0o755)  # apt downloads as an unprivileged user
        _run_mmdebstrap(work, pockets, packages, epoch_s, log)
        hashed = HashedFile(work / "layer.tar")
        with hashed, (work / "raw.tar").open("rb") as raw:
            normalise_layer(raw, hashed, epoch_s, dropped=_is_of_the_host)
        tar = record.with_suffix(".tar")
        (work / "layer.tar").rename(tar)
        made = BaseSystem(path=tar, diff_id=hashed.digest, size=hashed.size, epoch_s=epoch_s, pockets=pockets, packages=packages)
        write_whole(record, msgspec.json.encode(made, enc_hook=str))
        _forget_old(folder)
        return made
    except OSError as error:
        raise StorageError(str(folder), error.strerror or str(error), "free space or mend the folder, then try again") from error
    finally:
        _remove(work)


def _forget_old(folder: Path) -> None:
    """Drop the file systems that nobody has asked for in a month: archives move on, and with them the key."""
    for record in folder.glob("*.json"):
        if record.stat().st_mtime < time.time() - _KEPT_S:
            record.with_suffix(".tar").unlink(missing_ok=True)
            record.unlink()


def _remove(folder: Path) -> None:
    """Remove a work folder. Without root, what a killed run left in it may belong to the ids of its user namespace."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() and os.geteuid() != 0:
        subprocess.run([*_namespaces(), "rm", "-rf", "--", str(folder)], capture_output=True, check=False, timeout=60)


def _namespaces() -> list[str]:
    """Runs a command in namespaces of its own, which end with it and with us: no mount and no process of maintainer scripts can be left
    on the host. Without root a user namespace comes first, with a whole range of ids: packages hold files of many owners."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    return ["unshare", *user, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def why_no_namespaces() -> str:
    """Why no file system can be made here, tried out; empty when it can. Without root it takes a range of ids (`/etc/subuid`, uidmap)."""
    try:
        done = subprocess.run([*_namespaces(), "true"], capture_output=True, text=True, check=False, timeout=10, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unshare: {error}"
    if not done.returncode:
        return ""
    said = " ".join(done.stderr.split())[:200] or f"unshare ended with {done.returncode}"
    return f"no namespaces of its own ({said})" if os.geteuid() == 0 else f"no user namespace with a range of ids ({said})"


def _run_mmdebstrap(
    work: Path, pockets: tuple[Pocket, ...], packages: tuple[str, ...], epoch_s: int, log: Callable[[str], None]
) -> None:
    command = [
        *_namespaces(),
        str(find_tool("mmdebstrap")), "--mode=root", "--variant=apt", "--format=tar", "--skip=output/dev",
        *(f"--dpkgopt={option}" for option in _DPKG), "--aptopt=Acquire::Languages \"none\"",
        *([f"--include={','.join(packages)}"] if packages else []),
        pockets[0].suite, str(work / "raw.tar"), *(pocket.line for pocket in pockets),
    ]  # fmt: skip
    environment = {**tools_environment(), "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(epoch_s), "TMPDIR": str(work)}
    log(f"making a file system of {', '.join(pocket.suite for pocket in pockets)}")
    with Child("mmdebstrap", command, log=work / "log", env=environment, folder=work) as child:
        code = child.wait(1800)
        if code:
            raise RemoteError("mmdebstrap", child.last_words(), "is the package archive reachable?")


def _is_of_the_host(path: str) -> bool:
    return path in {"etc/hostname", "etc/resolv.conf"} or path.startswith("dev/")


def _fetch_release(pocket: Pocket) -> bytes:
    """The pocket's InRelease: here only a name for what the archive holds; mmdebstrap's apt verifies what is used."""
    place = f"{pocket.url.rstrip('/')}/dists/{pocket.suite}/InRelease"
    thing = f"package archive {pocket.suite}"
    if urlsplit(place).scheme == "file":
        try:
            return Path(unquote(urlsplit(place).path)).read_bytes()[:_MAX_RELEASE_BYTES]
        except OSError as error:
            raise RemoteError(thing, error.strerror or str(error), "mend the apt configuration") from error
    parts = bytearray()
    try:
        with httpx.stream("GET", place, timeout=30, follow_redirects=True) as response:
            if response.status_code != 200:
                raise RemoteError(
                    thing,
                    f"InRelease: HTTP status {response.status_code}",
                    "mend the apt configuration",
                    status=response.status_code,
                )
            for chunk in response.iter_bytes():
                parts += chunk
                if len(parts) > _MAX_RELEASE_BYTES:
                    raise RemoteError(thing, "InRelease is too large", "mend the apt configuration")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteError(thing, str(error) or type(error).__name__, "is the network up?") from error
    return bytes(parts)


def _newest(folder: Path, spec: str) -> BaseSystem | None:
    for record in sorted(folder.glob(f"{spec}-*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        if found := _load(record):
            return found
    return None


def _load(record: Path) -> BaseSystem | None:
    """What `record` says, if its tar still has the digest it says."""
    try:
        found = msgspec.json.decode(record.read_bytes(), type=BaseSystem, dec_hook=lambda kind, value: kind(value))
        found = msgspec.structs.replace(found, path=record.with_suffix(".tar"), was_cached=True)
        with found.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, msgspec.MsgspecError):
        return None
    return found if f"sha256:{digest}" == found.diff_id else None


class HashedFile:
    """A file being written, with its digest and size."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        """Of what was written so far."""
        return "sha256:" + self._hash.hexdigest()

    def write(self, data: bytes, /) -> None:
        """Append."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _os_release() -> dict[str, str]:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        with contextlib.suppress(OSError):
            pairs = (line.partition("=") for line in Path(path).read_text("utf-8", "replace").splitlines())
            return {key: value.strip("\"' ") for key, _, value in pairs}
    return {}
