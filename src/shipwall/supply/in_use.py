"""Findings in what runs, told apart from findings in what only lies there."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import Inventory, Package


def mark_in_use(result: ScanResult, inventory: Inventory, paths: Collection[str]) -> ScanResult:
    """`result` with `in_use` of each finding set: whether any file of its package, or the file that tells of it, is among `paths`.

    Only executed files are known, so a library that a program maps or a script that an interpreter reads is not in use by this.
    """
    seen = frozenset(paths)
    used = {_key(package) for package in inventory.packages if package.evidence in seen or not seen.isdisjoint(package.files)}
    mark = {True: "executed on this host", False: ""}

    def marked(finding: Finding) -> Finding:
        in_use = _key(finding.package) in used
        reason = "; ".join(filter(None, (finding.reason, mark[in_use])))
        return msgspec.structs.replace(finding, in_use=in_use, reason=reason)

    suppressed = tuple(msgspec.structs.replace(one, finding=marked(one.finding)) for one in result.suppressed)
    return msgspec.structs.replace(result, findings=tuple(map(marked, result.findings)), suppressed=suppressed)


def _key(package: Package) -> tuple[str, str, str, str, str]:
    return package.ecosystem, package.name, package.version, package.arch, package.evidence
