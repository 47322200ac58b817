"""`shipwall cleanup`: take away what runs of Shipwall left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("cleanup")(cleanup)


def cleanup(
    state: Annotated[
        Path | None, typer.Option("--state", help="state folder; default $SHIPWALL_STATE, else the system's")
    ] = None,
    keep_data: Annotated[
        bool, typer.Option("--keep-data", help="keep images and registry content of the private engine")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take away everything the journal says is standing: processes, namespaces, mounts, cgroups, sockets, pins, containers.

    Right at any time, also after kill -9, and as often as you like. The private engine goes with its containers and images.
    Exit code 1 when something stays.

    Examples:

      shipwall cleanup

      shipwall cleanup --state /tmp/try --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.cleanup import clean_up

    report = clean_up(find_instance(state), keep_data=keep_data)
    if output is Output.JSON:
        print_json(report)
    else:
        for done in report.done:
            console.print(neutral(f"{done.act}: {'; '.join(done.what) or 'nothing was left of it'}"), markup=False)
        for left in report.left:
            console.print(neutral(f"STILL THERE {left.act} {left.key}: {left.why}"), markup=False)
        if not report.done and not report.left:
            console.print("nothing to take away")
    if report.left:
        raise typer.Exit(1)
