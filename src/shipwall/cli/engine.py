"""`shipwall engine`: the private engine and registry; an engine of the host is only looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shipwall.cli.engine_admission import register
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json

app = typer.Typer(help="Private Docker Engine and registry in namespaces of their own.", no_args_is_help=True)
register(app)

StateOption = Annotated[Path | None, typer.Option("--state", help="state folder; default $SHIPWALL_STATE, else the system's")]
EngineOption = Annotated[Path | None, typer.Option("--engine", help="socket of an existing engine; it is never changed")]


@app.command()
def start(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Start the private engine and registry, or find them running. The first time, missing programs are fetched into the cache.

    Examples:

      shipwall engine start

      shipwall engine start --state /tmp/try --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.private_engine import PrivateEngine

    engine = PrivateEngine(find_instance(state))
    engine.start()
    engine.leave()
    _show(_facts(engine.socket, engine), output)


@app.command()
def stop(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Stop the private engine and its containers. Images and registry content stay for the next start.

    Examples:

      shipwall engine stop

      shipwall cleanup     # takes images and registry content away as well
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.private_engine import PrivateEngine

    engine = PrivateEngine(find_instance(state))
    was_running = engine.status() is not None
    engine.stop()
    _show({"state": "stopped" if was_running else "was not running"}, output)


@app.command()
def status(state: StateOption = None, engine: EngineOption = None, output: OutputOption = Output.TABLE) -> None:
    """What runs, where its socket and registry are, which plugins it has. Exit code 1 when it does not run.

    Examples:

      shipwall engine status

      shipwall engine status --engine /run/docker.sock --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.private_engine import PrivateEngine

    private = None if engine else PrivateEngine(find_instance(state))
    if private is not None and private.status() is None:
        _show({"state": "not running"}, output)
        raise typer.Exit(1)
    socket = private.socket if private is not None else engine
    assert socket is not None
    _show(_facts(socket, private), output)


def _facts(socket: Path, private: object) -> dict[str, object]:
    from shipwall.adapters.engine import Engine
    from shipwall.adapters.private_engine import PrivateEngine

    with Engine(socket) as client:
        info = client.info()
    facts: dict[str, object] = {
        "state": "running",
        "socket": str(socket),
        "version": info.get("ServerVersion", ""),
        "cgroups": f"{info.get('CgroupDriver', '')} v{info.get('CgroupVersion', '')}",
        "authorization": (info.get("Plugins") or {}).get("Authorization") or [],
        "containers": info.get("Containers", 0),
        "images": info.get("Images", 0),
    }
    if isinstance(private, PrivateEngine):
        running = private.running
        facts |= {"registry": running.registry, "gateway": running.gateway, "pid": running.init.pid, "cgroup": running.cgroup}
    return facts


def _show(facts: dict[str, object], output: Output) -> None:
    if output is Output.JSON:
        print_json(facts)
        return
    for key, value in facts.items():
        shown = ", ".join(str(item) for item in value) or "none" if isinstance(value, list) else str(value)
        console.print(f"{key:14}{neutral(shown)}", markup=False)
