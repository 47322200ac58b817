"""Times in feeds → nanoseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_time(text: str | None) -> int:
    """The instant that the RFC 3339 text or date `text` names; 0 for none, for what is no time and for times before 1970."""
    if not text or len(text) > 40:
        return 0
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp() * 1_000_000) * 1000)
    except (ValueError, OverflowError):
        return 0
