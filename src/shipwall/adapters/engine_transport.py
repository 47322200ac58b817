"""HTTP over an engine's unix socket: bounded answers, streams, and the engine's own words in every error."""

from __future__ import annotations

import contextlib
import json as jsonlib
import socket as socketlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

import httpx

from shipwall.model.errors import RemoteError

API_VERSION = "v1.41"
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024

Json = dict[str, Any]
Headers = Mapping[str, str] | None
Body = bytes | Iterable[bytes] | None


class How(TypedDict, total=False):
    """What every request may carry: `params` of its query, `headers` beside our own, `timeout_s` instead of the client's."""

    params: Mapping[str, str] | None
    headers: Headers
    timeout_s: float | None


class EngineTransport:
    """Requests below the pinned API version of the engine behind `socket`. Safe for several threads; connects at the first call.

    *Units*: timeouts in seconds. *Raises*: RemoteError with the engine's message and HTTP status when it refuses; status 0 when it is not
    there or does not answer in time.
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
        **how: Unpack[How],
    ) -> tuple[int, bytes]:
        """Status and body of any request below the pinned API version, refusals included. Raises RemoteError if nobody answers."""
        with self._open(method, path, content, **how) as response:
            return response.status_code, self._whole(response)

    def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        content: Body = None,
        **how: Unpack[How],
    ) -> Any:
        """The decoded JSON answer (None when there is none) of a request the engine agreed to."""
        if json is not None:
            content = jsonlib.dumps(json).encode()
            how["headers"] = {**(how.get("headers") or {}), "Content-Type": "application/json"}
        with self._open(method, path, content, **how) as response:
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
        **how: Unpack[How],
    ) -> Iterator[bytes]:
        """The bytes of an answer as they come. Closing the iterator ends the request."""
        with self._open(method, path, content, **how) as response:
            self._agreed(response, method, path)
            with self._words():
                yield from response.iter_bytes(CHUNK_BYTES)

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
        **how: Unpack[How],
    ) -> Iterator[httpx.Response]:
        self.knock()
        timeout_s = how.get("timeout_s")
        timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s, connect=5.0)
        params, headers = how.get("params"), dict(how.get("headers") or {})
        with contextlib.ExitStack() as stack:
            with self._words():
                response = stack.enter_context(
                    self._client.stream(method, path, content=content, params=params, headers=headers, timeout=timeout)
                )
            yield response

    def knock(self) -> None:
        """Nothing, when somebody listens; raises RemoteError otherwise.

        Asked before each call: httpcore leaves its socket open when connecting to a unix socket fails.
        """
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
        **how: Unpack[How],
    ) -> Iterator[Json]:
        """Progress lines of a long act; an `error` line is the engine's refusal although the status was 200."""
        with self._open(method, path, content, **how) as response:
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
