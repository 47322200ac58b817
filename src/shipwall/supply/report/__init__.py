"""A scan in every form people and programs want it. THE list of forms for files is `FORMS`; the table is `cli/scan_output.py`.

Each form is text in UTF-8 in which hostile names stay text: escaped in HTML and JSON, made visible in what a terminal shows.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shipwall.supply.report.actions import Action, list_actions, order_findings
from shipwall.supply.report.document import Report, ScanDocument, Summary, make_document, summarise

__all__ = ["FORMS", "Action", "Report", "ScanDocument", "Summary", "list_actions", "make_document", "order_findings", "summarise"]


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


# Each form imports what it is made with: a scan is asked for one of them.


def _sarif(report: Report, _time_ns: int) -> bytes:
    from shipwall.supply.report.sarif import render_sarif

    return _json(render_sarif(report))


def _cyclonedx(report: Report, time_ns: int) -> bytes:
    from shipwall.supply.report.sboms import render_cyclonedx_report

    return _json(render_cyclonedx_report(report, time_ns))


def _spdx(report: Report, time_ns: int) -> bytes:
    from shipwall.supply.report.sboms import render_spdx_report

    return _json(render_spdx_report(report, time_ns))


def _openvex(report: Report, time_ns: int) -> bytes:
    from shipwall.supply.vex import render_openvex

    return _json(render_openvex(report.result.suppressed, report.inventory, "Shipwall user", time_ns))


def _html(report: Report, time_ns: int) -> bytes:
    from shipwall.supply.report.webpage import render_html

    return render_html(report, time_ns).encode()


FORMS: dict[str, Callable[[Report, int], bytes]] = {
    "json": lambda report, _time_ns: _json(make_document(report)),
    "sarif": _sarif,
    "cyclonedx": _cyclonedx,
    "spdx": _spdx,
    "openvex": _openvex,
    "html": _html,
}
"""Name of the form → what renders a report at a time (nanoseconds since 1970)."""
