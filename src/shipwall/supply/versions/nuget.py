"""NuGet's version order: four numbers (absent ones zero), then labels as SemVer 2 orders them but without case; metadata does not count.

Source: NuGet.Versioning `VersionComparer` (mode `Default`).
"""

from __future__ import annotations

from shipwall.supply.versions.keys import encode
from shipwall.supply.versions.semver import SemVer, compare_release, parse_semver, release_key


def _parse(text: str) -> SemVer:
    version = parse_semver(text, "NuGet")
    return version._replace(pre=tuple(label.lower() for label in version.pre))


def compare_nuget(left: str, right: str) -> int:
    """-1, 0 or 1 as NuGet decides."""
    return compare_release(_parse(left), _parse(right))


def nuget_key(text: str) -> bytes:
    """Order-preserving key of `compare_nuget`."""
    return encode(release_key(_parse(text)))
