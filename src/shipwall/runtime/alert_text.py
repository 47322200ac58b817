"""An alert as other programs read it: Falco's JSON, RFC 5424 syslog. Control characters never reach a line."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from shipwall.model.alert import Alert
from shipwall.runtime.sinks import rank_priority

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_SYSLOG_BYTES = 8192  # RFC 5424 section 6.1: receivers should take 2048 and may cut more


def render_falco(alert: Alert) -> dict[str, Any]:
    """The object Falco writes with `json_output`: integrations made for it read this unchanged.

    `output` begins with time and priority as Falco's does. Beyond Falco: `output_fields` also has `shipwall.*`, which its readers pass on.
    """
    stamp = render_time(alert.time_ns)
    output = _CONTROL.sub(lambda match: repr(match[0])[1:-1], alert.output)
    fields: dict[str, Any] = {
        **alert.output_fields,
        "evt.time.iso8601": alert.time_ns,
        "shipwall.alert": alert.id,
        "shipwall.image.digest": alert.image_digest or "",
        "shipwall.promotion": alert.promotion,
        "shipwall.stopped": alert.stopped,
        "shipwall.acted": alert.acted,
        "shipwall.sequence": "; ".join(f"{step.rule} at {render_time(step.event.time_ns)}" for step in alert.sequence),
        "shipwall.suppressed": alert.suppressed,
    }
    return {
        "hostname": alert.node,
        "output": f"{stamp[11:-1]}: {alert.priority.capitalize()} {output}",
        "output_fields": fields,
        "priority": alert.priority.capitalize(),
        "rule": alert.rule,
        "source": "syscall",
        "tags": list(alert.tags),
        "time": stamp,
    }


def render_falco_line(alert: Alert) -> bytes:
    """The same as one line of JSON, with its line break."""
    return msgspec.json.encode(render_falco(alert)) + b"\n"


def render_syslog(alert: Alert, facility: int) -> bytes:
    """An RFC 5424 message: the alert's output as text, Falco's JSON cut away if it does not fit."""
    stamp = render_time(alert.time_ns)[:26] + "Z"  # microseconds are the format's finest
    host = re.sub(r"[^!-~]", "_", alert.node)[:255] or "-"
    text = _CONTROL.sub(" ", f"{alert.rule}: {alert.output}")
    head = f"<{facility * 8 + rank_priority(alert.priority)}>1 {stamp} {host} shipwall - alert - "
    return (head + text).encode("utf-8", "replace")[:_MAX_SYSLOG_BYTES].decode("utf-8", "ignore").encode()


def render_time(time_ns: int) -> str:
    """`time_ns` in RFC 3339, UTC, with nanoseconds."""
    whole = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{time_ns % 1_000_000_000:09d}Z"
