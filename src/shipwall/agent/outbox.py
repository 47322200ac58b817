"""What the agent has to tell the server: kept on disk while the server is away, bounded, in order, repeated until acknowledged."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from shipwall.adapters.link import Link
from shipwall.adapters.spool import Spool
from shipwall.model.errors import InputError, ShipwallError, StorageError
from shipwall.model.wire import Ack, AnyMessage, EventsSeen, Health, Message, parse_message, render_message

WAITING_MESSAGES = 20_000
RETRY_S = 0.5


class Outbox:
    """A thread that speaks to the server. `put` never blocks and never raises.

    Health and events are worth nothing later: they are dropped while the server is away. Everything else is numbered and spooled until
    the server has stored it, over restarts and kill -9 too. `lost` counts what the bounds cost: the spool's, that of WAITING_MESSAGES
    not yet looked at, and what a full disk did not take while the server was away.
    """

    def __init__(self, socket: Path, folder: Path, receive: Callable[[AnyMessage], None], say: Callable[[str], None]) -> None:
        self._spool = Spool(folder)
        self._dropped = 0
        self._socket = socket
        self._receive = receive
        self._say = say
        self._fresh: deque[Message] = deque()
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        self._going = True
        self._disk_failed = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    @property
    def lost(self) -> int:
        """Messages that will never arrive."""
        return self._dropped + self._spool.lost

    @property
    def waiting(self) -> int:
        """Messages that were not acknowledged yet."""
        return len(self._fresh) + self._spool.waiting

    def start(self) -> None:
        """Begin to speak."""
        self._thread.start()

    def put(self, message: Message) -> None:
        """Tell the server, now or when it is back."""
        with self._lock:
            if len(self._fresh) >= WAITING_MESSAGES:
                self._dropped += _is_kept(self._fresh.popleft())
            self._fresh.append(message)
        self._wake()

    def drain(self, timeout_s: float) -> bool:
        """Whether everything kept was acknowledged within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.waiting and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.waiting

    def stop(self) -> None:
        """End the thread; what is not yet acknowledged is told after the next start."""
        self._going = False
        self._wake()
        self._thread.join(5)
        self._take_fresh(is_there=False)
        self._spool.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:
            return  # the pipe is full: it is awake already

    def _run(self) -> None:
        was_there = True
        while self._going:
            try:
                with Link(self._socket, "agent", timeout_s=10.0) as link:
                    was_there = True
                    self._converse(link)
            except ShipwallError as error:
                if was_there and self._going:
                    self._say(f"the server is away, messages are kept: {error.line()}")
                was_there = False
                self._wait_away()

    def _wait_away(self) -> None:
        """Spool what comes until it is time to try again."""
        deadline = time.monotonic() + RETRY_S
        while self._going and (left := deadline - time.monotonic()) > 0:
            self._take_fresh(is_there=False)
            self._sleep([], left)

    def _sleep(self, others: list[int], timeout_s: float) -> list[int]:
        readable, _, _ = select.select([*others, self._wake_read], [], [], timeout_s)
        if self._wake_read in readable:
            os.read(self._wake_read, 4096)
        return readable

    def _take_fresh(self, *, is_there: bool) -> list[Message]:
        """What came since the last call, numbered and spooled where it must not be lost; only that, unless the server `is_there`."""
        with self._lock:
            fresh = list(self._fresh)
            self._fresh.clear()
        taken = []
        for message in fresh:
            if not _is_kept(message):
                if is_there:
                    taken.append(message)
                continue
            try:
                number = self._spool.append(render_message(message))
            except StorageError as error:
                if not self._disk_failed:
                    self._say(f"messages are not kept on disk: {error.line()}")
                self._disk_failed = True
                number = 0
                self._dropped += not is_there
            else:
                self._disk_failed = False
            if number or is_there:
                taken.append(msgspec.structs.replace(message, number=number))
        return taken

    def _converse(self, link: Link) -> None:
        self._take_fresh(is_there=False)
        for number, body in self._spool.pending():
            try:
                message = parse_message(body)
            except InputError as error:  # spooled by another version
                self._say(f"a kept message is dropped: {error.line()}")
                self._dropped += 1
                continue
            link.send(msgspec.structs.replace(message, number=number))
            while link.fileno() in self._sleep([link.fileno()], 0):  # else a long backlog's acknowledgements would pile up
                self._take(link.receive())
        while self._going:
            readable = self._sleep([link.fileno()], 1.0)
            for fresh in self._take_fresh(is_there=True):
                link.send(fresh)
            if link.fileno() in readable:
                self._take(link.receive())

    def _take(self, message: AnyMessage) -> None:
        if isinstance(message, Ack):
            self._spool.acknowledge(message.of)
        else:
            self._receive(message)


def _is_kept(message: Message) -> bool:
    return not isinstance(message, Health | EventsSeen)
