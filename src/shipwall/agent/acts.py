"""One-time tokens for the agent's own acts on the engine: what only it may do to a frozen container, and to mend what slipped through.

A token is 256 random bits, for one method and one path, used up when the plugin sees it, gone after 30 seconds. It travels in a header
that only the engine and this plugin see: the engine's socket is root's, and the engine never shows a request's headers to another caller.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from shipwall.access.request import ACT_HEADER

VALID_NS = 30 * 1_000_000_000
REMEMBERED_NS = 10 * 60 * 1_000_000_000
MAX_TOKENS = 10_000

_VERSION = re.compile(r"\A/v1\.[0-9]{2}(?=/)")


@dataclass
class _Permit:
    token: str
    method: str
    path: str
    query: str | None
    expires_ns: int
    used: bool = False


class Acts:
    """Permits given out and not used up. Safe for several threads. `clock_ns` is monotonic."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._permits: dict[bytes, _Permit] = {}

    def permit(self, method: str, uri: str) -> str:
        """A token for one `method` on `uri` within 30 seconds. Without a query in `uri` any query will do; the API version never counts."""
        token = secrets.token_hex(32)
        path, query = _split(uri)
        now = self._clock_ns()
        with self._lock:
            if len(self._permits) >= MAX_TOKENS:
                self._permits = {key: permit for key, permit in self._permits.items() if permit.expires_ns > now}
            self._permits[_key(token)] = _Permit(token, method, path, query, now + VALID_NS)
        return token

    def headers(self, method: str, uri: str) -> dict[str, str]:
        """The header that carries a new token for `method` on `uri`."""
        return {ACT_HEADER: self.permit(method, uri)}

    def use(self, method: str, uri: str, token: str) -> bool:
        """Whether `token` permits this call; a token is used up by the first call that shows it, also by a wrong one."""
        return self._match(method, uri, token, again=False)

    def was_used(self, method: str, uri: str, token: str) -> bool:
        """Whether this very call was permitted by `token` before: for the engine's second question about the same call."""
        return self._match(method, uri, token, again=True)

    def _match(self, method: str, uri: str, token: str, *, again: bool) -> bool:
        now = self._clock_ns()
        key = _key(token)  # looked up by digest: the time it takes says nothing about the tokens that exist
        with self._lock:
            permit = self._permits.get(key)
            if permit is None or not hmac.compare_digest(permit.token.encode(), token.encode(errors="replace")):
                return False
            path, query = _split(uri)
            right = permit.method == method and permit.path == path and permit.query in (None, query) and now < permit.expires_ns
            if again:
                return permit.used and permit.method == method and permit.path == path
            if permit.used or not right:
                del self._permits[key]
                return False
            permit.used = True
            permit.expires_ns = now + REMEMBERED_NS
            return True


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _split(uri: str) -> tuple[str, str | None]:
    path, mark, query = _VERSION.sub("", uri).partition("?")
    return path, query if mark else None
