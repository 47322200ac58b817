"""An OCI registry, spoken to over HTTP: every manifest and blob is checked against its digest, both ways."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urljoin, urlsplit

import httpx

from shipwall.model.digest import Digest, digest_of, parse_digest
from shipwall.model.errors import InputError, RemoteError, TrustError
from shipwall.model.image import parse_image_ref

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_ACCEPT = f"{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}"

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?\Z")

Json = dict[str, Any]


class Manifest(NamedTuple):
    """A manifest as the registry keeps it: its exact bytes, their digest, and the media type."""

    digest: Digest
    media_type: str
    body: bytes

    def parse(self) -> Json:
        """The manifest as an object. Raises InputError for bytes that are none."""
        return parse_manifest(self.body)


def parse_manifest(body: bytes) -> Json:
    """The JSON object in `body` with known parts of the right type. Total: raises InputError on any other bytes.

    *Shape*: `config`, `subject` and `annotations` are objects where present; `layers`, `manifests` lists of objects.
    """
    if len(body) > MAX_MANIFEST_BYTES:
        raise InputError("manifest", f"{len(body)} bytes is over the limit of {MAX_MANIFEST_BYTES}")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("manifest", f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError("manifest", "is not an object")
    for key in ("config", "subject", "annotations"):
        if key in value and not isinstance(value[key], dict):
            raise InputError("manifest", f"{key} is not an object")
    for key in ("layers", "manifests"):
        if key in value and not (isinstance(value[key], list) and all(isinstance(item, dict) for item in value[key])):
            raise InputError("manifest", f"{key} is not a list of objects")
    return value


def parse_registry(text: str, *, allow_http: bool = False) -> str:
    """The base URL of the registry `text` (host, host:port or URL).

    *Trust*: plain HTTP is taken for loopback addresses only, unless `allow_http`. *Raises* InputError.
    """
    shown = f"registry {text[:200]!r}"
    has_scheme = "://" in text
    try:
        parts = urlsplit(text if has_scheme else f"//{text}")
        is_plain = parts.port != 0 and not parts.path.strip("/") and not parts.query and not parts.fragment
    except ValueError:
        is_plain = False
    if not is_plain or not parts.hostname or len(parts.netloc) > 300 or not _HOST.match(parts.netloc):
        raise InputError(shown, "is not host:port, http:// or https:// and no more", "name it like 127.0.0.1:5000")
    scheme = parts.scheme or ("http" if _is_loopback(parts.hostname) or allow_http else "https")
    if scheme not in {"http", "https"}:
        raise InputError(shown, f"{scheme} is not http or https")
    if scheme == "http" and not allow_http and not _is_loopback(parts.hostname):
        raise InputError(
            shown, "plain HTTP to another host could be read and changed on the way", "use https://, or allow it on purpose"
        )
    return f"{scheme}://{parts.netloc}"


class Registry:
    """The registry at `address` (host:port or URL). One thread at a time.

    *Trust*: what is fetched by digest, and what is stored, is checked against its SHA-256; a mismatch raises TrustError. A tag is only
    as good as the registry. *Raises* RemoteError with the registry's own words and HTTP status (404: not there), InputError for manifests
    over MAX_MANIFEST_BYTES.
    """

    def __init__(self, address: str, *, allow_http: bool = False, timeout_s: float = 60.0) -> None:
        self.url = parse_registry(address, allow_http=allow_http)
        self._client = httpx.Client(base_url=self.url, timeout=httpx.Timeout(timeout_s, connect=5.0), trust_env=False)

    @property
    def host(self) -> str:
        """`host:port`, as it stands in image references."""
        return self.url.partition("://")[2]

    def ping(self) -> bool:
        """Whether a registry answers."""
        try:
            with self._open("GET", "/v2/") as response:
                return response.status_code == 200
        except RemoteError:
            return False

    # -- manifests ------------------------------------------------------------------------------------------------------

    def manifest(self, repository: str, reference: str) -> Manifest:
        """The manifest that the tag or digest `reference` names."""
        path = f"/v2/{_repository(repository)}/manifests/{_reference(reference)}"
        with self._open("GET", path, headers={"Accept": _ACCEPT}) as response:
            self._agreed(response, f"{repository}:{reference}")
            body = self._whole(response, MAX_MANIFEST_BYTES)
            media_type = response.headers.get("Content-Type", "").split(";")[0].strip()
        digest = digest_of(body)
        if reference.startswith("sha256:") and digest != reference:
            raise TrustError(
                f"{self.host}/{repository}@{reference}", f"the registry sent other bytes ({digest})", step="manifest digest"
            )
        return Manifest(digest, media_type, body)

    def resolve(self, repository: str, reference: str) -> Digest | None:
        """The manifest digest that `reference` names now, None when there is no such manifest. Trust: the registry's word."""
        path = f"/v2/{_repository(repository)}/manifests/{_reference(reference)}"
        with self._open("HEAD", path, headers={"Accept": _ACCEPT}) as response:
            if response.status_code == 404:
                return None
            self._agreed(response, f"{repository}:{reference}")
            said = response.headers.get("Docker-Content-Digest", "")
        return parse_digest(said) if said else self.manifest(repository, reference).digest

    def put_manifest(self, repository: str, body: bytes, media_type: str, reference: str = "") -> Digest:
        """Store a manifest under its digest, and under the tag `reference` when given; returns the digest.

        What it refers to must be there already. A manifest with a `subject` is entered into the referrers of that (`referrers`).
        """
        content = parse_manifest(body)
        digest = digest_of(body)
        path = f"/v2/{_repository(repository)}/manifests/{_reference(reference or digest)}"
        with self._open("PUT", path, body, headers={"Content-Type": media_type}) as response:
            self._agreed(response, f"{repository}:{reference or digest}")
            said = response.headers.get("Docker-Content-Digest", digest)
            took_subject = "OCI-Subject" in response.headers
        if said != digest:
            raise TrustError(
                f"{self.host}/{repository}", f"the registry stored {said} instead of {digest}", step="manifest digest"
            )
        subject = content.get("subject")
        if subject is not None and not took_subject:
            self._enter_referrer(repository, parse_digest(str(subject.get("digest", ""))), _descriptor(content, body, media_type))
        return digest

    def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Delete a manifest with all its tags, where the registry allows that."""
        with self._open("DELETE", f"/v2/{_repository(repository)}/manifests/{parse_digest(digest)}") as response:
            self._agreed(response, f"{repository}@{digest}")

    def tags(self, repository: str, limit: int = 10_000) -> tuple[str, ...]:
        """The tags of a repository, sorted; none when it does not exist."""
        found: set[str] = set()
        path = f"/v2/{_repository(repository)}/tags/list?n=1000"
        while path and len(found) < limit:
            with self._open("GET", path) as response:
                if response.status_code == 404:
                    break
                self._agreed(response, repository)
                answer = parse_manifest(self._whole(response, MAX_MANIFEST_BYTES))
                names = answer.get("tags")
                before = len(found)
                found |= {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
                path = self._next(response) if len(found) > before else ""
        return tuple(sorted(found)[:limit])

    # -- referrers ------------------------------------------------------------------------------------------------------

    def referrers(self, repository: str, subject: Digest, artifact_type: str = "") -> list[Json]:
        """Descriptors of manifests whose `subject` is `subject`: from the referrers API, else from its fallback tag.

        *Trust*: none; every descriptor must be fetched by digest and verified. *Source*: OCI distribution spec 1.1, "Listing referrers".
        """
        path = f"/v2/{_repository(repository)}/referrers/{parse_digest(subject)}"
        with self._open("GET", path, headers={"Accept": OCI_INDEX}) as response:
            if response.status_code == 200:
                found = parse_manifest(self._whole(response, MAX_MANIFEST_BYTES)).get("manifests", [])
            else:
                found = None
        if found is None:
            found = self._fallback(repository, subject)
        return [item for item in found if not artifact_type or item.get("artifactType") == artifact_type]

    def _fallback(self, repository: str, subject: Digest) -> list[Json]:
        try:
            manifest = self.manifest(repository, fallback_tag(subject))
        except RemoteError as error:
            if error.status == 404:
                return []
            raise
        found: list[Json] = manifest.parse().get("manifests", [])
        return found

    def _enter_referrer(self, repository: str, subject: Digest, descriptor: Json) -> None:
        """Read, change and write the fallback index. Source: OCI distribution spec 1.1, "Referrers Tag Schema"."""
        known = self._fallback(repository, subject)
        if any(item.get("digest") == descriptor["digest"] for item in known):
            return
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*known, descriptor]}
        body = json.dumps(index, separators=(",", ":"), sort_keys=True).encode()
        self.put_manifest(repository, body, OCI_INDEX, fallback_tag(subject))

    # -- blobs ----------------------------------------------------------------------------------------------------------

    def blob(self, repository: str, digest: Digest, max_bytes: int | None = None) -> Iterator[bytes]:
        """The bytes of a blob as they come, at most `max_bytes`. A mismatch raises TrustError AFTER the last byte: use them only then."""
        hashed, count = hashlib.sha256(), 0
        with self._open("GET", f"/v2/{_repository(repository)}/blobs/{parse_digest(digest)}", follow=True) as response:
            self._agreed(response, f"{repository}@{digest}")
            with self._words():
                for chunk in response.iter_raw(CHUNK_BYTES):
                    hashed.update(chunk)
                    count += len(chunk)
                    if max_bytes is not None and count > max_bytes:
                        raise InputError(f"{self.host}/{repository}@{digest}", f"is over {max_bytes} bytes")
                    yield chunk
        if "sha256:" + hashed.hexdigest() != digest:
            raise TrustError(f"{self.host}/{repository}@{digest}", "the registry sent other bytes", step="blob digest")

    def blob_bytes(self, repository: str, digest: Digest, max_bytes: int = MAX_MANIFEST_BYTES) -> bytes:
        """A small blob (a config, a statement), whole and verified."""
        return b"".join(self.blob(repository, digest, max_bytes))

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether the repository holds the blob."""
        with self._open("HEAD", f"/v2/{_repository(repository)}/blobs/{parse_digest(digest)}", follow=True) as response:
            if response.status_code == 404:
                return False
            self._agreed(response, f"{repository}@{digest}")
            return True

    def put_blob(self, repository: str, data: bytes) -> Digest:
        """Store `data` in one request; returns its digest."""
        digest = digest_of(data)
        if not self.has_blob(repository, digest):
            place = self._begin_upload(repository)
            headers = {"Content-Type": "application/octet-stream"}
            with self._open("PUT", _with_digest(place, digest), data, headers=headers) as response:
                self._agreed(response, f"{repository}@{digest}")
        return digest

    def put_blob_stream(self, repository: str, chunks: Iterable[bytes]) -> tuple[Digest, int]:
        """Store a blob of unknown size piece by piece, in bounded memory; returns digest and size."""
        place = self._begin_upload(repository)
        hashed, start = hashlib.sha256(), 0
        for chunk in _pieces(chunks, 8 * CHUNK_BYTES):
            hashed.update(chunk)
            headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{start + len(chunk) - 1}"}
            with self._open("PATCH", place, chunk, headers=headers) as response:
                self._agreed(response, repository)
                place = self._place(response, place)
            start += len(chunk)
        digest = "sha256:" + hashed.hexdigest()
        with self._open("PUT", _with_digest(place, digest), b"") as response:
            self._agreed(response, f"{repository}@{digest}")
        return digest, start

    def mount_blob(self, repository: str, digest: Digest, source: str) -> bool:
        """Make a blob of `source` one of `repository` without moving bytes; False when the registry wants an upload instead."""
        path = f"/v2/{_repository(repository)}/blobs/uploads/?mount={parse_digest(digest)}&from={_repository(source)}"
        with self._open("POST", path, b"") as response:
            self._agreed(response, f"{repository}@{digest}")
            if response.status_code == 201:
                return True
            place = self._place(response, path)
        with self._open("DELETE", place):
            return False

    def copy_blob(self, repository: str, digest: Digest, source: str) -> None:
        """Make a blob of repository `source` one of `repository`, by mounting, else by moving the bytes."""
        if not self.has_blob(repository, digest) and not self.mount_blob(repository, digest, source):
            self.put_blob_stream(repository, self.blob(source, digest))

    def close(self) -> None:
        """End all connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- inside ---------------------------------------------------------------------------------------------------------

    def _begin_upload(self, repository: str) -> str:
        path = f"/v2/{_repository(repository)}/blobs/uploads/"
        with self._open("POST", path, b"") as response:
            self._agreed(response, repository)
            return self._place(response, path)

    def _place(self, response: httpx.Response, path: str) -> str:
        """Where the registry says to go on: never to another host (bytes and later credentials would go there)."""
        place = str(urljoin(f"{self.url}{path}" if path.startswith("/") else path, response.headers.get("Location", "")))
        here, there = urlsplit(self.url), urlsplit(place)
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise RemoteError(
                self._name, f"sends uploads to another host ({there.netloc[:100]!r})", "look at the registry's configuration"
            )
        return place

    def _next(self, response: httpx.Response) -> str:
        link = response.links.get("next", {}).get("url", "")
        if not link:
            return ""
        joined = urlsplit(urljoin(str(response.url), str(link)))
        return f"{joined.path}?{joined.query}"

    @property
    def _name(self) -> str:
        return f"registry {self.host}"

    @contextlib.contextmanager
    def _words(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise RemoteError(self._name, "did not answer in time", "is it overloaded or stopped?") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise RemoteError(self._name, str(error) or type(error).__name__, "is it running, and the name right?") from error

    @contextlib.contextmanager
    def _open(
        self, method: str, path: str, content: bytes | None = None, *, headers: dict[str, str] | None = None, follow: bool = False
    ) -> Iterator[httpx.Response]:
        # identity: a transfer compression would be undone by httpx, and the digest is that of the bytes as they are kept
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        with contextlib.ExitStack() as stack:
            with self._words():
                response = stack.enter_context(
                    self._client.stream(method, path, content=content, headers=sent, follow_redirects=follow)
                )
            yield response

    def _whole(self, response: httpx.Response, limit: int) -> bytes:
        parts = bytearray()
        with self._words():
            for chunk in response.iter_raw(CHUNK_BYTES):
                parts += chunk
                if len(parts) > limit:
                    raise InputError(f"answer of {self._name}", f"is over {limit} bytes")
        return bytes(parts)

    def _agreed(self, response: httpx.Response, thing: str) -> None:
        status = response.status_code
        if status < 300:
            return
        said = ""
        with contextlib.suppress(InputError):
            errors = parse_manifest(self._whole(response, 65536)).get("errors")
            items = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
            said = "; ".join(f"{item.get('code', '')} {item.get('message', '')}".strip() for item in items)
        reason = (
            "is not there" if status == 404 else "needs a login" if status in {401, 403} else f"refused, HTTP status {status}"
        )
        raise RemoteError(f"{self.host}/{thing}", f"{reason} ({said})" if said else reason, status=status)


def fallback_tag(subject: Digest) -> str:
    """The tag under which referrers of `subject` are listed where a registry has no referrers API."""
    return parse_digest(subject).replace(":", "-")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _repository(name: str) -> str:
    """`name` as it may stand in a path: the grammar has neither `..` nor query characters."""
    ref = parse_image_ref(f"localhost/{name}")
    if ref.tag or ref.digest:
        raise InputError(f"repository {name[:200]!r}", "is not a repository alone")
    return ref.repository


def _reference(reference: str) -> str:
    if reference.startswith("sha256:"):
        return parse_digest(reference)
    return parse_image_ref(f"x:{reference}").tag


def _descriptor(content: Json, body: bytes, media_type: str) -> Json:
    """The descriptor of a referring manifest, as the fallback index lists it."""
    config = content.get("config", {})
    descriptor: Json = {"mediaType": media_type, "digest": digest_of(body), "size": len(body)}
    if artifact_type := content.get("artifactType") or config.get("mediaType"):
        descriptor["artifactType"] = artifact_type
    if annotations := content.get("annotations"):
        descriptor["annotations"] = annotations
    return descriptor


def _with_digest(place: str, digest: Digest) -> str:
    return f"{place}{'&' if urlsplit(place).query else '?'}digest={digest}"


def _pieces(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of `size` (the last may be smaller)."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
