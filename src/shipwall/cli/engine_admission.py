"""`shipwall engine enrol`, `leave` and `break-glass`: admission put before an engine, and taken away again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json

if TYPE_CHECKING:
    from shipwall.adapters.instance import Instance
    from shipwall.journeys.enrol import EngineTarget, Enrolment

StateOption = Annotated[Path | None, typer.Option("--state", help="state folder; default $SHIPWALL_STATE, else the system's")]
EngineOption = Annotated[
    Path | None, typer.Option("--engine", help="socket of an existing engine to change; without it the private one")
]
ConfigOption = Annotated[Path, typer.Option("--config", help="daemon.json of the engine named with --engine")]
PidOption = Annotated[Path, typer.Option("--pid-file", help="pid file of the engine named with --engine")]
ReasonOption = Annotated[str, typer.Option("--reason", help="why; written to the audit file, the system log and the console")]

CONFIG = Path("/etc/docker/daemon.json")
PID_FILE = Path("/var/run/docker.pid")


def enrol(
    state: StateOption = None,
    engine: EngineOption = None,
    config: ConfigOption = CONFIG,
    pid_file: PidOption = PID_FILE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make the engine ask the agent before every call. The agent must be running. From then on an agent that is gone means: no calls.

    The engine's configuration is kept byte for byte and comes back with `shipwall engine leave`.

    Examples:

      shipwall engine enrol

      shipwall engine enrol --engine /run/docker.sock --config /etc/docker/daemon.json
    """
    from shipwall.journeys.enrol import enrol_engine

    instance, target = _target(state, engine, config, pid_file)
    _show(enrol_engine(instance, target), output)


def leave(
    state: StateOption = None,
    engine: EngineOption = None,
    config: ConfigOption = CONFIG,
    pid_file: PidOption = PID_FILE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take admission away from the engine and put its configuration back as it was.

    Examples:

      shipwall engine leave

      shipwall engine leave --engine /run/docker.sock
    """
    from shipwall.journeys.enrol import leave_engine

    instance, target = _target(state, engine, config, pid_file)
    _show(leave_engine(instance, target), output)


def break_glass(
    reason: ReasonOption,
    state: StateOption = None,
    engine: EngineOption = None,
    config: ConfigOption = CONFIG,
    pid_file: PidOption = PID_FILE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take admission away when the agent is gone and the engine refuses every call. Loud: audit file, system log, console, standard error.

    Examples:

      shipwall engine break-glass --reason "agent does not start, incident 42"
    """
    from shipwall.journeys.enrol import break_glass as act

    instance, target = _target(state, engine, config, pid_file)
    _show(act(instance, target, reason), output)


def register(app: typer.Typer) -> None:
    """Add the commands to the group `engine`."""
    app.command()(enrol)
    app.command()(leave)
    app.command("break-glass")(break_glass)


def _target(state: Path | None, engine: Path | None, config: Path, pid_file: Path) -> tuple[Instance, EngineTarget]:
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.enrol import existing_target, private_target

    instance = find_instance(state)
    return instance, private_target(instance) if engine is None else existing_target(engine, config, pid_file)


def _show(enrolment: Enrolment, output: Output) -> None:
    if output is Output.JSON:
        print_json(enrolment)
        return
    console.print(neutral(f"engine at {enrolment.engine}: {enrolment.state}"), markup=False)
    if enrolment.detail:
        console.print(neutral(enrolment.detail), markup=False)
    if enrolment.state == "enrolled" and enrolment.containers:
        console.print(
            f"{enrolment.containers} containers were running before; they go on, and are judged when started again", markup=False
        )
