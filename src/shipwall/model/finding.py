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


class FixState(enum.StrEnum):
    """What the source says about a fix. UNKNOWN where it says nothing."""

    UNKNOWN = "unknown"
    FIXED = "fixed"
    NOT_FIXED = "not-fixed"
    WILL_NOT_FIX = "will-not-fix"
    END_OF_LIFE = "end-of-life"


class Exploited(msgspec.Struct, frozen=True, kw_only=True):
    """Signs of exploitation. `epss` (probability within 30 days) and `percentile` from 0 to 1, None when EPSS has no score for the id.

    `kev`: listed by CISA as known to be exploited; `kev_due` the date (YYYY-MM-DD) by which its catalogue asks for a fix.
    """

    epss: float | None = None
    percentile: float | None = None
    kev: bool = False
    kev_due: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One problem of one package. `id` is a CVE id, or the advisory's own id where no CVE is named.

    `fixed_version` is empty when no fix exists. `aliases` are all other ids of the same problem (one finding per problem and package).
    `source` names the feed that said it. `severity_source`: who gave the severity (the distribution's feed first; else `cvss`).
    `score`: CVSS base score of `vector`, None when no vector is known. `reason`: why the package is affected, in one line.
    `in_use`: whether the sensor saw a file of the package executed or mapped; None when nobody looked or its use cannot be seen.
    """

    id: str
    package: Package
    severity: Severity = Severity.UNKNOWN
    fixed_version: str = ""
    aliases: tuple[str, ...] = ()
    source: str = ""
    evidence: tuple[Evidence, ...] = ()
    state: FixState = FixState.UNKNOWN
    severity_source: str = ""
    score: float | None = None
    vector: str = ""
    summary: str = ""
    reason: str = ""
    exploited: Exploited = Exploited()
    in_use: bool | None = None


class Suppressed(msgspec.Struct, frozen=True, kw_only=True):
    """A finding somebody set aside: `by` names the VEX document or ignore file and place, `status` the VEX status or `ignored`.

    `until`: RFC 3339 date of its expiry, empty for none.
    """

    finding: Finding
    by: str
    status: str
    reason: str
    until: str = ""


class ScanResult(msgspec.Struct, frozen=True, kw_only=True):
    """Findings over an inventory, and what could not be judged. `advisories` says which data was used and how old it is.

    `suppressed`: findings set aside. `notices`: what the reader must know besides (end of life, old data, a VEX statement that matched
    nothing), one line each.
    """

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...] = ()
    advisories: str = ""
    advisories_time_ns: int = 0
    suppressed: tuple[Suppressed, ...] = ()
    notices: tuple[str, ...] = ()

    def unjudged_of(self, packages: int) -> int:
        """Of so many packages of the inventory, those of which something is not known. All of them where no advisories were there."""
        return min(packages, sum(one.packages for one in self.skipped)) if self.advisories else packages
