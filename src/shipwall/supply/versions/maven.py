"""Maven's version order.

Source: maven-artifact `ComparableVersion` (Maven 4); "Version Order Specification" in the POM reference.

A version is a list of items; a hyphen, and a change between letters and digits, begin a list inside it, always as the last item.
Items: numbers; qualifiers (words); qualifiers with a number (`rc1`, `rc-1`); one list. Two lists are compared item by item, the shorter
one filled with nothing; nothing equals zero, `ga`, `final` and `release`.
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

from shipwall.model.errors import InputError
from shipwall.supply.versions.keys import checked, encode, number, sign

MAX_MAVEN_LENGTH = 256  # Maven's own bound; it also bounds how deep lists nest

Item: TypeAlias = "int | str | tuple[str, int] | list[Item]"

_QUALIFIERS = {"alpha": 0, "beta": 1, "milestone": 2, "rc": 3, "cr": 3, "snapshot": 4, "ga": 5, "final": 5, "release": 5, "sp": 6}
_RELEASE, _OTHER = 5, 7
_SHORT = {"a": "alpha", "b": "beta", "m": "milestone"}  # only directly before a number


def parse_maven_version(text: str) -> list[Item]:
    """The normalised list of items. Raises InputError for what `checked` refuses, and beyond Maven's own length."""
    text = checked(text, "Maven").lower()
    if len(text) > MAX_MAVEN_LENGTH:
        raise InputError(f"Maven version {text[:80]!r}", f"is longer than {MAX_MAVEN_LENGTH} characters")
    items: list[Item] = []
    stack = [items]
    start, in_digits, combined = 0, False, False

    def nest() -> None:
        inner: list[Item] = []
        stack[-1].append(inner)
        stack.append(inner)

    def put(end: int) -> None:
        stack[-1].append(_item(text[start:end], in_digits, combined))

    for at, character in enumerate(text):
        if character in ".-":
            if character == "-" and at > start and not in_digits and text[at + 1 : at + 2] in tuple("0123456789"):
                combined = True  # `rc-1` is `rc1`
                continue
            put(at)
            start, combined = at + 1, False
            if character == "-":
                nest()
        elif character in "0123456789":
            if not in_digits and at > start:
                combined = True
                if stack[-1]:
                    nest()
            in_digits = True
        else:
            if in_digits and at > start:
                put(at)
                start, combined = at, False
                nest()
            in_digits = False
    if len(text) > start:
        if not in_digits and stack[-1]:
            nest()  # `.x` at the end is `-x`
        put(len(text))
    while stack:
        _normalise(stack.pop())
    return items


def _item(text: str, digits: bool, combined: bool) -> Item:
    if combined:
        text = text.replace("-", "")
        word = text.rstrip("0123456789")
        return _SHORT.get(word, word), int(text[len(word) :])
    if digits or not text:
        return int(text or "0")
    return text


def _normalise(items: list[Item]) -> None:
    """Drop zeros and empty lists that say nothing: at the end, and before a qualifier."""
    for at in range(len(items) - 1, -1, -1):
        if items[at] == 0 or items[at] == []:
            after = items[at + 1] if at + 1 < len(items) else ""
            head = after[0] if isinstance(after, list) else after
            if isinstance(head, str) or (isinstance(after, list) and isinstance(head, tuple)):
                del items[at]
    if len(items) == 1 and isinstance(items[0], list):
        items[:] = items[0]


def compare_maven(left: str, right: str) -> int:
    """-1, 0 or 1 as Maven decides."""
    return _compare_lists(parse_maven_version(left), parse_maven_version(right))


def _compare_lists(left: list[Item], right: list[Item]) -> int:
    for a, b in itertools.zip_longest(left, right):
        difference = _compare_items(a, b)
        if difference:
            return difference
    return 0


def _compare_items(a: Item | None, b: Item | None) -> int:
    if a is None:
        return 0 if b is None else -_sign_of(b)
    if b is None:
        return _sign_of(a)
    if isinstance(a, int) or isinstance(b, int):
        if isinstance(a, int) and isinstance(b, int):
            return sign(a, b)
        return 1 if isinstance(a, int) else -1
    if isinstance(a, list) or isinstance(b, list):  # a qualifier is a list of itself
        return _compare_lists(a if isinstance(a, list) else [a], b if isinstance(b, list) else [b])
    return _compare_qualifiers(a, b)


def _sign_of(item: Item) -> int:
    """`item` compared with nothing."""
    if isinstance(item, list):
        return next(filter(None, map(_sign_of, item)), 0)
    if isinstance(item, int):
        return sign(item, 0)
    return _compare_qualifiers(item, "final")


def _compare_qualifiers(a: str | tuple[str, int], b: str | tuple[str, int]) -> int:
    rank_a, rank_b = _rank(a), _rank(b)
    return sign(rank_a, rank_b)


def _rank(qualifier: str | tuple[str, int]) -> tuple[int, str, int]:
    """Order of qualifiers: known ones as listed, then others by text; `x` before `x0` before `x1`, but `final` equals `final0`."""
    word, count = (qualifier, -1) if isinstance(qualifier, str) else qualifier
    known = _QUALIFIERS.get(word)
    if known == _RELEASE:
        count = max(count, 0)
    return (_OTHER, word, count) if known is None else (known, "", count)


# Marks of a key at one place of a list, from least to greatest. "Nothing" (the end, or a qualifier that equals it) may be followed by
# more; then the number of nothings stands after the mark, smaller where that makes the version greater. A list inside that begins with
# nothing is further from nothing than its outer list would be.
_BEFORE, _INNER_BEFORE, _OUTER_BEFORE, _NOTHING, _OUTER_AFTER, _INNER_AFTER, _AFTER, _LIST, _NUMBER = map(chr, range(1, 10))


def maven_key(text: str) -> bytes:
    """Order-preserving key. Exact for every version: `ComparableVersion` of Maven 4 is transitive once lists are normalised.

    Shape: each item of a list, then `_NOTHING`. A number: `_NUMBER` and it. A qualifier: its rank, closed by `_NOTHING` as the list of
    itself. A list: its items, `_LIST` instead of `_NUMBER` for the first of them, closed the same way.
    """
    return encode(_list_key(parse_maven_version(text), inner=False))


def _list_key(items: list[Item], *, inner: bool) -> str:
    parts, nothings = [], 0
    for at, item in enumerate(items):
        difference = 1 if item == 0 else _sign_of(item)  # a zero that was kept is followed by something greater
        if not difference:
            nothings += 1
            continue
        if nothings:
            before, after = (_INNER_BEFORE, _INNER_AFTER) if inner and at == nothings else (_OUTER_BEFORE, _OUTER_AFTER)
            parts.append(before + chr(0x100 + nothings) if difference < 0 else after + chr(0x500 - nothings))
            nothings = 0
        if isinstance(item, int):
            parts.append((_LIST if inner and at == 0 else _NUMBER) + number(str(item)))
        elif isinstance(item, list):
            parts.append(_list_key(item, inner=True))
        else:
            parts.append(_qualifier_key(item) + _NOTHING)
            if inner and at == 0:
                parts[-1] = parts[-1][:-1]
    return "".join(parts) + _NOTHING


def _qualifier_key(qualifier: str | tuple[str, int]) -> str:
    known, word, count = _rank(qualifier)
    tail = chr(1) if count < 0 else chr(2) + number(str(count))
    return f"{_BEFORE if known < _RELEASE else _AFTER}{chr(known + 1)}{word}\x00{tail}"
