"""The JSON API under /api/v1: the same rows the command line gets, the same deeds, and a stream that tells what changed.

Evidence: the bundle is sealed by the agent as root. Of the ways to hand it to a browser the simplest is taken: the agent leaves it
root-owned and readable (0640) for the server's own group, which has no other member; this module opens it by its last name component
inside the evidence folder, never by a path out of a message, follows no symbolic link and streams it. The server can so read what it
could ask the agent for anyway, but not change a byte, and a changed byte would fail `shipwall evidence verify`. Each download is noted.
"""

# Annotations are not postponed here: FastAPI reads them, and the session types are local to each router.
import asyncio
import os
import re
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import PurePath
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from shipwall.adapters.instance import Instance
from shipwall.model import wire
from shipwall.model.alert import Alert, Silence
from shipwall.model.container import ContainerFacts
from shipwall.model.errors import InputError, StorageError
from shipwall.model.event import AnyEvent
from shipwall.server import sessions
from shipwall.server.doors import API, Doors, Visitor, read_body
from shipwall.server.log import log
from shipwall.server.service import ACTIONS, DECISIONS, MAX_ROWS, Service

BEAT_S = 4.0
COALESCE_S = 0.15
_CHUNK_BYTES = 256 * 1024


class Deed(msgspec.Struct, forbid_unknown_fields=True):
    """Why a container is frozen, thawed, destroyed or captured."""

    reason: str


class NewSilence(msgspec.Struct, forbid_unknown_fields=True):
    """A silence to set: `minutes` from now; everywhere when `container_name` is empty."""

    rule: str
    reason: str
    minutes: int
    container_name: str = ""


class Token(msgspec.Struct, forbid_unknown_fields=True):
    """The one-time token of a login link."""

    token: str


class Node(msgspec.Struct):
    """A node and its latest health."""

    node: str
    time_ns: int
    version: str
    greeted_ns: int
    health: wire.Health
    connected: bool


class CommandRow(msgspec.Struct):
    """A command; `state` asked, done, failed or unanswered."""

    id: str
    time_ns: int
    node: str
    action: str
    target: str
    actor: str
    reason: str
    state: str
    detail: str
    ended_ns: int


class AuditRow(msgspec.Struct):
    """Who did what."""

    id: int
    time_ns: int
    actor: str
    action: str
    target: str
    detail: str


KINDS: dict[str, Any] = {
    "alerts": Alert,
    "containers": ContainerFacts,
    "steps": wire.ImageStep,
    "evidence": wire.EvidenceStored,
    "health": wire.Health,
    "nodes": Node,
    "admissions": wire.Admission,
    "responses": wire.ResponseStep,
    "events": AnyEvent,
    "silences": Silence,
    "commands": CommandRow,
    "audit": AuditRow,
}
_BODIES = (Deed, NewSilence, Token, wire.CommandResult)


def make_router(service: Service, instance: Instance, doors: Doors) -> APIRouter:
    """Every route of the API."""
    router = APIRouter()
    for part in (_rows(service, doors), _deeds(service, doors), _evidence(service, instance, doors), _stream(service, doors)):
        router.include_router(part)
    router.include_router(_sessions(service, doors))
    return router


def _rows(service: Service, doors: Doors) -> APIRouter:
    router = APIRouter()
    Seen = Annotated[Visitor, Depends(doors.see)]  # noqa: N806 (a type)

    def lister(what: str) -> Callable[..., Awaitable[Response]]:
        async def rows(request: Request, _visitor: Seen) -> Response:
            where = dict(request.query_params)
            limit = where.pop("limit", "1000")
            if not limit.isascii() or not limit.isdigit() or len(limit) > 6:
                raise InputError("limit", "is not a number of rows", f"1 to {MAX_ROWS}")
            return json_response(await service.rows(what, where, int(limit)))

        return rows

    for what in KINDS:
        router.add_api_route(
            f"{API}/{what}", lister(what), methods=["GET"], operation_id=f"list_{what}", summary=f"The newest {what}, oldest first",
            description="Query parameters filter by equality on fields of the rows; `limit` bounds them.",
            openapi_extra=_answer({"type": "array", "items": {"$ref": f"#/components/schemas/{what}"}}),
        )  # fmt: skip

    return router


def _deeds(service: Service, doors: Doors) -> APIRouter:
    router = APIRouter()
    Changing = Annotated[Visitor, Depends(doors.change)]  # noqa: N806 (a type)

    @router.post(f"{API}/containers/{{target}}/{{action}}", summary="Freeze, thaw, destroy or capture", openapi_extra=_body(Deed))
    async def act(target: str, action: str, request: Request, visitor: Changing) -> Response:
        if action not in ACTIONS:
            raise HTTPException(404)
        deed = await read_body(request, Deed)
        result = await service.command(visitor.actor, action, target, deed.reason)
        return json_response(result, 200 if result.done else 409)

    @router.post(f"{API}/responses/{{plan}}/{{action}}", summary="Approve or reject a plan", openapi_extra=_body(Deed))
    async def decide(plan: str, action: str, request: Request, visitor: Changing) -> Response:
        if action not in DECISIONS:
            raise HTTPException(404)
        deed = await read_body(request, Deed)
        result = await service.decide(visitor.actor, action, plan, deed.reason)
        return json_response(result, 200 if result.done else 409)

    @router.post(f"{API}/silences", summary="Silence a rule", openapi_extra=_body(NewSilence))
    async def silence(request: Request, visitor: Changing) -> Response:
        new = await read_body(request, NewSilence)
        if not 0 < new.minutes <= 200_000:
            raise InputError("minutes", "is not a length of time", "1 to 129600 (90 days)")
        until_ns = time.time_ns() + new.minutes * 60_000_000_000
        return json_response(await service.silence(visitor.actor, new.rule, new.container_name, new.reason, until_ns), 201)

    @router.post(f"{API}/silences/{{silence_id}}/end", summary="End a silence now")
    async def end_silence(silence_id: str, visitor: Changing) -> Response:
        return json_response(await service.end_silence(visitor.actor, silence_id))

    return router


def _evidence(service: Service, instance: Instance, doors: Doors) -> APIRouter:
    router = APIRouter()
    Seen = Annotated[Visitor, Depends(doors.see)]  # noqa: N806 (a type)

    @router.get(f"{API}/evidence/{{bundle}}/download", summary="The sealed bundle, as it lies on the node")
    async def download(bundle: str, visitor: Seen) -> Response:
        rows = await service.rows("evidence", {"bundle": bundle}, 1)
        if not rows:
            raise HTTPException(404)
        name = PurePath(str(rows[0]["path"])).name
        fd, size = await asyncio.to_thread(_open_evidence, instance, name)
        try:
            await service.note(visitor.actor, "download evidence", bundle, f"head {rows[0]['head']}")
        except BaseException:
            os.close(fd)
            raise
        log("info", "evidence-download", actor=visitor.actor, bundle=bundle, size_bytes=size)
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:120]
        headers = {"content-disposition": f'attachment; filename="{safe}"', "content-length": str(size)}
        return StreamingResponse(_chunks(fd, size), media_type="application/octet-stream", headers=headers)

    return router


def _stream(service: Service, doors: Doors) -> APIRouter:
    router = APIRouter()
    Seen = Annotated[Visitor, Depends(doors.see)]  # noqa: N806 (a type)

    @router.get(f"{API}/stream", summary="Server-Sent Events: `changed` with the kinds of rows that did, and a `beat`")
    async def stream(visitor: Seen) -> Response:
        subscription = service.hub.subscribe()
        if subscription is None:
            raise HTTPException(503)

        async def lines() -> AsyncIterator[bytes]:
            try:
                yield _line("beat", {"time_ns": time.time_ns(), "trouble": service.trouble})
                while not subscription.closed:
                    kinds = await subscription.wait(BEAT_S)
                    if kinds:
                        yield _line("changed", {"kinds": sorted(kinds), "time_ns": time.time_ns()})
                        await asyncio.sleep(COALESCE_S)  # a burst is one change
                        continue
                    if await sessions.who(service, visitor.secret, touch=False) is None:
                        yield _line("ended", {})
                        return
                    yield _line("beat", {"time_ns": time.time_ns(), "trouble": service.trouble})
            finally:
                service.hub.unsubscribe(subscription)

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    return router


def _sessions(service: Service, doors: Doors) -> APIRouter:
    router = APIRouter()
    Changing = Annotated[Visitor, Depends(doors.change)]  # noqa: N806 (a type)
    attempts = sessions.Attempts()

    @router.post(f"{API}/login", summary="Trade a one-time token for a session cookie", openapi_extra=_body(Token))
    async def login(request: Request) -> Response:
        if not attempts.allow(time.time_ns()):
            raise HTTPException(429)
        session = await sessions.log_in(service, (await read_body(request, Token)).token)
        if session is None:
            attempts.refused(time.time_ns())
            log("warning", "login-refused")
            raise InputError(
                "login link", "was used already, is too old or is not one of ours", "get a new one: shipwall console link"
            )
        secret, actor = session
        log("info", "login", actor=actor)
        response = Response(status_code=204)
        doors.let_in(response, secret)
        return response

    @router.post(f"{API}/logout", summary="End the session")
    async def logout(visitor: Changing) -> Response:
        await sessions.log_out(service, visitor.secret, visitor.actor)
        log("info", "logout", actor=visitor.actor)
        response = Response(status_code=204)
        doors.let_out(response)
        return response

    return router


def describe(app: FastAPI, doors: Doors) -> None:
    """Add /api/v1/openapi.json: FastAPI's routes with the schemas of the model's own structs."""
    _schemas, components = msgspec.json.schema_components([*KINDS.values(), *_BODIES], ref_template="#/components/schemas/{name}")
    of_kind = dict(zip(KINDS, _schemas, strict=False))

    async def openapi(_visitor: Annotated[Visitor, Depends(doors.see)]) -> Response:
        document = app.openapi()
        known = document.setdefault("components", {}).setdefault("schemas", {})
        known.update(components)
        known.update(of_kind)
        return json_response(document)

    app.add_api_route(f"{API}/openapi.json", openapi, methods=["GET"], include_in_schema=False)


def json_response(value: object, status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _open_evidence(instance: Instance, name: str) -> tuple[int, int]:
    """Descriptor and size of the bundle file `name`. Raises StorageError."""
    path = instance.evidence / name
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # ValueError: a name with U+0000
        reason = getattr(error, "strerror", "") or str(error)
        raise StorageError(f"evidence {name}", reason, f"copy it as root from {path}") from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise StorageError(f"evidence {name}", "is not a file", f"look at {path} as root")
    return fd, status.st_size


async def _chunks(fd: int, size: int) -> AsyncIterator[bytes]:
    try:
        offset = 0
        while offset < size:
            part = await asyncio.to_thread(os.pread, fd, min(_CHUNK_BYTES, size - offset), offset)
            if not part:
                return  # shorter than announced: the browser sees a broken download, not a whole one
            offset += len(part)
            yield part
    finally:
        os.close(fd)


def _line(event: str, data: object) -> bytes:
    return b"event: " + event.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {"responses": {"200": {"description": "rows", "content": {"application/json": {"schema": schema}}}}}


def _body(kind: type) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
