"""Layers: what each brought, whose it is, and who can mend what; nothing lost, nothing guessed."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.supply.layer_owners import KnownBase, LayersTold, tell_layers


def image(*seeds: str) -> ImageIdentity:
    text = "/".join(seeds).encode()
    return ImageIdentity(
        manifest=digest_of(text), config=digest_of(b"c" + text), diff_ids=tuple(digest_of(one.encode()) for one in seeds)
    )


def package(name: str, layer: str) -> Package:
    return Package(ecosystem="deb", name=name, version="1", layer=digest_of(layer.encode()) if layer else "")


def told(shop: ImageIdentity, packages: list[Package], fixed: str, *bases: ImageIdentity) -> LayersTold:
    inventory = Inventory(
        image=shop, distribution=Distribution(), packages=tuple(packages), history=("a", "/bin/sh -c #(nop)  COPY b /b", "c")
    )
    findings = tuple(Finding(id=f"CVE-{one.name}", package=one, fixed_version=fixed) for one in packages)
    known = [KnownBase(identity=one, name=f"known-{len(one.diff_ids)}") for one in bases]
    return tell_layers(inventory, ScanResult(findings=findings), known)


SHOP = image("debian", "python", "shop")
PACKAGES = [package("dash", "debian"), package("pip", "python"), package("nginx", "shop"), package("stray", "")]


def test_a_layer_is_that_of_the_smallest_base_that_has_it() -> None:
    found = told(SHOP, PACKAGES, "2", image("debian"), image("debian", "python"), image("alpine"), image("debian", "other"), SHOP)
    assert [base.name for base in found.bases] == ["known-2", "known-1"]
    assert [(layer.number, layer.base.name if layer.base else "", layer.command) for layer in found.layers] == [
        (1, "known-1", "a"),
        (2, "known-2", "COPY b /b"),
        (3, "", "c"),
    ]
    assert {one.finding.id: one.mended_by for _layer, one in found.findings} == {
        "CVE-dash": "a newer base",
        "CVE-pip": "a newer base",
        "CVE-nginx": "this image's build",
        "CVE-stray": "not known",
    }


def test_without_a_known_base_nobody_is_accused() -> None:
    found = told(SHOP, PACKAGES, "2")
    assert {layer.base for layer in found.layers} == {None}
    assert {one.mended_by for layer, one in found.findings if layer} == {"this image's build, or its base"}
    assert {one.mended_by for _layer, one in told(SHOP, PACKAGES, "").findings} == {"nobody yet"}
    alone = told(image("debian"), PACKAGES[:1], "2")
    assert [one.mended_by for _layer, one in alone.findings] == ["this image's build"]


layers = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5)


@given(layers, st.lists(layers, max_size=4), st.lists(st.sampled_from([*"abcdefx", ""]), max_size=8))
def test_nothing_is_lost_or_told_twice(own: list[str], others: list[list[str]], places: list[str]) -> None:
    packages = [package(f"p{number}", place) for number, place in enumerate(places)]
    found = told(image(*own), packages, "2", *(image(*one) for one in others))
    assert sorted(one.finding.package.name for _layer, one in found.findings) == sorted(one.name for one in packages)
    placed = [one for layer in found.layers for one in layer.packages]
    assert sorted(one.name for one in placed) == sorted(one.name for one in packages if one.layer in image(*own).diff_ids)
    owners = [len(layer.base.identity.diff_ids) if layer.base else 99 for layer in found.layers]
    assert all(lower <= upper for lower, upper in pairwise(owners)), "a base's layers lie below all others"
    assert all(base.identity.diff_ids == image(*own).diff_ids[: len(base.identity.diff_ids)] for base in found.bases)
