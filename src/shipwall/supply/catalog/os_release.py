"""The distribution, from os-release. Source: os-release(5)."""

from __future__ import annotations

import re

from shipwall.model.package import Distribution
from shipwall.supply.layers import View

OS_RELEASE_GLOBS = ("etc/os-release", "usr/lib/os-release")
_LINE = re.compile(r"([A-Z_0-9]{1,64})=(.*)")
_UNQUOTED = re.compile(r"\\(.)")


def find_distribution(view: View) -> Distribution:
    """The distribution the files of `view` name; empty strings where they say nothing."""
    for path in OS_RELEASE_GLOBS:
        file = view.read(path)
        if file is not None:
            return parse_os_release(file.data)
    return Distribution()


def parse_os_release(data: bytes) -> Distribution:
    """The distribution in an os-release file. Total on arbitrary bytes."""
    values: dict[str, str] = {}
    for line in data[: 64 * 1024].decode("utf-8", "backslashreplace").split("\n"):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        value = match.group(2).strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[match.group(1)] = _UNQUOTED.sub(r"\1", value)[:256]
    return Distribution(
        id=values.get("ID", ""), version_id=values.get("VERSION_ID", ""), codename=values.get("VERSION_CODENAME", "")
    )
