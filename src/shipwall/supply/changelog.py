"""Debian changelogs: which entries are newer than what is installed, and which CVEs they name. Source: deb-changelog(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from shipwall.model.errors import InputError
from shipwall.supply.versions.deb import compare_versions

# The version may not hold a closing bracket and is bounded, so a line is read in linear time.
_HEADING = re.compile(r"([A-Za-z0-9][A-Za-z0-9.+-]{0,255}) \(([^()\s]{1,512})\)[^;]{0,512};")
_CVE = re.compile(r"CVE[-‐‑–](\d{4})[-‐‑–](\d{4,7})(?!\d)", re.IGNORECASE)  # some maintainers' editors set typographic hyphens
_OTHER = re.compile(r"GHSA(?:-[23456789cfghjmpqrvwx]{4}){3}(?![0-9a-z])")
_MAX_BYTES = 8 << 20


class Fixes(NamedTuple):
    """CVE ids, each with the version of the NEWEST entry that names it; `others`: ids of GitHub advisories, likewise.

    `entries` counts the entries looked at.
    """

    cves: dict[str, str]
    others: dict[str, str]
    entries: int


def parse_changelog(data: bytes) -> Iterator[tuple[str, str, str]]:
    """(source, version, text) of each entry, newest first as written. Total on arbitrary bytes; reads the first 8 MiB."""
    heading: tuple[str, str] | None = None
    body: list[str] = []
    for line in data[:_MAX_BYTES].decode("utf-8", "backslashreplace").split("\n"):
        match = _HEADING.match(line) if line[:1].strip() else None
        if match is not None:
            if heading is not None:
                yield (*heading, "\n".join(body))
            heading, body = (match.group(1), match.group(2)), []
        else:
            body.append(line)
    if heading is not None:
        yield (*heading, "\n".join(body))


def find_fixes(changelog: bytes, installed: str, fixed: str) -> Fixes:
    """The CVEs named by entries newer than `installed` and not newer than `fixed` (both versions of the SOURCE package).

    An entry whose version is not a Debian version is left out.
    """
    cves: dict[str, str] = {}
    others: dict[str, str] = {}
    entries = 0
    for _source, version, text in parse_changelog(changelog):
        try:
            if compare_versions(version, installed) <= 0 or compare_versions(version, fixed) > 0:
                continue
        except InputError:
            continue
        entries += 1
        for year, number in _CVE.findall(text):
            cves.setdefault(f"CVE-{year}-{number}", version)
        for other in _OTHER.findall(text):
            others.setdefault(other, version)
    return Fixes(cves, others, entries)
