"""Reading, unpacking and hashing beside the walk, in threads: each leaves Python's lock for a whole chunk, so that a second processor
does it.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from types import TracebackType
from typing import Self

from shipwall.supply.streams import Stream

_CHUNK = 1 << 20
_AHEAD = 4  # chunks read and not yet walked
_UNHASHED = 8  # chunks taken and not yet hashed


class HashThread:
    """Makes hashes that one thread computes, in order. Use it as a context manager."""

    def __init__(self) -> None:
        self._work: queue.Queue[tuple[LaterHash, bytes] | threading.Event | None] = queue.Queue(_UNHASHED)
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
    """`stream`, read by a thread of its own a few chunks ahead of who reads this. Use it as a context manager, read nobody else from it.

    What reading raises in the thread, `read` raises at the same place.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
        self._is_over = False
        self._rest = b""
        self._end: bytes | BaseException | None = None

    def _run(self) -> None:
        data: bytes | BaseException = b"-"
        while data and not self._is_over:
            try:
                data = self._stream.read(_CHUNK)
            except BaseException as error:  # noqa: BLE001 - whoever reads gets it
                data = error
                self._is_over = True
            self._queue.put(data)

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        data = self._rest or self._next()
        if len(data) <= size:
            self._rest = b""
            return data
        self._rest = data[size:]
        return data[:size]

    def drain(self) -> None:
        """Read what is left."""
        while self._rest or self._next():
            self._rest = b""

    def _next(self) -> bytes:
        if self._end is None:
            data = self._queue.get()
            if data and not isinstance(data, BaseException):
                return data
            self._end = data
        if isinstance(self._end, BaseException):
            raise self._end
        return self._end

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_over = True
        with contextlib.suppress(queue.Empty):
            while True:  # the thread may wait for room
                self._queue.get_nowait()
        self._thread.join()
