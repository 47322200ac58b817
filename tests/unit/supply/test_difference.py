"""Differences as people read them."""

from __future__ import annotations

import msgspec
import pytest

from shipwall.model.errors import InputError
from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.supply.difference import (
    apply_inventory_difference,
    difference_of_inventories,
    difference_of_scans,
)


def deb(name: str, version: str = "1", layer: str = "") -> Package:
    return Package(ecosystem="deb", name=name, version=version, layer=layer)


def inventory(*packages: Package) -> Inventory:
    return Inventory(image=None, distribution=Distribution(), packages=packages)


def test_added_removed_changed_and_moved_are_told_apart() -> None:
    before = inventory(deb("gone"), deb("newer"), deb("same"), deb("moved", layer="a"))
    after = inventory(deb("same"), deb("newer", "2"), deb("fresh"), deb("moved", layer="b"))
    changes = difference_of_inventories(before, after).packages
    assert [one.name for one in changes.added] == ["fresh"]
    assert [one.name for one in changes.removed] == ["gone"]
    assert [(one.before.version, one.after.version) for one in changes.changed] == [("1", "2")]
    assert [one.after.name for one in changes.moved] == ["moved"]
    assert not changes.is_empty


def test_only_moved_is_empty_for_people() -> None:
    changes = difference_of_inventories(inventory(deb("a", layer="x")), inventory(deb("a", layer="y"))).packages
    assert changes.is_empty
    assert changes.moved


def test_versions_side_by_side_are_not_mixed_up() -> None:
    changes = difference_of_inventories(inventory(deb("a", "1"), deb("a", "2")), inventory(deb("a", "2"), deb("a", "3"))).packages
    assert [(one.before.version, one.after.version) for one in changes.changed] == [("1", "3")]
    assert not changes.added
    assert not changes.removed


def test_findings_vanish_with_the_fix_and_change_with_the_version() -> None:
    one, two = Finding(id="CVE-1", package=deb("a")), Finding(id="CVE-2", package=deb("a"))
    later = msgspec.structs.replace(two, package=deb("a", "2"))
    changes = difference_of_scans(ScanResult(findings=(one, two)), ScanResult(findings=(later,))).findings
    assert changes.removed == (one,)
    assert [(pair.before, pair.after) for pair in changes.changed] == [(two, later)]


def test_a_difference_fits_only_where_it_was_made() -> None:
    change = difference_of_inventories(inventory(deb("a")), inventory(deb("b")))
    with pytest.raises(InputError, match="does not start from this list"):
        apply_inventory_difference(change, inventory(deb("c")))
