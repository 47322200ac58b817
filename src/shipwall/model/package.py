"""Packages found in an image, and the inventory (SBOM) they form."""

from __future__ import annotations

import msgspec

from shipwall.model.digest import Digest, ImageIdentity


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One installed package. `evidence` is the file that says so, in `layer` (diff id; empty for a plain folder).

    `ecosystem`: `deb`, ... (purl types). `source`/`source_version`: the source package it was built from (own name if the same).
    `files`: absolute paths it owns, sorted; configuration files included, folders not.
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


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be read or judged: counted and shown, never dropped."""

    what: str
    reason: str


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """From os-release: `id` (debian), `version_id` (12), `codename` (bookworm). Empty strings when unknown."""

    id: str = ""
    version_id: str = ""
    codename: str = ""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What is in one image: the SBOM. `image` is None for a plain folder."""

    image: ImageIdentity | None
    distribution: Distribution
    packages: tuple[Package, ...]
    skipped: tuple[Skipped, ...] = ()
    labels: dict[str, str] = {}
    created: str = ""
