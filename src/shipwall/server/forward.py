"""Sending stored alerts on to the configured sinks, each at its own pace.

A sink's position is stored after each batch it took, so a restart repeats at most the last hundred alerts (by their ids a receiver
knows them) and skips none. One that fails is tried again after 1, 2, 4, ... 60 s, for ever; alerts wait in the store up to its limit,
and what had to go unsent is counted in `lost`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from pathlib import Path

from shipwall.adapters.files import Stamp, stamp_of
from shipwall.adapters.sinks import Sink, open_sink
from shipwall.adapters.store.store import SinkState
from shipwall.model.alert import Alert
from shipwall.model.errors import RemoteError, ShipwallError, StorageError
from shipwall.runtime.sinks import SinkSettings, parse_sinks
from shipwall.server.log import log
from shipwall.server.service import Service

_BATCH = 100
_LOOK_S = 2.0
_MAX_PAUSE_S = 60.0


class Forwarder:
    """All sinks of a server. The settings' file is read anew when it changes; a broken one leaves the former sinks at work."""

    def __init__(self, service: Service, path: Path) -> None:
        self._service = service
        self._path = path
        self._stamp: Stamp | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Follow the settings until cancelled."""
        try:
            while True:
                stamp = await asyncio.to_thread(_stamp, self._path)
                if stamp != self._stamp:
                    self._stamp = stamp
                    await self._load()
                await asyncio.sleep(_LOOK_S)
                for task in self._tasks:
                    if task.done():
                        task.result()  # they never end but by a defect, which ends the server
        finally:
            await self._end()

    async def _load(self) -> None:
        try:
            text = await asyncio.to_thread(_read, self._path)
            settings = parse_sinks(text, self._path.name)
            await self._service.ask(self._service.store.forget_sinks, [one.name for one in settings])
            # Each begins with what arrives from now on, however long it takes to start.
            states = [await self._service.ask(self._service.store.begin_sink, one.name, time.time_ns()) for one in settings]
        except ShipwallError as error:
            log("error", "sinks-not-read", why=error.line())
            return
        await self._end()
        log("info", "sinks", names=", ".join(one.name for one in settings))
        self._tasks = [asyncio.create_task(self._forward(one, state)) for one, state in zip(settings, states, strict=True)]

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _forward(self, settings: SinkSettings, begun: SinkState) -> None:
        sink = await asyncio.to_thread(open_sink, settings)
        news = self._service.hub.listen()
        state: SinkState | None = begun
        pause_s = 0.0
        try:
            while True:
                try:
                    if state is None:
                        state = await self._service.ask(self._service.store.begin_sink, settings.name, time.time_ns())
                    state = await self._send_waiting(settings, sink, state)
                    failed = bool(state.error)
                except (StorageError, RemoteError) as error:  # the store's: what was sent since is sent again
                    log("error", "sink-not-kept", sink=settings.name, why=error.line())
                    state, failed = None, True
                if failed:
                    pause_s = min(max(1.0, pause_s * 2), _MAX_PAUSE_S)
                    await asyncio.sleep(pause_s)
                    continue
                pause_s = 0.0
                while "alerts" not in await news.wait(_MAX_PAUSE_S):
                    pass
        finally:
            self._service.hub.unsubscribe(news)
            await asyncio.to_thread(sink.close)

    async def _send_waiting(self, settings: SinkSettings, sink: Sink, state: SinkState) -> SinkState:
        """The state when nothing is left to send, or with its `error` when the sink refused."""
        store = self._service.store
        while waiting := await self._service.ask(store.outgoing, state.position, _BATCH):
            state = await asyncio.to_thread(_send, settings, sink, state, waiting)
            await self._service.ask(store.save_sink, state)
            self._service.hub.publish({"sinks"})
            if state.error:
                log("warning", "sink-failed", sink=settings.name, why=state.error)
                break
        return state


def _send(settings: SinkSettings, sink: Sink, state: SinkState, waiting: list[tuple[int, Alert]]) -> SinkState:
    """The state after sending what is `waiting`, with its `error` when it stopped before the end."""
    for position, alert in waiting:
        unsent = position - state.position - 1
        state = replace(state, lost=state.lost + unsent, position=state.position + unsent)
        if settings.wants(alert):
            try:
                sink.send(alert)
            except (RemoteError, StorageError) as error:
                since = state.failing_since_ns or time.time_ns()
                return replace(state, time_ns=time.time_ns(), failing_since_ns=since, error=error.line())
            state = replace(state, sent=state.sent + 1)
        state = replace(state, position=position)
    return replace(state, time_ns=time.time_ns(), failing_since_ns=0, error="")


def _stamp(path: Path) -> Stamp:
    with contextlib.suppress(OSError):
        return stamp_of(path)
    return 0, 0, 0, 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "make it readable for the server's user") from error
