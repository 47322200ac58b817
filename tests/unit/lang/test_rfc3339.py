"""Times of engines and statements."""

from __future__ import annotations

import pytest

from shipwall.lang.rfc3339 import parse_rfc3339


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("2026-01-02T03:04:05.678901234Z", 1_767_323_045_678_901_234),
        ("2026-01-02T03:04:05.6Z", 1_767_323_045_600_000_000),
        ("2026-01-02T04:34:05+01:30", 1_767_323_045_000_000_000),
        ("0001-01-01T00:00:00Z", 0),  # the engine's word for never
        ("2026-01-02T03:04:05", 0),
        ("2026-02-30T03:04:05Z", 0),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000_000_000),
        ("", 0),
        ("yesterday", 0),
    ],
)
def test_times(text: str, time_ns: int) -> None:
    assert parse_rfc3339(text) == time_ns
