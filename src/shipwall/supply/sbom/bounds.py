"""What both formats share: limits, times, licences as they are written."""

from __future__ import annotations

import datetime as dt
import re

MAX_SBOM_BYTES = 256 * 1024 * 1024
MAX_COMPONENTS = 200_000
MAX_TEXT = 4096
"""The most characters of a name, version or path taken from somebody else's document."""

_LICENSE_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:+-]{0,99}\Z")
_MAX_LICENSE = 4000


def render_time(time_ns: int) -> str:
    """`time_ns` as RFC 3339 in UTC, whole seconds."""
    seconds = min(max(time_ns // 1_000_000_000, 0), 253402300799)
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def license_words(expression: str) -> list[str] | None:
    """The licence ids in an SPDX expression; None when it is not built like one. Source: SPDX 2.3 annex D."""
    if len(expression) > _MAX_LICENSE:
        return None
    tokens = expression.replace("(", " ( ").replace(")", " ) ").split()
    words: list[str] = []
    depth, operand_wanted, after_with = 0, True, False
    for word in tokens:
        if operand_wanted:
            if word == "(" and not after_with:
                depth += 1
                continue
            if word in {"AND", "OR", "WITH", "(", ")"} or not _LICENSE_WORD.match(word):
                return None
            if not after_with:
                words.append(word)
            operand_wanted, after_with = False, False
        elif word == ")" and depth:
            depth -= 1
        elif word in {"AND", "OR", "WITH"}:
            operand_wanted, after_with = True, word == "WITH"
        else:
            return None
    return None if operand_wanted or depth else words


def license_of_names(names: list[str]) -> str:
    """One expression that says that all of `names` (ids, expressions or free texts) hold."""
    parts = []
    for name in names:
        text = " ".join(name.split())
        words = license_words(text)
        if words is None:
            text = "LicenseRef-" + (re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-")[:80] or "unnamed")
        elif len(names) > 1 and len(words) > 1:
            text = f"({text})"
        if text not in parts:
            parts.append(text)
    return " AND ".join(parts)
