"""A scan for people: what to do first, what has no fix, and one line of sums. For programs: the forms of `supply/report`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.inventory_output import name_of, show_skipped
from shipwall.cli.output import console, neutral, put_out
from shipwall.cli.sources import show_table

if TYPE_CHECKING:
    from pathlib import Path

    from shipwall.journeys.scan import ScanReport
    from shipwall.model.finding import Severity
    from shipwall.supply.report import Action, Report, Summary

_MAX_IDS = 3
_MAX_PLACES = 2
_STYLES = {
    " critical": "bold red", " high": "red", " medium": "yellow", " low": "blue", " unknown": "magenta", " exploited": "bold white on red",
}  # fmt: skip


class ScanOutput(StrEnum):
    """The forms of a scan."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"
    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"
    OPENVEX = "openvex"
    HTML = "html"


ScanOutputOption = Annotated[
    ScanOutput,
    typer.Option("--output", "-o", help="table and html for people; openvex says what was set aside; the rest is for programs"),
]


def report_of(scanned: ScanReport) -> Report:
    """What the forms are rendered from."""
    from shipwall.supply.report import Report

    return Report(
        source=scanned.source,
        inventory=scanned.inventory,
        result=scanned.result,
        unjudged=scanned.unjudged[1] if scanned.unjudged else "",
    )


def put_report(report: Report, output: ScanOutput, to: Path | None, time_ns: int) -> None:
    """`report` in its form on standard output or in the file `to`."""
    from shipwall.supply.report import FORMS

    if output is ScanOutput.TABLE:
        _show(report)
    else:
        put_out(FORMS[output](report, time_ns), to)


def _show(report: Report) -> None:
    from shipwall.supply.report import list_actions, summarise

    summary = summarise(report)
    actions = list_actions(report.result.findings)
    upgrades = [one for one in actions if one.kind == "upgrade"]
    others = [one for one in actions if one.kind != "upgrade"]
    if upgrades:
        show_table(
            ("upgrade", "installed", "to", "ends", "ids", "found in"),
            [(_what(one), one.installed, one.to, _ends(one), _ids(one), _places(one)) for one in upgrades],
            _STYLES,
        )
    if others:
        console.print("\nno fix yet" if upgrades else "no fix yet")
        show_table(
            ("package", "installed", "state", "findings", "ids", "found in"),
            [(_what(one), one.installed, one.state.value, _ends(one), _ids(one), _places(one)) for one in others],
            _STYLES,
        )
    if not actions and summary.judged:
        console.print("no finding")
    _show_rest(report, summary)


def _show_rest(report: Report, summary: Summary) -> None:
    inventory, result = report.inventory, report.result
    show_skipped([*result.skipped, *inventory.skipped])  # what nobody judges first: a hundred damaged files must not hide it
    for notice in result.notices:
        console.print(f"note: {neutral(notice)}", markup=False, style="yellow")
    console.print()
    console.print(_sums(summary), markup=False)
    exploited = []
    if summary.known_exploited:
        exploited.append(f"known exploited: {summary.known_exploited}")
    if summary.highest_epss is not None:
        exploited.append(f"highest EPSS: {summary.highest_epss:.1%}")
    if exploited:
        console.print("; ".join(exploited), markup=False, style="bold red" if summary.known_exploited else None)
    console.print(f"image: {neutral(name_of(inventory))}", markup=False)
    if result.advisories:
        console.print(f"advisories: {neutral(result.advisories)}", markup=False)


def _sums(summary: Summary) -> str:
    if not summary.judged:
        found = f"findings unknown for all of {summary.packages} packages"
    else:
        severities = {name: count for name, count in summary.severities.items() if count or name.value == "unknown"}
        found = (
            f"{summary.findings} findings in {summary.packages_affected} of {summary.packages} packages: {_counts(severities)}; "
            f"with a fix: {summary.with_fix}"
        )
    return (
        f"{found}; set aside: {summary.suppressed}; skipped: {summary.skipped}; packages not judged: {summary.packages_unjudged}"
    )


def _counts(severities: dict[Severity, int]) -> str:
    return ", ".join(f"{count} {name.value}" for name, count in severities.items())


def _what(action: Action) -> str:
    """What one upgrades, and the packages that come of it where their names differ."""
    names = [name for name in action.binaries if name != action.package]
    if not names:
        return action.package
    shown = ", ".join(names[:_MAX_IDS]) + (f" and {len(names) - _MAX_IDS} more" if len(names) > _MAX_IDS else "")
    return f"{action.package} ({shown})"


def _ends(action: Action) -> str:
    counts = _counts({name: count for name, count in action.severities.items() if count})
    return f"{counts}, {action.known_exploited} exploited" if action.known_exploited else counts


def _ids(action: Action) -> str:
    more = len(action.ids) - _MAX_IDS
    return ", ".join(action.ids[:_MAX_IDS]) + (f" and {more} more" if more > 0 else "")


def _places(action: Action) -> str:
    more = len(action.paths) - _MAX_PLACES
    return ", ".join(action.paths[:_MAX_PLACES]) + (f" and {more} more" if more > 0 else "")
