"""Checks 5 and 6 of a request: the session behind its cookie, and the change token of a POST."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from shipwall.model.errors import InputError
from shipwall.server import sessions
from shipwall.server.service import Service

API = "/api/v1"
TOKEN_HEADER = "X-Shipwall-Token"  # noqa: S105 (the name of a header)
LIVE_HEADER = "X-Shipwall-Live"

T = TypeVar("T")
_SENTENCES = {
    401: "not logged in, or the session ended; get a new link: shipwall console link",
    403: "refused: the change token is missing or wrong; reload the page",
    404: "there is no such page",
    405: "not with this method",
    413: "the body is too large",
    429: "too many attempts; wait a minute",
    503: "busy; try again",
}


class Visitor(msgspec.Struct, frozen=True):
    """Somebody with a session. `secret` never leaves this process but as the cookie it came in."""

    actor: str
    secret: str

    @property
    def token(self) -> str:
        """What this visitor's changes must carry."""
        return sessions.change_token(self.secret)


class Doors:
    """The doors of one application."""

    def __init__(self, service: Service, cookie: str, *, secure: bool) -> None:
        self._service = service
        self._cookie = cookie
        self._secure = secure

    def is_api(self, request: Request) -> bool:
        """Whether a program asks, who wants JSON, not a page."""
        return request.url.path.startswith(f"{API}/") or request.method == "POST"

    async def see(self, request: Request) -> Visitor:
        """The visitor. Raises HTTPException 401. A page renewing itself does not count as use, so an unwatched screen logs out."""
        secret = request.cookies.get(self._cookie, "")
        actor = await sessions.who(self._service, secret, touch=LIVE_HEADER not in request.headers)
        if actor is None:
            raise HTTPException(401)
        return Visitor(actor, secret)

    async def change(self, request: Request) -> Visitor:
        """The visitor, who may change things. Raises HTTPException 401, 403."""
        visitor = await self.see(request)
        if not sessions.is_change_token(visitor.secret, request.headers.get(TOKEN_HEADER, "")):
            raise HTTPException(403)
        return visitor

    def let_in(self, response: Response, secret: str) -> None:
        """Give the browser its cookie."""
        response.set_cookie(
            self._cookie, secret, max_age=sessions.SESSION_NS // 1_000_000_000, path="/", httponly=True, samesite="strict",
            secure=self._secure,
        )  # fmt: skip

    def let_out(self, response: Response) -> None:
        """Take the cookie back."""
        response.delete_cookie(self._cookie, path="/", httponly=True, samesite="strict", secure=self._secure)


async def read_body(request: Request, kind: type[T]) -> T:
    """The JSON body as `kind`. Raises InputError, which never repeats the body (it may hold a token)."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InputError("request body", f"is not a {kind.__name__}: {error}", "see /api/v1/openapi.json") from error


def refusal(status: int) -> str:
    """What a refusal with `status` says."""
    return _SENTENCES.get(status, f"refused ({status})")
