"""Times as engines, feeds and statements write them, in nanoseconds since 1970. THE place where times are parsed."""

from __future__ import annotations

import re
from datetime import datetime

# Digits beyond nanoseconds are read over. RFC 3339, 5.6: T and Z may be small, and a blank may stand for T.
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d{0,9})?(?:([Zz])|([+-]\d\d:\d\d))?)?\Z", re.ASCII
)  # fmt: skip
_COMMON = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z", re.ASCII)  # nearly all times of feeds: read in a third of the time


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970 of `2026-01-02T03:04:05.678901234Z`; 0 for any other text and for a time before 1970. Total."""
    return _parse(text, lenient=False)


def parse_feed_time(text: str) -> int:
    """Like `parse_rfc3339`, also of a date alone and of a time without zone, which feeds and VEX mean as UTC. Total."""
    return _parse(text, lenient=True)


def _parse(text: str, *, lenient: bool) -> int:
    if _COMMON.match(text):
        return _seconds(text) * 1_000_000_000
    found = _TIME.match(text)
    if found is None:
        return 0
    day, clock, fraction, zulu, offset = found.groups()
    if not lenient and zulu is None and offset is None:
        return 0
    seconds = _seconds(f"{day}T{clock or '00:00:00'}{offset or '+00:00'}")
    return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0")) if seconds > 0 else 0


def _seconds(text: str) -> int:
    """Seconds since 1970, 0 for what is no time and for times before."""
    try:
        return max(0, int(datetime.fromisoformat(text).timestamp()))
    except (ValueError, OverflowError):
        return 0
