"""What a Debian archive and its changelogs say → advisories, so that a database judges by it as by any feed.

One advisory for each CVE that an entry of a changelog names, of every source package it was fixed in; one of the update's own where a
changelog names none. The archive gives no severity. What it has no update for, it does not speak of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cmp_to_key

from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.finding import FixState
from shipwall.model.package import Distribution, Skipped
from shipwall.supply.archive_index import ArchivePackage
from shipwall.supply.changelog import find_fixes
from shipwall.supply.ecosystems import distribution_scopes
from shipwall.supply.match import Update
from shipwall.supply.versions.deb import compare_versions

_ORDER = cmp_to_key(compare_versions)


def advisories_of_updates(
    updates: Iterable[Update],
    changelogs: Mapping[tuple[str, str], tuple[ArchivePackage, bytes] | Skipped],
    distribution: Distribution,
    feed: str,
) -> Iterator[Advisory]:
    """The advisories of `feed` that judge the installed packages of `updates` as `supply.match.render_findings` does.

    `changelogs`: by (source, source version). Law: the (package, id) of the findings by these advisories are those by the archive.
    """
    scope = distribution_scopes(distribution)[0]
    behind: dict[tuple[str, str], list[str]] = defaultdict(list)
    problems: dict[str, list[Affected]] = defaultdict(list)
    aliases: dict[str, tuple[str, ...]] = {}
    for update in updates:
        (source, version), installed = update.source_key, update.installed
        if compare_versions(installed.source_version, version) < 0:
            behind[source, version].append(installed.source_version)
        else:  # built again from the same source, with a library that was mended: only the binary's version tells
            own = f"{distribution.id or 'deb'}:{source}@{version}"
            problems[own].append(_affected(scope, installed.name, "", update.fixed.version, by_source=False))
    for (source, version), versions in behind.items():
        found = changelogs.get((source, version))
        fixes = find_fixes(found[1], min(versions, key=_ORDER), version) if isinstance(found, tuple) else None
        for cve, fixed in fixes.cves.items() if fixes else ():
            problems[cve].append(_affected(scope, source, "", fixed))
        last = max(fixes.cves.values(), key=_ORDER) if fixes and fixes.cves else ""
        if not last or any(compare_versions(one, last) >= 0 for one in versions):  # behind, and no CVE says why
            own = f"{distribution.id or 'deb'}:{source}@{version}"
            aliases[own] = tuple(sorted(fixes.others)) if fixes else ()
            problems[own].append(_affected(scope, source, last, version))
    for problem, affected in sorted(problems.items()):
        yield Advisory(feed=feed, id=problem, aliases=aliases.get(problem, ()), affected=tuple(dict.fromkeys(affected)))


def _affected(scope: str, name: str, introduced: str, fixed: str, *, by_source: bool = True) -> Affected:
    return Affected(scope=scope, name=name, by_source=by_source, ranges=(Range(introduced, fixed),), state=FixState.FIXED)
