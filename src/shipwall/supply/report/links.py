"""Where a person reads more about a finding."""

from __future__ import annotations

import re

_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,19}\Z")
_GHSA = re.compile(r"GHSA(-[0-9a-z]{4}){3}\Z")
_OTHER = re.compile(r"[A-Z][A-Za-z]{1,12}-[A-Za-z0-9:._-]{3,60}\Z")


def address_of(id_: str) -> str:
    """The page about the vulnerability `id_`; empty for what is no id of a public list."""
    if _CVE.match(id_):
        return f"https://nvd.nist.gov/vuln/detail/{id_}"
    if _GHSA.match(id_):
        return f"https://github.com/advisories/{id_}"
    return f"https://osv.dev/vulnerability/{id_}" if _OTHER.match(id_) else ""
