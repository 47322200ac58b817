"""The client's end of the link: agent or command line speaking the wire form to the server over its unix socket."""

from __future__ import annotations

import platform
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from shipwall import __version__
from shipwall.model.errors import RemoteError
from shipwall.model.wire import AnyMessage, Hello, Message, parse_length, parse_message, render_frame


def node_name() -> str:
    """The name this node goes by in alerts and pages."""
    return platform.node() or "localhost"


class Link:
    """A connected, greeted socket; blocking, one thread at a time. Raises RemoteError when the server is not there or goes away."""

    def __init__(self, path: Path, role: str, timeout_s: float | None = 10.0) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise RemoteError(f"server at {path}", error.strerror or str(error), "start it: shipwall up") from error
        self.send(Hello(role=role, node=node_name(), version=__version__))

    def fileno(self) -> int:
        """The descriptor, for select and poll."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send one message."""
        try:
            self._socket.sendall(render_frame(message))
        except OSError as error:
            raise RemoteError(
                f"server at {self.path}", error.strerror or str(error), "look at its log, then try again"
            ) from error

    def receive(self) -> AnyMessage:
        """The next message. Blocks up to the timeout."""
        return parse_message(self._exactly(parse_length(self._exactly(4))))

    def ask(self, message: Message) -> AnyMessage:
        """Send `message`, return the next message."""
        self.send(message)
        return self.receive()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self._socket.recv(count - len(parts))
            except OSError as error:
                raise RemoteError(
                    f"server at {self.path}", error.strerror or str(error), "look at its log, then try again"
                ) from error
            if not part:
                raise RemoteError(f"server at {self.path}", "closed the connection", "look at its log, then try again")
            parts += part
        return bytes(parts)
