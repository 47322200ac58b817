"""Parents, children and the order of a rebuild."""

from __future__ import annotations

import pytest

from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError
from shipwall.supply.lineage import find_children, find_parents, plan_rebuild


def image(name: str, *layers: str) -> ImageIdentity:
    diff_ids = tuple(digest_of(layer.encode()) for layer in layers)
    return ImageIdentity(manifest=digest_of(name.encode()), config=digest_of(name.encode() + b"c"), diff_ids=diff_ids)


OLD, NEW = image("old", "a"), image("new", "b")
MIDDLE = image("middle", "a", "m")
SHOP = image("shop", "a", "m", "s")
OTHER = image("other", "a", "o")
STRANGER = image("stranger", "x", "a", "m")
KNOWN = (SHOP, STRANGER, OTHER, MIDDLE, OLD, NEW, image("empty"))


def test_parents_nearest_first() -> None:
    assert find_parents(SHOP, KNOWN) == (MIDDLE, OLD)
    assert find_parents(OLD, KNOWN) == ()
    assert find_parents(STRANGER, KNOWN) == ()


def test_children_fewest_layers_first() -> None:
    children = find_children(OLD, KNOWN)
    assert set(children[:2]) == {MIDDLE, OTHER}
    assert children[2:] == (SHOP,)


def test_a_plan_rebuilds_each_on_its_nearest_parent_in_order() -> None:
    plan = plan_rebuild(OLD, NEW, KNOWN)
    assert {step.image.manifest: step.parent for step in plan.steps} == {
        MIDDLE.manifest: OLD,
        OTHER.manifest: OLD,
        SHOP.manifest: MIDDLE,
    }
    order = [step.image for step in plan.steps]
    assert order.index(MIDDLE) < order.index(SHOP)


def test_the_named_base_is_preferred_over_a_twin() -> None:
    twin = image("twin", "a")
    assert all(step.parent == OLD for step in plan_rebuild(OLD, NEW, (twin, MIDDLE)).steps)
    below = image("below", "a", "m", "s")
    middles = (MIDDLE, image("middle-twin", "a", "m"))
    assert {step.image for step in plan_rebuild(OLD, NEW, (*middles, below)).steps} == {*middles, below}


def test_what_is_already_on_the_new_base_is_left_out() -> None:
    grown = image("grown", "a", "update")
    done = image("done", "a", "update", "s")
    assert [step.image for step in plan_rebuild(OLD, grown, (grown, done, OTHER)).steps] == [OTHER]


def test_the_same_layers_are_no_new_base() -> None:
    with pytest.raises(InputError, match="same layers"):
        plan_rebuild(OLD, image("again", "a"), KNOWN)
