"""Debian's version order, exactly as dpkg decides it.

Source: deb-version(7); dpkg lib/dpkg/version.c (`verrevcmp`).
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from shipwall.model.errors import InputError
from shipwall.supply.versions.keys import MAX_LENGTH, number

_ALLOWED = re.compile(r"[A-Za-z0-9.+~:-]*\Z")
_RUN = re.compile(r"([^0-9]*)([0-9]*)")
_WITHOUT_EPOCH = re.compile(r"[A-Za-z0-9.+~-]+\Z")
_KEY_RUN = re.compile(r"[^0-9]*[0-9]*")  # findall ends with one empty run: the mark of the end
# `~` before the end of a part (the mark of zero, 0x10), letters as they are, everything else after them.
_NO_EPOCH = number("0")
_KEY_WORDS = {ord("~"): 0x01} | {ord(one): ord(one) + 0x80 for one in ".+:-"}


class DebVersion(NamedTuple):
    """`epoch:upstream-revision`. A missing epoch is 0, a missing revision is empty (and equal to `0`)."""

    epoch: int
    upstream: str
    revision: str


@functools.lru_cache(maxsize=1 << 12)  # an installed version is compared with the range of every advisory for its package
def parse_version(text: str) -> DebVersion:
    """The version that `text` is. Raises InputError: bad epoch, empty upstream part, other characters than policy allows."""
    thing = f"Debian version {text[:80]!r}"
    if len(text) > MAX_LENGTH:
        raise InputError(thing, f"is longer than {MAX_LENGTH} characters")
    if not _ALLOWED.match(text):
        raise InputError(thing, "has characters other than A-Z a-z 0-9 . + ~ : -")
    head, colon, rest = text.partition(":")
    if not colon:
        head, rest = "0", text
    if not head.isdigit() or len(head) > 10 or int(head) > 0x7FFFFFFF:
        raise InputError(thing, "its epoch is not a number below 2^31")
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    if not upstream:
        raise InputError(thing, "has no upstream part")
    return DebVersion(int(head), upstream, revision)


def compare_versions(left: str, right: str) -> int:
    """-1, 0 or 1 as `left` is older than, the same as or newer than `right`. Raises InputError when one is not a version."""
    a, b = parse_version(left), parse_version(right)
    if a.epoch != b.epoch:
        return -1 if a.epoch < b.epoch else 1
    return _compare_part(a.upstream, b.upstream) or _compare_part(a.revision, b.revision)


version_order = functools.cmp_to_key(compare_versions)
"""A key for `sorted` and `max` over version texts."""


def version_key(text: str) -> bytes:
    """Bytes whose plain order is the order of versions: epoch, upstream, revision. Raises InputError as `parse_version` does.

    Shape: the epoch as a number; each part as runs of other characters and numbers in turn, a number also where none is written.
    """
    if len(text) <= MAX_LENGTH and _WITHOUT_EPOCH.match(text) and text.rfind("-") != 0:  # by far the commonest
        upstream, dash, revision = text.rpartition("-")
        if not dash:
            upstream, revision = text, ""
        return (_NO_EPOCH + _part_key(upstream) + _part_key(revision or "0")).encode("latin-1")
    epoch, upstream, revision = parse_version(text)
    return (number(str(epoch)) + _part_key(upstream) + _part_key(revision or "0")).encode("latin-1")


def _part_key(part: str) -> str:
    return "".join(map(_run_key, _KEY_RUN.findall(part)))


@functools.lru_cache(maxsize=1 << 15)  # the same few runs come again and again
def _run_key(run: str) -> str:
    words = run.rstrip("0123456789")
    return words.translate(_KEY_WORDS) + number(run[len(words) :])


def _rank(text: str, index: int) -> int:
    """dpkg's `order`: `~` before the end, the end before letters, letters before everything else."""
    if index >= len(text):
        return 0
    character = text[index]
    if character == "~":
        return -1
    return ord(character) if character.isascii() and character.isalpha() else ord(character) + 256


def _compare_part(left: str, right: str) -> int:
    at_left = at_right = 0
    while at_left < len(left) or at_right < len(right):
        run_left, run_right = _RUN.match(left, at_left), _RUN.match(right, at_right)
        assert run_left is not None
        assert run_right is not None  # the pattern matches the empty string
        words_left, words_right = run_left.group(1), run_right.group(1)
        for index in range(max(len(words_left), len(words_right))):
            difference = _rank(words_left, index) - _rank(words_right, index)
            if difference:
                return -1 if difference < 0 else 1
        # Numbers as text without leading zeros: longer is larger, and no limit on digits is needed.
        number_left, number_right = run_left.group(2).lstrip("0"), run_right.group(2).lstrip("0")
        if (len(number_left), number_left) != (len(number_right), number_right):
            return -1 if (len(number_left), number_left) < (len(number_right), number_right) else 1
        at_left, at_right = run_left.end(), run_right.end()
    return 0
