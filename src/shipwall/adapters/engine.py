"""A Docker Engine, spoken to over its unix socket: small, streaming, with the engine's own words in every error."""

from __future__ import annotations

import base64
import contextlib
import json as jsonlib
import re
import socket as socketlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from shipwall.adapters.streams import split_frames
from shipwall.model.errors import InputError, RemoteError

API_VERSION = "v1.41"
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024

Json = dict[str, Any]
Headers = Mapping[str, str] | None
Body = bytes | Iterable[bytes] | None

_BUILT = re.compile(r"Successfully built ([0-9a-f]{12,64})")
_LOADED = re.compile(r"Loaded image(?: ID)?: (\S+)\Z")
_NO_LOGIN = base64.urlsafe_b64encode(b"{}").decode()


class Engine:
    """The engine behind `socket`. Safe for several threads. Nothing is connected until the first call.

    Every call takes `headers` that are added to its requests. *Units*: timeouts in seconds. *Raises*: RemoteError with the engine's
    message and HTTP status when it refuses; status 0 when it is not there or does not answer in time.
    """

    def __init__(self, socket: Path, timeout_s: float = 60.0) -> None:
        self.socket = socket
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket), limits=httpx.Limits(max_keepalive_connections=4)),
            base_url=f"http://engine/{API_VERSION}",
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            trust_env=False,
        )

    # -- requests -------------------------------------------------------------------------------------------------------

    def raw(
        self,
        method: str,
        path: str,
        content: Body = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Headers = None,
        timeout_s: float | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of any request below the pinned API version, refusals included. Raises RemoteError if nobody answers."""
        with self._open(method, path, content, params=params, headers=headers, timeout_s=timeout_s) as response:
            return response.status_code, self._whole(response)

    def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        content: Body = None,
        params: Mapping[str, str] | None = None,
        headers: Headers = None,
        timeout_s: float | None = None,
    ) -> Any:
        """The decoded JSON answer (None when there is none) of a request the engine agreed to."""
        sent = dict(headers or {})
        if json is not None:
            content, sent["Content-Type"] = jsonlib.dumps(json).encode(), "application/json"
        with self._open(method, path, content, params=params, headers=sent, timeout_s=timeout_s) as response:
            self._agreed(response, method, path)
            body = self._whole(response)
        if not body.strip():
            return None
        try:
            return jsonlib.loads(body)
        except (ValueError, RecursionError) as error:
            raise RemoteError(self._name, f"its answer to {method} {path} is not JSON", "is this a Docker Engine?") from error

    def stream(
        self,
        method: str,
        path: str,
        content: Body = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Headers = None,
        timeout_s: float | None = None,
    ) -> Iterator[bytes]:
        """The bytes of an answer as they come. Closing the iterator ends the request."""
        with self._open(method, path, content, params=params, headers=headers, timeout_s=timeout_s) as response:
            self._agreed(response, method, path)
            with self._words():
                yield from response.iter_bytes(CHUNK_BYTES)

    # -- the engine -----------------------------------------------------------------------------------------------------

    def ping(self, timeout_s: float = 5.0) -> bool:
        """Whether the engine answers."""
        try:
            return self.raw("GET", "/_ping", timeout_s=timeout_s)[0] == 200
        except RemoteError:
            return False

    def version(self) -> Json:
        """`Version`, `ApiVersion`, `Components`, ..."""
        return self._object("GET", "/version")

    def info(self) -> Json:
        """`CgroupDriver`, `CgroupVersion`, `Plugins` (`Authorization`: names), `DockerRootDir`, ..."""
        return self._object("GET", "/info")

    def events(
        self,
        *,
        since: str = "",
        until: str = "",
        filters: Json | None = None,
        idle_s: float | None = None,
        headers: Headers = None,
    ) -> Iterator[Json]:
        """Events as they happen (`Type`, `Action`, `Actor`, `timeNano`). Ends after `idle_s` quiet seconds, when given.

        `since`, `until`: seconds, also with a fraction; pass the last `timeNano` as `since` to go on without a gap.
        """
        params = {key: value for key, value in (("since", since), ("until", until)) if value}
        if filters:
            params["filters"] = jsonlib.dumps(filters)
        timeout = httpx.Timeout(5.0, read=idle_s)
        self._knock()
        try:
            with (
                self._words(keep=httpx.ReadTimeout),
                self._client.stream("GET", "/events", params=params, headers=dict(headers or {}), timeout=timeout) as response,
            ):
                self._agreed(response, "GET", "/events")
                yield from self._objects(response)
        except httpx.ReadTimeout:
            return

    # -- images ---------------------------------------------------------------------------------------------------------

    def images(self, headers: Headers = None) -> list[Json]:
        """Images in the engine: `Id`, `RepoTags`, `RepoDigests`, ..."""
        return self._list("GET", "/images/json", headers=headers)

    def inspect_image(self, ref: str, headers: Headers = None) -> Json:
        """One image by name, tag, digest or id: `Id`, `RepoDigests`, `RootFS`, `Config`, ..."""
        return self._object("GET", f"/images/{_image(ref)}/json", headers=headers)

    def tag(self, ref: str, repository: str, tag: str = "latest", headers: Headers = None) -> None:
        """Give the image `ref` the name `repository:tag`."""
        self.request("POST", f"/images/{_image(ref)}/tag", params={"repo": repository, "tag": tag}, headers=headers)

    def remove_image(self, ref: str, *, force: bool = False, headers: Headers = None) -> None:
        """Take the name (or, with an id, the image) away."""
        self.request("DELETE", f"/images/{_image(ref)}", params={"force": _flag(force)}, headers=headers)

    def load(self, chunks: Iterable[bytes], headers: Headers = None) -> list[str]:
        """Load a docker-save tar; returns what the engine says it loaded (names, or `sha256:` ids of images without one)."""
        sent = {"Content-Type": "application/x-tar", **(headers or {})}
        lines = self._progress("POST", "/images/load", chunks, params={"quiet": "1"}, headers=sent, timeout_s=600)
        said = [_LOADED.match(str(line.get("stream", "")).strip()) for line in lines]
        return [match.group(1) for match in said if match]

    def import_rootfs(self, chunks: Iterable[bytes], repository: str, tag: str, changes: Iterable[str] = ()) -> str:
        """Make a one-layer image named `repository:tag` of a root file system's tar; returns its id."""
        image = ""
        params = {"fromSrc": "-", "repo": repository, "tag": tag}
        params |= {"changes": text} if (text := "\n".join(changes)) else {}
        sent = {"Content-Type": "application/x-tar"}
        for line in self._progress("POST", "/images/create", chunks, params=params, headers=sent, timeout_s=600):
            if str(line.get("status", "")).startswith("sha256:"):
                image = str(line["status"])
        return image

    def save_image(self, *refs: str, headers: Headers = None) -> Iterator[bytes]:
        """The docker-save tar of the images, as it comes."""
        for ref in refs:
            _image(ref)
        query = "&".join(f"names={quote(ref, safe='')}" for ref in refs)
        return self.stream("GET", f"/images/get?{query}", headers=headers, timeout_s=600)

    def build(
        self,
        context: Iterable[bytes],
        *,
        tag: str = "",
        dockerfile: str = "Dockerfile",
        args: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        no_cache: bool = False,
        network: str = "",
        log: Callable[[str], None] | None = None,
        headers: Headers = None,
        timeout_s: float = 1800,
    ) -> str:
        """The id of the image built (classic builder) from the tar `context`; `log` is handed the builder's output, line by line."""
        params = {"dockerfile": dockerfile, "nocache": _flag(no_cache), "forcerm": "1"}
        params |= {"t": tag} if tag else {}
        params |= {"networkmode": network} if network else {}
        params |= {"buildargs": jsonlib.dumps(dict(args))} if args else {}
        params |= {"labels": jsonlib.dumps(dict(labels))} if labels else {}
        sent = {"Content-Type": "application/x-tar", **(headers or {})}
        image, said = "", ""
        for line in self._progress("POST", "/build", context, params=params, headers=sent, timeout_s=timeout_s):
            aux = line.get("aux")
            if isinstance(aux, dict) and str(aux.get("ID", "")).startswith("sha256:"):
                image = str(aux["ID"])
            text = str(line.get("stream", ""))
            if match := _BUILT.search(text):
                said = match.group(1)
            if log is not None:
                for part in text.splitlines():
                    if part.strip():
                        log(part.rstrip())
        if not image and said:
            image = str(self.inspect_image(said)["Id"])
        if not image:
            raise RemoteError(self._name, "the build ended without an image", "look at the build's output")
        return image

    def pull(self, ref: str, headers: Headers = None, timeout_s: float = 600) -> Json:
        """Pull `ref` (a tag or digest must be named); returns the image as `inspect_image` does."""
        tail = ref.rpartition("/")[2]
        if "@" not in tail and ":" not in tail:
            raise InputError(f"image {ref[:200]!r}", "names neither a tag nor a digest", "add :TAG or @sha256:...")
        sent = {"X-Registry-Auth": _NO_LOGIN, **(headers or {})}
        for _ in self._progress("POST", "/images/create", params={"fromImage": ref}, headers=sent, timeout_s=timeout_s):
            pass
        return self.inspect_image(ref, headers=headers)

    def push(self, repository: str, tag: str, headers: Headers = None, timeout_s: float = 600) -> str:
        """Push `repository:tag`; returns the manifest digest the registry was given."""
        digest = ""
        sent = {"X-Registry-Auth": _NO_LOGIN, **(headers or {})}
        path = f"/images/{_image(repository)}/push"
        for line in self._progress("POST", path, params={"tag": tag}, headers=sent, timeout_s=timeout_s):
            aux = line.get("aux")
            if isinstance(aux, dict) and aux.get("Digest"):
                digest = str(aux["Digest"])
        return digest

    # -- containers -----------------------------------------------------------------------------------------------------

    def containers(self, *, every: bool = True, filters: Json | None = None, headers: Headers = None) -> list[Json]:
        """Containers: `Id`, `Names`, `Image`, `ImageID`, `State`, `Labels`, ...; stopped ones too unless `every` is False."""
        params = {"all": _flag(every)} | ({"filters": jsonlib.dumps(filters)} if filters else {})
        return self._list("GET", "/containers/json", params=params, headers=headers)

    def inspect_container(self, container: str, headers: Headers = None) -> Json:
        """One container: `Id`, `Name`, `Image`, `State`, `Config`, `HostConfig`, `NetworkSettings`, ..."""
        return self._object("GET", f"/containers/{_container(container)}/json", headers=headers)

    def create(self, name: str, body: Json, headers: Headers = None) -> str:
        """The id of a new container made as `body` says (the API's create body); `name` may be empty."""
        made = self.request("POST", "/containers/create", body, params={"name": name} if name else None, headers=headers)
        return str(made["Id"])

    def start(self, container: str, headers: Headers = None) -> None:
        """Start it; starting a running one is no error."""
        self._act(container, "start", headers=headers)

    def stop(self, container: str, grace_s: int = 10, headers: Headers = None) -> None:
        """Stop it, by force after `grace_s`."""
        self._act(container, "stop", {"t": str(grace_s)}, headers=headers, timeout_s=grace_s + 60)

    def kill(self, container: str, signal: str = "SIGKILL", headers: Headers = None) -> None:
        """Send it a signal."""
        self._act(container, "kill", {"signal": signal}, headers=headers)

    def pause(self, container: str, headers: Headers = None) -> None:
        """Freeze it by the engine's own means."""
        self._act(container, "pause", headers=headers)

    def unpause(self, container: str, headers: Headers = None) -> None:
        """Thaw it."""
        self._act(container, "unpause", headers=headers)

    def rename(self, container: str, name: str, headers: Headers = None) -> None:
        """Give it another name."""
        self._act(container, "rename", {"name": name}, headers=headers)

    def remove(self, container: str, *, force: bool = False, volumes: bool = True, headers: Headers = None) -> None:
        """Remove it and, by default, its anonymous volumes."""
        params = {"force": _flag(force), "v": _flag(volumes)}
        self.request("DELETE", f"/containers/{_container(container)}", params=params, headers=headers)

    def wait(self, container: str, condition: str = "not-running", timeout_s: float = 60, headers: Headers = None) -> int:
        """Its exit code, once `condition` (not-running, next-exit, removed) holds."""
        path = f"/containers/{_container(container)}/wait"
        answer = self.request("POST", path, params={"condition": condition}, headers=headers, timeout_s=timeout_s)
        return int(answer["StatusCode"])

    def exec_run(
        self,
        container: str,
        argv: list[str],
        *,
        user: str = "",
        privileged: bool = False,
        env: Iterable[str] = (),
        max_bytes: int = MAX_ANSWER_BYTES,
        timeout_s: float = 60,
        headers: Headers = None,
    ) -> tuple[int, bytes]:
        """Exit code and output (both streams, as they came, at most `max_bytes`) of `argv` run inside the container."""
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": argv, "User": user, "Privileged": privileged, "Env": list(env)}
        made = self.request("POST", f"/containers/{_container(container)}/exec", body, headers=headers)
        run = str(made["Id"])
        sent = {"Content-Type": "application/json", **(headers or {})}
        chunks = self.stream("POST", f"/exec/{run}/start", b'{"Detach":false,"Tty":false}', headers=sent, timeout_s=timeout_s)
        output = _joined(split_frames(chunks), max_bytes)
        deadline = time.monotonic() + 5  # the output ends a moment before the engine has noted the exit code
        while (state := self._object("GET", f"/exec/{run}/json", headers=headers)).get("Running") and time.monotonic() < deadline:
            time.sleep(0.01)
        if not isinstance(code := state.get("ExitCode"), int):
            raise RemoteError(
                self._name, f"does not say how the command in {container[:64]} ended", "is the container still running?"
            )
        return code, output

    def logs(self, container: str, max_bytes: int = MAX_ANSWER_BYTES, headers: Headers = None) -> bytes:
        """What it has written so far (both streams), at most the first `max_bytes`."""
        has_terminal = bool(self.inspect_container(container, headers=headers)["Config"].get("Tty"))
        path = f"/containers/{_container(container)}/logs"
        chunks = self.stream("GET", path, params={"stdout": "1", "stderr": "1"}, headers=headers)
        return _joined(((0, chunk) for chunk in chunks) if has_terminal else split_frames(chunks), max_bytes)

    def changes(self, container: str, headers: Headers = None) -> list[Json]:
        """What differs from its image on its writable layer: `Path`, `Kind` (0 changed, 1 added, 2 deleted)."""
        return self._list("GET", f"/containers/{_container(container)}/changes", headers=headers)

    def archive(self, container: str, path: str, headers: Headers = None) -> Iterator[bytes]:
        """The tar of `path` inside the container, as it comes."""
        return self.stream("GET", f"/containers/{_container(container)}/archive", params={"path": path}, headers=headers)

    # -- networks -------------------------------------------------------------------------------------------------------

    def inspect_network(self, network: str, headers: Headers = None) -> Json:
        """One network: `Id`, `IPAM`, `Containers`, ..."""
        return self._object("GET", f"/networks/{_container(network)}", headers=headers)

    def connect(self, network: str, container: str, headers: Headers = None) -> None:
        """Join the container to the network."""
        self.request("POST", f"/networks/{_container(network)}/connect", {"Container": container}, headers=headers)

    def disconnect(self, network: str, container: str, *, force: bool = True, headers: Headers = None) -> None:
        """Cut the container from the network."""
        body = {"Container": container, "Force": force}
        self.request("POST", f"/networks/{_container(network)}/disconnect", body, headers=headers)

    def close(self) -> None:
        """End all connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- inside ---------------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return f"engine at {self.socket}"

    @contextlib.contextmanager
    def _words(self, keep: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        """Turn what the transport raises into RemoteError."""
        try:
            yield
        except keep:
            raise
        except httpx.TimeoutException as error:
            raise RemoteError(self._name, "did not answer in time", "is it overloaded or stopped?") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise RemoteError(
                self._name, str(error) or type(error).__name__, "start it, or name another with --engine"
            ) from error

    @contextlib.contextmanager
    def _open(
        self,
        method: str,
        path: str,
        content: Body = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Headers = None,
        timeout_s: float | None = None,
    ) -> Iterator[httpx.Response]:
        self._knock()
        timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s, connect=5.0)
        with contextlib.ExitStack() as stack:
            with self._words():
                response = stack.enter_context(
                    self._client.stream(
                        method, path, content=content, params=params, headers=dict(headers or {}), timeout=timeout
                    )
                )
            yield response

    def _knock(self) -> None:
        """Raise RemoteError unless somebody listens. httpcore leaves its socket open when connecting to a unix socket fails."""
        with socketlib.socket(socketlib.AF_UNIX, socketlib.SOCK_STREAM) as probe:
            probe.settimeout(5)
            try:
                probe.connect(str(self.socket))
            except OSError as error:
                raise RemoteError(self._name, error.strerror or str(error), "start it, or name another with --engine") from error

    def _whole(self, response: httpx.Response) -> bytes:
        parts = bytearray()
        with self._words():
            for chunk in response.iter_bytes(CHUNK_BYTES):
                parts += chunk
                if len(parts) > MAX_ANSWER_BYTES:
                    raise RemoteError(self._name, f"its answer is over {MAX_ANSWER_BYTES} bytes")
        return bytes(parts)

    def _agreed(self, response: httpx.Response, method: str, path: str) -> None:
        if response.status_code < 400:
            return
        text = self._whole(response)[:65536].decode(errors="replace").strip()
        with contextlib.suppress(ValueError, RecursionError):
            answer = jsonlib.loads(text)
            if isinstance(answer, dict):
                text = str(answer.get("message", text))
        raise RemoteError(self._name, text or f"{method} {path}: HTTP status {response.status_code}", status=response.status_code)

    def _objects(self, response: httpx.Response) -> Iterator[Json]:
        """The JSON objects of an answer that is one per line."""
        rest = b""
        for chunk in response.iter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                raise RemoteError(self._name, f"a line of its answer is over {MAX_LINE_BYTES} bytes")
            for line in lines:
                yield from self._object_of(line)
        yield from self._object_of(rest)

    def _object_of(self, line: bytes) -> Iterator[Json]:
        if line.strip():
            try:
                value = jsonlib.loads(line)
            except (ValueError, RecursionError) as error:
                raise RemoteError(self._name, "a line of its answer is not JSON") from error
            if isinstance(value, dict):
                yield value

    def _progress(
        self,
        method: str,
        path: str,
        content: Body = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Headers = None,
        timeout_s: float | None = None,
    ) -> Iterator[Json]:
        """Progress lines of a long act; an `error` line is the engine's refusal although the status was 200."""
        with self._open(method, path, content, params=params, headers=headers, timeout_s=timeout_s) as response:
            self._agreed(response, method, path)
            with self._words():
                for line in self._objects(response):
                    if error := line.get("error"):
                        raise RemoteError(self._name, str(error))
                    yield line

    def _object(self, method: str, path: str, headers: Headers = None) -> Json:
        answer = self.request(method, path, headers=headers)
        if not isinstance(answer, dict):
            raise RemoteError(self._name, f"its answer to {method} {path} is not an object", "is this a Docker Engine?")
        return answer

    def _list(self, method: str, path: str, *, params: Mapping[str, str] | None = None, headers: Headers = None) -> list[Json]:
        answer = self.request(method, path, params=params, headers=headers)
        return [item for item in answer if isinstance(item, dict)] if isinstance(answer, list) else []

    def _act(
        self,
        container: str,
        act: str,
        params: Mapping[str, str] | None = None,
        *,
        headers: Headers = None,
        timeout_s: float | None = None,
    ) -> None:
        path = f"/containers/{_container(container)}/{act}"
        self.request("POST", path, params=params, headers=headers, timeout_s=timeout_s)


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _container(name: str) -> str:
    """`name` as one path segment: an empty one would turn an act on one container into another request."""
    if not name or name in {".", ".."}:
        raise InputError(f"container {name!r}", "is not a name or id")
    return quote(name, safe="")


def _image(ref: str) -> str:
    if not ref or any(part in {"", ".", ".."} for part in ref.split("/")):
        raise InputError(f"image {ref[:200]!r}", "is not a name or id")
    return quote(ref, safe="/:@")


def _joined(frames: Iterable[tuple[int, bytes]], max_bytes: int) -> bytes:
    output = bytearray()
    for _, part in frames:
        if len(output) < max_bytes:
            output += part[: max_bytes - len(output)]
    return bytes(output)
