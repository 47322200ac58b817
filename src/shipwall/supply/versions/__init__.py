"""The version orders of the packaging ecosystems, one module each. THE list of them is `ORDERS`.

Takes: versions as their ecosystem writes them. Gives: -1, 0 or 1 for two of them, and bytes keys whose plain order is the same.
Never: guesses. Text that is no version of an ecosystem raises InputError, and so does the key of one that no key can place.
Start here: `compare_versions`, `version_key`.
"""

from __future__ import annotations

import difflib
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


def find_order(name: str) -> Order:
    """The order called `name`. Raises InputError with the nearest name."""
    order = ORDERS.get(name)
    if order is None:
        near = difflib.get_close_matches(name[:80], ORDERS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ORDERS)}"
        raise InputError(f"version order {name[:80]!r}", "is not known", hint)
    return order


def compare_versions(order: str, left: str, right: str) -> int:
    """-1, 0 or 1 as `left` is older than, the same as or newer than `right`. Raises InputError."""
    return find_order(order).compare(left, right)


def version_key(order: str, text: str) -> bytes:
    """Bytes whose plain order is the order of versions. Raises InputError."""
    return find_order(order).key(text)
