"""`shipwall image diff`: what one image has that another has not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from shipwall.cli.inventory_output import name_of
from shipwall.cli.judgements import FailOnOption, IgnoreOption, VexOption, finish, load_judgements, parse_conditions
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json
from shipwall.cli.sources import (
    AdvisoryOptions,
    ArchiveOption,
    CacheOption,
    EngineOption,
    HttpOption,
    KeyringOption,
    OfflineOption,
    StateOption,
    SuiteOption,
    examine_source,
    inventories_of,
    progress,
    show_table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipwall.journeys.scan import ScanReport
    from shipwall.model.finding import Finding
    from shipwall.model.package import Package
    from shipwall.supply.difference import Changed, Changes

BeforeArgument = Annotated[str, typer.Argument(metavar="A", help="the earlier image, named like SOURCE of image scan")]
AfterArgument = Annotated[str, typer.Argument(metavar="B", help="the later image")]


def register(app: typer.Typer) -> None:
    """Add the command to the group `image`."""
    app.command("diff")(diff)


def diff(
    before: BeforeArgument,
    after: AfterArgument,
    findings: Annotated[bool, typer.Option("--findings/--no-findings", help="scan both and compare the findings too")] = True,
    output: OutputOption = Output.TABLE,
    fail_on: FailOnOption = None,
    vex: VexOption = None,
    ignore: IgnoreOption = None,
    archive: ArchiveOption = "",
    suite: SuiteOption = None,
    keyring: KeyringOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    engine: EngineOption = None,
    allow_http: HttpOption = False,
    state: StateOption = None,
) -> None:
    """What changed from image A to image B: packages and findings that came, went or changed.

    Both are judged by the same advisories. --fail-on is asked of the findings that B has and A has not: a pipeline can refuse what a change
    brings without refusing what was there.

    Exit codes: 0 compared; 1 a --fail-on condition is true of what came; otherwise as image scan.

    Examples:

      shipwall image diff shop-1.tar shop-2.tar

      shipwall image diff registry:5000/prod/shop:1 shop.tar --fail-on 'finding.severity >= HIGH' --output json
    """
    from shipwall.supply.difference import difference_of_inventories, difference_of_scans

    conditions = parse_conditions(fail_on)
    if conditions and not findings:
        raise typer.BadParameter("--no-findings leaves nothing that it could be asked of", param_hint="--fail-on")
    if findings:
        options = AdvisoryOptions(archive, suite, keyring, cache, offline)
        now_ns = time.time_ns()
        old, new = (_judged(source, options, allow_http, state, engine, (vex, ignore), now_ns) for source in (before, after))
    else:
        old, new = (_listed(source, allow_http, state, engine) for source in (before, after))
    packages = difference_of_inventories(old.inventory, new.inventory).packages
    unjudged = new.unjudged or old.unjudged
    found = None if unjudged or not findings else difference_of_scans(old.result, new.result).findings
    if output is Output.JSON:
        print_json(_document(old, new) | render_changes(packages, found))
    else:
        show_changes(packages, found)
        console.print(f"\nbefore: {neutral(name_of(old.inventory))}\nafter: {neutral(name_of(new.inventory))}", markup=False)
    if findings:
        came = replace(new.result, findings=found.added if found else ())
        finish(replace(new, result=came, unjudged=unjudged), conditions)


def render_changes(packages: Changes[Package], findings: Changes[Finding] | None) -> dict[str, Any]:
    """The JSON of what changed; `findings` is null where nobody looked or nobody knows."""
    return {"packages": _changes(packages), "findings": _changes(findings) if findings else None}


def show_changes(packages: Changes[Package], findings: Changes[Finding] | None) -> None:
    """What changed, as tables and sums."""
    rows = [("+", one.name, "", one.version, one.evidence) for one in packages.added]
    rows += [("-", one.name, one.version, "", one.evidence) for one in packages.removed]
    rows += [("~", one.after.name, _was(one), _is(one), one.after.evidence) for one in packages.changed]
    if rows:
        show_table(("", "package", "before", "after", "found in"), sorted(rows, key=lambda row: (row[1], row[0])))
    else:
        console.print("no package changed")
    if findings is not None and not findings.is_empty:
        console.print()
        show_table(("", "finding", "severity", "package", "version", "fixed in"), _finding_rows(findings))
    sums = "not compared" if findings is None else _sums(findings)
    console.print(f"\npackages: {_sums(packages)}\nfindings: {sums}", markup=False)


def _judged(
    source: str,
    options: AdvisoryOptions,
    allow_http: bool,
    state: Path | None,
    engine: Path | None,
    said: tuple[list[Path] | None, list[Path] | None],
    now_ns: int,
) -> ScanReport:
    scanned = examine_source(source, options, allow_http, state, engine)
    refine = load_judgements(source, *said, now_ns)
    return replace(scanned, result=refine(scanned.inventory, scanned.result))


def _listed(source: str, allow_http: bool, state: Path | None, engine: Path | None) -> ScanReport:
    from shipwall.journeys.scan import ScanReport, list_image
    from shipwall.model.finding import ScanResult

    with progress() as say:
        inventory = list_image(source, engine_socket=engine, allow_http=allow_http, inventories=inventories_of(state), say=say)
    return ScanReport(source=source, inventory=inventory, result=ScanResult(findings=()))


def _document(old: ScanReport, new: ScanReport) -> dict[str, Any]:
    return {
        "format": "shipwall-diff/1",
        "before": {"source": old.source, "image": old.inventory.image, "advisories": old.result.advisories},
        "after": {"source": new.source, "image": new.inventory.image, "advisories": new.result.advisories},
        "notices": new.result.notices,
    }


def _changes(changes: Changes[Any]) -> dict[str, Any]:
    """`moved` is a count: after a rebuild of the base nearly everything lies in another layer."""
    return {
        "added": [_bare(one) for one in changes.added],
        "removed": [_bare(one) for one in changes.removed],
        "changed": [{"before": _bare(one.before), "after": _bare(one.after)} for one in changes.changed],
        "moved": len(changes.moved),
    }


def _bare(item: Any) -> Any:
    return replace(item, files=()) if hasattr(item, "files") else item


def _finding_rows(findings: Changes[Finding]) -> list[tuple[str, ...]]:
    from shipwall.supply.report import order_findings

    def rows(sign: str, some: Sequence[Finding]) -> list[tuple[str, ...]]:
        return [
            (sign, one.id, one.severity.value, one.package.name, one.package.version, one.fixed_version or one.state.value)
            for one in order_findings(some)
        ]

    return [*rows("+", findings.added), *rows("-", findings.removed), *rows("~", [one.after for one in findings.changed])]


def _was(one: Changed[Package]) -> str:
    return one.before.version if one.before.version != one.after.version else one.before.license or one.before.source


def _is(one: Changed[Package]) -> str:
    return one.after.version if one.before.version != one.after.version else one.after.license or one.after.source


def _sums(changes: Changes[Any]) -> str:
    return f"{len(changes.added)} came, {len(changes.removed)} went, {len(changes.changed)} changed, {len(changes.moved)} moved"
