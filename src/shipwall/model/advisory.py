"""Advisories in the one form all feeds are turned into."""

from __future__ import annotations

import msgspec

from shipwall.model.finding import FixState, Severity


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Affected versions: from `introduced` (empty: from the first) up to but without `fixed`, or up to and with `last_affected`.

    With neither end every later version is affected. At most one end is set.
    """

    introduced: str = ""
    fixed: str = ""
    last_affected: str = ""


class Affected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which versions of package `name` in `scope` an advisory speaks of: those in any of `ranges`, and those in `versions` (exact).

    `scope`: an ecosystem, for distributions with its release: `Debian:12`, `Alpine:v3.18`, `AlmaLinux:8`, `PyPI` (OSV's words;
    `supply/ecosystems.py` lists them). `by_source`: `name` is a source package's. `module`: only builds of this RPM module stream.
    `arches`: only these, empty for all. `severity`, `state` and `reason` are the distribution's own for this package.
    Packages that a feed calls not affected are left out.
    """

    scope: str
    name: str
    ranges: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()
    by_source: bool = False
    module: str = ""
    arches: tuple[str, ...] = ()
    severity: Severity = Severity.UNKNOWN
    state: FixState = FixState.UNKNOWN
    reason: str = ""


class Advisory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One advisory of one feed. `id` alone is not unique: feeds share ids; (`feed`, `id`) is.

    `aliases`: other ids of the same problem (CVE, GHSA, ...), and for advisories that fix several problems `fixes` names each of these.
    `cvss`: vectors as written. Times in nanoseconds since 1970, 0 when unknown. `withdrawn`: taken back by its author.
    """

    feed: str
    id: str
    aliases: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    summary: str = ""
    severity: Severity = Severity.UNKNOWN
    cvss: tuple[str, ...] = ()
    published_ns: int = 0
    modified_ns: int = 0
    withdrawn: bool = False
    urls: tuple[str, ...] = ()
    affected: tuple[Affected, ...] = ()
