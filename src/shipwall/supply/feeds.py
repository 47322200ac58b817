"""The feeds of a database of advisories: what is held of each, and which are old."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

DEFAULT_MAX_AGE_DAYS = 7
_DAY_NS = 86_400_000_000_000


class FeedState(msgspec.Struct, frozen=True, kw_only=True):
    """One feed of the database. `time_ns`: when its data were fetched or imported; `checked_ns`: when upstream last said they are current.

    `etag` and `modified` are upstream's validators, `digest` the SHA-256 of what was read. Counts are of what was stored.
    """

    name: str
    format: str
    url: str = ""
    etag: str = ""
    modified: str = ""
    digest: str = ""
    time_ns: int = 0
    checked_ns: int = 0
    advisories: int = 0
    affected: int = 0
    ranges: int = 0
    versions: int = 0
    signs: int = 0
    skipped: int = 0


def find_old(feeds: Iterable[FeedState], now_ns: int, max_age_days: int = DEFAULT_MAX_AGE_DAYS) -> list[str]:
    """A line for the feeds that nobody has looked after for more than `max_age_days`; they are used all the same."""
    old = {one.name: (now_ns - max(one.time_ns, one.checked_ns)) // _DAY_NS for one in feeds}
    old = {name: days for name, days in old.items() if days > max_age_days}
    if not old:
        return []
    names = ", ".join(sorted(old)[:5]) + (f" and {len(old) - 5} more" if len(old) > 5 else "")
    return [f"advisories are up to {max(old.values())} days old ({names}); newer problems are not known: shipwall db update"]
