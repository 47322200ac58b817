"""Debian's security archive as the source of advisories: what has a newer version, and the changelog that says why.

Every byte used is reached by digests from a signature: InRelease (1. signature, 2. it is the suite asked for, 3. its dates) → 4. size
and SHA-256 of the Packages index → 5. size and SHA-256 of a `.deb`, out of which comes the changelog. What was fetched is cached by
digest; without network the cache answers, and its age is said.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

from shipwall.adapters.files import write_whole
from shipwall.adapters.gpgv import verify_signed_text
from shipwall.adapters.instance import find_cache
from shipwall.model.errors import InputError, RemoteError, StorageError, TrustError, UnsupportedError
from shipwall.model.package import Distribution, Skipped
from shipwall.supply.archive_index import ArchivePackage, Release, parse_packages, parse_release
from shipwall.supply.deb import read_changelog
from shipwall.supply.streams import Joined, inflate

if TYPE_CHECKING:
    import httpx

_MAX_RELEASE_BYTES = 8 << 20
_MAX_INDEX_BYTES = 512 << 20
_CHUNK = 256 * 1024
_THREADS = 4
_MAX_CARRIERS = 4
_TIMEOUT_S = 30.0
_SAFE = "/+~:="  # what stands in an archive's file names as itself; a per cent sign there is one
_KEYRINGS = {"debian": "debian-archive-keyring.gpg", "ubuntu": "ubuntu-archive-keyring.gpg"}
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}\Z")
_SECURITY = re.compile(r"(.+)(?:-security|/updates)\Z")


class ArchiveSuite(NamedTuple):
    """One suite of one archive, and the keyring that its signature must come from."""

    url: str
    suite: str
    keyring: Path


class Advisories(NamedTuple):
    """`packages` newer or not; `description` for people; `time_ns` the oldest Date of the suites used; `warnings` about freshness."""

    packages: list[ArchivePackage]
    description: str
    time_ns: int
    warnings: tuple[Skipped, ...]


class DebianArchive:
    """The security archive for an image. By default found through the host's apt configuration; `url`, `suites` and `keyring` name
    another. `report` hears one line per act. Use as a context manager.
    """

    def __init__(
        self,
        *,
        url: str = "",
        suites: Iterable[str] = (),
        keyring: Path | None = None,
        cache: Path | None = None,
        offline: bool = False,
        report: Callable[[str], None] = lambda _line: None,
    ) -> None:
        if url and urlsplit(url).scheme not in {"http", "https", "file"}:
            raise InputError(f"archive {url[:200]!r}", "is not an http:, https: or file: address")
        self._url = url
        self._suites = tuple(suites)
        self._keyring = keyring
        self._cache = (cache or find_cache()) / "archive"
        self._offline = offline
        self._report = report
        self._client: httpx.Client | None = None
        self._used: dict[str, ArchiveSuite] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def load_advisories(
        self, distribution: Distribution, architectures: Iterable[str], names: Iterable[str], sources: Iterable[str], now_ns: int
    ) -> Advisories:
        """What the archive has of the packages `names` and of the binaries of `sources`.

        *Raises* UnsupportedError when no archive is known for the distribution or it no longer serves the suite, RemoteError when it
        cannot be reached and nothing is cached, TrustError when anything does not verify.
        """
        names, sources = set(names), set(sources)
        packages: list[ArchivePackage] = []
        warnings: list[Skipped] = []
        described: list[str] = []
        dates: list[int] = []
        for suite in self._find_suites(distribution):
            release, told = self._load_release(suite, now_ns)
            self._used[suite.suite] = suite
            warnings += told
            dates.append(release.date_ns)
            described.append(f"{release.label or release.origin or suite.url} {suite.suite} of {_day(release.date_ns)}")
            for arch in sorted(set(architectures) - {"all", ""}):
                indexes = release.indexes(arch)
                if not indexes:
                    warnings.append(Skipped(what=f"architecture {arch}", reason=f"{suite.suite} has no packages for it"))
                for path in indexes.values():
                    data = self._load_index(suite, release, path)
                    packages += parse_packages(data, suite.suite, names, sources)
        return Advisories(packages, ", ".join(described), min(dates), tuple(warnings))

    def load_changelogs(
        self, wanted: Mapping[tuple[str, str], list[ArchivePackage]]
    ) -> dict[tuple[str, str], tuple[ArchivePackage, bytes] | Skipped]:
        """For each source and version, its changelog and the `.deb` it was in, or why there is none.

        `wanted` lists the packages that may carry it, best first. *Raises* TrustError when one is not what the index says.
        """
        if not wanted:
            return {}
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="archive") as pool:
            futures = {key: pool.submit(self._load_changelog, key, carriers) for key, carriers in wanted.items()}
            try:
                return {key: future.result() for key, future in futures.items()}
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _find_suites(self, distribution: Distribution) -> list[ArchiveSuite]:
        name = " ".join(filter(None, (distribution.id, distribution.version_id, distribution.codename))) or "unknown distribution"
        suites = self._suites
        if not suites:
            if not _NAME.match(distribution.codename):
                raise UnsupportedError(name, "it names no codename, so its security suite is unknown", "name it: --suite")
            suites = (f"{distribution.codename}-security",)
        url = self._url
        if not url:
            url = _find_security_archive(distribution.id) or ""
            if not url:
                raise UnsupportedError(
                    name,
                    "the host's apt configuration has no security archive for it",
                    "name one: --archive URL --suite S --keyring F",
                )
        keyring = self._keyring or Path("/usr/share/keyrings") / _KEYRINGS.get(distribution.id, _KEYRINGS["debian"])
        return [ArchiveSuite(url.rstrip("/"), suite, keyring) for suite in suites]

    def _load_release(self, suite: ArchiveSuite, now_ns: int) -> tuple[Release, list[Skipped]]:
        thing = f"InRelease of {suite.suite}"
        place = self._cache / "suites" / hashlib.sha256(f"{suite.url} {suite.suite}".encode()).hexdigest()[:32] / "InRelease"
        cached = self._read_cached(place)
        warnings: list[Skipped] = []
        fresh: bytes | None = None
        if not self._offline:
            self._report(f"asking the archive for {suite.suite}")
            try:
                fresh = self._fetch(f"{suite.url}/dists/{suite.suite}/InRelease", _MAX_RELEASE_BYTES)
                if fresh is None:
                    raise UnsupportedError(
                        f"suite {suite.suite}",
                        "the archive does not serve it: unknown, or past its end of life",
                        "name another: --suite",
                    )
            except RemoteError as error:
                if cached is None:
                    raise
                warnings.append(Skipped(what=f"freshness of {suite.suite}", reason=f"{error.line()}; used what was cached"))
        elif cached is None:
            raise RemoteError(
                f"archive suite {suite.suite}", "is not cached and --offline forbids fetching it", "fetch it once online"
            )
        release = verify_release(fresh if fresh is not None else cached or b"", suite, thing)
        if fresh is not None:
            if cached is not None and cached != fresh:
                with contextlib.suppress(TrustError, InputError):  # a cache that no longer verifies is simply replaced
                    before = verify_release(cached, suite, thing)
                    if before.date_ns > release.date_ns:
                        reason = f"the archive served {_day(release.date_ns)}, older than {_day(before.date_ns)} seen before"
                        warnings.append(Skipped(what=f"freshness of {suite.suite}", reason=f"{reason}; used the newer"))
                        release, fresh = before, cached
            if fresh != cached:
                write_whole(place, fresh)
        if release.valid_until_ns and release.valid_until_ns < now_ns:
            reason = (
                f"its data of {_day(release.date_ns)} were valid until {_day(release.valid_until_ns)}: newer fixes are not known"
            )
            warnings.append(Skipped(what=f"freshness of {suite.suite}", reason=reason))
        return release, warnings

    def _load_index(self, suite: ArchiveSuite, release: Release, path: str) -> bytes:
        """4. The index at `path` of `release`, unpacked, after its size and digest were checked."""
        listed = release.files[path]
        thing = f"{path} of {suite.suite}"
        if listed.size > _MAX_INDEX_BYTES:
            raise InputError(thing, f"has {listed.size} bytes, more than is read", "name another archive")
        place = self._cache / "sha256" / listed.sha256
        data = self._read_cached(place)
        if data is None or hashlib.sha256(data).hexdigest() != listed.sha256:
            if self._offline:
                raise RemoteError(thing, "is not cached and --offline forbids fetching it", "fetch it once online")
            base = f"{suite.url}/dists/{suite.suite}"
            data = None
            if release.by_hash:
                data = self._fetch(f"{base}/{path.rpartition('/')[0]}/by-hash/SHA256/{listed.sha256}", listed.size)
            if data is None:
                data = self._fetch(f"{base}/{quote(path, safe=_SAFE)}", listed.size)
            if data is None:
                raise RemoteError(thing, "the archive names it but does not serve it", "try again later", status=404)
            if len(data) != listed.size or hashlib.sha256(data).hexdigest() != listed.sha256:
                raise TrustError(
                    thing,
                    "is not the file that the signed InRelease names",
                    "try again; if it stays, do not use the archive",
                    step="index digest",
                )
            write_whole(place, data)
        plain = inflate(Joined(data, _Nothing()), thing, allow_xz=True)
        parts: list[bytes] = []
        total = 0
        while part := plain.read(_CHUNK):
            parts.append(part)
            total += len(part)
            if total > _MAX_INDEX_BYTES:
                raise InputError(thing, f"unfolds to more than {_MAX_INDEX_BYTES} bytes", "name another archive")
        return b"".join(parts)

    def _load_changelog(self, key: tuple[str, str], carriers: list[ArchivePackage]) -> tuple[ArchivePackage, bytes] | Skipped:
        reason = "no package of the archive carries it"
        for carrier in carriers[:_MAX_CARRIERS]:
            try:
                text = self._changelog_of(carrier)
            except (RemoteError, InputError) as error:
                reason = error.line()
                continue
            if text:
                return carrier, text
        return Skipped(what=f"changelog of {key[0]} {key[1]}", reason=reason)

    def _changelog_of(self, carrier: ArchivePackage) -> bytes:
        """The changelog inside `carrier`, empty when it has none; from the cache when this very file was read before."""
        place = self._cache / "changelogs" / carrier.sha256
        cached = self._read_cached(place)
        if cached is not None:
            return cached
        if self._offline:
            raise RemoteError(carrier.filename, "is not cached and --offline forbids fetching it", "fetch it once online")
        self._report(f"fetching {carrier.filename.rpartition('/')[2]}")
        with self._download(carrier) as file:
            text = read_changelog(file, carrier.filename) or b""
        write_whole(place, text)
        return text

    @contextlib.contextmanager
    def _download(self, carrier: ArchivePackage) -> Iterator[BinaryIO]:
        """5. The verified bytes of `carrier`. An interrupted download goes on where it stopped; nothing stays after success."""
        partial = self._cache / "partial" / carrier.sha256
        url = f"{self._used[carrier.suite].url}/{quote(carrier.filename, safe=_SAFE)}"
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            file = partial.open("a+b")
        except OSError as error:
            raise StorageError(str(partial), error.strerror or str(error), "free space or mend the folder") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another scan may be fetching the same file: take over what it has
            held = os.fstat(file.fileno()).st_size
            if held < carrier.size:
                self._append(url, file, held, carrier.size)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if os.fstat(file.fileno()).st_size != carrier.size or digest != carrier.sha256:
                partial.unlink(missing_ok=True)
                raise TrustError(
                    carrier.filename, "is not the file that the signed index names", "try again; if it stays, do not use the archive",
                    step="package digest",
                )  # fmt: skip
            file.seek(0)
            yield file
            partial.unlink(missing_ok=True)

    def _append(self, url: str, file: BinaryIO, held: int, size: int) -> None:
        """Fetch `url` into `file`, which has its first `held` bytes already; stop above `size`."""
        with self._stream(url, {"Range": f"bytes={held}-"} if held else {}) as answer:
            if answer is None:
                raise RemoteError(url, "the archive names it but does not serve it", "try again later", status=404)
            start, chunks = answer
            file.truncate(start)
            written = start
            for chunk in chunks:
                written += len(chunk)
                if written > size:
                    break
                try:
                    file.write(chunk)
                except OSError as error:
                    raise StorageError(
                        file.name, error.strerror or str(error), "free space, then run the command again"
                    ) from error
            file.flush()
            if written < size:
                raise RemoteError(url, f"ended after {written} of {size} bytes", "run the command again: it goes on there")

    def _fetch(self, url: str, limit: int) -> bytes | None:
        """The bytes at `url`, at most `limit`; None when there is nothing."""
        with self._stream(url, {}) as answer:
            if answer is None:
                return None
            data = bytearray()
            for chunk in answer[1]:
                data += chunk
                if len(data) > limit:
                    raise TrustError(
                        url, f"is larger than the {limit} bytes it may have", "check the archive's address", step="size"
                    )
            return bytes(data)

    @contextlib.contextmanager
    def _stream(self, url: str, headers: dict[str, str]) -> Iterator[tuple[int, Iterator[bytes]] | None]:
        """(offset, chunks) of `url`: the offset is where the `Range` asked for begins, or 0; None when there is nothing."""
        parts = urlsplit(url)
        if parts.scheme == "file":
            try:
                with Path(unquote(parts.path)).open("rb") as file:
                    yield 0, iter(lambda: file.read(_CHUNK), b"")
            except FileNotFoundError:
                yield None
            except OSError as error:
                raise RemoteError(url, error.strerror or str(error), "make it readable") from error
            return
        import httpx

        if self._client is None:
            self._client = httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True)
        try:
            # Stored files are wanted as they are: no transfer compression.
            with self._client.stream("GET", url, headers={"Accept-Encoding": "identity", **headers}) as response:
                if response.status_code in {404, 410}:
                    yield None
                    return
                if response.status_code not in {200, 206}:
                    raise RemoteError(url, f"HTTP status {response.status_code}", "try again later", status=response.status_code)
                start = 0
                if response.status_code == 206:
                    match = re.match(r"bytes (\d{1,15})-", response.headers.get("Content-Range", ""))
                    asked = headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
                    if match is None or match.group(1) != asked:
                        raise RemoteError(url, "answered with another range than was asked for", "try again later")
                    start = int(asked)
                yield start, response.iter_raw(_CHUNK)
        except httpx.HTTPError as error:
            raise RemoteError(url, str(error) or type(error).__name__, "check the network, or use --offline") from error

    def _read_cached(self, place: Path) -> bytes | None:
        try:
            return place.read_bytes()
        except OSError:
            return None  # a cache that cannot be read is an empty cache


class _Nothing:
    """The end of a stream."""

    def read(self, _size: int, /) -> bytes:
        """Nothing."""
        return b""


def verify_release(data: bytes, suite: ArchiveSuite, thing: str) -> Release:
    """The Release inside the InRelease `data`. *Raises* TrustError: 1. signature, 2. another suite than the one asked for."""
    # 1. Signature: the text is what gpgv gives back, never what stands in the file.
    text = verify_signed_text(data, suite.keyring, thing).text
    release = parse_release(text, thing)
    # 2. A mirror could serve a validly signed Release of another suite, one without the fixes.
    if suite.suite not in {release.suite, release.codename, f"{release.codename}/updates", f"{release.suite}/updates"}:
        names = f"{release.suite or '?'} ({release.codename or '?'})"
        raise TrustError(thing, f"is the Release of {names}", "check the archive's address and suite", step="suite")
    return release


def _find_security_archive(distribution_id: str) -> str | None:
    """The address of the security archive in the host's apt configuration that serves `distribution_id`."""
    fields = ("ORIGIN", "RELEASE", "REPO_URI")
    form = "\t".join(f"$({field})" for field in fields)
    try:
        answer = subprocess.run(
            ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
            capture_output=True, timeout=60, check=False, text=True, errors="replace", env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    for line in answer.stdout.splitlines():
        # A field that apt does not know stays as its own name: before the first `apt-get update` the origin is such a one.
        origin, release, uri = ("" if value.startswith("$(") else value for value in (line.split("\t") + [""] * 3)[:3])
        served = origin.lower() or _host_distribution()
        if _SECURITY.match(release) and served == distribution_id and urlsplit(uri).scheme in {"http", "https", "file"}:
            return uri
    return None


def _host_distribution() -> str:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        with contextlib.suppress(OSError):
            for line in Path(path).read_text("utf-8", "replace").splitlines():
                if line.startswith("ID="):
                    return line[3:].strip("\"' ")
    return ""


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M UTC")
