"""RPM's version order: `[epoch:]version[-release]`.

Source: rpm `rpmio/rpmvercmp.c` (`~` since 4.10, `^` since 4.15), `rpmio/rpmver.c` (`parseEVR`, `rpmverCmp`); rpm-version(7).
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from shipwall.supply.versions.keys import checked, number, sign

_EPOCH = re.compile(r"([0-9]*):")
_SEGMENT = re.compile(r"[0-9]+|[A-Za-z]+|[~^]")  # everything else only separates
_TILDE, _END, _CARET, _LETTERS, _DIGITS = "\x01", "\x02", "\x03", "\x04", "\x05"
_NO_RELEASE, _RELEASE = "\x01", "\x02"


class RpmVersion(NamedTuple):
    """A missing epoch is `0`, a missing release empty; a missing release is older than any."""

    epoch: str
    version: str
    release: str


def parse_rpm_version(text: str) -> RpmVersion:
    """The parts of `[epoch:]version[-release]`. Digits before the first colon are the epoch; the last hyphen begins the release."""
    text = checked(text, "RPM")
    match = _EPOCH.match(text)
    rest = text[match.end() :] if match else text
    version, hyphen, release = rest.rpartition("-")
    if not hyphen:
        version, release = rest, ""
    return RpmVersion((match[1] if match else "") or "0", version, release)


def compare_rpm(left: str, right: str) -> int:
    """-1, 0 or 1 as rpm decides."""
    a, b = parse_rpm_version(left), parse_rpm_version(right)
    difference = sign(int(a.epoch), int(b.epoch)) or _compare_part(a.version, b.version)
    if difference or not a.release or not b.release:
        return difference or sign(bool(a.release), bool(b.release))
    return _compare_part(a.release, b.release)


def _compare_part(left: str, right: str) -> int:
    """`rpmvercmp`: segment by segment; `~` is before the end, `^` right after it, then letters, then numbers."""
    segments_left, segments_right = _SEGMENT.findall(left), _SEGMENT.findall(right)
    for a, b in zip([*segments_left, ""], [*segments_right, ""], strict=False):
        if a == b:
            continue
        kind_a, kind_b = _kind(a), _kind(b)
        if kind_a != kind_b:
            return sign(kind_a, kind_b)
        difference = sign(int(a), int(b)) if kind_a == _DIGITS else sign(a, b)
        if difference:
            return difference
    return 0


def _kind(segment: str) -> str:
    if not segment:
        return _END
    if segment in "~^":
        return _TILDE if segment == "~" else _CARET
    return _DIGITS if segment.isdigit() else _LETTERS


def rpm_key(text: str) -> bytes:
    """Order-preserving key: epoch, version, release; each segment as its kind, then the number, or the text and NUL."""
    epoch, version, release = parse_rpm_version(text)
    key = number(epoch) + _part_key(version)
    return (f"{key}{_RELEASE}{_part_key(release)}" if release else key + _NO_RELEASE).encode("ascii")


def _part_key(part: str) -> str:
    return "".join(map(_segment_key, _SEGMENT.findall(part))) + _END


@functools.lru_cache(maxsize=1 << 15)  # the same few segments come again and again
def _segment_key(segment: str) -> str:
    kind = _kind(segment)
    if kind == _DIGITS:
        return kind + number(segment)
    return f"{kind}{segment}\x00" if kind == _LETTERS else kind
