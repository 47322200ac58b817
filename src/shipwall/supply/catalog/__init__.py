"""Catalogers: who reads which files of an image into packages. THE list of them is here.

A cataloger is a name, the globs of the files it reads, and a function from the merged view to packages. It never opens anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from shipwall.model.digest import ImageIdentity
from shipwall.model.package import Inventory, Package, Skipped
from shipwall.supply.catalog.dpkg import DPKG_GLOBS, read_dpkg
from shipwall.supply.catalog.os_release import OS_RELEASE_GLOBS, find_distribution
from shipwall.supply.layers import View

_MAX_COMMAND = 2000


class Cataloger(NamedTuple):
    """`globs` are relative to the root; `*` stands for anything but a slash."""

    name: str
    globs: tuple[str, ...]
    read: Callable[[View], tuple[list[Package], list[Skipped]]]


CATALOGERS = (Cataloger("dpkg", DPKG_GLOBS, read_dpkg),)


def make_view() -> View:
    """An empty view that keeps what the catalogers read."""
    return View([*OS_RELEASE_GLOBS, *(glob for cataloger in CATALOGERS for glob in cataloger.globs)])


def list_packages(view: View, image: ImageIdentity | None, config: dict[str, Any]) -> Inventory:
    """The inventory of the merged `view`. `config` is the image's configuration as parsed JSON (empty for a plain folder)."""
    packages: list[Package] = []
    skipped = list(view.skipped)
    for cataloger in CATALOGERS:
        found, missed = cataloger.read(view)
        packages += found
        skipped += missed
    distribution = find_distribution(view)
    if not packages:
        what = distribution.id or "unknown distribution"
        skipped.append(Skipped(what=what, reason="no package database that Shipwall reads was found"))
    settings = config.get("config")
    labels = settings.get("Labels") if isinstance(settings, dict) else None
    created = config.get("created")
    return Inventory(
        image=image,
        distribution=distribution,
        packages=tuple(sorted(packages, key=lambda package: (package.ecosystem, package.name, package.arch, package.version))),
        skipped=tuple(skipped),
        labels={key: value for key, value in labels.items() if isinstance(value, str)} if isinstance(labels, dict) else {},
        created=created if isinstance(created, str) else "",
        history=read_history(config, len(image.diff_ids)) if image is not None else (),
    )


def read_history(config: dict[str, Any], layers: int) -> tuple[str, ...]:
    """The command that made each of the `layers`; empty when the configuration does not tell one for each. Total."""
    history = config.get("history")
    if not isinstance(history, list):
        return ()
    made = [one for one in history if isinstance(one, dict) and not one.get("empty_layer")]
    if len(made) != layers:
        return ()
    commands = (one.get("created_by") or one.get("comment") or "" for one in made)
    return tuple(command[:_MAX_COMMAND] if isinstance(command, str) else "" for command in commands)
