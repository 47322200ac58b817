"""What the agent has to tell the server: kept while the server is away, bounded, in order, repeated until acknowledged."""

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
from shipwall.model.errors import ShipwallError
from shipwall.model.wire import Ack, AnyMessage, EventsSeen, Health, Message

KEPT_MESSAGES = 20_000
RETRY_S = 0.5


class Outbox:
    """A thread that speaks to the server. `put` never blocks and never raises.

    Health and events are worth nothing later: they are dropped while the server is away. Everything else is numbered and kept until
    the server has stored it; above KEPT_MESSAGES the oldest is dropped and counted in `lost`.
    """

    def __init__(self, socket: Path, receive: Callable[[AnyMessage], None], say: Callable[[str], None]) -> None:
        self.lost = 0
        self._socket = socket
        self._receive = receive
        self._say = say
        self._kept: deque[Message] = deque()
        self._fresh: deque[Message] = deque(maxlen=KEPT_MESSAGES)
        self._number = 0
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        self._going = True
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to speak."""
        self._thread.start()

    def put(self, message: Message) -> None:
        """Tell the server, now or when it is back."""
        with self._lock:
            if not isinstance(message, Health | EventsSeen):
                self._number += 1
                message = msgspec.structs.replace(message, number=self._number)
                if len(self._kept) >= KEPT_MESSAGES:
                    self._kept.popleft()
                    self.lost += 1
                self._kept.append(message)
            self._fresh.append(message)
        self._wake()

    def drain(self, timeout_s: float) -> bool:
        """Whether everything kept was acknowledged within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self._kept and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self._kept

    def stop(self) -> None:
        """End the thread; what is not yet acknowledged is left unsaid."""
        self._going = False
        self._wake()
        self._thread.join(5)
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
                with self._lock:
                    self._fresh.clear()
                select.select([], [], [], RETRY_S)

    def _converse(self, link: Link) -> None:
        with self._lock:
            self._fresh.clear()
            pending: list[Message] = list(self._kept)
        for message in pending:
            link.send(message)
        while self._going:
            readable, _, _ = select.select([link.fileno(), self._wake_read], [], [], 1.0)
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
            with self._lock:
                fresh = list(self._fresh)
                self._fresh.clear()
            for message in fresh:
                link.send(message)
            if link.fileno() in readable:
                self._take(link.receive())

    def _take(self, message: AnyMessage) -> None:
        if isinstance(message, Ack):
            with self._lock:
                while self._kept and self._kept[0].number <= message.of:
                    self._kept.popleft()
        else:
            self._receive(message)
