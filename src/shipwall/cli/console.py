"""`shipwall console`: the way into the web console."""

from __future__ import annotations

from typing import Annotated

import typer

from shipwall.cli.answers import StateOption, ask_rows, claimed_actor
from shipwall.cli.output import Output, OutputOption, console, print_json

app = typer.Typer(help="The web console.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `link` a command of its own."""


@app.command()
def link(
    actor: Annotated[str, typer.Option("--as", help="name the audit shows beside root; default who sudo says you are")] = "",
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """A login link into the console of this host: works once, for ten minutes. Root only.

    Example: sudo shipwall console link --as alice
    """
    [row] = ask_rows(state, "login-link", {"actor": actor or claimed_actor()})
    if output is Output.JSON:
        print_json(row)
        return
    console.print(str(row["url"]), markup=False)
