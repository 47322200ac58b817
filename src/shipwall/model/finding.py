"""Findings: a package in an image that an advisory speaks of."""

from __future__ import annotations

import enum

import msgspec

from shipwall.model.package import Package, Skipped
from shipwall.model.verdict import Evidence


class Severity(enum.StrEnum):
    """As the source says; UNKNOWN where no source gives one (never guessed)."""

    UNKNOWN = "unknown"
    NEGLIGIBLE = "negligible"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One problem of one package. `id` is a CVE id, or the advisory's own id where no CVE is named.

    `fixed_version` is empty when no fix exists. `aliases` are other ids of the same problem. `source` names who said it.
    """

    id: str
    package: Package
    severity: Severity = Severity.UNKNOWN
    fixed_version: str = ""
    aliases: tuple[str, ...] = ()
    source: str = ""
    evidence: tuple[Evidence, ...] = ()


class ScanResult(msgspec.Struct, frozen=True, kw_only=True):
    """Findings over an inventory, and what could not be judged. `advisories` says which data was used and how old it is."""

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...] = ()
    advisories: str = ""
    advisories_time_ns: int = 0
