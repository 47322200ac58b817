"""Hashing beside the walk: SHA-256 leaves Python's lock for a whole chunk, so that a second processor does it.

Unpacking ahead in a thread was tried and gains nothing: its calls come back for the lock every few ten microseconds to enlarge their
result, and wait for it while the walk runs.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from types import TracebackType
from typing import Self

_AHEAD = 16  # chunks (a quarter of a megabyte each) taken and not yet hashed


class HashThread:
    """Makes hashes that one thread computes, in order. Use it as a context manager."""

    def __init__(self) -> None:
        self._work: queue.Queue[tuple[LaterHash, bytes] | threading.Event | None] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._run, name="hashes", daemon=True)

    def sha256(self) -> LaterHash:
        """An empty SHA-256."""
        return LaterHash(self._work)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
            else:
                item[0].real.update(item[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._work.put(None)
        self._thread.join()


class LaterHash:
    """A SHA-256 whose bytes are taken now and hashed soon."""

    def __init__(self, work: queue.Queue[tuple[LaterHash, bytes] | threading.Event | None]) -> None:
        self._work = work
        self.real = hashlib.sha256()

    def update(self, data: bytes, /) -> None:
        """Take `data`."""
        self._work.put((self, data))

    def hexdigest(self) -> str:
        """Of all that was taken: waits for it."""
        done = threading.Event()
        self._work.put(done)
        done.wait()
        return self.real.hexdigest()
