"""Who may look at the console: one-time links, sessions, and the token that every change must carry.

A link's token (256 random bits, ten minutes, once) comes only from root over the link. It sits behind `#`, so it is in no request
line, no log and no Referer; the page sends it by POST. The cookie holds another 256 random bits, of which only the SHA-256 is stored.
The change token is a hash of the cookie's secret under another label: it needs no storage, ends with the session, and a page that
cannot read our pages cannot know it. Cookies know no ports: another program listening on this host's loopback that the same browser
visits is sent the cookie, hence the port in its name is no protection and idle and absolute ends are short (`docs/threat-model.md`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from shipwall.server.service import Service

LINK_NS = 600 * 1_000_000_000
IDLE_NS = 3600 * 1_000_000_000
SESSION_NS = 12 * 3600 * 1_000_000_000
ATTEMPTS, ATTEMPTS_NS = 10, 60 * 1_000_000_000


class Attempts:
    """At most ATTEMPTS tokens refused per ATTEMPTS_NS, of everybody together: all come from loopback, so there is no telling apart."""

    def __init__(self) -> None:
        self._refused: list[int] = []

    def allow(self, now_ns: int) -> bool:
        """Whether one more may be tried now."""
        self._refused = [then for then in self._refused if then > now_ns - ATTEMPTS_NS]
        return len(self._refused) < ATTEMPTS

    def refused(self, now_ns: int) -> None:
        """Count a token that was none."""
        self._refused.append(now_ns)


def new_secret() -> str:
    """256 random bits, fit for a URL and a cookie."""
    return secrets.token_urlsafe(32)


def hashed(secret: str) -> str:
    """What is stored of `secret`: a plain hash, since 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def change_token(secret: str) -> str:
    """What every state-changing request of the session with `secret` must carry."""
    return hmac.new(secret.encode("utf-8", "replace"), b"shipwall change token", hashlib.sha256).hexdigest()


def is_change_token(secret: str, token: str) -> bool:
    """Whether `token` is that of the session; in constant time."""
    return hmac.compare_digest(change_token(secret).encode(), token.encode("utf-8", "replace"))


async def make_link(service: Service, address: str, actor: str) -> str:
    """A one-time login link for `actor`."""
    token, now_ns = new_secret(), time.time_ns()
    await service.ask(service.store.add_login, hashed(token), actor, now_ns, now_ns + LINK_NS)
    await service.note(actor, "login link", "console", "good once, for 10 minutes")
    return f"{address}/login#{token}"


async def log_in(service: Service, token: str) -> tuple[str, str] | None:
    """The secret of a new session and its actor; None when the token is unknown, used or too old."""
    now_ns = time.time_ns()
    actor = await service.ask(service.store.use_login, hashed(token), now_ns)
    if actor is None:
        return None
    secret = new_secret()
    await service.ask(service.store.add_session, hashed(secret), actor, now_ns, now_ns + SESSION_NS)
    await service.note(actor, "login", "console")
    return secret, actor


async def who(service: Service, secret: str, *, touch: bool) -> str | None:
    """The actor of the session with `secret`; None when there is none any more."""
    if not secret or len(secret) > 100:
        return None
    return await service.ask(service.store.session, hashed(secret), time.time_ns(), IDLE_NS, touch=touch)


async def log_out(service: Service, secret: str, actor: str) -> None:
    """End the session."""
    await service.ask(service.store.end_session, hashed(secret))
    await service.note(actor, "logout", "console")
