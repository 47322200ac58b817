"""A Docker Engine, spoken to over its unix socket: small, streaming, with the engine's own words in every error."""

from __future__ import annotations

import base64
import json as jsonlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Unpack
from urllib.parse import quote

import httpx

from shipwall.adapters.engine_transport import MAX_ANSWER_BYTES, EngineTransport, Headers, How, Json
from shipwall.adapters.streams import split_frames
from shipwall.model.errors import InputError, RemoteError

_BUILT = re.compile(r"Successfully built ([0-9a-f]{12,64})")
_LOADED = re.compile(r"Loaded image(?: ID)?: (\S+)\Z")
_NO_LOGIN = base64.urlsafe_b64encode(b"{}").decode()


class Engine(EngineTransport):
    """What the engine behind `socket` can be asked and told. Every call takes `headers` that are added to its requests, and raises as
    `EngineTransport` says."""

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
        self.knock()
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
        self._act(container, "stop", params={"t": str(grace_s)}, headers=headers, timeout_s=grace_s + 60)

    def kill(self, container: str, signal: str = "SIGKILL", headers: Headers = None) -> None:
        """Send it a signal."""
        self._act(container, "kill", params={"signal": signal}, headers=headers)

    def pause(self, container: str, headers: Headers = None) -> None:
        """Freeze it by the engine's own means."""
        self._act(container, "pause", headers=headers)

    def unpause(self, container: str, headers: Headers = None) -> None:
        """Thaw it."""
        self._act(container, "unpause", headers=headers)

    def rename(self, container: str, name: str, headers: Headers = None) -> None:
        """Give it another name."""
        self._act(container, "rename", params={"name": name}, headers=headers)

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

    def _act(self, container: str, act: str, **how: Unpack[How]) -> None:
        self.request("POST", f"/containers/{_container(container)}/{act}", **how)


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
