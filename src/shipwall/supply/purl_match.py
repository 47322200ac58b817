"""Whether a package URL in somebody's statement names a package of an image, and if not, what differs.

What the statement leaves out (version, namespace of a distribution's package, qualifiers) may be anything. What it says must be equal,
part by part. `arch=source` names a source package: all binaries built from it.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from shipwall.model.package import SYSTEM_TYPES, Distribution, Package
from shipwall.supply.purl import Purl
from shipwall.supply.sbom.purls import find_purl

_REMARKS = frozenset({"vcs_url", "download_url", "checksum", "package-id", "file_name", "repository_url"})
"""Qualifiers that say where a package came from: they do not change which one it is."""


class Difference(NamedTuple):
    """One part of a package URL that differs."""

    part: str
    said: str
    found: str

    def __str__(self) -> str:
        """The difference in words."""
        return f"{self.part} is {self.said} in the statement, {self.found or 'not given'} in the image"


def is_named(said: Purl, package: Package, distribution: Distribution) -> bool:
    """Whether `said` names `package` in an image of `distribution`."""
    return not differences(said, package, distribution)


def differences(said: Purl, package: Package, distribution: Distribution) -> tuple[Difference, ...]:
    """What differs between `said` and `package`, the weightiest part first; empty when `said` names it."""
    qualifiers = dict(said.qualifiers)
    if said.type in SYSTEM_TYPES and qualifiers.get("arch") == "source":
        qualifiers.pop("arch")
        package = replace(package, name=package.source or package.name, version=package.source_version or package.version)
    found = find_purl(package, distribution)
    if found is None:
        return (Difference("type", said.type, package.ecosystem),)
    pairs = [("type", said.type, found.type), ("name", said.name, found.name)]
    if said.namespace or said.type not in SYSTEM_TYPES:
        pairs.insert(1, ("namespace", said.namespace or "empty", found.namespace or "empty"))
    if said.version:
        pairs.append(("version", said.version, found.version))
    pairs += [(key, value, found.qualifiers.get(key, "")) for key, value in qualifiers.items() if key not in _REMARKS]
    return tuple(Difference(part, one, other) for part, one, other in pairs if not _equal(part, one, other))


def _equal(part: str, said: str, found: str) -> bool:
    if part == "epoch":  # no epoch is epoch 0
        return (said.strip("0") or "0") == (found.strip("0") or "0")
    if part == "upstream":  # often without the version
        return said in {found, found.partition("@")[0]}
    return said == found
