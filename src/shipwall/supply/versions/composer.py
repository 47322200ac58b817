"""PHP's version order, by which Packagist's packages are judged.

Source: PHP manual and `ext/standard/versioning.c` (`version_compare`); Composer's leading `v` is dropped.
Not Composer's own padding: here `1.0 < 1.0.0`, as `version_compare` says.
"""

from __future__ import annotations

import re

from shipwall.model.errors import InputError
from shipwall.supply.versions.keys import checked, encode, number, sign

_PART = re.compile(r"[0-9]+|[A-Za-z]+|#")
_V = re.compile(r"[vV](?=[0-9])")

# Words by their beginning, so that `patch` and `post` are `p`; a number is `#`. Every other word is before all, and equal to its like.
_FORM = re.compile(r"(dev)|(a)|(b)|(RC|rc)|(#)|(p)")
_RANKS = (1, 2, 3, 4, 6, 7)
_UNKNOWN, _END, _NUMBER = 0, 5, 6


def parse_composer_version(text: str) -> list[str]:
    """Numbers, words and `#`, separators dropped. Raises InputError when there are none."""
    text = checked(text, "Composer")
    parts = _PART.findall(_V.sub("", text, count=1) if text[0] in "vV" else text)
    if not parts:
        raise InputError(f"Composer version {text[:80]!r}", "has neither numbers nor words")
    return parts


def _rank(part: str) -> int:
    if part[0] in "0123456789":
        return _NUMBER
    match = _FORM.match(part)
    return _RANKS[match.lastindex - 1] if match and match.lastindex else _UNKNOWN


def compare_composer(left: str, right: str) -> int:
    """-1, 0 or 1 as `version_compare` decides. `#` equals every number, so this order is not transitive where it is used."""
    a_parts, b_parts = parse_composer_version(left), parse_composer_version(right)
    for a, b in zip(a_parts, b_parts, strict=False):
        difference = sign(_rank(a), _rank(b))
        if not difference and a.isdigit() and b.isdigit():
            difference = sign(int(a), int(b))
        if difference:
            return difference
    at = min(len(a_parts), len(b_parts))
    ends = [_rank(parts[at]) if at < len(parts) else _END for parts in (a_parts, b_parts)]
    return sign(ends[0], ends[1])


def composer_key(text: str) -> bytes:
    """Order-preserving key. Raises InputError for versions with `#`: it equals every number, so that no key can place it."""
    parts = parse_composer_version(text)
    if "#" in parts:
        raise InputError(
            f"Composer version {text[:80]!r}", "has a '#', which equals every number", "compare it with one version at a time"
        )
    ranks = [chr(_rank(part) + 1) + (number(part) if part.isdigit() else "") for part in parts]
    return encode("".join(ranks) + chr(_END + 1))
