"""Who is told that rows changed: browsers that listen. What piles up is a set of kinds, so a slow listener costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Subscription:
    """One listener. `own`: the server's, not a browser's."""

    def __init__(self, *, own: bool = False) -> None:
        self.own = own
        self._kinds: set[str] = set()
        self._woken = asyncio.Event()
        self.closed = False

    def tell(self, kinds: Iterable[str]) -> None:
        """Remember `kinds` and wake the listener."""
        self._kinds.update(kinds)
        self._woken.set()

    def close(self) -> None:
        """Let the listener end."""
        self.closed = True
        self._woken.set()

    async def wait(self, timeout_s: float) -> set[str]:
        """The kinds that changed since the last call; empty after `timeout_s` or when closed."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return set()
        self._woken.clear()
        kinds, self._kinds = self._kinds, set()
        return kinds


class Hub:
    """All listeners, at most `limit`."""

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    def subscribe(self) -> Subscription | None:
        """A new listener; None when there are too many or the server stops."""
        if self._closed or sum(not one.own for one in self._subscriptions) >= self._limit:
            return None
        subscription = Subscription()
        self._subscriptions.add(subscription)
        return subscription

    def listen(self) -> Subscription:
        """A listener of the server's own, which does not count against the limit."""
        subscription = Subscription(own=True)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a listener."""
        self._subscriptions.discard(subscription)

    def publish(self, kinds: Iterable[str]) -> None:
        """Tell every listener that rows of `kinds` may have changed."""
        kinds = set(kinds)
        for subscription in self._subscriptions:
            subscription.tell(kinds)

    def close(self) -> None:
        """End every listener."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()
