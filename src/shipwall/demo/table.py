"""The table at the end of the story, computed from what the server stored and from nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

HEADINGS = ("attempted", "stopped_by", "how", "milliseconds")


def stored_table(rows: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, str]]:
    """What was attempted, what stopped it, after how long: from the events the server stored, oldest first."""
    found: list[tuple[int, str, str, str, str]] = []
    for step in rows("steps"):
        if step["allowed"] is False:
            reasons = sorted({reason["code"] for reason in step["reasons"]})
            found.append((step["time_ns"], f"{step['step']} {step['image'].partition('/')[2]}", "gate", ", ".join(reasons), ""))
    for asked in rows("admissions"):
        if not asked["verdict"]["allowed"]:
            codes = ", ".join(reason["code"] for reason in asked["verdict"]["reasons"])
            path = re.sub(r"[0-9a-f]{64}", lambda digest: digest.group()[:12], asked["uri"].partition("?")[0])
            found.append((asked["time_ns"], f"{asked['method']} {path}", "admission", codes, ""))
    frozen = {
        row["alert"]: row["time_ns"] for row in rows("responses") if (row["step"], row["status"]) == ("freeze", "confirmed")
    }
    for alert in rows("alerts"):
        at = alert["event"]["time_ns"]
        how, ended = alert["stopped"] or "alert", alert["raised_ns"]
        if alert["id"] in frozen:
            how, ended = "container frozen, cut off, replaced", frozen[alert["id"]]
        what = " ".join(alert["event"].get("argv") or [alert["event"].get("path") or alert["event"]["comm"]])
        found.append((at, what[:60], alert["rule"], how, f"{(ended - at) / 1e6:.2f}"))
    return [dict(zip(HEADINGS, row[1:], strict=True)) for row in sorted(found)]
