"""One file of an upstream, fetched only when it changed, going on where an earlier attempt stopped, and checked by what is said of it.

Source: RFC 9110 13 (conditional requests), 14 (ranges, If-Range); RFC 9530 (Repr-Digest); `x-goog-hash` of the store OSV publishes from.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from shipwall.adapters.files import locked, write_whole
from shipwall.model.errors import RemoteError, StorageError, TrustError

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 8 << 30
_TIMEOUT_S = 60.0


class Fetched(NamedTuple):
    """A fetched file and its validators. `path` None: upstream says that what is held is current."""

    path: Path | None
    etag: str = ""
    modified: str = ""
    digest: str = ""


class _Begun(msgspec.Struct, frozen=True):
    """What a partial file is part of."""

    url: str
    validator: str


@contextlib.contextmanager
def fetched(url: str, folder: Path, *, etag: str = "", modified: str = "", sha256: str = "") -> Iterator[Fetched]:
    """The file at `url`, kept in `folder` for the length of the block; `etag` and `modified` are the validators of what is held.

    An interrupted download stays in `folder` and goes on next time, if upstream still has the same file. *Raises* RemoteError,
    StorageError, TrustError (size or digest is not what was said).
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        yield _local(Path(unquote(parts.path)), etag, sha256)
        return
    name = hashlib.sha256(url.encode()).hexdigest()[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{name}.lock"):
            part, begun = folder / f"{name}.part", folder / f"{name}.begun"
            found = _download(url, part, begun, etag, modified)
            if found.path is not None:
                digest = _checked(part, sha256, url)
                found = found._replace(digest=digest)
            yield found
            if found.path is not None:
                part.unlink(missing_ok=True)
                begun.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(str(folder), error.strerror or str(error), "free space or mend the folder") from error


def _local(path: Path, etag: str, sha256: str) -> Fetched:
    try:
        facts = path.stat()
        mark = f"{facts.st_size}-{facts.st_mtime_ns}"
        if etag == mark:
            return Fetched(None)
        return Fetched(path, mark, "", _checked(path, sha256, str(path)) if path.is_file() else "")
    except OSError as error:
        raise RemoteError(str(path), error.strerror or str(error), "make it readable") from error


def _download(url: str, part: Path, begun: Path, etag: str, modified: str) -> Fetched:
    import httpx

    held = part.stat().st_size if part.exists() else 0
    known = _begun(begun)
    if held and (known is None or known.url != url):
        held = 0
    headers = {"Accept-Encoding": "identity"}
    if held and known is not None:
        headers |= {"Range": f"bytes={held}-", "If-Range": known.validator}
    elif etag:
        headers["If-None-Match"] = etag
    elif modified:
        headers["If-Modified-Since"] = modified
    try:
        with (
            httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code == 304:
                return Fetched(None)
            if response.status_code == 416:
                part.unlink(missing_ok=True)
                raise RemoteError(url, "what was begun is no part of what it serves now", "run the command again", status=416)
            if response.status_code not in {200, 206}:
                raise RemoteError(url, f"HTTP status {response.status_code}", "try again later", status=response.status_code)
            start = _start(response, url, held)
            validator = response.headers.get("ETag", "")
            if not validator or validator.startswith("W/"):  # a weak one says nothing about bytes
                validator = response.headers.get("Last-Modified", "")
            write_whole(begun, msgspec.json.encode(_Begun(url, validator)))
            _append(response, part, start, url)
            _check_headers(response, part, url)
            return Fetched(part, response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteError(url, str(error) or type(error).__name__, "check the network and the address") from error


def _begun(path: Path) -> _Begun | None:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Begun)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if found.validator else None  # without one nobody can say that the rest belongs to it


def _start(response: httpx.Response, url: str, held: int) -> int:
    """Where the answer's bytes begin."""
    if response.status_code == 200:
        return 0
    match = re.match(r"bytes (\d{1,15})-", response.headers.get("Content-Range", ""))
    if match is None or int(match.group(1)) != held:
        raise RemoteError(url, "answered with another range than was asked for", "try again later")
    return held


def _append(response: httpx.Response, part: Path, start: int, url: str) -> None:
    length = response.headers.get("Content-Length", "")
    whole = start + int(length) if length.isdigit() and len(length) < 16 else None
    written = start
    with part.open("ab") as file:
        file.truncate(start)
        for chunk in response.iter_raw():  # as they come: what arrived before a break is kept
            written += len(chunk)
            if written > MAX_BYTES:
                raise RemoteError(url, f"is larger than {MAX_BYTES} bytes", "check the address")
            file.write(chunk)
    if whole is not None and written != whole:
        raise RemoteError(url, f"ended after {written} of {whole} bytes", "run the command again: it goes on there")


def _check_headers(response: httpx.Response, part: Path, url: str) -> None:
    """The digests that upstream states beside the file."""
    said = ",".join(response.headers.get_list("Repr-Digest")) if response.status_code == 200 else ""
    for kind, pattern, text in (
        ("sha256", r"\bsha-256=:([A-Za-z0-9+/=]{44}):", said),
        ("md5", r"\bmd5=([A-Za-z0-9+/=]{24})", ",".join(response.headers.get_list("x-goog-hash"))),
    ):
        match = re.search(pattern, text)
        if match is None:
            continue
        try:
            wanted = base64.b64decode(match.group(1), validate=True)
        except binascii.Error:
            continue
        with part.open("rb") as file:
            if hashlib.file_digest(file, lambda kind=kind: hashlib.new(kind, usedforsecurity=False)).digest() != wanted:  # type: ignore[misc]
                part.unlink()
                raise TrustError(url, f"is not the file whose {kind} upstream states", "run the command again", step="digest")


def _checked(path: Path, sha256: str, thing: str) -> str:
    """The SHA-256 of the file. *Raises* TrustError when it is not `sha256` (empty: any)."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 and digest != sha256:
        raise TrustError(thing, f"has SHA-256 {digest}, not the one the configuration names", "look at both", step="digest")
    return digest
