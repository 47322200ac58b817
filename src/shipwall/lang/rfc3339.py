"""Times as engines and statements write them (RFC 3339), in nanoseconds since 1970."""

from __future__ import annotations

import re
from datetime import datetime

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d{0,9})?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970 of `2026-01-02T03:04:05.678901234Z`; 0 for any other text and for a time before 1970. Total."""
    found = _TIME.match(text)
    if found is None:
        return 0
    main, fraction, zone = found.groups()
    try:
        seconds = int(datetime.fromisoformat(main + zone.replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        return 0
    return max(0, seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0")))
