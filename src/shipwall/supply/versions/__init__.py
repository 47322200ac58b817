"""The version orders of the packaging ecosystems, one module each. THE list of them is `ORDERS`.

Takes: versions as their ecosystem writes them. Gives: -1, 0 or 1 for two of them, and bytes keys whose plain order is the same.
Never: guesses. Text that is no version of an ecosystem raises InputError, and so does the key of one that no key can place.
Start here: `compare_versions`, `version_key`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from typing import NamedTuple

from shipwall.model.errors import InputError
from shipwall.supply.versions import apk, composer, deb, dotted, gem, maven, nuget, pypi, rpm, semver


class Order(NamedTuple):
    """One ecosystem's order. Law: `(key(a) < key(b)) == (compare(a, b) < 0)`. Both raise InputError for what is no version."""

    name: str
    compare: Callable[[str, str], int]
    key: Callable[[str], bytes]


ORDERS: dict[str, Order] = {
    order.name: order
    for order in (
        Order("deb", deb.compare_versions, deb.version_key),
        Order("apk", apk.compare_apk, apk.apk_key),
        Order("rpm", rpm.compare_rpm, rpm.rpm_key),
        Order("maven", maven.compare_maven, maven.maven_key),
        Order("pypi", pypi.compare_pypi, pypi.pypi_key),
        Order("gem", gem.compare_gem, gem.gem_key),
        Order("composer", composer.compare_composer, composer.composer_key),
        Order("nuget", nuget.compare_nuget, nuget.nuget_key),
        Order("semver", semver.compare_semver, semver.semver_key),
        Order("npm", semver.compare_semver, semver.semver_key),
        Order("cargo", semver.compare_semver, semver.semver_key),
        Order("golang", semver.compare_golang, semver.golang_key),
        Order("cran", dotted.compare_cran, dotted.cran_key),
        Order("hackage", dotted.compare_hackage, dotted.hackage_key),
        Order("pub", semver.compare_pub, semver.pub_key),
    )
}


_OF_DISTRIBUTIONS = {
    "deb": ("debian", "ubuntu", "echo"),
    "apk": ("alpine", "wolfi", "chainguard", "minimos"),
    "rpm": (
        *("redhat", "red hat", "rhel", "almalinux", "rocky linux", "centos", "fedora", "amazon linux", "oracle linux"),
        *("suse", "opensuse", "openeuler", "mageia", "photon os", "azure linux"),
    ),
}

ECOSYSTEMS: dict[str, str] = {
    **{name: name for name in ORDERS},
    **{name: order for order, names in _OF_DISTRIBUTIONS.items() for name in names},
    "rubygems": "gem",
    "packagist": "composer",
    "go": "golang",
    "crates.io": "cargo",
    "python": "pypi",
    "hex": "semver",
    "swifturl": "semver",
    "swift": "semver",
    "github actions": "semver",
    "bitnami": "semver",
}
"""Names of ecosystems in lower case (package URL types, OSV's names without release) and the names of their orders."""


def find_order(name: str) -> Order:
    """The order of the ecosystem `name`: a package URL type, or OSV's name (`Debian:12`). Raises InputError with the nearest name."""
    wanted = name[:80].lower().partition(":")[0].strip()
    order = ECOSYSTEMS.get(wanted)
    if order is None:
        near = difflib.get_close_matches(wanted, ECOSYSTEMS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ECOSYSTEMS)}"
        raise InputError(f"ecosystem {name[:80]!r}", "has no version order here", hint)
    return ORDERS[order]


def compare_versions(order: str, left: str, right: str) -> int:
    """-1, 0 or 1 as `left` is older than, the same as or newer than `right`. Raises InputError."""
    return (ORDERS.get(order) or find_order(order)).compare(left, right)


def version_key(order: str, text: str) -> bytes:
    """Bytes whose plain order is the order of versions. Raises InputError."""
    return (ORDERS.get(order) or find_order(order)).key(text)


_INEXACT = {"maven", "composer"}  # keys that cannot say everything the comparison says
_cached_key = functools.lru_cache(maxsize=65_536)(version_key)  # about 16 MB when full; versions repeat over packages and images


def compare_again(order: str, left: str, right: str) -> int:
    """The same as `compare_versions`, for versions that come again and again. Raises InputError."""
    if order in _INEXACT:
        return compare_versions(order, left, right)
    one, other = _cached_key(order, left), _cached_key(order, right)
    return (one > other) - (one < other)
