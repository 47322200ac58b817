"""Maven's version order, that of Maven 3.8 and before, which the advisories were written for.

Source: maven-artifact `ComparableVersion` (with MNG-6964 and the alias `release`); "Version Order Specification" in the POM reference.

A version is a list of items: numbers, qualifiers (words), and at most one list, always the last item, which a hyphen or a change between
letters and digits begins. Lists are compared item by item, the shorter one filled with nothing. Nothing equals zero, `ga`, `final` and
`release`. At one place every qualifier is before every list, and every list before every number.

This order runs in circles: `1.0.rc1 < 1 < 1-1 < 1.0.rc1`, because `1-1` is compared with a zero in one case and with nothing in the
other; and `1.x < 1-rc1 < 1 < 1.x`. See `maven_key`.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple, TypeAlias

from shipwall.model.errors import InputError
from shipwall.supply.versions.keys import checked, encode, number, sign

MAX_MAVEN_LENGTH = 256  # later Maven's own bound; it also bounds how deep lists nest

_QUALIFIERS = {"alpha": 0, "beta": 1, "milestone": 2, "rc": 3, "cr": 3, "snapshot": 4, "ga": 5, "final": 5, "release": 5, "sp": 6}
_OTHER = 7
_SHORT = {"a": "alpha", "b": "beta", "m": "milestone"}  # only directly before a digit
_TOKEN = re.compile(r"([.-]?)(?:([0-9]+)|([^0-9.-]+)(?=([0-9])?)|(?=[.-]))")


class Qualifier(NamedTuple):
    """A word: known ones by their rank alone, others by their text after them."""

    rank: int
    text: str


Item: TypeAlias = "int | Qualifier | list[Item]"
RELEASE = Qualifier(_QUALIFIERS["release"], "")


def parse_maven_version(text: str) -> list[Item]:
    """The normalised list of items. Raises InputError for what `checked` refuses, and beyond Maven's own length."""
    text = checked(text, "Maven").lower()
    if len(text) > MAX_MAVEN_LENGTH:
        raise InputError(f"Maven version {text[:80]!r}", f"is longer than {MAX_MAVEN_LENGTH} characters")
    items: list[Item] = []
    lists = [items]  # the last one grows
    for separator, digits, word, digit_follows in _TOKEN.findall(text):
        if separator == "-" or (not separator and (items or len(lists) > 1)):
            inner: list[Item] = []
            lists[-1].append(inner)
            lists.append(inner)
        elif separator and not items and len(lists) == 1:
            items.append(0)  # begins with a dot
        if word:
            lists[-1].append(_qualifier(_SHORT.get(word, word) if digit_follows else word))
        else:
            lists[-1].append(int(digits or "0"))
    while lists:
        _normalise(lists.pop())
    return items


def _qualifier(word: str) -> Qualifier:
    rank = _QUALIFIERS.get(word)
    return Qualifier(_OTHER, word) if rank is None else Qualifier(rank, "")


def _normalise(items: list[Item]) -> None:
    """Drop what equals nothing from the end, and from before a list at the end."""
    for at in range(len(items) - 1, -1, -1):
        if not items[at] or items[at] == RELEASE:
            del items[at]
        elif not isinstance(items[at], list):
            break


def compare_maven(left: str, right: str) -> int:
    """-1, 0 or 1 as Maven decides. Not transitive, as Maven is not."""
    return compare_items(parse_maven_version(left), parse_maven_version(right))


def compare_items(left: list[Item], right: list[Item]) -> int:
    """-1, 0 or 1 for two normalised lists."""
    for a, b in itertools.zip_longest(left, right):
        if a == b:
            continue
        if a is None or b is None:
            difference = _sign_of(a) if b is None else -_sign_of(b)
        elif type(a) is not type(b):
            difference = sign(_kind(a), _kind(b))
        else:
            difference = compare_items(a, b) if isinstance(a, list) and isinstance(b, list) else sign(a, b)
        if difference:
            return difference
    return 0


def _kind(item: Item) -> int:
    return 2 if isinstance(item, int) else 1 if isinstance(item, list) else 0


def _sign_of(item: Item | None) -> int:
    """`item` compared with nothing."""
    if isinstance(item, list):
        return next(filter(None, map(_sign_of, item)), 0)
    return sign(item, RELEASE) if isinstance(item, Qualifier) else sign(item, 0)


# Marks of a key at one place of a list. What is there before `_NOTHING` makes the version older than one that ends there.
(_WORD_BEFORE, _FINAL_BEFORE, _LIST_BEFORE, _ZERO_BEFORE, _NOTHING, _FINAL_AFTER, _WORD_AFTER, _LIST_AFTER, _NUMBER) = map(
    chr, range(1, 10)
)


def maven_key(text: str) -> bytes:
    """Order-preserving key wherever Maven's order has no circle; in a circle, its order with the contradiction taken out.

    Where two versions differ first, one being older than their common beginning and the other newer, the key says older and newer;
    Maven may say the contrary (`1.0.rc1` against `1-1`, `1.x` against `1-rc1`; Maven 3.9 and later agree with the key on the first).
    In all other cases `(maven_key(a) < maven_key(b)) == (compare_maven(a, b) < 0)`.
    """
    return encode(_list_key(parse_maven_version(text)))


def _list_key(items: list[Item]) -> str:
    """Each item with its mark, then `_NOTHING`. What equals nothing goes with the item that follows and does not."""
    parts = [_NOTHING]
    after = True
    for item in reversed(items):
        difference = _sign_of(item)
        after = difference > 0 if difference else after
        if isinstance(item, int):
            parts.append(_NUMBER + number(str(item)) if after else _ZERO_BEFORE)
        elif isinstance(item, list):
            parts.append((_LIST_AFTER if after else _LIST_BEFORE) + _list_key(item))
        elif difference:
            parts.append(f"{_WORD_AFTER if after else _WORD_BEFORE}{chr(item.rank + 1)}{item.text}\x00")
        else:
            parts.append(_FINAL_AFTER if after else _FINAL_BEFORE)
    return "".join(reversed(parts))
