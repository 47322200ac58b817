"""Parents and children of images, recognised exactly: by the chain of their layers, never by name or guess.

A child carries all layers of its parent at the bottom and at least one more. Two images that share every layer (only their
configuration differs) are not told apart this way; both count as the parent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from shipwall.model.digest import Digest, ImageIdentity
from shipwall.model.errors import InputError


class RebuildStep(msgspec.Struct, frozen=True, kw_only=True):
    """`image` is to be rebuilt because `parent` (known before it; itself rebuilt by an earlier step or the start) is replaced."""

    image: ImageIdentity
    parent: ImageIdentity


class RebuildPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Steps in dependency order: a parent's step stands before those of its children."""

    old: ImageIdentity
    new: ImageIdentity
    steps: tuple[RebuildStep, ...]


def find_parents(image: ImageIdentity, known: Iterable[ImageIdentity]) -> tuple[ImageIdentity, ...]:
    """The images of `known` that `image` was built on, nearest first."""
    chain = image.chain_ids
    found = {
        other.manifest: other
        for other in known
        if 0 < len(other.diff_ids) < len(chain) and other.chain_ids[-1] == chain[len(other.diff_ids) - 1]
    }
    return tuple(sorted(found.values(), key=lambda other: (-len(other.diff_ids), other.manifest)))


def find_children(parent: ImageIdentity, known: Iterable[ImageIdentity]) -> tuple[ImageIdentity, ...]:
    """The images of `known` built on `parent`, directly or not, fewest layers first."""
    found = {image.manifest: image for image in known if image.is_child_of(parent)}
    return tuple(sorted(found.values(), key=lambda image: (len(image.diff_ids), image.manifest)))


def plan_rebuild(old: ImageIdentity, new: ImageIdentity, known: Iterable[ImageIdentity]) -> RebuildPlan:
    """What has to be rebuilt, and in which order, when `new` takes the place of `old`.

    Each image of `known` below `old` is rebuilt once, on its NEAREST parent. Images already built on `new` are left out.
    Raises InputError when `old` and `new` have the same layers: then there is nothing to rebuild from.
    """
    if old.diff_ids == new.diff_ids:
        raise InputError(f"base {new.manifest}", "has the same layers as the old base", "rebuild the base first")
    children = [child for child in find_children(old, known) if not child.is_child_of(new) and child.diff_ids != new.diff_ids]
    below: dict[Digest, list[ImageIdentity]] = defaultdict(list)
    for image in (old, *children):
        below[image.chain_ids[-1]].append(image)
    steps = []
    for child in children:  # fewest layers first is dependency order: a child has more layers than its parent
        chain = child.chain_ids
        parent = next(
            (
                min(below[link], key=lambda image: (image is not old, image.manifest))
                for link in reversed(chain[:-1])
                if link in below
            ),
            old,
        )
        steps.append(RebuildStep(image=child, parent=parent))
    return RebuildPlan(old=old, new=new, steps=tuple(steps))
