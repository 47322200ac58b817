"""The inventories this installation keeps: one file for each image, named by its manifest digest, written whole."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from pathlib import Path

import msgspec

from shipwall import __version__
from shipwall.adapters.files import write_whole
from shipwall.model.digest import Digest, parse_digest
from shipwall.model.errors import InputError, StorageError
from shipwall.model.package import Inventory

CACHE_BYTES = 512 << 20
"""What a user's cache of inventories may hold; some 200 large images."""


class _Kept(Inventory, frozen=True, kw_only=True):
    """An inventory as it lies in its file; `lister` says which program made it (`listing_version`)."""

    lister: str = ""


_FIELDS = Inventory.__struct_fields__
_decoder = msgspec.json.Decoder(_Kept)


class Inventories:
    """Inventories in the folder `path` (of an instance: `state/inventories`). Losing it costs only another listing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, inventory: Inventory, lister: str = "") -> None:
        """Keep `inventory`, made by `lister`, under its image's manifest and configuration.

        Raises InputError for one without an image.
        """
        if inventory.image is None:
            raise InputError("inventory", "is of a plain folder, which has no digest to keep it under")
        kept = _Kept(**{name: getattr(inventory, name) for name in _FIELDS}, lister=lister)
        write_whole(self._of_manifest(inventory.image.manifest), msgspec.json.encode(kept))
        write_whole(self._of_config(inventory.image.config), inventory.image.manifest.encode())

    def get(self, manifest: Digest, lister: str = "") -> Inventory | None:
        """The inventory of the image `manifest`; with `lister` only one made by it. Raises StorageError when its file is damaged."""
        place = self._of_manifest(manifest)
        data = _read(place)
        if data is None:
            return None
        try:
            kept = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StorageError(str(place), f"damaged inventory: {error}", "remove it and list the image again") from error
        if kept.image is None or kept.image.manifest != manifest:
            raise StorageError(str(place), "is the inventory of another image", "remove it and list the image again")
        if lister and kept.lister != lister:
            return None
        return Inventory(**{name: getattr(kept, name) for name in _FIELDS})

    def find_by_config(self, config: Digest, lister: str = "") -> Inventory | None:
        """The inventory of the image with configuration `config` (an engine's image id); of several manifests the one put last.

        `lister` as for `get`.
        """
        data = _read(self._of_config(config))
        try:
            return None if data is None else self.get(parse_digest(data.decode("utf-8", "replace").strip()), lister)
        except InputError as error:
            raise StorageError(str(self._of_config(config)), "damaged", "remove it and list the image again") from error

    def _of_manifest(self, manifest: Digest) -> Path:
        return self.path / f"{parse_digest(manifest).removeprefix('sha256:')}.json"

    def _of_config(self, config: Digest) -> Path:
        return self.path / "by-config" / parse_digest(config).removeprefix("sha256:")


class InventoryCache(Inventories):
    """Inventories in a user's cache: bounded, the longest unused go first; what cannot be read or kept is simply listed again."""

    def __init__(self, path: Path, limit_bytes: int = CACHE_BYTES) -> None:
        super().__init__(path)
        self._limit = limit_bytes

    def put(self, inventory: Inventory, lister: str = "") -> None:
        """Keep `inventory` if there is room for it."""
        with contextlib.suppress(OSError, StorageError):  # a full or read-only disk is no reason to fail a scan
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            super().put(inventory, lister)
            self._prune()

    def get(self, manifest: Digest, lister: str = "") -> Inventory | None:
        """As of `Inventories`, but damaged is absent."""
        try:
            found = super().get(manifest, lister)
        except StorageError:
            return None
        if found is not None:
            with contextlib.suppress(OSError):
                os.utime(self._of_manifest(manifest))
        return found

    def _prune(self) -> None:
        files = sorted(((path.stat(), path) for path in self.path.glob("*.json")), key=lambda one: -one[0].st_mtime_ns)
        total = 0
        for facts, path in files:
            total += facts.st_size
            if total > self._limit:
                path.unlink(missing_ok=True)
        for path in (self.path / "by-config").iterdir():
            named = path.read_text(errors="replace").removeprefix("sha256:")
            if not (self.path / f"{named}.json").is_file():
                path.unlink(missing_ok=True)


@functools.cache
def listing_version() -> str:
    """Which program makes inventories here: a digest over the text of the rooms that read images.

    An inventory is trusted by its image's digest as long as this is the same: a changed cataloger makes every image be listed anew.
    """
    package = Path(__file__).parents[1]
    digest = hashlib.sha256(__version__.encode())
    for room in ("supply/catalog", "supply", "model"):
        for file in sorted((package / room).iterdir(), key=lambda one: one.name):
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "make it readable") from error
