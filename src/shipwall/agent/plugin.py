"""The engine's authorization plugin: an ASGI application on a unix socket, answering before and after every call of the engine.

Before (AuthZReq) the call is judged. After (AuthZRes) a container just made is judged again as the engine recorded it, and removed when
it is not what was judged: nobody can move a tag between the question and the act, and no container waits for the engine's next start.
*Trust*: the socket is root's (0600). *On failure*: closed: whatever goes wrong here is a refusal that says so.
*Never waits on itself*: questions to the engine while judging are plain reads, and reads are answered without asking anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import uvicorn

from shipwall.access.admit import decide_admission, decide_recorded, image_of, render_refusal
from shipwall.access.policy import AdmissionPolicy
from shipwall.access.request import ACT_HEADER, Envelope, RequestRefused, parse_envelope, parse_request
from shipwall.access.world import (
    JUDGED_ROUTES,
    ContainerRecord,
    EngineFacts,
    Needs,
    World,
    find_needs,
    find_record_needs,
    parse_container,
    parse_engine,
    parse_exec,
    parse_image,
    parse_network,
    parse_volume,
)
from shipwall.adapters.engine import Engine
from shipwall.agent.acts import Acts
from shipwall.model.digest import Digest
from shipwall.model.errors import RemoteError, ShipwallError, StorageError
from shipwall.model.promotion import Promotion
from shipwall.model.verdict import Reason, Verdict, refuse
from shipwall.model.wire import Admission

PLUGIN_NAME = "shipwall"
PROBE_NAME = "shipwall-probe-"
ASK_TIMEOUT_S = 5.0
ENGINE_FACTS_NS = 60 * 1_000_000_000
MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # the engine sends up to 1 MiB of body as base64; its answers to reads may be longer
THREADS = 16

_CREATE = re.compile(r"(?:/v1\.[0-9]{2})?/containers/create(?:\?|\Z)")
_ID = re.compile(r"[0-9a-f]{64}\Z")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class AdmissionPlugin:
    """Admission for one engine. `promotions`, `policy`, `mode` and `frozen` are asked anew for every decision, from several threads.

    `engine` is asked what is needed to judge. `report` hears every verdict that is not about a read; it must not block.
    `mode()` is `enforce` or `observe`: in observe mode nothing is refused, and what would be is reported.
    """

    def __init__(
        self,
        engine: Engine,
        promotions: Callable[[], Mapping[Digest, Promotion]],
        frozen: Callable[[], AbstractSet[str]],
        report: Callable[[Admission], None],
        *,
        node: str,
        acts: Acts | None = None,
        policy: Callable[[], AdmissionPolicy] = AdmissionPolicy,
        mode: Callable[[], str] = lambda: "enforce",
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.engine = engine
        self.acts = acts or Acts()
        self.refused = 0
        self.allowed = 0
        self.failures = 0
        self.decide_ns: deque[int] = deque(maxlen=1000)
        self._promotions = promotions
        self._frozen = frozen
        self._report = report
        self._node = node
        self._policy = policy
        self._mode = mode
        self._now_ns = now_ns
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="admission")
        self._engine_facts: tuple[int, EngineFacts] | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    # -- serving --------------------------------------------------------------------------------------------------------

    async def serve(self, path: Path, ready: Callable[[], None] = lambda: None) -> None:
        """Serve on the unix socket `path` (made 0600) in this event loop until `stop`. Raises StorageError when it cannot be made."""
        listener, inode = _listen(path)
        config = uvicorn.Config(
            self.app,
            interface="asgi3",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            log_config=None,
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config, ready)
        try:
            await self._server.serve(sockets=[listener])
        finally:
            listener.close()
            _take_away(path, inode)
            self._pool.shutdown(wait=False, cancel_futures=True)

    def start(self, path: Path) -> None:
        """Serve on `path` in a thread of its own; returns when it listens. Raises StorageError."""
        started: Future[None] = Future()

        def run() -> None:
            try:
                asyncio.run(self.serve(path, lambda: started.set_result(None)))
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                if not started.done():
                    started.set_exception(error)
                else:
                    sys.stderr.write(f"shipwall: admission ended: {error!r}\n")

        self._thread = threading.Thread(target=run, name="admission", daemon=True)
        self._thread.start()
        started.result(timeout=10)

    def stop(self) -> None:
        """End `serve` or the thread of `start`. From then on the engine refuses every call until the plugin is back or taken out."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The plugin protocol. Source: Engine docs, "Access authorization plugin", protocol v1.2."""
        if scope["type"] != "http":
            return
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > MAX_MESSAGE_BYTES:
                await _answer(send, {"Allow": False, "Msg": "the engine's question is too long", "Err": ""})
                return
            if not message.get("more_body"):
                break
        await _answer(send, await self._answer_to(str(scope["path"]), bytes(body)))

    async def _answer_to(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/Plugin.Activate":
            return {"Implements": ["authz"]}
        if path not in ("/AuthZPlugin.AuthZReq", "/AuthZPlugin.AuthZRes"):
            return {"Allow": False, "Msg": "", "Err": f"{path[:80]!r} is not a question known here"}
        try:
            envelope = parse_envelope(body)
            text = await (self._before(envelope) if path.endswith("Req") else self._after(envelope))
        except Exception as error:  # noqa: BLE001 - whatever it is, the door stays closed and says why
            self.failures += 1
            sys.stderr.write(f"shipwall: admission failed: {error!r}\n")
            why = error.line() if isinstance(error, ShipwallError) else f"{type(error).__name__} inside admission"
            text = f"[admission-failed] {why}"
        return {"Allow": not text, "Msg": text[:2000], "Err": ""}

    # -- deciding -------------------------------------------------------------------------------------------------------

    async def _before(self, envelope: Envelope) -> str:
        """Empty when the call may go on, otherwise the refusal."""
        method, uri, headers = envelope.request_method, envelope.request_uri, envelope.request_headers or {}
        began = time.perf_counter_ns()
        token = headers.get(ACT_HEADER, "")
        if token and self.acts.use(method, uri, token):
            self._tell(method, uri, uri, Verdict(allowed=True, reasons=(Reason(code="agent", message="the agent's own act"),)))
            return ""
        try:
            request = parse_request(method, uri, headers, envelope.request_body or b"")
        except RequestRefused as refused:
            return self._conclude(method, uri, uri, refuse(refused.given))
        if request.kind == "read":
            self.decide_ns.append(time.perf_counter_ns() - began)
            return ""
        if request.container.startswith(PROBE_NAME):
            return f"[probe] answered by shipwall in mode {self._mode()}"
        world = World(policy=AdmissionPolicy())
        if request.kind == "act":
            loop = asyncio.get_running_loop()
            needs = find_needs(request)
            world = await loop.run_in_executor(self._pool, self._gather, needs, request.route in JUDGED_ROUTES)
        verdict = decide_admission(request, world)
        self.decide_ns.append(time.perf_counter_ns() - began)
        return self._conclude(method, uri, request.subject or uri, verdict, image_of(request, world))

    async def _after(self, envelope: Envelope) -> str:
        """Empty when the engine's answer may go out: everything but the making of a container that is not what was judged."""
        method, uri = envelope.request_method, envelope.request_uri
        if method != "POST" or not _CREATE.match(uri) or envelope.response_status_code != 201 or self._mode() != "enforce":
            return ""
        token = (envelope.request_headers or {}).get(ACT_HEADER, "")
        if token and self.acts.was_used(method, uri, token):
            return ""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._judge_made, uri, envelope.response_body or b"")

    def _judge_made(self, uri: str, answer: bytes) -> str:
        made = msgspec.json.decode(answer, type=dict[str, Any]).get("Id")
        if not isinstance(made, str) or not _ID.match(made):
            return "[admission-failed] the engine did not say which container it made"
        try:
            record = self._container(made)
            if record is None:
                return ""  # gone already
            verdict = decide_recorded(record, self._world_of(record))
        except ShipwallError as error:
            verdict = refuse(Reason(code="admission-failed", message=f"the new container could not be judged: {error.line()}"))
        if verdict.allowed:
            return ""
        path = f"/containers/{made}"
        with contextlib.suppress(RemoteError):
            self.engine.remove(made, force=True, headers=self.acts.headers("DELETE", path))
        self.refused += 1
        self._tell("POST", uri, made, verdict)
        return "what was made is not what was asked, and was removed: " + render_refusal(verdict)

    def sweep(self) -> list[tuple[ContainerRecord, Verdict]]:
        """Containers in the engine that would not be admitted, made before admission was on. They are told, not touched."""
        found = []
        for listed in self.engine.containers():
            record = self._container(str(listed.get("Id")))
            if record is not None and not (verdict := decide_recorded(record, self._world_of(record))).allowed:
                found.append((record, verdict))
        return found

    def _conclude(self, method: str, uri: str, subject: str, verdict: Verdict, image: Digest | None = None) -> str:
        enforced = self._mode() == "enforce"
        if not verdict.allowed and not enforced:
            observed = Reason(code="observe-only", message="admission is in observe mode: this was let through")
            verdict = msgspec.structs.replace(verdict, reasons=(observed, *verdict.reasons))
        self._tell(method, uri, subject, verdict, image)
        if verdict.allowed or not enforced:
            self.allowed += 1
            return ""
        self.refused += 1
        return render_refusal(verdict)

    def _tell(self, method: str, uri: str, subject: str, verdict: Verdict, image: Digest | None = None) -> None:
        self._report(
            Admission(
                node=self._node,
                time_ns=self._now_ns(),
                method=method[:16],
                uri=uri[:2000],
                subject=subject[:300],
                verdict=verdict,
                image_digest=image,
            )
        )

    # -- asking the engine ----------------------------------------------------------------------------------------------

    def _gather(self, needs: Needs, judged: bool) -> World:
        container = self._container(needs.container) if needs.container else None
        prepared = None
        if needs.exec and (answer := self._ask(f"/exec/{needs.exec}/json")) is not None:
            prepared = parse_exec(answer)
            container = self._container(prepared.container)
        world = self._filled(needs) if container is None or not judged else self._world_of(container)
        if container is not None and not judged and needs.networks:
            world = self._filled(needs)
        return msgspec.structs.replace(world, container=container, exec=prepared)

    def _world_of(self, record: ContainerRecord) -> World:
        world = self._filled(find_record_needs(record))
        host = record.host_config
        if host.get("CgroupnsMode") == "host" or host.get("Runtime") not in (None, "", "runc"):
            world = msgspec.structs.replace(world, engine=self._engine())
        return msgspec.structs.replace(world, container=record)

    def _filled(self, needs: Needs) -> World:
        image = self._ask(f"/images/{quote(needs.image, safe='/:@')}/json") if _is_askable(needs.image) else None
        volumes = {name: parse_volume(answer) for name in needs.volumes if (answer := self._ask(f"/volumes/{name}")) is not None}
        networks = {
            name: parse_network(answer) for name in needs.networks if (answer := self._ask(f"/networks/{name}")) is not None
        }
        return World(
            policy=self._policy(),
            promotions=self._promotions(),
            frozen=frozenset(self._frozen()),
            image=parse_image(image) if image is not None else None,
            volumes=volumes,
            networks=networks,
        )

    def _container(self, name: str) -> ContainerRecord | None:
        answer = self._ask(f"/containers/{name}/json")
        return parse_container(answer) if answer is not None else None

    def _engine(self) -> EngineFacts:
        now = time.monotonic_ns()
        if self._engine_facts is None or now - self._engine_facts[0] > ENGINE_FACTS_NS:
            self._engine_facts = (now, parse_engine(self._ask("/info")))
        return self._engine_facts[1]

    def _ask(self, path: str) -> Any:
        """The engine's answer to a read; None when it has no such thing. Raises RemoteError."""
        try:
            return self.engine.request("GET", path, timeout_s=ASK_TIMEOUT_S)
        except RemoteError as error:
            if error.status == 404:
                return None
            raise


class _Server(uvicorn.Server):
    """Leaves the signals to the agent, and says when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def _is_askable(reference: str) -> bool:
    """Whether a reference can stand in a path as it is; any other is refused by its form."""
    return bool(re.match(r"[A-Za-z0-9][A-Za-z0-9_.:@/-]{0,511}\Z", reference)) and not any(
        part in ("", ".", "..") for part in reference.split("/")
    )


def _listen(path: Path) -> tuple[socket.socket, int]:
    """A listening socket at `path` that only root may connect to from the moment it is there, and its inode."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        os.fchmod(listener.fileno(), 0o600)  # bind gives the file the mode of the socket: there is no moment with another one
        listener.bind(str(path))
        listener.listen(128)
        listener.setblocking(False)
        return listener, path.stat().st_ino
    except OSError as error:
        listener.close()
        raise StorageError(str(path), error.strerror or str(error), "use a shorter state folder that can be written") from error


def _take_away(path: Path, inode: int) -> None:
    """Remove the socket, unless another agent has put its own there meanwhile."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()


async def _answer(send: Send, answer: dict[str, Any]) -> None:
    data = msgspec.json.encode(answer)
    headers = [(b"content-type", b"application/vnd.docker.plugins.v1.2+json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})
