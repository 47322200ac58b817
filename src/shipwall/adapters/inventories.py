"""The inventories this installation keeps: one file for each image, named by its manifest digest, written whole."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shipwall.adapters.files import write_whole
from shipwall.model.digest import Digest, parse_digest
from shipwall.model.errors import InputError, StorageError
from shipwall.model.package import Inventory

_decoder = msgspec.json.Decoder(Inventory)


class Inventories:
    """Inventories in the folder `path` (of an instance: `state/inventories`). Losing it costs only another listing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, inventory: Inventory) -> None:
        """Keep `inventory` under its image's manifest and configuration. Raises InputError for one without an image."""
        if inventory.image is None:
            raise InputError("inventory", "is of a plain folder, which has no digest to keep it under")
        write_whole(self._of_manifest(inventory.image.manifest), msgspec.json.encode(inventory))
        write_whole(self._of_config(inventory.image.config), inventory.image.manifest.encode())

    def get(self, manifest: Digest) -> Inventory | None:
        """The inventory of the image `manifest`. Raises StorageError when its file is damaged."""
        place = self._of_manifest(manifest)
        data = _read(place)
        if data is None:
            return None
        try:
            inventory = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StorageError(str(place), f"damaged inventory: {error}", "remove it and list the image again") from error
        if inventory.image is None or inventory.image.manifest != manifest:
            raise StorageError(str(place), "is the inventory of another image", "remove it and list the image again")
        return inventory

    def find_by_config(self, config: Digest) -> Inventory | None:
        """The inventory of the image with configuration `config` (an engine's image id); of several manifests the one put last."""
        data = _read(self._of_config(config))
        try:
            return None if data is None else self.get(parse_digest(data.decode("utf-8", "replace").strip()))
        except InputError as error:
            raise StorageError(str(self._of_config(config)), "damaged", "remove it and list the image again") from error

    def _of_manifest(self, manifest: Digest) -> Path:
        return self.path / f"{parse_digest(manifest).removeprefix('sha256:')}.json"

    def _of_config(self, config: Digest) -> Path:
        return self.path / "by-config" / parse_digest(config).removeprefix("sha256:")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "make it readable") from error
