"""`shipwall sbom`: bills of materials of other tools, as Shipwall understands them."""

from __future__ import annotations

from typing import Annotated

import typer

from shipwall.cli.output import Output, OutputOption, print_json
from shipwall.model.errors import InputError

app = typer.Typer(help="Read bills of materials.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `sbom` a group although it has one command."""


@app.command()
def parse(
    file: Annotated[str, typer.Argument(help="CycloneDX 1.4 to 1.7 or SPDX 2.3, JSON; '-' for standard input")],
    output: OutputOption = Output.TABLE,
    files: Annotated[bool, typer.Option("--files", help="with the files each package owns (always so in JSON)")] = False,
) -> None:
    """What Shipwall takes from an SBOM: the packages it will judge, the distribution, and what it had to skip.

    `--output json` is the inventory in full, as docs/formats/inventory.md describes it.

    Exit codes: 0 read; 3 FILE is no SBOM (line and column where known); 8 it cannot be read.

    Examples:

      shipwall sbom parse shop.spdx.json

      syft shop:1 -o cyclonedx-json | shipwall sbom parse - --output json
    """
    from shipwall.adapters.sbom_file import load_sbom
    from shipwall.cli.inventory_output import show_inventory

    inventory = load_sbom(file)
    if inventory is None:
        raise InputError(file[:200], "is no SBOM file here", "give a CycloneDX or SPDX document in JSON")
    if output is Output.JSON:
        print_json(inventory)
    else:
        show_inventory(inventory, with_files=files)
