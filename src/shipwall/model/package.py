"""Packages found in an image, and the inventory (SBOM) they form."""

from __future__ import annotations

import msgspec

from shipwall.model.digest import Digest, ImageIdentity

SYSTEM_TYPES = frozenset({"deb", "rpm", "apk"})
"""Ecosystems of distributions: their packages have a source package and a release they belong to."""


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One installed package. `evidence` is the file that says so; `layer` (diff id) the one that brought this version of it, empty for a
    plain folder.

    `ecosystem`: purl types: `deb apk rpm pypi npm maven golang cargo gem composer generic`.
    `name` as the ecosystem writes it in full: Maven `group:artifact`, npm `@scope/name`, Go the module's path, Composer `vendor/name`.
    `version` in full: RPM `[epoch:]version-release`. `source`/`source_version`: the source package it was built from (own name if the
    same). `files`: absolute paths it owns, sorted; configuration files included, folders not. `license`: an SPDX expression, empty when
    nothing was said. `owner`: name of the distribution's package that owns `evidence`, empty when none does; such a package is judged
    by the distribution's advisories, not by its own ecosystem's. `module`: RPM module `name:stream`, empty outside modules.
    `vendor`: who made it, as it says itself (RPM's vendor, dpkg's maintainer); empty when it does not.
    """

    ecosystem: str
    name: str
    version: str
    arch: str = ""
    source: str = ""
    source_version: str = ""
    evidence: str = ""
    layer: Digest = ""
    files: tuple[str, ...] = ()
    license: str = ""
    owner: str = ""
    module: str = ""
    vendor: str = ""


class Skipped(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that could not be read or judged: counted and shown, never dropped.

    `packages`: how many packages of the image are not judged, wholly or in part, because of it; each is counted once among all.
    """

    what: str
    reason: str
    packages: int = 0


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """From os-release: `id` (debian), `version_id` (12), `codename` (bookworm). Empty strings when unknown."""

    id: str = ""
    version_id: str = ""
    codename: str = ""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What is in one image: the SBOM. `image` is None for a plain folder.

    `history`: the command that made each layer, aligned with `image.diff_ids` (empty when the image does not say).
    """

    image: ImageIdentity | None
    distribution: Distribution
    packages: tuple[Package, ...]
    skipped: tuple[Skipped, ...] = ()
    labels: dict[str, str] = {}
    created: str = ""
    history: tuple[str, ...] = ()
