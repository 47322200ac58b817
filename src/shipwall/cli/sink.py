"""`shipwall sink`: where alerts go besides the console."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shipwall.cli.answers import StateOption, ask_rows, local_time, print_table
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json

app = typer.Typer(help="Send alerts on: files, syslog, webhooks.", no_args_is_help=True)


@app.command("list")
def list_sinks(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """How far each sink is: what it took, what was lost, why it fails.

    Examples:

      shipwall sink list

      shipwall sink list --output json
    """
    rows = ask_rows(state, "sinks")
    if output is Output.JSON:
        print_json(rows)
        return
    print_table(
        ("SINK", "SENT", "LOST", "LAST", "STATE"),
        (
            (row["name"], str(row["sent"]), str(row["lost"]), local_time(row["time_ns"]), row["error"] or "takes alerts")
            for row in rows
        ),
        "no sinks: shipwall sink set FILE",
    )


@app.command("set")
def set_sinks(
    file: Annotated[Path, typer.Argument(help="YAML: `sinks:` a list of {name, kind: file|syslog|webhook, ...}")],
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Replace the sinks by those of FILE; a running server follows within seconds. An empty list removes all.

    The settings are kept readable for the server's user only, since a webhook's secret stands in them.

    Exit codes: 0 set; 3 FILE is no such list; 8 it cannot be read or kept.

    Example: shipwall sink set sinks.yaml
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.sinks import install_sinks

    sinks = install_sinks(find_instance(state), file)
    if output is Output.JSON:
        print_json([{"name": one.name, "kind": one.kind, "address": one.address, "signed": bool(one.secret)} for one in sinks])
        return
    for one in sinks:
        console.print(f"{one.name}: {one.kind} {neutral(one.address)}{' (signed)' if one.secret else ''}", markup=False)
    if not sinks:
        console.print("no sinks")
