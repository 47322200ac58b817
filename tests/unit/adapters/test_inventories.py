"""What is kept of listed images: trusted by digest and program, bounded, never a reason to fail a scan."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from tests.images import debian_files, make_tar, oci_files, sha256, write_files

from shipwall.adapters.inventories import Inventories, InventoryCache, listing_version
from shipwall.journeys import scan as journey
from shipwall.journeys.scan import list_image
from shipwall.model.digest import ImageIdentity
from shipwall.model.errors import ShipwallError
from shipwall.model.package import Distribution, Inventory

LAYERS = [make_tar(debian_files({"bash": "5.2-1"}))]


def inventory_of(number: int) -> Inventory:
    identity = ImageIdentity(manifest=sha256(b"m%d" % number), config=sha256(b"c%d" % number), diff_ids=())
    return Inventory(image=identity, distribution=Distribution(), packages=(), created="x" * 1000)


def manifest_of(number: int) -> str:
    return sha256(b"m%d" % number)


def test_a_listed_layout_is_known_by_its_digest_without_reading_its_layers(tmp_path: Path) -> None:
    cache = InventoryCache(tmp_path / "cache")
    layout = write_files(tmp_path / "oci", oci_files(LAYERS))
    first = list_image(str(layout), inventories=cache)
    layer = next(path for path in (layout / "blobs/sha256").iterdir() if path.read_bytes()[:2] == b"\x1f\x8b")
    layer.write_bytes(b"other bytes")
    said: list[str] = []
    assert list_image(str(layout), inventories=cache, say=said.append) == first
    assert said == ["listed before"]
    with pytest.raises(ShipwallError):
        list_image(str(layout), inventories=cache, rehash=True)


def test_a_changed_manifest_is_another_image(tmp_path: Path) -> None:
    cache = InventoryCache(tmp_path / "cache")
    layout = write_files(tmp_path / "oci", oci_files(LAYERS))
    list_image(str(layout), inventories=cache)
    other = write_files(tmp_path / "other", oci_files([make_tar(debian_files({"bash": "5.2-2"}))]))
    assert [package.version for package in list_image(str(other), inventories=cache).packages] == ["5.2-2"]


def test_another_program_lists_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = InventoryCache(tmp_path / "cache")
    layout = write_files(tmp_path / "oci", oci_files(LAYERS))
    said: list[str] = []
    for lister in ("one", "one", "two"):
        monkeypatch.setattr(journey, "listing_version", lambda lister=lister: lister)
        list_image(str(layout), inventories=cache, say=said.append)
    assert said == ["reading layer 1 of 1", "listed before", "reading layer 1 of 1"]


def test_the_version_is_of_the_program(tmp_path: Path) -> None:
    assert listing_version() == listing_version()
    assert len(listing_version()) == 32


def test_a_cache_is_bounded_and_the_longest_unused_goes_first(tmp_path: Path) -> None:
    cache = InventoryCache(tmp_path / "cache")
    cache.put(inventory_of(0))
    size = next((tmp_path / "cache").glob("*.json")).stat().st_size
    cache = InventoryCache(tmp_path / "cache", limit_bytes=3 * size)
    for number in range(3):
        cache.put(inventory_of(number))
        os.utime(next((tmp_path / "cache").glob(f"{manifest_of(number)[7:]}.json")), ns=(number, number))
    assert cache.get(manifest_of(0)) == inventory_of(0)  # used: now the newest
    cache.put(inventory_of(3))
    assert [number for number in range(4) if cache.get(manifest_of(number))] == [0, 2, 3]
    assert cache.find_by_config(sha256(b"c1")) is None
    assert len(list((tmp_path / "cache/by-config").iterdir())) == 3


def test_what_is_damaged_or_cannot_be_kept_is_no_error(tmp_path: Path) -> None:
    cache = InventoryCache(tmp_path / "cache")
    cache.put(inventory_of(0))
    file = next((tmp_path / "cache").glob("*.json"))
    file.write_bytes(b"{")
    assert cache.get(manifest_of(0)) is None
    blocked = InventoryCache(tmp_path / "cache" / file.name)
    blocked.put(inventory_of(1))
    assert blocked.get(manifest_of(1)) is None


def test_files_of_earlier_versions_are_read_but_not_trusted_as_listings(tmp_path: Path) -> None:
    kept = Inventories(tmp_path)
    (tmp_path / f"{manifest_of(0)[7:]}.json").write_bytes(msgspec.json.encode(inventory_of(0)))
    assert kept.get(manifest_of(0)) == inventory_of(0)
    assert kept.get(manifest_of(0), "some lister") is None
