"""Python's version order: PEP 440, and before all of it the legacy versions of the time before.

Source: PEP 440 (now the version specifiers specification) with its appendix B; for legacy versions `pkg_resources.parse_version` of old,
which `packaging` kept as `LegacyVersion` until 22.0.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shipwall.supply.versions.keys import checked, encode, number, sign

_SHAPE = re.compile(
    r"""v?(?:(?P<epoch>[0-9]+)!)?(?P<release>[0-9]+(?:\.[0-9]+)*)
    (?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_number>[0-9]+)?)?
    (?P<post>-(?P<post_implicit>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>[0-9]+)?)?
    (?P<dev>[-_.]?dev[-_.]?(?P<dev_number>[0-9]+)?)?
    (?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\Z""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")
_PRE = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
_LEGACY_PART = re.compile(r"([0-9]+|[a-z]+|\.|-)")
_LEGACY_NAMES = {"pre": "c", "preview": "c", "-": "final-", "rc": "c", "dev": "@"}

_LEGACY, _MODERN = "\x01", "\x02"
_END, _LOWEST, _HIGHEST = "\x01", "\x01", "\x7f"


class PypiVersion(NamedTuple):
    """PEP 440's fields. Numbers are text; `release` without trailing zeros; `pre` is `(a|b|rc, number)`; absent ones are None."""

    epoch: str
    release: tuple[str, ...]
    pre: tuple[str, str] | None
    post: str | None
    dev: str | None
    local: tuple[str, ...]


def parse_pypi_version(text: str) -> PypiVersion | None:
    """The version, None when PEP 440 does not know it (then it is a legacy one). Raises InputError for what `checked` refuses."""
    match = _SHAPE.match(checked(text, "Python").lower())
    if not match:
        return None
    release = match["release"].split(".")
    while release and not release[-1].strip("0"):
        release.pop()
    return PypiVersion(
        epoch=match["epoch"] or "0",
        release=tuple(release),
        pre=(_PRE.get(match["pre"], match["pre"]), match["pre_number"] or "0") if match["pre"] else None,
        post=match["post_implicit"] or match["post_number"] or "0" if match["post"] else None,
        dev=match["dev_number"] or "0" if match["dev"] else None,
        local=tuple(re.split("[-_.]", match["local"])) if match["local"] else (),
    )


def compare_pypi(left: str, right: str) -> int:
    """-1, 0 or 1 as PEP 440 decides; a legacy version is older than every other."""
    a, b = parse_pypi_version(left), parse_pypi_version(right)
    if a is None or b is None:
        if a is None and b is None:
            return sign(_legacy_parts(left), _legacy_parts(right))
        return -1 if a is None else 1
    return sign(_fields(a), _fields(b))


def _fields(version: PypiVersion) -> tuple[object, ...]:
    """What PEP 440 says of absent fields, as a tuple that Python orders."""
    if version.pre is not None:
        pre: tuple[object, ...] = (1, version.pre[0], int(version.pre[1]))
    else:
        pre = (0,) if version.post is None and version.dev is not None else (2,)
    return (
        int(version.epoch),
        [int(part) for part in version.release],
        pre,
        -1 if version.post is None else int(version.post),
        (1, 0) if version.dev is None else (0, int(version.dev)),
        [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in version.local],
    )


def _legacy_parts(text: str) -> list[str]:
    """Numbers filled to eight digits and marked words; `*final` ends it, and zeros before a word do not count."""
    parts: list[str] = []
    for found in [*_LEGACY_PART.split(checked(text, "Python").lower()), "final"]:
        part = _LEGACY_NAMES.get(found, found)
        if not part or part == ".":
            continue
        if part[0] in "0123456789":
            parts.append(part.zfill(8))
            continue
        word = "*" + part
        while word < "*final" and parts and parts[-1] == "*final-":
            parts.pop()
        while parts and parts[-1] == "00000000":
            parts.pop()
        parts.append(word)
    return parts


def pypi_key(text: str) -> bytes:
    """Order-preserving key: the fields in their order, absent ones as PEP 440 places them."""
    if _PLAIN.match(text) and len(text) < 64:  # by far the commonest
        release = [number(part) for part in text.split(".")]
        while release and release[-1] == "\x10":
            release.pop()
        return f"{_MODERN}\x10{''.join(release)}{_END}{_HIGHEST}{_LOWEST}{_HIGHEST}\x00".encode()
    version = parse_pypi_version(text)
    if version is None:
        return encode(_LEGACY + "".join([part + "\x00" for part in _legacy_parts(text)]) + "\x00")
    if version.pre is not None:
        pre = version.pre[0][0] + number(version.pre[1])
    else:
        pre = _LOWEST if version.post is None and version.dev is not None else _HIGHEST
    post = _LOWEST if version.post is None else "\x02" + number(version.post)
    dev = _HIGHEST if version.dev is None else "\x01" + number(version.dev)
    local = "".join(["\x02" + number(part) if part.isdigit() else f"\x01{part}\x00" for part in version.local])
    release_key = "".join([number(part) for part in version.release])
    return encode(f"{_MODERN}{number(version.epoch)}{release_key}{_END}{pre}{post}{dev}{local}\x00")
