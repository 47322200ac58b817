"""Rebuild: the order, the new parents, the difference; and a build that did not use the new base."""

from __future__ import annotations

import pytest

from shipwall.journeys.rebuild import Examined, rebuild_children, render_summary
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError
from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.model.wire import ImageStep, Message
from shipwall.supply.lineage import RebuildStep


def image(*layers: str) -> ImageIdentity:
    name = "/".join(layers).encode()
    diff_ids = tuple(digest_of(layer.encode()) for layer in layers)
    return ImageIdentity(manifest=digest_of(name), config=digest_of(name + b"c"), diff_ids=diff_ids)


OLD, NEW = image("old"), image("new")
SHOP, PLUGIN = image("old", "shop"), image("old", "shop", "plugin")


def examine(one: ImageIdentity) -> Examined:
    fresh = one.diff_ids[0] == NEW.diff_ids[0]
    openssl = Package(ecosystem="deb", name="openssl", version="2" if fresh else "1")
    packages = (openssl,) if fresh else (openssl, Package(ecosystem="deb", name="tcpdump", version="4"))
    findings = () if fresh else (Finding(id="CVE-1", package=openssl, fixed_version="2"),)
    return Examined(
        inventory=Inventory(image=one, distribution=Distribution(), packages=packages), scan=ScanResult(findings=findings)
    )


def test_children_are_rebuilt_in_order_on_what_their_parents_became() -> None:
    asked: list[tuple[ImageIdentity, ImageIdentity]] = []
    steps: list[Message] = []

    def build(step: RebuildStep, parent: ImageIdentity) -> ImageIdentity:
        asked.append((step.image, parent))
        return ImageIdentity(
            manifest=digest_of(step.image.manifest.encode()),
            config=digest_of(b"c"),
            diff_ids=(*parent.diff_ids, step.image.diff_ids[-1]),
        )

    plan, rebuilt = rebuild_children(OLD, NEW, [PLUGIN, SHOP, OLD, NEW], build, examine, report=steps.append)
    assert [step.image for step in plan.steps] == [SHOP, PLUGIN]
    assert asked == [(SHOP, NEW), (PLUGIN, rebuilt[0].image)]
    assert rebuilt[1].image.diff_ids == (NEW.diff_ids[0], *PLUGIN.diff_ids[1:])
    first = rebuilt[0]
    assert [one.name for one in first.packages.packages.removed] == ["tcpdump"]
    assert [one.id for one in first.findings.findings.removed] == ["CVE-1"]
    summary = "packages: 0 added, 1 removed, 1 changed; findings: 0 added, 1 removed, 0 changed"
    assert render_summary(first.packages, first.findings) == summary
    assert [(step.step, step.parent, step.summary) for step in steps if isinstance(step, ImageStep)] == [
        ("rebuilt", NEW.manifest, summary),
        ("rebuilt", rebuilt[0].image.manifest, summary),
    ]


def test_a_build_on_another_base_is_refused() -> None:
    with pytest.raises(InputError, match="was not built on"):
        rebuild_children(OLD, NEW, [SHOP], lambda _step, _parent: SHOP, examine)
