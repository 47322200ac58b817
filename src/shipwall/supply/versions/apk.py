"""Alpine's version order: `digits{.digits}[letter]{_suffix[number]}[~hash][-rN]`.

Source: apk-tools `src/version.c` (version 3), whose token kinds in their order decide where one version ends or turns.
What only version 2 reads is read as it does: numbers left out are zero (`.1`, `0..1`), and a letter may be followed by a number (`2p1`).
From the first place that neither reads, a version is damaged: it is less than one that ends there, and equal to one damaged at the same
place. So this order is total and transitive, and its key is exact.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shipwall.supply.versions.keys import checked, encode, number, sign

# Kinds in the order in which they stand at one place: a pre-release suffix is least, another number component is greatest.
_PRE, _DAMAGED, _END, _REVISION, _HASH, _SUFFIX_NUMBER, _POST, _LETTER, _NUMBER = range(1, 10)

_NUMBERS = {_NUMBER, _SUFFIX_NUMBER, _REVISION}
_SUFFIXES = {"alpha": 1, "beta": 2, "pre": 3, "rc": 4, "cvs": 6, "svn": 7, "git": 8, "hg": 9, "p": 10}
_POST_FROM = 5

_HEAD = re.compile(r"[0-9]*")
_TOKEN = re.compile(
    r"(?P<number>\.[0-9]*)|(?P<letter>[a-z])|(?P<digits>[0-9]+)|_(?P<suffix>[a-z]+)|~(?P<hash>[0-9a-fA-F]+)|-r(?P<revision>[0-9]+)\Z"
)
_BEFORE = {  # which kinds may stand before a token, by the token's name
    "number": {_NUMBER},
    "letter": {_NUMBER},
    "digits": {_PRE, _POST, _LETTER},
    "suffix": {_NUMBER, _LETTER, _PRE, _POST, _SUFFIX_NUMBER},
    "hash": {_NUMBER, _LETTER, _PRE, _POST, _SUFFIX_NUMBER},
    "revision": {_NUMBER, _LETTER, _PRE, _POST, _SUFFIX_NUMBER, _HASH},
}


class Token(NamedTuple):
    """One step of a version: its kind and its text (the value of a suffix as a character)."""

    kind: int
    text: str
    first: bool = False


def parse_apk_version(text: str) -> list[Token]:
    """The tokens of a version, the last one its end or its damage. Raises InputError only for what `checked` refuses."""
    text = checked(text, "apk")
    head = _HEAD.match(text)
    assert head is not None  # the pattern matches the empty string
    tokens, at = [Token(_NUMBER, head[0], first=True)], head.end()
    while at < len(text):
        match = _TOKEN.match(text, at)
        name = match.lastgroup if match else None
        if match is None or name is None or tokens[-1].kind not in _BEFORE[name]:
            return [*tokens, Token(_DAMAGED, "")]
        token = _token(name, match[name], tokens[-1].kind)
        if token is None:
            return [*tokens, Token(_DAMAGED, "")]
        tokens.append(token)
        at = match.end()
    return [*tokens, Token(_END, "")]


def _token(name: str, text: str, before: int) -> Token | None:
    match name:
        case "number":
            return Token(_NUMBER, text[1:])
        case "letter":
            return Token(_LETTER, text)
        case "digits":
            # After a letter it is a number of its own, without the rule of leading zeros.
            return Token(_NUMBER, text, first=True) if before == _LETTER else Token(_SUFFIX_NUMBER, text)
        case "suffix":
            rank = _SUFFIXES.get(text)
            return None if rank is None else Token(_PRE if rank < _POST_FROM else _POST, chr(rank))
        case "hash":
            return Token(_HASH, text)
    return Token(_REVISION, text)


def compare_apk(left: str, right: str) -> int:
    """-1, 0 or 1 as apk-tools decides."""
    for a, b in zip(parse_apk_version(left), parse_apk_version(right), strict=False):
        difference = sign(a.kind, b.kind) or sign(_value(a), _value(b))
        if difference:
            return difference
    return 0


def _value(token: Token) -> tuple[int, str]:
    """A component after a dot that has a leading zero is a text, before all numbers, as a fraction would be: `1.05 < 1.1`."""
    if token.kind in _NUMBERS and not _is_text(token):
        return int(token.text or "0"), ""
    return -1, token.text


def _is_text(token: Token) -> bool:
    return token.kind == _NUMBER and not token.first and token.text[:1] == "0"


def apk_key(text: str) -> bytes:
    """Order-preserving key: for each token its kind, then its value."""
    return encode("".join([chr(token.kind) + _value_key(token) for token in parse_apk_version(text)]))


def _value_key(token: Token) -> str:
    if _is_text(token):
        return f"\x0f{token.text}\x00"  # below the marks of all numbers
    if token.kind in _NUMBERS:
        return number(token.text)
    return f"{token.text}\x00" if token.kind == _HASH else token.text
