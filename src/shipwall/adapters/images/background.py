"""Reading ahead and hashing beside the walk: unpacking and SHA-256 leave Python's lock, so that a second processor does them."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from types import TracebackType
from typing import Self

from shipwall.supply.streams import Stream

_CHUNK = 1 << 20
_AHEAD = 8  # chunks between two threads


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


class ReadAhead:
    """The bytes of `source`, read by a thread of its own until the block ends; what it raises is raised here."""

    def __init__(self, source: Stream) -> None:
        self._source = source
        self._chunks: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._is_over = False
        self._left = b""
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        chunk = self._left or self._next()
        self._left = chunk[size:]
        return chunk[:size] if self._left else chunk

    def _next(self) -> bytes:
        if self._is_over:
            return b""
        item = self._chunks.get()
        if isinstance(item, BaseException):
            self._is_over = True
            raise item
        self._is_over = not item
        return item

    def _run(self) -> None:
        try:
            while not self._is_over:
                chunk = self._source.read(_CHUNK)
                self._chunks.put(chunk)
                if not chunk:
                    return
        except BaseException as error:  # noqa: BLE001  (whatever it is belongs to the reader)
            self._chunks.put(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_over = True
        while self._thread.is_alive():  # it may be waiting for room
            with contextlib.suppress(queue.Empty):
                self._chunks.get(timeout=0.05)
        self._thread.join()
