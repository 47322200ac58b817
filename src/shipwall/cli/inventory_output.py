"""Inventories for people and as SBOMs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.output import console, neutral
from shipwall.cli.sources import show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipwall.model.package import Inventory, Skipped

MAX_SHOWN_SKIPPED = 10


class ListOutput(StrEnum):
    """The forms of a list of packages."""

    TABLE = "table"
    JSON = "json"
    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"


ListOutputOption = Annotated[
    ListOutput, typer.Option("--output", "-o", help="table for people, json for programs, or an SBOM: cyclonedx 1.6, spdx 2.3")
]


def show_inventory(inventory: Inventory, *, with_files: bool) -> None:
    """The packages as a table, or with `with_files` one line for each file they own."""
    if with_files:
        lines = [f"{package.name} {package.version} {path}" for package in inventory.packages for path in package.files]
        typer.echo("\n".join(neutral(line) for line in lines))
    else:
        rows = [(one.name, one.version, one.arch, one.source, str(len(one.files))) for one in inventory.packages]
        show_table(("package", "version", "arch", "source", "files"), rows)
    show_skipped(inventory.skipped)
    console.print(
        f"\n{len(inventory.packages)} packages; skipped: {len(inventory.skipped)}\nimage: {neutral(name_of(inventory))}",
        markup=False,
    )


def show_skipped(skipped: Sequence[Skipped]) -> None:
    """The first of what could not be read or judged, and how many more there are."""
    for one in skipped[:MAX_SHOWN_SKIPPED]:
        console.print(f"skipped: {neutral(one.what)}: {neutral(one.reason)}", markup=False)
    if len(skipped) > MAX_SHOWN_SKIPPED:
        console.print(f"skipped: {len(skipped) - MAX_SHOWN_SKIPPED} more; --output json shows all")


def name_of(inventory: Inventory) -> str:
    """The image and its distribution in one line."""
    distribution = " ".join(filter(None, (inventory.distribution.id, inventory.distribution.version_id)))
    return f"{inventory.image.manifest if inventory.image else 'no digest known'} ({distribution or 'unknown distribution'})"


def render_inventory(inventory: Inventory, output: ListOutput, time_ns: int, *, with_files: bool) -> bytes:
    """The inventory in a form for programs; JSON carries lists of files only where asked, SBOMs always."""
    import msgspec

    from shipwall.supply.sbom import FORMATS

    for one in FORMATS:
        if one.name == output:
            return _json(one.render(inventory, time_ns))
    packages = inventory.packages if with_files else tuple(msgspec.structs.replace(one, files=()) for one in inventory.packages)
    return _json(msgspec.structs.replace(inventory, packages=packages))


def _json(value: object) -> bytes:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
