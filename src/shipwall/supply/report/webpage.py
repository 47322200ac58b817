"""A scan as one HTML file: nothing is fetched, nothing but its own script may run (the page's own policy says so by digest)."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from shipwall import __version__
from shipwall.lang.neutral import neutral
from shipwall.model.finding import Finding, FixState
from shipwall.supply.report.actions import SEVERITIES, list_actions, order_findings
from shipwall.supply.report.document import Report, summarise
from shipwall.supply.report.links import address_of

_FIXES = {
    FixState.NOT_FIXED: "not fixed yet",
    FixState.WILL_NOT_FIX: "will not be fixed",
    FixState.END_OF_LIFE: "end of life",
    FixState.UNKNOWN: "no fix known",
    FixState.FIXED: "fixed",
}


def render_html(report: Report, time_ns: int) -> str:
    """`report` as a page made at `time_ns`."""
    environment = _environment()
    script = environment.get_template("scan.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    findings = order_findings(report.result.findings)
    actions = list_actions(findings)
    return environment.get_template("scan.html").render(
        report=report,
        summary=summarise(report),
        severities=SEVERITIES,
        upgrades=[one for one in actions if one.kind == "upgrade"],
        unfixable=[one for one in actions if one.kind != "upgrade"],
        findings=findings,
        skipped=(*report.inventory.skipped, *report.result.skipped),
        most=max((one.findings for one in actions), default=1),
        title=report.source.rpartition("/")[2] or report.source,
        distribution=" ".join(filter(None, (report.inventory.distribution.id, report.inventory.distribution.version_id))),
        made=_moment(time_ns),
        advised=_moment(report.result.advisories_time_ns) if report.result.advisories_time_ns else "",
        version=__version__,
        script=script,
        script_digest=f"sha256-{digest}",
        style=environment.get_template("scan.css").render(),
    )


def _moment(time_ns: int) -> str:
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=time_ns // 10**9)).strftime("%Y-%m-%d %H:%M UTC")


def _fix(finding: Finding) -> str:
    return finding.fixed_version or _FIXES[finding.state]


def _visible(value: object) -> object:
    """Text of an image with its control and direction characters made visible; what the templates made themselves as it is."""
    return neutral(value, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    loader = PackageLoader("shipwall.supply.report", "page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_visible
    )
    filters: dict[str, Any] = {"address": address_of, "fix": _fix, "state": lambda state: _FIXES[state]}
    environment.filters.update(filters)
    return environment
