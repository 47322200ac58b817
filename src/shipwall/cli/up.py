"""`shipwall up`, `down`, `uninstall` and `function`: the two processes of a node."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json, stderr

StateOption = Annotated[Path | None, typer.Option("--state", help="folder of this installation")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("uninstall")(uninstall)
    functions = typer.Typer(no_args_is_help=True, help="What may act, and what only looks.")
    functions.command("list")(function_list)
    functions.command("set")(function_set)
    app.add_typer(functions, name="function")


def up(
    state: StateOption = None,
    engine: Annotated[
        Path | None, typer.Option(help="socket of the engine to watch; /run/docker.sock when it is there, `none` for no engine")
    ] = None,
    port: Annotated[int, typer.Option(help="port of the console on 127.0.0.1; 0 takes a free one")] = 0,
    database: Annotated[str, typer.Option(help="postgresql+psycopg://... instead of the built-in SQLite")] = "",
    rules: Annotated[list[Path] | None, typer.Option(help="rule file beside the shipped ones; repeatable")] = None,
    response: Annotated[Path | None, typer.Option(help="response policy to put in force first (`shipwall response set`)")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Watch this host: starts agent and server, prints the console's address, runs until Ctrl-C.

    Nothing is enforced until you say so (`shipwall function set`), and the engine's configuration is not touched.

    Examples:

      shipwall up

      shipwall up --engine /run/docker.sock --port 8700

      shipwall function set kill enforce
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.serve import Node, Serving, run_until

    instance = find_instance(state)
    socket, cgroup = _find_engine(instance.state, engine)
    if response is not None:
        from shipwall.adapters.functions import keep_response_policy
        from shipwall.cli.response import read_policy

        keep_response_policy(instance, read_policy(response)[0])
    node = Node(Serving(instance, engine=socket, cgroup=cgroup, port=port, database=database, rules=rules or []))
    going = [True]

    def end(_number: int, _frame: FrameType | None) -> None:
        going[0] = False

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        node.start(lambda name: stderr.print(f"starting {name}"))
        facts = {"engine": str(socket or ""), "console": node.console, "login": node.login_link()}
        if output is Output.JSON:
            print_json(facts)
        else:
            console.print(f"watching {socket or 'no engine'}; console {facts['console']}")
            console.print(f"one-time login: {facts['login']}")
        sys.stdout.flush()
        run_until(node, lambda: going[0], lambda line: stderr.print(f"shipwall up: {line}"))
    finally:
        node.stop()


def down(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """End what `shipwall up` runs for this installation.

    Example: shipwall down
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.serve import stop_serving

    was_up = stop_serving(find_instance(state))
    said = "ended" if was_up else "was not up"
    if output is Output.JSON:
        print_json({"state": said})
    else:
        console.print(said)


def uninstall(
    state: StateOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before keys and evidence are removed")] = False,
    destroy_frozen: Annotated[
        bool, typer.Option("--destroy-frozen", help="remove containers that are frozen instead of thawing them")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take Shipwall away without trace: processes, plugin, cgroups, private engine, and the state folder with keys and evidence.

    An engine's configuration is put back as it was. Containers frozen on it are THAWED and go on with whatever was in them, for nobody is
    left who could; each is named aloud and in the system's log. Take evidence you need out first (`shipwall evidence extract`).

    Examples:

      shipwall uninstall

      shipwall uninstall --yes --destroy-frozen
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.release import list_frozen
    from shipwall.journeys.uninstall import uninstall as take_away

    instance = find_instance(state)
    for plan in [] if yes else list_frozen(instance):
        stderr.print(
            f"frozen container {neutral(plan.container_name)} will be {'destroyed' if destroy_frozen else 'THAWED'}", markup=False
        )
    if not yes and not typer.confirm(f"Remove {instance.state} with its keys, database and evidence?"):
        raise typer.Exit(1)
    done = take_away(instance, destroy_frozen=destroy_frozen)
    if output is Output.JSON:
        print_json({"done": done})
        return
    for line in done:
        console.print(line)
    console.print("nothing of Shipwall is left" if done else "there was nothing to take away")


def function_list(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Mode of every function.

    Example: shipwall function list
    """
    from shipwall.adapters.functions import read_functions
    from shipwall.adapters.instance import find_instance

    _show_functions(read_functions(find_instance(state)), output)


def function_set(name: str, mode: str, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Set a function to observe (say what it would do) or enforce (do it). The running agent follows within a second.

    Examples:

      shipwall function set kill enforce

      shipwall function set admission observe
    """
    from shipwall.adapters.functions import write_function
    from shipwall.adapters.instance import find_instance

    _show_functions(write_function(find_instance(state), name, mode), output)


def _show_functions(modes: dict[str, str], output: Output) -> None:
    if output is Output.JSON:
        print_json(modes)
        return
    for name, mode in modes.items():
        console.print(f"{name:12} {mode}")


def _find_engine(state: Path, named: Path | None) -> tuple[Path | None, str]:
    """Socket of the engine to watch, and the parent cgroup of its containers (empty: found from its containers' own paths)."""
    from shipwall.adapters.instance import Instance
    from shipwall.adapters.private_engine import PrivateEngine

    if named is not None:
        return (None, "") if str(named) == "none" else (_checked(named), "")
    private = PrivateEngine(Instance(state))
    if (running := private.status()) is not None:
        return private.socket, running.cgroup
    usual = Path("/run/docker.sock")
    return (usual, "") if usual.is_socket() else (None, "")


def _checked(named: Path) -> Path:
    """The socket somebody named, if anybody listens there: an engine that refuses calls (for want of its agent, say) does."""
    from shipwall.adapters.engine import Engine

    with Engine(named) as engine:
        engine.knock()
    return named
