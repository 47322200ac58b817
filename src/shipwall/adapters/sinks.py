"""Sending alerts to files, syslog and webhooks. Each sink takes alerts in order and says by raising that it could not."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from shipwall.model.alert import Alert
from shipwall.model.errors import RemoteError, StorageError
from shipwall.runtime.alert_text import render_falco_line, render_syslog
from shipwall.runtime.sinks import SinkSettings

TIMEOUT_S = 10.0


class Sink(Protocol):
    """Where alerts go."""

    def send(self, alert: Alert) -> None:
        """Hand over one alert. Raises RemoteError or StorageError when it was not taken; it will be sent again."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


def open_sink(settings: SinkSettings) -> Sink:
    """The sink that `settings` describes. Opening connects nothing; the first alert does."""
    kinds: dict[str, Callable[[SinkSettings], Sink]] = {"file": FileSink, "syslog": SyslogSink, "webhook": WebhookSink}
    return kinds[settings.kind](settings)


class FileSink:
    """Lines of Falco's JSON appended to a file, each in one write. A file moved away by log rotation is made anew."""

    def __init__(self, settings: SinkSettings) -> None:
        self._path = Path(settings.address)
        self._fd = -1
        self._inode = (0, 0)

    def send(self, alert: Alert) -> None:
        """Append one line. A disk that took only a part of it gets the part taken back."""
        line = render_falco_line(alert)
        try:
            self._reopen()
            end = os.fstat(self._fd).st_size
            if os.write(self._fd, line) < len(line):
                os.ftruncate(self._fd, end)
                raise StorageError(str(self._path), "the disk took only a part of a line", "free space")
        except OSError as error:
            self.close()
            raise StorageError(
                str(self._path), error.strerror or str(error), "make it writable for the server's user, or free space"
            ) from error

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _reopen(self) -> None:
        try:
            facts = self._path.stat(follow_symlinks=False)
            found = (facts.st_dev, facts.st_ino)
        except FileNotFoundError:
            found = (0, 0)
        if self._fd >= 0 and found == self._inode:
            return
        self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        self._fd = os.open(self._path, flags, 0o640)
        facts = os.fstat(self._fd)
        if not stat.S_ISREG(facts.st_mode):
            self.close()
            raise StorageError(str(self._path), "is not a plain file", "name another path")
        self._inode = (facts.st_dev, facts.st_ino)


class SyslogSink:
    """RFC 5424 messages: a datagram each for `unix:` and `udp:`, octet counting (RFC 6587) for `tcp:`.

    UDP cannot say whether a message arrived. TCP says so late: what a broken connection swallowed is not known to be lost.
    """

    def __init__(self, settings: SinkSettings) -> None:
        self._address = settings.address
        self._facility = settings.facility
        self._socket: socket.socket | None = None

    def send(self, alert: Alert) -> None:
        """Send one message."""
        message = render_syslog(alert, self._facility)
        if self._address.startswith("tcp:"):
            message = b"%d %s" % (len(message), message)
        try:
            connection = self._socket or self._connect()
            self._socket = connection
            connection.sendall(message)
        except OSError as error:
            self.close()
            raise RemoteError(f"syslog {self._address}", error.strerror or str(error), "see whether it listens") from error

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        if self._address.startswith("unix:"):
            local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                local.settimeout(TIMEOUT_S)
                local.connect(self._address.removeprefix("unix:"))
            except OSError:
                local.close()
                raise
            return local
        parts = urlsplit(self._address)
        assert parts.hostname is not None
        assert parts.port is not None  # checked when the settings were read
        if parts.scheme == "tcp":
            return socket.create_connection((parts.hostname, parts.port), TIMEOUT_S)
        family, kind, protocol, _, place = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_DGRAM)[0]
        remote = socket.socket(family, kind, protocol)
        try:
            remote.connect(place)
        except OSError:
            remote.close()
            raise
        return remote


class WebhookSink:
    """Falco's JSON by POST, one alert a request, redirects not followed. Any 2xx means taken.

    With a secret, `X-Shipwall-Signature: v1=HEX` is the HMAC-SHA256 of `TIMESTAMP.BODY` and `X-Shipwall-Timestamp` the seconds since
    1970 in it, so that an old request cannot be played again later. `X-Shipwall-Alert` is the alert's id: the same for every repeat.
    """

    def __init__(self, settings: SinkSettings) -> None:
        import httpx

        self._url = settings.address
        self._secret = settings.secret.encode()
        self._failures = httpx.HTTPError
        self._client = httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    def send(self, alert: Alert) -> None:
        """Post one alert."""
        body = render_falco_line(alert).rstrip(b"\n")
        headers = {"content-type": "application/json", "x-shipwall-alert": alert.id}
        if self._secret:
            stamp = str(int(time.time()))
            headers["x-shipwall-timestamp"] = stamp
            headers["x-shipwall-signature"] = f"v1={sign(self._secret, stamp, body)}"
        try:
            answer = self._client.post(self._url, content=body, headers=headers)
        except self._failures as error:
            raise RemoteError(f"webhook {self._url}", str(error) or type(error).__name__, "see whether it listens") from error
        if not answer.is_success:
            raise RemoteError(
                f"webhook {self._url}", f"answered {answer.status_code}", "look at its log", status=answer.status_code
            )

    def close(self) -> None:
        """End the connections."""
        self._client.close()


def sign(secret: bytes, stamp: str, body: bytes) -> str:
    """The signature of a webhook request, in hex."""
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
