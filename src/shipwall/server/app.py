"""The HTTP side: who may ask what, before any page or row is made.

Numbered checks of every request, in this order, each failing closed:
1. Host is ours (a name of an attacker's that resolves to loopback is not: DNS rebinding).
2. A browser does not ask on behalf of another site (Sec-Fetch-Site), except by following a link.
3. The method is GET, HEAD or POST; a POST says where it comes from (Origin), and that is us.
4. The body is small.
5. A session (cookie), for everything but the login page and its style sheet and script; for /metrics its own token.
6. A POST carries the session's change token in a header that no form and no foreign page can set.
Every answer forbids framing, foreign assets, inline scripts and referrers; an unexpected error says nothing of itself to the browser.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from shipwall import __version__
from shipwall.adapters.instance import Instance
from shipwall.model.errors import InputError, ShipwallError
from shipwall.server import api, console, metrics
from shipwall.server.doors import Doors, refusal
from shipwall.server.log import log
from shipwall.server.service import Service, problem

MAX_BODY_BYTES = 64 * 1024
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
        b"base-uri 'none'; frame-ancestors 'none'"
    ),
    b"x-frame-options": b"DENY",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def build_app(service: Service, instance: Instance, address: str, origin: str = "") -> Asgi:
    """The whole application. `address` is where it listens, `origin` the https origin a reverse proxy gives it, if any.

    Raises InputError when `origin` is not an https origin.
    """
    own = urlsplit(address)
    origins = {address, f"http://localhost:{own.port}"}
    if origin:
        public = urlsplit(origin)
        if public.scheme != "https" or not public.netloc or origin != f"https://{public.netloc}":
            raise InputError("--origin", "is not an https origin", "as in https://shipwall.example.org")
        origins.add(origin)
    doors = Doors(service, f"__Host-shipwall-{own.port}" if origin else f"shipwall-{own.port}", secure=bool(origin))
    app = FastAPI(
        title="Shipwall", version=__version__, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False,
        description="Rows of the console for programs. All but the login need the session cookie; every POST the header "
        "X-Shipwall-Token, which each page of the console carries.",
    )  # fmt: skip
    app.include_router(api.make_router(service, instance, doors))
    app.include_router(console.make_router(service, doors, instance.fleet))
    app.include_router(_metrics_router(service, instance))
    api.describe(app, doors)

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ShipwallError)
        status = 400 if isinstance(error, InputError) else 503
        if doors.is_api(request):
            return _json(problem(error), status)
        return console.error_page(status, error.line())

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if doors.is_api(request):
            line = refusal(error.status_code)
            return _json({"thing": "request", "reason": line, "next_step": "", "line": line}, error.status_code)
        if error.status_code == 401:
            return Response(status_code=303, headers={"location": "/login"})
        return console.error_page(error.status_code, refusal(error.status_code))

    app.add_exception_handler(ShipwallError, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    return Guard(app, origins)


def _metrics_router(service: Service, instance: Instance) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    async def scrape(request: Request) -> Response:
        token = await asyncio.to_thread(metrics.read_token, instance.server)
        if not metrics.is_token(request.headers.get("authorization", ""), token):
            return Response("the token is missing or wrong: shipwall console metrics\n", 401, {"www-authenticate": "Bearer"})
        return Response(await metrics.render_metrics(service), media_type=metrics.MEDIA_TYPE)

    router.add_api_route("/metrics", scrape)
    return router


class Guard:
    """Checks 1 to 4 and the headers, around `app`."""

    def __init__(self, app: Asgi, origins: set[str]) -> None:
        self._app = app
        self._origins = {origin.encode() for origin in origins}
        self._hosts = {urlsplit(origin).netloc.encode() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        began = False

        async def send_guarded(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                present = {name.lower() for name, _value in message["headers"]}
                extra = [(name, value) for name, value in _HEADERS.items() if name not in present]
                if b"cache-control" not in present:
                    extra.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        status, why = self._check(scope["method"], headers)
        if status:
            log("warning", "request-refused", status=status, why=why, path=scope["path"][:200])
            await _plain(send_guarded, status, why)
            return
        try:
            await self._app(scope, _bounded(receive), send_guarded)
        except Exception as error:  # noqa: BLE001 (the outermost: whatever it is, the browser learns nothing of it)
            place = traceback.extract_tb(error.__traceback__)[-1]
            log(
                "error",
                "defect",
                kind=type(error).__name__,
                file=place.filename,
                line=place.lineno or 0,
                path=scope["path"][:200],
            )
            if not began:
                await _plain(send_guarded, 500, "a defect of Shipwall; the server's log has its place")

    def _check(self, method: str, headers: dict[bytes, list[bytes]]) -> tuple[int, str]:
        # 1. Host
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 421, "this host name is not served here"
        # 2. On whose behalf
        site = headers.get(b"sec-fetch-site", [b"none"])[0]
        mode = headers.get(b"sec-fetch-mode", [b""])[0]
        if site not in {b"same-origin", b"none"} and not (mode == b"navigate" and method == "GET"):
            return 403, "asked by another site"
        # 3. Method and origin
        if method not in {"GET", "HEAD", "POST"}:
            return 405, "only GET, HEAD and POST"
        if method == "POST":
            origins = headers.get(b"origin", [])
            if len(origins) != 1 or origins[0] not in self._origins:
                return 403, "the Origin is missing or another site's"
            if headers.get(b"content-type", [b""])[0].split(b";")[0].strip().lower() != b"application/json":
                return 415, "the body must be application/json"
        # 4. Size as announced
        length = headers.get(b"content-length", [b"0"])[0]
        if not length.isdigit() or len(length) > 12 or int(length) > MAX_BODY_BYTES:
            return 413, "the body is too large"
        return 0, ""


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def receive_bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY_BYTES:
            raise HTTPException(413)  # came without saying how long it is
        return message

    return receive_bounded


async def _plain(send: Send, status: int, text: str) -> None:
    body = (text + "\n").encode()
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _json(value: object, status: int) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
