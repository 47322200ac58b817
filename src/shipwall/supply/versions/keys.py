"""What all version orders share: the bounds of a version text, and numbers inside byte keys.

A key is bytes whose plain order is the order of the versions. It is written as text and encoded once; UTF-8 keeps the order of code
points. Code points below U+0010 are the orders' own marks, U+0010 to U+0040 begin a number.
"""

from __future__ import annotations

import re
from typing import Any

from shipwall.model.errors import InputError

MAX_LENGTH = 512  # far beyond any real version; keeps hostile ones cheap, and int() of its digits allowed

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

MARKS = [chr(0x10 + count) if count < 0x30 else f"\x40{count:03}" for count in range(MAX_LENGTH + 1)]
"""`MARKS[len(digits)] + digits` orders numbers (digits without leading zeros; zero is the empty text) as numbers do."""


def checked(text: str, ecosystem: str) -> str:
    """`text` without surrounding blanks. Raises InputError when it cannot be a version anywhere: empty, too long, control characters."""
    thing = f"{ecosystem} version {text[:80]!r}"
    if len(text) > MAX_LENGTH:
        raise InputError(thing, f"is longer than {MAX_LENGTH} characters")
    text = text.strip(" \t")
    if not text:
        raise InputError(thing, "is empty")
    if _CONTROL.search(text):
        raise InputError(thing, "has control characters")
    return text


def number(digits: str) -> str:
    """The part of a key for a number of any size, written in decimal `digits`."""
    digits = digits.lstrip("0")
    return MARKS[len(digits)] + digits


def encode(key: str) -> bytes:
    """The bytes of a key written as text."""
    return key.encode("utf-8", "surrogatepass")


def sign(left: Any, right: Any) -> int:
    """-1, 0 or 1 for two values of one ordered type."""
    return int(left > right) - int(left < right)
