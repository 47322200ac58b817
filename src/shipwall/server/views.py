"""Rows → what a page shows. Decides wording and grouping, touches nothing; texts stay hostile until a template escapes them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

Row = dict[str, Any]
SILENT_NS = 10 * 1_000_000_000
# The usual journey: steps not reached yet are shown hollow. Others (built, rebuilt, ...) appear where they happened.
JOURNEY = ("listed", "scanned", "gated", "signed", "promoted", "admitted")
PRIORITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug")
_SHOWN_STEPS = 12


def render_short(digest: object) -> str:
    """The first 12 digits of a digest or container id."""
    return str(digest or "").removeprefix("sha256:")[:12]


def render_utc(time_ns: object) -> str:
    """A time for people, UTC, to the millisecond; a dash for none."""
    ns = _int(time_ns)
    if ns <= 0:
        return "–"
    try:
        whole = datetime.fromtimestamp(ns // 1_000_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return "–"
    return f"{whole:%Y-%m-%d %H:%M:%S}.{ns % 1_000_000_000 // 1_000_000:03d} UTC"


def render_duration(duration_ns: object) -> str:
    """A length of time in the unit that fits: `0.42 ms`, `31 ms`, `4.1 s`, `3 min`, `2 h`."""
    ns = _int(duration_ns)
    if ns == 0:
        return "0 ms"
    for limit, unit, divisor in (
        (1_000, "ns", 1), (1_000_000, "µs", 1e3), (1_000_000_000, "ms", 1e6), (60_000_000_000, "s", 1e9),
        (3_600_000_000_000, "min", 60e9), (86_400_000_000_000, "h", 3600e9),
    ):  # fmt: skip
        if abs(ns) < limit:
            return _number(ns / divisor) + f" {unit}"
    return _number(ns / 86_400e9) + " d"


def render_ago(time_ns: object, now_ns: int) -> str:
    """How long ago, coarsely."""
    if _int(time_ns) <= 0:
        return "never"
    seconds = (now_ns - _int(time_ns)) / 1e9
    if seconds < 1:
        return "now"
    for limit, unit, divisor in ((60, "s", 1), (3600, "min", 60), (86400, "h", 3600)):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit} ago"
    return f"{seconds / 86400:.0f} d ago"


def render_size(size_bytes: object) -> str:
    """Bytes in binary units."""
    size = float(_int(size_bytes))
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{_number(size)} {unit}"
        size /= 1024
    return f"{_number(size)} TiB"


def render_count(value: object) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{_int(value):,}".replace(",", "\u202f")


def journeys(steps: list[Row], limit: int = 12) -> list[Row]:
    """The journey of each image digest, the latest first; the steps of one in time order, repeats of a step at once counted."""
    by_digest: dict[str, Row] = {}
    for row in sorted(steps, key=lambda row: _int(row["time_ns"])):
        journey = by_digest.setdefault(
            row["digest"],
            {
                "digest": row["digest"],
                "image": row["image"],
                "names": [],
                "parent": None,
                "instead_of": None,
                "steps": [],
                "updated_ns": 0,
            },
        )
        journey["updated_ns"] = row["time_ns"]
        journey["image"] = row["image"]
        journey["parent"] = row.get("parent") or journey["parent"]
        journey["instead_of"] = (row.get("facts") or {}).get("instead-of") or journey["instead_of"]
        if row["image"] not in journey["names"]:
            journey["names"].append(row["image"])
        shown = {**row, "state": _step_state(row), "times": 1}
        before = journey["steps"][-1] if journey["steps"] else None
        if before is not None and before["step"] == row["step"] and before["state"] == shown["state"]:
            shown["times"] = before["times"] + 1
            journey["steps"][-1] = shown
        else:
            journey["steps"].append(shown)
    found = sorted(by_digest.values(), key=lambda journey: -_int(journey["updated_ns"]))[:limit]
    for journey in found:
        journey["refused"] = [step for step in journey["steps"] if step["state"] == "refused"][-1:]
        if journey["refused"] and any(
            s["step"] == journey["refused"][0]["step"] and s["state"] == "passed" for s in journey["steps"]
        ):
            journey["refused"] = []
        reached = {step["step"] for step in journey["steps"]}
        last = max((JOURNEY.index(name) for name in reached if name in JOURNEY), default=-1)
        journey["waiting"] = [name for name in JOURNEY[last + 1 :] if name not in reached]
        journey["steps"] = journey["steps"][-_SHOWN_STEPS:]
        journey["state"] = "refused" if journey["refused"] else "promoted" if {"promoted", "admitted"} & reached else "under way"
    return found


def alert_views(alerts: list[Row], responses: list[Row]) -> list[Row]:
    """Alerts, newest first, each with `delay_ns` (act to alert) and `ends`: what stopped it, and how long after the act."""
    by_alert: dict[str, list[Row]] = {}
    for step in responses:
        if step["alert"]:
            by_alert.setdefault(step["alert"], []).append(step)
    views = []
    for alert in reversed(alerts):
        steps = by_alert.get(alert["id"], [])
        ends = [
            {
                "what": _PAST.get(step["step"], step["step"]),
                "after_ns": _int(step["time_ns"]) - _int(alert["time_ns"]),
                "step": step["step"],
                "decisive": step["step"] in _DECISIVE,
            }
            for step in steps
            if step["status"] == "confirmed" and step["step"] in _PAST
        ]
        if alert.get("stopped") and not any(end["what"] in alert["stopped"] for end in ends):
            known = _int((alert.get("output_fields") or {}).get("stopped_after_ns", -1))
            ends.insert(
                0, {"what": alert["stopped"], "after_ns": known if known >= 0 else None, "step": "stopped", "decisive": True}
            )
        event = alert.get("event") or {}
        details = {key: value for key, value in event.items() if value not in ("", None, [], False) and key != "kind"}
        views.append(
            {
                **alert,
                "priority": str(alert["priority"]).lower(),
                "delay_ns": _int(alert["raised_ns"]) - _int(alert["time_ns"]),
                "ends": ends,
                "details": details,
                "kind": event.get("kind", ""),
            }
        )
    return views


def plans(responses: list[Row], bundles: list[Row], names: dict[str, str]) -> list[Row]:
    """Response plans, newest first: each step with when it began after the plan did, how long it took and its last status."""
    found: dict[str, Row] = {}
    for row in sorted(responses, key=lambda row: _int(row["time_ns"])):
        plan = found.setdefault(
            row["plan"], {"plan": row["plan"], "alert": row["alert"], "container": row["container"], "node": row["node"],
                          "began_ns": row["time_ns"], "ended_ns": row["time_ns"], "steps": {}, "bundles": []}
        )  # fmt: skip
        plan["ended_ns"] = row["time_ns"]
        step = plan["steps"].setdefault(
            row["step"], {"step": row["step"], "began_ns": 0, "ended_ns": 0, "status": "", "detail": ""}
        )
        step["status"] = row["status"]
        step["detail"] = row["detail"] or step["detail"]
        if row["status"] == "begun":
            step["began_ns"] = row["time_ns"]
        elif row["status"] not in {"planned", "observed"}:
            step["ended_ns"] = row["time_ns"]
    for plan in found.values():
        plan["steps"] = list(plan["steps"].values())
        whole = max(1, _int(plan["ended_ns"]) - _int(plan["began_ns"]))
        for step in plan["steps"]:
            began = step["began_ns"] or step["ended_ns"]
            step["offset_ns"] = began - plan["began_ns"] if began else None
            step["duration_ns"] = step["ended_ns"] - step["began_ns"] if step["began_ns"] and step["ended_ns"] else None
            step["bar_x"] = round(100 * max(0, step["offset_ns"] or 0) / whole, 2)
            step["bar_width"] = round(max(0.8, 100 * (step["duration_ns"] or 0) / whole), 2)
        statuses = {step["status"] for step in plan["steps"]}
        plan["state"] = (
            "failed" if "failed" in statuses
            else "observed" if statuses == {"observed"}
            else "waiting" if plan["steps"][-1]["status"] == "waiting"
            else "given up" if [(step["step"], step["status"]) for step in plan["steps"]] == [("approval", "undone")]
            else "under way" if statuses & {"begun", "planned"}
            else "complete"
        )  # fmt: skip
        plan["name"] = names.get(plan["container"], "")
    loose: list[Row] = []
    for bundle in sorted(bundles, key=lambda row: -_int(row["time_ns"])):
        of = [plan for plan in found.values() if plan["container"] == bundle["container"] and plan["alert"] == bundle["alert"]]
        (of[-1]["bundles"] if of else loose).append({**bundle, "name": names.get(bundle["container"], "")})
    views = sorted(found.values(), key=lambda plan: -_int(plan["began_ns"]))
    for bundle in loose:
        views.append({"plan": "", "bundles": [bundle], "steps": [], **{k: bundle[k] for k in ("alert", "container", "node", "name")},
                      "began_ns": bundle["time_ns"], "ended_ns": bundle["time_ns"], "state": "complete"})  # fmt: skip
    return views


def node_views(nodes: list[Row], health: list[Row], now_ns: int) -> list[Row]:
    """Sensor health per node; `silent` when nothing was heard for more than ten seconds; `rates` events per second, oldest first."""
    views = []
    for node in nodes:
        history = [row for row in health if row["node"] == node["node"]]
        latest: Row = node.get("health") or {}
        rates, cpu = [], None
        for before, after in itertools.pairwise(history):
            seconds = (_int(after["time_ns"]) - _int(before["time_ns"])) / 1e9
            if seconds > 0 and after["started_ns"] == before["started_ns"]:
                rates.append(max(0.0, (_int(after["delivered"]) - _int(before["delivered"])) / seconds))
                cpu = 100 * max(0, _int(after["cpu_ns"]) - _int(before["cpu_ns"])) / 1e9 / seconds
        lost = latest.get("lost") or {}
        helper_errors = latest.get("helper_errors") or {}
        views.append(
            {
                **node,
                "health": latest,
                "silent": now_ns - _int(node["time_ns"]) > SILENT_NS,
                "rates": rates[-60:],
                "rate": rates[-1] if rates else None,
                "spark": _spark(rates[-60:]),
                "cpu": cpu,
                "lost_total": sum(map(_int, lost.values())),
                "filtered_total": sum(map(_int, (latest.get("filtered") or {}).values())),
                "lost": {kind: count for kind, count in lost.items() if count},
                "helper_errors": {name: count for name, count in helper_errors.items() if count},
                "acts": dict(sorted((latest.get("acts") or {}).items())),
                "missed": dict(sorted((latest.get("missed") or {}).items())),
                "functions": [_function(name, mode) for name, mode in sorted((latest.get("functions") or {}).items())],
            }
        )
    return views


def _spark(rates: list[float]) -> str:
    """Points of a polyline in a box of 240 by 40."""
    if len(rates) < 2:
        return ""
    top = max(rates) or 1.0
    return " ".join(f"{240 * i / (len(rates) - 1):.1f},{38 - 34 * rate / top:.1f}" for i, rate in enumerate(rates))


def _function(name: str, mode: str) -> Row:
    word, _colon, why = str(mode).partition(":")
    return {"name": name, "mode": word.strip(), "why": why.strip()}


def _step_state(row: Row) -> str:
    return {True: "passed", False: "refused", None: "done"}.get(row.get("allowed"), "done")


_DECISIVE = ("freeze", "kill", "destroy")
_PAST = {
    "freeze": "frozen",
    "kill": "killed",
    "cut": "cut from its network",
    "capture": "evidence captured",
    "replace": "replaced",
    "destroy": "destroyed",
}


def _int(value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload,no-any-return]
    except (TypeError, ValueError, OverflowError):
        return 0


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
