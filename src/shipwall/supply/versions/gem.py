"""RubyGems' version order.

Source: rubygems `lib/rubygems/version.rb` (`canonical_segments`, `<=>`). Text that RubyGems refuses but that has numbers or words in it
is read the same way, as its scanner would.
"""

from __future__ import annotations

import itertools
import re

from shipwall.model.errors import InputError
from shipwall.supply.versions.keys import checked, encode, number, sign

_SEGMENT = re.compile(r"[0-9]+|[A-Za-z]+")

# At one place: a word, zeros and a word, the end (zeros for ever), zeros and a number, a number.
_WORD, _ZEROS_WORD, _END, _ZEROS_NUMBER, _NUMBER = "\x01", "\x02", "\x03", "\x04", "\x05"


def parse_gem_version(text: str) -> list[str]:
    """Numbers (without leading zeros, zero is empty) and words, less the zeros that do not count: at the end, and before the first word."""
    text = checked(text, "gem")
    segments = [part.lstrip("0") for part in _SEGMENT.findall(text.replace("-", ".pre."))]
    if not segments:
        raise InputError(f"gem version {text[:80]!r}", "has neither numbers nor words")
    first_word = next((index for index, part in enumerate(segments) if part.isalpha()), len(segments))
    return [*_without_zeros(segments[:first_word]), *_without_zeros(segments[first_word:])]


def _without_zeros(segments: list[str]) -> list[str]:
    while segments and not segments[-1]:
        segments.pop()
    return segments


def compare_gem(left: str, right: str) -> int:
    """-1, 0 or 1 as `Gem::Version` decides: the shorter is filled with zeros, a word is before every number."""
    for a, b in itertools.zip_longest(parse_gem_version(left), parse_gem_version(right), fillvalue=""):
        if a == b:
            continue
        if a.isalpha() != b.isalpha():
            return -1 if a.isalpha() else 1
        return sign(a, b) if a.isalpha() else sign(int(a or "0"), int(b or "0"))
    return 0


def gem_key(text: str) -> bytes:
    """Order-preserving key. Zeros before a word or number are counted, so that the end can stand for zeros without end."""
    parts, zeros = [], 0
    for segment in parse_gem_version(text):
        if not segment:
            zeros += 1
        elif segment.isalpha():
            parts.append(f"{_ZEROS_WORD}{chr(0x100 + zeros)}{segment}\x00" if zeros else f"{_WORD}{segment}\x00")
            zeros = 0
        else:
            parts.append(f"{_ZEROS_NUMBER}{chr(0x500 - zeros)}{number(segment)}" if zeros else _NUMBER + number(segment))
            zeros = 0
    return encode("".join(parts) + _END)
