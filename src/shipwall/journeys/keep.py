"""Keeping a listed image in the fleet."""

from __future__ import annotations

from pathlib import Path

from shipwall.adapters.fleet import NO_LAYER, Fleet, ListedImage
from shipwall.model.package import Inventory
from shipwall.supply.fleet import Component, component_of


def keep_image(path: Path, inventory: Inventory, name: str, now_ns: int) -> bool:
    """Keep `inventory` in the fleet at `path`, seen under `name`; whether it brought anything new. A plain folder is not kept."""
    if inventory.image is None:
        return False
    layers = {diff_id: index for index, diff_id in enumerate(inventory.image.diff_ids[:NO_LAYER])}
    components: dict[Component, int] = {}
    for package in inventory.packages:
        component = component_of(package, inventory.distribution)
        components[component] = min(layers.get(package.layer, NO_LAYER), components.get(component, NO_LAYER))
    listed = ListedImage(inventory.image, inventory.distribution, inventory.created, inventory.history, components)
    with Fleet(path, write=True) as fleet:
        return fleet.put(listed, name, now_ns)
