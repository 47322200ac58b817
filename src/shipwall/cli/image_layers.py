"""`shipwall image layers`: what each layer of an image brought, and who can mend what is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shipwall.cli.inventory_output import name_of
from shipwall.cli.judgements import finish
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json
from shipwall.cli.sources import (
    AdvisoryOptions,
    ArchiveOption,
    CacheOption,
    DatabaseOption,
    EngineOption,
    HttpOption,
    KeyringOption,
    OfflineOption,
    PlatformOption,
    SourceArgument,
    StateOption,
    SuiteOption,
    examine_source,
    fleet_of,
    inventories_of,
    progress,
    show_table,
)
from shipwall.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipwall.journeys.scan import ScanReport
    from shipwall.model.package import Inventory
    from shipwall.supply.layer_owners import KnownBase, Layer, LayersTold

_MAX_NAMES = 4


def register(app: typer.Typer) -> None:
    """Add the command to the group `image`."""
    app.command("layers")(layers)


def layers(
    source: SourceArgument,
    base: Annotated[
        list[str] | None,
        typer.Option("--base", metavar="SOURCE", help="an image that may lie below; repeatable; kept images are asked too"),
    ] = None,
    output: OutputOption = Output.TABLE,
    archive: ArchiveOption = "",
    suite: SuiteOption = None,
    keyring: KeyringOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    database: DatabaseOption = None,
    engine: EngineOption = None,
    platform: PlatformOption = "",
    allow_http: HttpOption = False,
    state: StateOption = None,
) -> None:
    """What each layer of an image brought, whose layer it is, and who can mend which finding: a newer base, or this image's build.

    A base is recognised exactly, by the chain of its layers, among the images kept here (`shipwall fleet list`) and those named by --base.
    Where none is known, that is said, and no layer is called anybody's.

    Exit codes: 0 told; otherwise as image scan.

    Examples:

      shipwall image layers localhost:5000/prod/shop:1

      shipwall image layers shop.tar --base debian.tar --db advisories.sqlite --output json
    """
    from shipwall.supply.layer_owners import tell_layers

    options = AdvisoryOptions(archive, suite, keyring, cache, offline)
    bases = _named_bases(base or (), engine, platform, allow_http=allow_http, state=state)
    scanned = examine_source(source, options, allow_http, state, engine, database=database, platform=platform)
    if scanned.inventory.image is None:
        raise InputError(f"{source[:200]}", "is no image, so it has no layers", "list it: shipwall image list")
    told = tell_layers(scanned.inventory, scanned.result, [*bases, *_kept_bases(scanned.inventory, state)])
    if output is Output.JSON:
        print_json(_document(scanned, told))
    else:
        _show(scanned, told)
    finish(scanned, [])


def _named_bases(
    sources: Sequence[str], engine: Path | None, platform: str, *, allow_http: bool, state: Path | None
) -> list[KnownBase]:
    from shipwall.journeys.scan import list_image
    from shipwall.supply.layer_owners import KnownBase

    found = []
    for source in sources:
        with progress() as say:
            inventory = list_image(
                source, engine_socket=engine, platform=platform, allow_http=allow_http, inventories=inventories_of(state), say=say
            )
        if inventory.image is None:
            raise InputError(f"--base {source[:200]}", "is no image, so it has no layers", "name an image")
        found.append(KnownBase(identity=inventory.image, name=source))
    return found


def _kept_bases(inventory: Inventory, state: Path | None) -> list[KnownBase]:
    """The kept images below the image, and those below these."""
    from shipwall.adapters.fleet import Fleet
    from shipwall.supply.layer_owners import KnownBase

    path, identity, found = fleet_of(state), inventory.image, []
    if path is None or not path.is_file():
        return []
    with Fleet(path) as fleet:
        while identity is not None and (image := fleet.base_of(identity)) is not None:
            identity = image.identity
            found.append(KnownBase(identity=identity, name=image.names[-1] if image.names else identity.manifest))
    return found


def _document(scanned: ScanReport, told: LayersTold) -> dict[str, Any]:
    return {
        "format": "shipwall-layers/1",
        "source": scanned.source,
        "image": scanned.inventory.image,
        "advisories": scanned.result.advisories,
        "judged": scanned.unjudged is None,
        "skipped": len(scanned.inventory.skipped) + len(scanned.result.skipped),
        "notices": scanned.result.notices,
        "bases": [
            {"image": base.identity.manifest, "name": base.name, "layers": len(base.identity.diff_ids)} for base in told.bases
        ],
        "layers": [
            {
                "number": layer.number,
                "diff_id": layer.diff_id,
                "chain_id": layer.chain_id,
                "command": layer.command,
                "base": layer.base.identity.manifest if layer.base else None,
                "packages": [
                    {"ecosystem": one.ecosystem, "name": one.name, "version": one.version, "arch": one.arch}
                    for one in layer.packages
                ],
            }
            for layer in told.layers
        ],
        "findings": [
            {
                "id": one.finding.id,
                "severity": one.finding.severity,
                "package": one.finding.package.name,
                "version": one.finding.package.version,
                "fixed_version": one.finding.fixed_version,
                "layer": layer.number if layer else None,
                "mended_by": one.mended_by,
            }
            for layer, one in told.findings
        ],
        "mended_by": dict(Counter(one.mended_by for _layer, one in told.findings)),
    }


def _show(scanned: ScanReport, told: LayersTold) -> None:
    judged = scanned.unjudged is None
    rows = [
        (
            str(one.number),
            _whose(one, told),
            one.command or "not told",
            str(len(one.packages)),
            _names(one),
            _count(one, judged=judged),
        )
        for one in told.layers
    ]
    show_table(("layer", "of", "made by", "packages", "brought", "findings"), rows)
    if told.findings:
        console.print()
        show_table(("mended by", "layer", "package", "version", "fixed in", "findings"), _mends(told))
    base = told.bases[0].name if told.bases else "not known: no kept image has its lower layers, and --base names none"
    counts = Counter(one.mended_by for _layer, one in told.findings)
    sums = ", ".join(
        f"{count} by {who}" if who != "nobody yet" else f"{count} by nobody yet" for who, count in counts.most_common()
    )
    console.print(f"\nbase: {neutral(base)}", markup=False)
    console.print(f"findings: {(sums or 'none') if judged else 'unknown'}", markup=False)
    console.print(f"not read or judged: {len(scanned.inventory.skipped) + len(scanned.result.skipped)}", markup=False)
    for notice in scanned.result.notices:
        console.print(f"note: {neutral(notice)}", markup=False)
    console.print(f"image: {neutral(name_of(scanned.inventory))}", markup=False)


def _whose(layer: Layer, told: LayersTold) -> str:
    if layer.base is not None:
        return layer.base.name
    return "this image" if told.bases or len(told.layers) == 1 else "not known"


def _names(layer: Layer) -> str:
    names = sorted({one.name for one in layer.packages})
    return ", ".join(names[:_MAX_NAMES]) + (", …" if len(names) > _MAX_NAMES else "")


def _count(layer: Layer, *, judged: bool) -> str:
    return str(len(layer.findings)) if judged else "unknown"


def _mends(told: LayersTold) -> list[tuple[str, ...]]:
    """One row for each update: who makes it, where, and how many findings it ends; what nobody can mend yet stands last."""
    groups: dict[tuple[str, str, str, str, str], int] = defaultdict(int)
    for layer, one in told.findings:
        package = one.finding.package
        number = str(layer.number) if layer else "?"
        name, version = package.source or package.name, package.source_version or package.version
        groups[one.mended_by, number, name, version, one.finding.fixed_version or one.finding.state.value] += 1
    ordered = sorted(groups.items(), key=lambda item: (item[0][0] == "nobody yet", -item[1], item[0]))
    return [(*group, str(count)) for group, count in ordered]
