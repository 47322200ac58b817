"""Hostile text made harmless for eyes: what would drive a terminal or turn the direction of writing becomes visible."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def neutral(text: str) -> str:
    """`text` with control, escape and direction characters made visible, so that hostile names cannot drive a terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
