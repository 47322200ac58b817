"""The server's end of the link: a unix socket on which agents and command lines speak the wire form.

Who: only root and the server's own user, told by SO_PEERCRED; the socket is 0660 as well. What goes wrong ends that one connection:
a frame that is too long or no message, a message out of turn, a peer that does not read. No peer waits for another: what arrives goes
through one bounded queue to one keeper, which stores everything waiting in one transaction and then acknowledges. While the database
cannot keep (disk full, PostgreSQL away) nothing is acknowledged and nothing more is read: the agents hold it and send it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from shipwall.model.errors import InputError, RemoteError, ShipwallError, StorageError
from shipwall.model.wire import (
    PROTOCOL,
    Ack,
    Admission,
    AlertRaised,
    Answer,
    AnyMessage,
    Command,
    CommandResult,
    ContainerSeen,
    EventsSeen,
    EvidenceStored,
    Follow,
    Health,
    Hello,
    ImageStep,
    Message,
    Query,
    ResponseStep,
    SilenceSet,
    parse_length,
    parse_message,
    render_frame,
)
from shipwall.server.log import log
from shipwall.server.service import Service

MAX_PEERS = 64
HELLO_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 30.0
RETRY_S = 1.0
_BATCH = 256
_UNREAD_MESSAGES = 512
_UNKEPT_BYTES = 4 * 1024 * 1024
KEPT = (ContainerSeen, AlertRaised, EventsSeen, Health, ImageStep, Admission, ResponseStep, EvidenceStored)


class Peer:
    """One connection. `actor` is the user's name as the kernel knows it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uid: int) -> None:
        self.uid = uid
        self.role = ""
        self.node = ""
        self.unkept_bytes = 0
        self.kept = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue(_UNREAD_MESSAGES)
        self._sender = asyncio.create_task(self._send())
        try:
            self.actor = pwd.getpwuid(uid).pw_name
        except KeyError:
            self.actor = f"uid {uid}"

    def push(self, message: Message) -> None:
        """Queue `message`; a peer that let too many pile up is cut off."""
        try:
            self._outgoing.put_nowait(render_frame(message))
        except asyncio.QueueFull:
            log("warning", "peer-does-not-read", role=self.role, node=self.node)
            self.cut()

    async def receive(self) -> tuple[AnyMessage, int]:
        """The next message and its size. Raises InputError (hostile bytes), IncompleteReadError or OSError (gone)."""
        length = parse_length(await self._reader.readexactly(4))
        return parse_message(await self._reader.readexactly(length)), length

    async def sent(self) -> None:
        """Return when everything pushed so far has been handed to the kernel, or the peer is gone."""
        joined = asyncio.ensure_future(self._outgoing.join())
        await asyncio.wait({joined, self._sender}, return_when=asyncio.FIRST_COMPLETED)
        joined.cancel()

    def cut(self) -> None:
        """End the connection now."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """End the connection and its sender."""
        self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _send(self) -> None:
        while True:
            frame = await self._outgoing.get()
            try:
                self._writer.write(frame)
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await self._writer.drain()
            except OSError:  # TimeoutError too: gone, or not reading
                self.cut()
                return
            finally:
                self._outgoing.task_done()


class LinkServer:
    """Listens at `path`. `make_login(actor)` gives a one-time link."""

    def __init__(self, service: Service, path: Path, make_login: Callable[[str], Awaitable[str]]) -> None:
        self._service = service
        self._path = path
        self._make_login = make_login
        self._own_uid = os.geteuid()
        self._inbox: asyncio.Queue[tuple[Peer, AnyMessage, int]] = asyncio.Queue(_BATCH)
        self._peers: set[Peer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises StorageError when the socket cannot be made. A stale one is replaced; a living one is not."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.is_socket():
                if _is_served(self._path):
                    raise StorageError(str(self._path), "another server listens there", "stop it, or name another --state")
                self._path.unlink()
            mask = os.umask(0o117)
            try:
                listener.bind(str(self._path))
            finally:
                os.umask(mask)
        except OSError as error:
            listener.close()
            raise StorageError(str(self._path), error.strerror or str(error), "mend the folder and its permissions") from error
        except BaseException:
            listener.close()
            raise
        listener.setblocking(False)
        self._keeper = asyncio.create_task(self._keep())
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=256 * 1024)

    async def ended(self) -> None:
        """Wait for the keeper to fail, which only a defect makes it do; raises what it raised."""
        assert self._keeper is not None
        await asyncio.shield(self._keeper)

    async def stop(self) -> None:
        """Stop listening, end every connection; what was received and not kept was not acknowledged."""
        if self._server is not None:
            self._server.close()
        for peer in list(self._peers):
            peer.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, _gid = struct.unpack("3i", credentials)
        if uid not in {0, self._own_uid} or len(self._peers) >= MAX_PEERS:
            log("warning", "peer-refused", uid=uid, pid=pid, peers=len(self._peers))
            writer.transport.abort()
            return
        peer = Peer(reader, writer, uid)
        self._peers.add(peer)
        try:
            await self._greet(peer)
            while True:
                message, size = await peer.receive()
                await self._handle(peer, message, size)
        except (asyncio.IncompleteReadError, OSError):
            pass
        except InputError as error:
            log("warning", "peer-ended", role=peer.role, node=peer.node, why=error.line())
            with contextlib.suppress(ShipwallError):
                peer.push(Answer(error=error.line()))
                await peer.sent()
        finally:
            self._peers.discard(peer)
            if peer.role == "agent":
                self._service.agents.leave(peer.node, peer)
                log("info", "agent-gone", node=peer.node)
                self._service.hub.publish({"nodes"})
            await peer.close()

    async def _greet(self, peer: Peer) -> None:
        async with asyncio.timeout(HELLO_TIMEOUT_S):  # TimeoutError is an OSError
            hello, _size = await peer.receive()
        if not isinstance(hello, Hello) or hello.role not in {"agent", "cli"} or not 0 < len(hello.node) <= 253:
            raise InputError("link", "the first message is not a greeting")
        if hello.protocol != PROTOCOL:
            raise InputError(
                "link", f"speaks protocol {hello.protocol}, this server {PROTOCOL}", "install the same version of both"
            )
        peer.role, peer.node = hello.role, hello.node
        if peer.role == "agent":
            now_ns = time.time_ns()
            with contextlib.suppress(StorageError, RemoteError):  # its messages will wait, that is enough
                await self._service.ask(self._service.store.greet, hello, now_ns)
                for silence in await self._service.ask(self._service.store.silences, now_ns):
                    peer.push(SilenceSet(silence=silence))
            self._service.agents.join(peer.node, peer)
            log("info", "agent-came", node=peer.node, version=hello.version)
            self._service.hub.publish({"nodes"})

    async def _handle(self, peer: Peer, message: AnyMessage, size: int) -> None:
        if isinstance(message, KEPT):
            peer.unkept_bytes += size
            peer.kept.clear()
            await self._inbox.put((peer, message, size))
            if peer.unkept_bytes > _UNKEPT_BYTES:
                await peer.kept.wait()
        elif isinstance(message, CommandResult) and peer.role == "agent":
            self._service.agents.answered(peer.node, message)
        elif isinstance(message, Query | Command | SilenceSet) and peer.role == "cli":
            try:
                peer.push(await self._answer(peer, message))
            except ShipwallError as error:  # also an answer that is too long for a frame
                peer.push(Answer(number=message.number, error=error.line()))
            await peer.sent()
        elif isinstance(message, Follow) and peer.role == "cli":
            await self._follow(peer, message.after)
        else:
            raise InputError(f"message {type(message).__name__}", f"is not for a peer of role {peer.role} to send")

    async def _follow(self, peer: Peer, position: int) -> None:
        """Send alerts as they arrive until the peer goes; one that reads slowly waits for itself only."""
        news = self._service.hub.listen()
        leaving = asyncio.ensure_future(peer.receive())  # a follower says nothing more: this ends when it goes
        try:
            if position < 0:
                position = await self._service.ask(self._service.store.last_outgoing)
            peer.push(Answer(rows=({"position": position},)))
            while not leaving.done():
                found = await self._service.ask(self._service.store.outgoing, position, _BATCH)
                for position, alert in found:
                    peer.push(AlertRaised(number=position, alert=alert))
                await peer.sent()
                if not found:
                    waking = asyncio.ensure_future(news.wait(60))
                    await asyncio.wait({waking, leaving}, return_when=asyncio.FIRST_COMPLETED)
                    waking.cancel()
            leaving.result()
            raise InputError("message after Follow", "is not expected")
        finally:
            leaving.cancel()
            self._service.hub.unsubscribe(news)

    async def _answer(self, peer: Peer, message: Query | Command | SilenceSet) -> Message:
        match message:
            case Query(what="login-link"):
                if peer.uid != 0:
                    raise InputError("login link", f"is for root only, not for {peer.actor}", "run the command as root")
                actor = _named(peer, message.where.get("actor", ""))
                return Answer(number=message.number, rows=({"url": await self._make_login(actor)},))
            case Query():
                rows = await self._service.rows(message.what, message.where, message.limit)
                return Answer(number=message.number, rows=tuple(rows))
            case Command():
                actor = _named(peer, message.actor)
                if message.plan:
                    result = await self._service.decide(actor, message.action, message.plan, message.reason)
                else:
                    result = await self._service.command(actor, message.action, message.target, message.reason)
                return CommandResult(number=message.number, id=message.id, done=result.done, detail=result.detail)
            case SilenceSet(silence=wanted):
                actor = _named(peer, wanted.actor)
                if wanted.id and wanted.until_ns <= time.time_ns():
                    silence = await self._service.end_silence(actor, wanted.id)
                else:
                    silence = await self._service.silence(
                        actor, wanted.rule, wanted.container_name, wanted.reason, wanted.until_ns
                    )
                return SilenceSet(number=message.number, silence=silence)

    async def _keep(self) -> None:
        while True:
            batch = [await self._inbox.get()]
            while len(batch) < _BATCH and not self._inbox.empty():
                batch.append(self._inbox.get_nowait())
            await self._keep_batch(batch)

    async def _keep_batch(self, batch: list[tuple[Peer, AnyMessage, int]]) -> None:
        store = self._service.store
        while True:
            try:
                changed = await self._service.ask(store.record, [message for _peer, message, _size in batch])
                break
            except InputError as error:
                if len(batch) == 1:  # this one can never be kept
                    peer = batch[0][0]
                    log("warning", "peer-ended", role=peer.role, node=peer.node, why=error.line())
                    peer.cut()
                    return
                for one in batch:
                    await self._keep_batch([one])
                return
            except (StorageError, RemoteError) as error:
                if self._service.trouble != error.line():
                    log("error", "cannot-keep", why=error.line())
                self._service.trouble = error.line()
                self._service.hub.publish({"trouble"})
                await asyncio.sleep(RETRY_S)
        if self._service.trouble:
            log("info", "keeps-again")
            self._service.trouble = ""
            changed = changed | {"trouble"}
        highest: dict[Peer, int] = {}
        for peer, message, size in batch:
            peer.unkept_bytes -= size
            peer.kept.set()
            if message.number > 0:
                highest[peer] = message.number
        for peer, number in highest.items():
            peer.push(Ack(of=number))
        self._service.hub.publish(changed)


def _named(peer: Peer, claimed: str) -> str:
    """The kernel's name of the user; who `sudo` says it is stands behind it, as a claim."""
    claimed = " ".join(claimed.split())[:64]
    return peer.actor if claimed in {"", peer.actor} else f"{peer.actor} ({claimed})"


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
