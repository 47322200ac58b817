"""`python -m shipwall.server --state DIR [--database URL] [--port N]`: link, API and console in one unprivileged process.

Started by `shipwall up`, which makes `run` and `server` below DIR writable for the server's user first. The address of the console
is written to `run/console.json`. SIGTERM and SIGINT stop it cleanly. A database URL with a password comes from $SHIPWALL_DATABASE,
since every user of the host can read a command line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvicorn

from shipwall import __version__
from shipwall.adapters.files import write_whole
from shipwall.adapters.instance import Instance, find_instance
from shipwall.adapters.store import open_store
from shipwall.adapters.store.database import parse_database_url
from shipwall.journeys.sinks import SINKS_FILE
from shipwall.model.errors import InputError, RemoteError, ShipwallError
from shipwall.server.app import build_app
from shipwall.server.forward import Forwarder
from shipwall.server.link import LinkServer
from shipwall.server.log import log
from shipwall.server.service import Service
from shipwall.server.sessions import make_link


class _Http(uvicorn.Server):
    """uvicorn without its signal handlers: this module decides the order of stopping."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def main() -> None:
    """Parse the command line, serve until told to stop; exit codes as of the command line."""
    parser = argparse.ArgumentParser(prog="python -m shipwall.server", description="Shipwall's link, API and console.")
    parser.add_argument("--state", type=Path, help="folder of the installation")
    parser.add_argument("--database", help="sqlite:////path or postgresql://user@host/name (password: $SHIPWALL_DATABASE)")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--origin", default="", help="https://host of a reverse proxy on this host that ends TLS for the console")
    parser.add_argument("--as-root", action="store_true", help="serve although the user is root")
    arguments = parser.parse_args()
    try:
        if os.geteuid() == 0 and not arguments.as_root:
            raise InputError("server", "would run as root", "start it through `shipwall up`, or say --as-root")
        if not 0 <= arguments.port <= 65535:
            raise InputError("--port", "is not a port", "0 to 65535")
        instance = find_instance(arguments.state)
        asyncio.run(_serve(instance, _database(instance, arguments.database), arguments.port, arguments.origin))
    except ShipwallError as error:
        sys.stderr.write(f"shipwall server: {error.line()}\n")
        sys.exit(error.exit_code)


def _database(instance: Instance, named: str | None) -> str:
    if named:
        if parse_database_url(named).password:
            raise InputError("--database", "holds a password, which every user could read", "put the URL into $SHIPWALL_DATABASE")
        return named
    return os.environ.get("SHIPWALL_DATABASE") or f"sqlite:///{instance.server / 'server.db'}"


async def _serve(instance: Instance, database: str, port: int, origin: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = Service(await asyncio.to_thread(open_store, database))
    try:
        with _listen(port) as listener:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            public = origin or address

            async def login(actor: str) -> str:
                return await make_link(service, public, actor)

            link = LinkServer(service, instance.link_socket, login)
            app = build_app(service, instance, address, origin)
            http = _Http(
                uvicorn.Config(
                    app,
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    timeout_keep_alive=15,
                    timeout_graceful_shutdown=2,
                    limit_concurrency=256,
                    h11_max_incomplete_event_size=16384,
                    http="h11",
                    ws="none",
                    proxy_headers=False,
                )
            )
            await link.start()
            facts = {"url": public, "pid": os.getpid(), "started_ns": time.time_ns(), "version": __version__}
            record = instance.run / "console.json"
            serving = asyncio.create_task(http.serve(sockets=[listener]))
            forwarding = asyncio.create_task(Forwarder(service, instance.server / SINKS_FILE).run())
            try:
                write_whole(record, msgspec.json.encode(facts))
                log("info", "serving", address=address, link=str(instance.link_socket), store=service.store.place)
                watched = {asyncio.create_task(stop.wait()), asyncio.create_task(link.ended()), forwarding, serving}
                done, rest = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                for task in rest - {serving, forwarding}:
                    task.cancel()
                for task in done:
                    task.result()
                if not stop.is_set():
                    raise RemoteError("server", "a part of it ended by itself", "look at the lines above")
            finally:
                log("info", "stopping")
                record.unlink(missing_ok=True)
                forwarding.cancel()
                await asyncio.gather(forwarding, return_exceptions=True)
                service.hub.close()
                http.should_exit = True
                await link.stop()
                await asyncio.gather(serving, return_exceptions=True)
    finally:
        await asyncio.to_thread(service.close)
        log("info", "stopped")


@contextlib.contextmanager
def _listen(port: int) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise RemoteError(f"console port {port}", error.strerror or str(error), "name another with --port, or 0") from error
        listener.setblocking(False)
        yield listener
    finally:
        listener.close()
