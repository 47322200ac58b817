"""Catalogers: who reads which files of an image into packages. THE two lists of them are here.

A cataloger reads the merged view: a name, the globs of the files it reads, and a function from the view to packages. A file reader
reads one file by itself while its layer streams past. Neither ever opens anything. A new format is a module here and a line in a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from shipwall.model.digest import ImageIdentity
from shipwall.model.package import SYSTEM_TYPES, Distribution, Inventory, Package, Skipped
from shipwall.supply.catalog.apk import APK_BASENAMES, APK_PATTERN, parse_apk
from shipwall.supply.catalog.binaries import ELF_MAGIC, parse_binary, parse_binary_pieces
from shipwall.supply.catalog.composer import COMPOSER_BASENAMES, parse_composer
from shipwall.supply.catalog.dpkg import DPKG_GLOBS, read_dpkg
from shipwall.supply.catalog.dpkg_copyright import COPYRIGHT_BASENAMES, COPYRIGHT_PATTERN, parse_copyright
from shipwall.supply.catalog.gems import GEM_PATTERN, GEM_SUFFIXES, parse_gem
from shipwall.supply.catalog.java import JAVA_MAGIC, JAVA_SUFFIXES, parse_java
from shipwall.supply.catalog.join import join_parts
from shipwall.supply.catalog.npm import NPM_BASENAMES, parse_npm
from shipwall.supply.catalog.os_release import RELEASE_GLOBS, find_distribution
from shipwall.supply.catalog.owners import assign_owners
from shipwall.supply.catalog.python import (
    EGG_MAGIC,
    EGG_SUFFIXES,
    PYTHON_BASENAMES,
    PYTHON_PATTERN,
    PYTHON_SUFFIXES,
    parse_egg,
    parse_python,
)
from shipwall.supply.catalog.rpm import RPM_BASENAMES, RPM_PATTERN, parse_rpm
from shipwall.supply.layers import FileReader, View

_MIB = 1 << 20
_DATABASE_FOLDERS = {"var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm", "lib/apk/db", "usr/lib/apk/db"}

_MAX_COMMAND = 2000


class Cataloger(NamedTuple):
    """`globs` are relative to the root; `*` stands for anything but a slash."""

    name: str
    globs: tuple[str, ...]
    read: Callable[[View], tuple[list[Package], list[Skipped]]]


CATALOGERS = (Cataloger("dpkg", DPKG_GLOBS, read_dpkg),)

READERS = (
    FileReader("apk", parse_apk, basenames=APK_BASENAMES, pattern=APK_PATTERN, max_bytes=16 * _MIB),
    FileReader("rpm", parse_rpm, basenames=RPM_BASENAMES, pattern=RPM_PATTERN, max_bytes=256 * _MIB),
    FileReader(
        "python", parse_python, basenames=PYTHON_BASENAMES, suffixes=PYTHON_SUFFIXES, pattern=PYTHON_PATTERN, max_bytes=16 * _MIB
    ),
    FileReader("python egg", parse_egg, suffixes=EGG_SUFFIXES, magic=EGG_MAGIC, max_bytes=64 * _MIB),
    FileReader("npm", parse_npm, basenames=NPM_BASENAMES, max_bytes=4 * _MIB),
    FileReader("java", parse_java, suffixes=JAVA_SUFFIXES, magic=JAVA_MAGIC, max_bytes=256 * _MIB),
    FileReader("gem", parse_gem, suffixes=GEM_SUFFIXES, pattern=GEM_PATTERN, max_bytes=_MIB),
    FileReader("composer", parse_composer, basenames=COMPOSER_BASENAMES),
    FileReader("binary", parse_binary, magic=ELF_MAGIC, max_bytes=256 * _MIB, parse_pieces=parse_binary_pieces),
    FileReader("dpkg copyright", parse_copyright, basenames=COPYRIGHT_BASENAMES, pattern=COPYRIGHT_PATTERN, max_bytes=8 * _MIB),
)


def make_view() -> View:
    """An empty view that keeps or reads what the catalogers and readers ask for."""
    return View([*RELEASE_GLOBS, *(glob for cataloger in CATALOGERS for glob in cataloger.globs)], READERS)


def list_packages(view: View, image: ImageIdentity | None, config: dict[str, Any]) -> Inventory:
    """The inventory of the merged `view`. `config` is the image's configuration as parsed JSON (empty for a plain folder)."""
    packages: list[Package] = []
    skipped = list(view.skipped)
    for cataloger in CATALOGERS:
        found, missed = cataloger.read(view)
        packages += found
        skipped += missed
    for _path, _layer, found, missed in view.parsed():
        packages += found
        skipped += missed
    packages = assign_owners(join_parts(view, packages))
    distribution = find_distribution(view)
    skipped += _unread_databases(view, packages, distribution)
    settings = config.get("config")
    labels = settings.get("Labels") if isinstance(settings, dict) else None
    created = config.get("created")
    return Inventory(
        image=image,
        distribution=distribution,
        packages=tuple(
            sorted(
                packages, key=lambda package: (package.ecosystem, package.name, package.arch, package.version, package.evidence)
            )
        ),
        skipped=tuple(skipped),
        labels={key: value for key, value in labels.items() if isinstance(value, str)} if isinstance(labels, dict) else {},
        created=created if isinstance(created, str) else "",
        history=read_history(config, len(image.diff_ids)) if image is not None else (),
    )


def _unread_databases(view: View, packages: list[Package], distribution: Distribution) -> Iterator[Skipped]:
    """Say so when the distribution's packages are not known: an image without any findings would look clean."""
    if any(package.ecosystem in SYSTEM_TYPES for package in packages):
        return
    for folder in ("var/lib/rpm", "lib/apk/db"):
        real = view.resolve(folder)
        if folder in view.links and real not in _DATABASE_FOLDERS:
            yield Skipped(what=f"/{folder}", reason=f"is a symbolic link to {view.links[folder][:200]}, where no file is read")
    if distribution.id or not packages:
        what = distribution.id or "unknown distribution"
        yield Skipped(what=what, reason="no package database that Shipwall reads was found")


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
