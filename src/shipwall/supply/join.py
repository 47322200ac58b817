"""Joining: what several advisories say of one problem of one package becomes one finding, with all ids.

Ids join where one advisory calls another's id its own (aliases). The id of an erratum joins nothing: it mends several problems.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from shipwall.model.advisory import Advisory, Affected
from shipwall.model.errors import InputError
from shipwall.model.finding import Exploited, Finding, FixState, Severity
from shipwall.model.package import Package
from shipwall.model.verdict import Evidence
from shipwall.supply.advisory_ids import is_cve, is_erratum
from shipwall.supply.cvss import best_vector
from shipwall.supply.ecosystems import is_distribution, order_of
from shipwall.supply.versions import compare_versions

_STATES = (FixState.FIXED, FixState.END_OF_LIFE, FixState.WILL_NOT_FIX, FixState.NOT_FIXED, FixState.UNKNOWN)


class Hit(NamedTuple):
    """`advisory` of `scope` says by its entry `affected` that `package` is affected; `fixed` ends it (empty: nothing known does)."""

    package: Package
    scope: str
    advisory: Advisory
    affected: Affected
    fixed: str

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id of it."""
        return self.advisory.id, *self.advisory.aliases, *self.advisory.fixes

    def problems(self) -> list[tuple[str, ...]]:
        """The problems it is about, each by its ids (those that may join)."""
        advisory = self.advisory
        if advisory.fixes:
            return [(name,) for name in advisory.fixes]
        own = tuple(name for name in (advisory.id, *advisory.aliases) if not is_erratum(name))
        return [own or (advisory.id,)]


def join_hits(hits: Iterable[Hit], exploited: Mapping[str, Exploited], vectors: Mapping[str, tuple[str, ...]]) -> list[Finding]:
    """One finding for each (package, problem), sorted by package and id."""
    by_package: dict[int, list[Hit]] = {}
    for hit in hits:
        by_package.setdefault(id(hit.package), []).append(hit)
    findings: list[Finding] = []
    for own in by_package.values():
        for names, members in _join(own):
            findings.append(_finding(names, members, exploited, vectors))
    return sorted(findings, key=_place)


def _place(finding: Finding) -> tuple[str, str, str, str, str, str]:
    package = finding.package
    return package.ecosystem, package.name, package.arch, package.version, package.evidence, finding.id


def _join(hits: list[Hit]) -> list[tuple[list[str], list[Hit]]]:
    """Groups of hits that share ids: (all joining ids, hits), in order of appearance."""
    groups: dict[int, tuple[dict[str, None], dict[int, Hit]]] = {}
    group_of: dict[str, int] = {}
    numbers = itertools.count()
    for place, hit in enumerate(hits):
        for names in hit.problems():
            joined = sorted({group_of[name] for name in names if name in group_of})
            home = joined[0] if joined else next(numbers)
            ids, members = groups.setdefault(home, ({}, {}))
            for other in joined[1:]:
                other_ids, other_members = groups.pop(other)
                ids |= other_ids
                members |= other_members
                group_of |= dict.fromkeys(other_ids, home)
            ids |= dict.fromkeys(names)
            members[place] = hit
            group_of |= dict.fromkeys(names, home)
    return [(list(ids), list(members.values())) for ids, members in groups.values()]


def _finding(
    names: list[str], hits: list[Hit], exploited: Mapping[str, Exploited], vectors: Mapping[str, tuple[str, ...]]
) -> Finding:
    primary = min((name for name in names if is_cve(name)), default=names[0])
    package = hits[0].package
    hits = sorted(hits, key=lambda hit: not is_distribution(hit.scope))
    first = _strongest(hits)
    severity, severity_source = _severity(hits)
    vector, score, rating = best_vector(
        [one for hit in hits if len(hit.problems()) == 1 for one in hit.advisory.cvss]
        or [one for name in names for one in vectors.get(name, ())]
    )
    if severity is Severity.UNKNOWN and score is not None:
        severity, severity_source = rating, "cvss"
    others = dict.fromkeys(name for name in (*names, *(hit.advisory.id for hit in hits)) if name != primary)
    return Finding(
        id=primary,
        package=msgspec.structs.replace(package, files=()),
        severity=severity,
        fixed_version=first.fixed,
        aliases=tuple(others),
        source=", ".join(dict.fromkeys(hit.advisory.feed for hit in hits)),
        evidence=_evidence(package, hits),
        state=FixState.FIXED if first.fixed else first.affected.state,
        severity_source=severity_source,
        score=score,
        vector=vector,
        summary=next((hit.advisory.summary for hit in hits if hit.advisory.summary), ""),
        reason=_reason(first),
        exploited=merge_exploited(exploited[name] for name in names if name in exploited),
    )


def _strongest(hits: list[Hit]) -> Hit:
    """The hit that says how the problem ends: of those with a fix the one with the latest, since only that ends all of them."""
    best = hits[0]
    for hit in hits[1:]:
        if hit.fixed:
            if not best.fixed or _is_later(hit, best):
                best = hit
        elif not best.fixed and _STATES.index(hit.affected.state) < _STATES.index(best.affected.state):
            best = hit
    return best


def _is_later(hit: Hit, best: Hit) -> bool:
    try:
        return order_of(hit.scope) == order_of(best.scope) and compare_versions(order_of(hit.scope), hit.fixed, best.fixed) > 0
    except InputError:
        return False


def _severity(hits: list[Hit]) -> tuple[Severity, str]:
    """The first word given, the distribution's own for the package before its advisory's, before other feeds'."""
    for hit in hits:
        for word in (hit.affected.severity, hit.advisory.severity):
            if word is not Severity.UNKNOWN:
                return word, hit.advisory.feed
    return Severity.UNKNOWN, ""


def _evidence(package: Package, hits: list[Hit]) -> tuple[Evidence, ...]:
    file = Evidence(kind="file", ref=package.evidence, detail=package.layer)
    said = dict.fromkeys((hit.advisory.feed, hit.advisory.id, next(iter(hit.advisory.urls), "")) for hit in hits)
    return file, *(Evidence(kind="statement", ref=f"{feed}:{name}", detail=url) for feed, name, url in said)


def _reason(hit: Hit) -> str:
    package, affected = hit.package, hit.affected
    name, version = package.name, package.version
    if affected.by_source and package.source and package.source_version:
        name, version = package.source, package.source_version
    where = f"{name} {version}" + (f" of module {package.module}" if package.module else "")
    if hit.fixed:
        text = f"{where} is before {hit.fixed}, which fixes it in {hit.scope}"
    elif any(one.last_affected for one in affected.ranges):
        text = f"{where} lies in what {hit.advisory.id} calls affected in {hit.scope}"
    else:
        text = f"{where} has no fix in {hit.scope}"
    return text + (f": {affected.reason}" if affected.reason else "")


def merge_exploited(signs: Iterable[Exploited]) -> Exploited:
    """The strongest of `signs`."""
    found = Exploited()
    for one in signs:
        stronger = one.epss is not None and (found.epss is None or one.epss > found.epss)
        found = Exploited(
            epss=one.epss if stronger else found.epss,
            percentile=one.percentile if stronger else found.percentile,
            kev=found.kev or one.kev,
            kev_due=found.kev_due or one.kev_due,
        )
    return found


def join_findings(first: Iterable[Finding], second: Iterable[Finding]) -> list[Finding]:
    """The findings of two sources, those of one package and problem joined; what `first` says counts where both say something.

    They join by their own ids and by aliases that name one problem.
    """
    joined: dict[tuple[object, ...], Finding] = {}
    by_name: dict[tuple[object, ...], tuple[object, ...]] = {}
    for finding in (*first, *second):
        keys = [(_installed(finding), name) for name in (finding.id, *finding.aliases) if not is_erratum(name)]
        keys = keys or [(_installed(finding), finding.id)]
        home = next((by_name[key] for key in keys if key in by_name), keys[0])
        joined[home] = _merged(joined[home], finding) if home in joined else finding
        by_name |= dict.fromkeys(keys, home)
    return sorted(joined.values(), key=_place)


def _installed(finding: Finding) -> tuple[str, ...]:
    package = finding.package
    return package.ecosystem, package.name, package.arch, package.version, package.evidence, package.layer


def _merged(one: Finding, other: Finding) -> Finding:
    names = dict.fromkeys((*one.aliases, other.id, *other.aliases))
    known = one.severity is not Severity.UNKNOWN
    return msgspec.structs.replace(
        one,
        aliases=tuple(name for name in names if name != one.id),
        severity=one.severity if known else other.severity,
        severity_source=one.severity_source if known else other.severity_source,
        fixed_version=one.fixed_version or other.fixed_version,
        state=FixState.FIXED if one.fixed_version or other.fixed_version else one.state,
        source=", ".join(dict.fromkeys(filter(None, (one.source, other.source)))),
        evidence=tuple(dict.fromkeys((*one.evidence, *other.evidence))),
        score=one.score if one.vector else other.score,
        vector=one.vector or other.vector,
        summary=one.summary or other.summary,
        reason=one.reason or other.reason,
        exploited=merge_exploited((one.exploited, other.exploited)),
    )
