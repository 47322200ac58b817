"""`shipwall console`: the way into the web console."""

from __future__ import annotations

from typing import Annotated

import typer

from shipwall.cli.answers import StateOption, ask_rows, claimed_actor
from shipwall.cli.output import Output, OutputOption, console, print_json

app = typer.Typer(help="The web console.", no_args_is_help=True)


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


@app.command()
def metrics(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Where Prometheus scrapes this host, and the file with the token it must show. Root or the server's user only.

    Example: sudo shipwall console metrics
    """
    import json

    from shipwall.adapters.instance import find_instance
    from shipwall.model.errors import StorageError

    instance = find_instance(state)
    record, token = instance.run / "console.json", instance.server / "metrics.token"
    try:
        url = f"{json.loads(record.read_bytes())['url']}/metrics"
        is_there = token.exists()
    except OSError as error:
        raise StorageError(str(record), error.strerror or str(error), "is it up? shipwall up; and are you root?") from error
    if output is Output.JSON:
        print_json({"url": url, "credentials_file": str(token) if is_there else None})
        return
    console.print(f"address      {url}\ntoken file   {token}{'' if is_there else ' (made by the first request)'}", markup=False)
