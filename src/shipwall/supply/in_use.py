"""Findings in what runs, told apart from findings in what only lies there."""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import SYSTEM_TYPES, Inventory, Package

_READ_ONLY_ECOSYSTEMS = frozenset({"pypi", "npm", "gem", "composer", "maven"})
"""Interpreters read their files; nothing of that is executed or mapped."""

_PROGRAM = re.compile(r"/(s?bin|libexec|games)/[^/]+\Z|\.so(\.[0-9][0-9.]*)?\Z")


def mark_in_use(result: ScanResult, inventory: Inventory, paths: Collection[str]) -> ScanResult:
    """`result` with `in_use` of each finding set: whether any file of its package, or the file that tells of it, is among `paths`.

    False only where use would have been seen: a package with no program and no library (documents, scripts that an interpreter reads,
    modules of a language) is None, not known, unless one of its files is among `paths`.
    """
    seen = frozenset(paths)
    marks = {_key(package): _is_used(package, seen) for package in inventory.packages}
    words = {True: "executed or mapped on this host", False: "", None: ""}

    def marked(finding: Finding) -> Finding:
        in_use = marks.get(_key(finding.package))
        reason = "; ".join(filter(None, (finding.reason, words[in_use])))
        return msgspec.structs.replace(finding, in_use=in_use, reason=reason)

    suppressed = tuple(msgspec.structs.replace(one, finding=marked(one.finding)) for one in result.suppressed)
    return msgspec.structs.replace(result, findings=tuple(map(marked, result.findings)), suppressed=suppressed)


def _is_used(package: Package, seen: frozenset[str]) -> bool | None:
    if package.evidence in seen or not seen.isdisjoint(package.files):
        return True
    if package.ecosystem in _READ_ONLY_ECOSYSTEMS:
        return None
    if package.ecosystem in SYSTEM_TYPES and not any(_PROGRAM.search(path) for path in package.files):
        return None
    return False


def _key(package: Package) -> tuple[str, str, str, str, str]:
    return package.ecosystem, package.name, package.version, package.arch, package.evidence
