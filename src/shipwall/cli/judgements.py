"""What people say about findings on the command line: conditions, VEX documents, ignore files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.output import neutral, stderr

if TYPE_CHECKING:
    from shipwall.journeys.scan import Refine, ScanReport
    from shipwall.lang.cel import Condition
    from shipwall.model.finding import ScanResult
    from shipwall.model.package import Inventory

_MAX_IDS = 5

FailOnOption = Annotated[
    list[str] | None,
    typer.Option("--fail-on", metavar="EXPR", help="exit 1 when this condition is true of the scan or of a finding; repeatable"),
]
VexOption = Annotated[
    list[Path] | None, typer.Option("--vex", metavar="FILE", help="statements about findings, OpenVEX or CycloneDX; repeatable")
]
IgnoreOption = Annotated[
    list[Path] | None, typer.Option("--ignore", metavar="FILE", help="findings to set aside, with reason and end; repeatable")
]

ObservedOption = Annotated[
    bool, typer.Option("--observed", help="mark findings by whether the sensor saw their package executed or mapped on this host")
]


def parse_conditions(texts: list[str] | None) -> list[Condition]:
    """The conditions of `--fail-on`, checked before anything is scanned."""
    if not texts:
        return []
    from shipwall.supply.fail_on import parse_fail_on

    return [parse_fail_on(text) for text in texts]


def load_judgements(source: str, vex: list[Path] | None, ignore: list[Path] | None, now_ns: int) -> Refine:
    """What applies the named files to a scan of `source`; they are read now, so that a broken one ends before the work."""
    from shipwall.journeys.scan import as_found

    if not vex and not ignore:
        return as_found
    from shipwall.adapters.files import read_bounded
    from shipwall.supply.ignore import MAX_IGNORE_BYTES, parse_ignores
    from shipwall.supply.suppress import suppress
    from shipwall.supply.vex import MAX_VEX_BYTES, parse_vex

    statements = [one for path in vex or () for one in parse_vex(read_bounded(path, MAX_VEX_BYTES), str(path))]
    ignores = tuple(one for path in ignore or () for one in parse_ignores(read_bounded(path, MAX_IGNORE_BYTES), str(path)))

    def refine(inventory: Inventory, result: ScanResult) -> ScanResult:
        return suppress(result, inventory, source, statements, ignores, now_ns)

    return refine


def mark_observed(refine: Refine, observed: Path) -> Refine:
    """`refine`, after each finding was marked by whether its package was seen executed or mapped on this host."""
    import msgspec

    from shipwall.adapters.observed import Observed
    from shipwall.supply.in_use import mark_in_use

    def marked(inventory: Inventory, result: ScanResult) -> ScanResult:
        found = Observed(observed).get(inventory.image.manifest) if inventory.image is not None else None
        if found is None:
            notice = "no container of this image was seen running here, so what is in use is not known"
            result = msgspec.structs.replace(result, notices=(*result.notices, notice))
        else:
            result = mark_in_use(result, inventory, found.paths)
        return refine(inventory, result)

    return marked


def finish(scanned: ScanReport, conditions: list[Condition]) -> None:
    """End with the exit code that the scan deserves. What could not be judged is no pass: its own code comes first."""
    if scanned.unjudged is not None:
        stderr.print(f"shipwall: findings unknown: {neutral(scanned.unjudged[1])}", markup=False)
        raise typer.Exit(scanned.unjudged[0])
    failed = False
    for condition in conditions:
        from shipwall.supply.fail_on import find_failure

        failure = find_failure(condition, scanned.result, scanned.inventory)
        if failure is None:
            continue
        failed = True
        ids = list(dict.fromkeys(finding.id for finding in failure.findings))
        more = f" and {len(ids) - _MAX_IDS} more" if len(ids) > _MAX_IDS else ""
        count = len(failure.findings)
        hit = f"{count} {'finding' if count == 1 else 'findings'}: {', '.join(ids[:_MAX_IDS])}{more}" if ids else "this scan"
        stderr.print(f"shipwall: --fail-on {neutral(condition.text)!r} is true of {neutral(hit)}", markup=False)
    if failed:
        raise typer.Exit(1)
