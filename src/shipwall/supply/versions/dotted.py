"""Plain lists of numbers: CRAN (R) and Hackage (Haskell). The shorter of two lists that agree so far is older: `1.0 < 1.0.0`.

Source: R `?numeric_version` ("components compared one by one"; separators `.` and `-`); Haskell PVP and `Data.Version`.
"""

from __future__ import annotations

import re

from shipwall.model.errors import InputError
from shipwall.supply.versions.keys import checked, number, sign

_END = "\x01"
_CRAN = re.compile(r"[0-9]+(?:[.-][0-9]+)*\Z")
_HACKAGE = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")


def _parse(text: str, ecosystem: str, shape: re.Pattern[str]) -> list[str]:
    text = checked(text, ecosystem)
    if not shape.match(text):
        raise InputError(f"{ecosystem} version {text[:80]!r}", "is not a list of numbers")
    return text.replace("-", ".").split(".")


def _compare(left: list[str], right: list[str]) -> int:
    return sign([int(part) for part in left], [int(part) for part in right])


def _key(parts: list[str]) -> bytes:
    return ("".join([number(part) for part in parts]) + _END).encode("ascii")


def compare_cran(left: str, right: str) -> int:
    """-1, 0 or 1 as R's `numeric_version` decides."""
    return _compare(_parse(left, "CRAN", _CRAN), _parse(right, "CRAN", _CRAN))


def cran_key(text: str) -> bytes:
    """Order-preserving key of `compare_cran`."""
    return _key(_parse(text, "CRAN", _CRAN))


def compare_hackage(left: str, right: str) -> int:
    """-1, 0 or 1 as Haskell's package versioning policy decides."""
    return _compare(_parse(left, "Hackage", _HACKAGE), _parse(right, "Hackage", _HACKAGE))


def hackage_key(text: str) -> bytes:
    """Order-preserving key of `compare_hackage`."""
    return _key(_parse(text, "Hackage", _HACKAGE))
