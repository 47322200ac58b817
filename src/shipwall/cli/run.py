"""`shipwall run`: a container with the default profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json, stderr


def run(
    image: Annotated[str, typer.Argument(help="REPOSITORY[:TAG], REPOSITORY@sha256:... or an image id")],
    command: Annotated[list[str] | None, typer.Argument(help="instead of the image's own command")] = None,
    name: Annotated[str, typer.Option("--name", help="name of the container")] = "",
    publish: Annotated[
        list[str] | None, typer.Option("--publish", "-p", help="HOST:PORT, or IP:HOST:PORT/udp; repeatable")
    ] = None,
    writable: Annotated[list[str] | None, typer.Option("--writable", help="path in memory it may write, repeatable")] = None,
    writable_exec: Annotated[list[str] | None, typer.Option("--writable-exec", help="and execute from, repeatable")] = None,
    cap: Annotated[list[str] | None, typer.Option("--cap", help="capability to keep, repeatable")] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE, repeatable")] = None,
    user: Annotated[str, typer.Option("--user", help="UID[:GID]; default: declared by the image, its own, or nobody")] = "",
    memory: Annotated[int, typer.Option("--memory", help="MiB; default: declared by the image, or 512", min=0)] = 0,
    pids: Annotated[int, typer.Option("--pids", help="processes; default: declared by the image, or 256", min=0)] = 0,
    network: Annotated[str, typer.Option("--network", help="a bridge network, or none")] = "",
    restart: Annotated[str, typer.Option("--restart", help="no, always, unless-stopped or on-failure")] = "",
    state: Annotated[Path | None, typer.Option("--state", help="state folder of the private engine")] = None,
    engine: Annotated[
        Path | None, typer.Option("--engine", help="socket of an existing engine; without it the private one")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make and start a container with everything taken away but what the image or this command declares. Prints its image's digest.

    No new privileges, no capabilities, read-only root, memory for what is declared writable, limits on memory and processes, no root.
    Exit code 1 when admission refuses.

    Examples:

      shipwall run prod/shop:1 --name shop --publish 8080:80

      shipwall run prod/shop@sha256:... --writable /var/cache/app --output json
    """
    from shipwall.access.hardening import RunOptions, parse_publish
    from shipwall.adapters.engine import Engine
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.private_engine import PrivateEngine
    from shipwall.journeys.run import run_container
    from shipwall.model.errors import RemoteError

    options = RunOptions(
        command=tuple(command or ()),
        publish=tuple(parse_publish(text) for text in publish or ()),
        writable=tuple(writable or ()),
        writable_exec=tuple(writable_exec or ()),
        capabilities=tuple(cap or ()),
        env=tuple(env or ()),
        user=user,
        memory_bytes=memory * 1024 * 1024,
        pids=pids,
        network=network,
        restart=restart,
    )
    socket = engine or PrivateEngine(find_instance(state)).socket
    try:
        with Engine(socket, timeout_s=120.0) as client:
            ran = run_container(client, image, options, name)
    except RemoteError as error:
        if error.status != 403:
            raise
        if output is Output.JSON:
            print_json({"allowed": False, "reason": error.reason})
        else:
            stderr.print(neutral(f"refused: {error.reason}"), markup=False)
        raise typer.Exit(1) from error
    if output is Output.JSON:
        print_json(ran)
        return
    for key, value in (("container", f"{ran.name} ({ran.id[:12]})"), ("image", ran.image), ("user", ran.user)):
        console.print(f"{key:12}{neutral(value)}", markup=False)
    for port, places in ran.ports.items():
        console.print(neutral(f"{'port':12}{port} at {', '.join(places)}"), markup=False)


def register(app: typer.Typer) -> None:
    """Add the command `run`."""
    app.command()(run)
