"""Telling the console what a command did: over the link when a server is there, silently when none is, with one line when it fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shipwall.model.errors import ShipwallError

if TYPE_CHECKING:
    from shipwall.model.wire import Message


class Reporter:
    """Sends messages to the server that listens on `link_socket`. Best effort: a command never fails because of its report.

    No socket means that no server runs: nothing is said. An error on the way is one line on standard error, once.
    """

    def __init__(self, link_socket: Path) -> None:
        self._socket = link_socket
        self._failed = False

    def __call__(self, message: Message) -> None:
        """Report `message`, and wait until the server has stored it."""
        if self._failed or not self._socket.exists():
            return
        from shipwall.adapters.link import Link  # here, because most commands have nobody to tell
        from shipwall.model.wire import Ack

        reason = "the server answered something else than that it is stored"
        try:
            with Link(self._socket, role="cli", timeout_s=3.0) as link:
                if isinstance(link.ask(msgspec.structs.replace(message, number=1)), Ack):
                    return
        except ShipwallError as error:
            reason = error.line()
        self._failed = True
        sys.stderr.write(f"shipwall: the console was not told: {reason}\n")


def no_report(_message: Message) -> None:
    """Tell nobody."""


def find_reporter(link_socket: Path) -> Callable[[Message], None]:
    """A Reporter where a server has its socket, else `no_report`, which spares the making of messages."""
    return Reporter(link_socket) if link_socket.exists() else no_report
