"""Findings: the installed packages for which the distribution's security archive has something newer.

Two steps, because fetching lies between them: `find_updates` says which packages are behind and which changelogs would tell why;
`render_findings` turns both into findings. The archive gives no severity, so every finding's is UNKNOWN.
What this cannot see: problems without a fix, and problems fixed silently. Both are said in the documentation of `image scan`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from shipwall.model.errors import InputError
from shipwall.model.finding import Finding
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.model.verdict import Evidence
from shipwall.supply.archive_index import ArchivePackage
from shipwall.supply.changelog import find_fixes
from shipwall.supply.makers import not_of_distribution
from shipwall.supply.versions.deb import compare_versions, version_order


class Update(NamedTuple):
    """`installed` is older than `fixed`. `by_source`: the archive no longer builds this package, only its source is newer."""

    installed: Package
    fixed: ArchivePackage
    by_source: bool = False

    @property
    def fixed_version(self) -> str:
        """The version that ends the finding: the binary package's, or the source's when only that is known."""
        return self.fixed.source_version if self.by_source else self.fixed.version

    @property
    def source_key(self) -> tuple[str, str]:
        """Source package and version whose changelog tells what was fixed."""
        return self.fixed.source, self.fixed.source_version


def find_updates(inventory: Inventory, archive: Iterable[ArchivePackage]) -> tuple[list[Update], list[Skipped]]:
    """The installed Debian packages that `archive` has newer versions of, and what could not be compared.

    A package is compared with its namesakes of the same architecture or `all`. One the archive does not build (any more) is compared
    by source, so that a library renamed by its fix is still found.
    """
    skipped: list[Skipped] = []
    by_name: dict[str, list[ArchivePackage]] = {}
    by_source: dict[str, list[ArchivePackage]] = {}
    for entry in archive:
        try:
            compare_versions(entry.version, entry.source_version)
        except InputError as error:
            skipped.append(Skipped(what=f"{entry.filename} of the archive", reason=error.line()))
            continue
        by_name.setdefault(entry.name, []).append(entry)
        by_source.setdefault(entry.source, []).append(entry)
    updates: list[Update] = []
    others: Counter[str] = Counter()
    for package in inventory.packages:
        if package.ecosystem != "deb":
            if not package.owner:  # what a Debian package owns is judged by that package
                others[package.ecosystem] += 1
            continue
        try:
            update = _find_update(package, by_name, by_source)
        except InputError as error:
            skipped.append(Skipped(what=f"package {package.name}", reason=error.line(), packages=1))
            continue
        if update is not None:
            updates.append(update)
        if foreign := not_of_distribution(package):
            skipped.append(foreign)
    for ecosystem, count in sorted(others.items()):
        what = f"{count} {ecosystem} package{'s' * (count > 1)}"
        reason = f"no advisories for {ecosystem} packages in the distribution's archive"
        skipped.append(Skipped(what=what, reason=reason, packages=count))
    return updates, skipped


def _find_update(
    package: Package, by_name: Mapping[str, list[ArchivePackage]], by_source: Mapping[str, list[ArchivePackage]]
) -> Update | None:
    namesakes = [
        entry for entry in by_name.get(package.name, ()) if package.arch in {entry.arch, "all", ""} or entry.arch == "all"
    ]
    if namesakes:
        newest = max(namesakes, key=lambda entry: version_order(entry.version))
        return Update(package, newest) if compare_versions(package.version, newest.version) < 0 else None
    relatives = by_source.get(package.source, ())
    if relatives and package.name not in by_name:
        newest = max(relatives, key=lambda entry: version_order(entry.source_version))
        if compare_versions(package.source_version, newest.source_version) < 0:
            return Update(package, newest, by_source=True)
    return None


def rank_carriers(update: Update, archive: Iterable[ArchivePackage]) -> list[ArchivePackage]:
    """The `.deb` files that may carry the changelog of the update's source, best first.

    The smallest first, but packages whose documentation folder is by custom a link to a sibling's (-dev, -dbg, ...) last.
    """
    carriers = [entry for entry in archive if (entry.source, entry.source_version) == update.source_key]
    return sorted(
        carriers, key=lambda entry: (entry.name.endswith(("-dev", "-dbg", "-dbgsym", "-udeb")), entry.size, entry.filename)
    )


def render_findings(
    updates: Iterable[Update],
    changelogs: Mapping[tuple[str, str], tuple[ArchivePackage, bytes] | Skipped],
    distribution: Distribution,
) -> tuple[list[Finding], list[Skipped]]:
    """One finding for each (package, CVE); one with an id of the update itself (aliases: GitHub's ids) where no CVE is named.

    `changelogs`: by (source, source version), the changelog and the `.deb` it came from, or why there is none. A finding's package
    comes without its file list.
    """
    findings: list[Finding] = []
    skipped: dict[tuple[str, str], Skipped] = {}
    for update in updates:
        package, fixed = msgspec.structs.replace(update.installed, files=()), update.fixed
        evidence = [
            Evidence(kind="file", ref=package.evidence, detail=package.layer),
            Evidence(kind="package", ref=fixed.filename, detail=f"sha256:{fixed.sha256} named by {fixed.suite}"),
        ]
        found = changelogs.get(update.source_key)
        cves: dict[str, str] = {}
        others: dict[str, str] = {}
        if isinstance(found, tuple):
            carrier, text = found
            cves, others, _ = find_fixes(text, package.source_version, fixed.source_version)
            changelog = f"changelog in {carrier.filename}"
        else:
            skipped[update.source_key] = found or Skipped(what=f"changelog of {fixed.source}", reason="was not fetched")
        own_id = f"{distribution.id or 'deb'}:{fixed.source}@{fixed.source_version}"
        findings += [
            Finding(
                id=cve,
                package=package,
                fixed_version=update.fixed_version,
                source=fixed.suite,
                evidence=(*evidence, Evidence(kind="statement", ref=changelog, detail=f"entry {version}")),
            )
            for cve, version in sorted(cves.items())
        ]
        if not cves:
            findings.append(
                Finding(
                    id=own_id,
                    package=package,
                    fixed_version=update.fixed_version,
                    aliases=tuple(sorted(others)),
                    source=fixed.suite,
                    evidence=tuple(evidence),
                )
            )
    return findings, list(skipped.values())
