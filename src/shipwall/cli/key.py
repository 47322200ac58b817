"""`shipwall key`: the keys that sign here, and the ones that are trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json

app = typer.Typer(help="Signing keys of this installation, and trusted public keys.", no_args_is_help=True)

StateOption = Annotated[Path | None, typer.Option("--state", help="state folder; default $SHIPWALL_STATE, else the system's")]
NameArgument = Annotated[str, typer.Argument(help="what the key is for: build, promotion, or a name of your own")]


@app.command()
def show(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """The trusted keys: name, id (SHA-256 of the public key), and whether the private half is here.

    Examples:

      shipwall key show

      shipwall key show --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.cli.sources import show_table

    keys = Keys(find_instance(state).keys)
    own = set(keys.own_names())
    rows = [(key.name, key.key_id, key.name in own) for key in sorted(keys.public().values(), key=lambda key: key.name)]
    if output is Output.JSON:
        print_json([{"name": name, "key_id": key_id, "private_half": here} for name, key_id, here in rows])
    elif rows:
        show_table(("name", "key id", "kind"), [(name, key_id, "own" if here else "trusted") for name, key_id, here in rows])
    else:
        console.print("no keys yet; the first signature makes one")


@app.command()
def export(name: NameArgument, state: StateOption = None) -> None:
    """The public half of a key as PEM, for others to trust. The private half never leaves its folder.

    Examples:

      shipwall key export promotion > promotion.pub

      shipwall key export build | ssh gate shipwall key trust build -
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.model.errors import InputError
    from shipwall.supply.dsse import render_public_key

    found = Keys(find_instance(state).keys).public(name)
    if not found:
        raise InputError(f"key {name[:80]}", "is not here", "list the keys: shipwall key show")
    for key in found.values():
        typer.echo(render_public_key(key).decode(), nl=False)


@app.command()
def trust(
    name: NameArgument,
    file: Annotated[str, typer.Argument(help="public key (PEM; Ed25519, P-256 or P-384), '-' for standard input")],
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Trust somebody's public key under a name. Who may sign what, the promotion policy says by these names; a key named promotion or
    promotion-... may promote.

    Examples:

      shipwall key trust build build.pub

      ssh builder shipwall key export build | shipwall key trust build -
    """
    import sys

    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.model.errors import StorageError
    from shipwall.supply.dsse import MAX_PUBLIC_KEY_BYTES

    try:
        if file == "-":
            pem = sys.stdin.buffer.read(MAX_PUBLIC_KEY_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                pem = stream.read(MAX_PUBLIC_KEY_BYTES + 1)
    except OSError as error:
        raise StorageError(file, error.strerror or str(error), "name a readable public key file") from error
    key = Keys(find_instance(state).keys).trust(name, pem)
    if output is Output.JSON:
        print_json({"name": key.name, "key_id": key.key_id})
    else:
        console.print(f"trusted as {neutral(key.name)}: {key.key_id}", markup=False)
