"""Hostile text made harmless for eyes: what would drive a terminal or turn the direction of writing becomes visible."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


_KEPT = frozenset("\t\n")


def neutral(text: str, *, lines: bool = False) -> str:
    """`text` with control, escape and direction characters made visible, so that hostile names cannot drive a terminal.

    Line breaks as well, so that no name can write a line of its own below; with `lines` they and tabs stay.
    """
    return _CONTROL.sub(lambda match: match[0] if lines and match[0] in _KEPT else f"\\x{ord(match[0]):02x}", text)
