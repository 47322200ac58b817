"""Semantic Versioning 2.0.0, read as leniently as the registries that use it: semver, npm, cargo, golang, pub.

Lenient: blanks, `v` and `=` before it; any number of components, absent ones are zero; leading zeros; a pre-release without its hyphen
or behind a dot (`1.2.3beta`, node-semver "loose"; `1.2.3.beta`). Build metadata says nothing about order, except in Dart's pub.
Source: semver.org 2.0.0 clause 11; node-semver `classes/semver.js`; Go `golang.org/x/mod/semver`; Dart `pub_semver` `Version.compareTo`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shipwall.model.errors import InputError
from shipwall.supply.versions.keys import MARKS, MAX_LENGTH, checked, encode, number, sign

# A plain `1.2.3` that does not end in a zero, by far the commonest, and everything else.
_PLAIN = re.compile(r"v?(?=[0-9])0*([0-9]{0,40})\.(?=[0-9])0*([0-9]{0,40})\.(?=[1-9])([0-9]{1,40})\Z")
_SHAPE = re.compile(r"[v=V\s]*([0-9]+(?:\.[0-9]+)*)[-.]?([^+]*)(?:\+(.*))?\Z")
_GO_TOOLCHAIN = re.compile(r"(?:go|v)?([0-9]+\.[0-9]+(?:\.[0-9]+)?)(rc|beta)([0-9]+)\Z")
_NUMERIC = re.compile(r"[0-9]+\Z")

_END, _TEXT, _NUMBER = "\x01", "\x03", "\x02"
_PRE_RELEASE, _RELEASE = "\x01", "\x02"  # after the components; below every mark of a number


class SemVer(NamedTuple):
    """`numbers` without trailing zeros, as text without leading zeros; `pre` and `build` split at dots, empty when absent."""

    numbers: tuple[str, ...]
    pre: tuple[str, ...]
    build: tuple[str, ...]


def parse_semver(text: str, ecosystem: str = "semver") -> SemVer:
    """The version that `text` is. Raises InputError when it does not begin with a number."""
    text = checked(text, ecosystem)
    match = _SHAPE.match(text)
    if not match:
        raise InputError(f"{ecosystem} version {text[:80]!r}", "does not begin with numbers separated by dots")
    numbers = [part.lstrip("0") for part in match[1].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    pre, build = match[2], match[3]
    return SemVer(tuple(numbers), tuple(pre.split(".")) if pre else (), tuple(build.split(".")) if build else ())


def compare_semver(left: str, right: str) -> int:
    """-1, 0 or 1 by precedence; build metadata does not count."""
    a, b = parse_semver(left), parse_semver(right)
    return compare_release(a, b)


def compare_release(a: SemVer, b: SemVer) -> int:
    """Clause 11 on two parsed versions: numbers, then pre-releases before the release, then their identifiers."""
    numbers_a, numbers_b = [[int(part or "0") for part in one.numbers] for one in (a, b)]
    if numbers_a != numbers_b:
        return sign(numbers_a, numbers_b)
    if not a.pre or not b.pre:
        return sign(not a.pre, not b.pre)
    return compare_identifiers(a.pre, b.pre)


def compare_identifiers(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    """Identifier by identifier: numbers before texts, numbers by value, texts by code point; when all are equal the shorter is less."""
    for a, b in zip(left, right, strict=False):
        a_numeric, b_numeric = bool(_NUMERIC.match(a)), bool(_NUMERIC.match(b))
        if a_numeric != b_numeric:
            return -1 if a_numeric else 1
        difference = sign(int(a), int(b)) if a_numeric else sign(a, b)
        if difference:
            return difference
    return sign(len(left), len(right))


def semver_key(text: str) -> bytes:
    """Order-preserving key: numbers, then `_RELEASE` or `_PRE_RELEASE` with its identifiers."""
    plain = _PLAIN.match(text)
    if plain and len(text) <= MAX_LENGTH:
        major, minor, patch = plain.groups()
        return f"{MARKS[len(major)]}{major}{MARKS[len(minor)]}{minor}{MARKS[len(patch)]}{patch}{_RELEASE}".encode()
    return encode(release_key(parse_semver(text)))


def release_key(version: SemVer) -> str:
    """The key of numbers and pre-release, as text."""
    numbers = "".join([MARKS[len(part)] + part for part in version.numbers])
    return f"{numbers}{_PRE_RELEASE}{identifiers_key(version.pre)}" if version.pre else numbers + _RELEASE


def identifiers_key(identifiers: tuple[str, ...]) -> str:
    """The key of a list of identifiers. Shape: mark and number, or mark, text and NUL, for each; then the mark of the end."""
    parts = [_NUMBER + number(one) if _NUMERIC.match(one) else f"{_TEXT}{one}\x00" for one in identifiers]
    return "".join(parts) + _END


def normalise_go(text: str) -> str:
    """A Go version as semver: modules keep theirs (`v1.2.3-0.2024…-abc`, `+incompatible`); the tool-chain's `go1.21rc2` is `1.21-rc.2`."""
    text = checked(text, "golang").partition(" ")[0]
    match = _GO_TOOLCHAIN.match(text)
    if match:
        return f"{match[1]}-{match[2]}.{match[3]}"
    return text.removeprefix("go")


def compare_golang(left: str, right: str) -> int:
    """-1, 0 or 1 for module versions and tool-chain versions."""
    return compare_semver(normalise_go(left), normalise_go(right))


def golang_key(text: str) -> bytes:
    """Order-preserving key of `compare_golang`."""
    return semver_key(normalise_go(text))


def compare_pub(left: str, right: str) -> int:
    """-1, 0 or 1 as Dart's pub decides: semver, then the build, which comes after no build."""
    a, b = parse_semver(left, "pub"), parse_semver(right, "pub")
    return compare_release(a, b) or compare_identifiers(a.build, b.build)


def pub_key(text: str) -> bytes:
    """Order-preserving key of `compare_pub`."""
    version = parse_semver(text, "pub")
    return encode(release_key(version) + identifiers_key(version.build))
