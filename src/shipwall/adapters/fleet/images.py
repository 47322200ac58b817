"""Images: what is kept of an inventory, and finding it again by digest, name, base or component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from pyroaring import BitMap

from shipwall.adapters.fleet.components import Components
from shipwall.adapters.sqlite_parts import parts_of
from shipwall.model.digest import Digest, ImageIdentity
from shipwall.model.package import Distribution
from shipwall.supply.fleet import Component

NO_LAYER = 0xFFFF
_MAX_NAMES = 50


class FleetImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image. `names`: the references it was seen under, latest last. `components`: how many it has.

    `listed_ns`: when it was last listed with anything new, be it a name.
    """

    number: int
    identity: ImageIdentity
    distribution: Distribution
    names: tuple[str, ...]
    created: str
    listed_ns: int
    components: int


class ListedImage(NamedTuple):
    """What is kept of an inventory. `components` → index of the layer it lies in, NO_LAYER when that is not known."""

    identity: ImageIdentity
    distribution: Distribution
    created: str
    history: tuple[str, ...]
    components: dict[Component, int]


class Images(Components):
    """The images in the file."""

    def put(self, listed: ListedImage, name: str, now_ns: int) -> bool:
        """Keep an image seen under `name` and what is in it; whether anything but its name or time was new.

        Nothing is written, not even the time, when all of it is kept already and `name` is the latest.
        """
        if self._holds(listed, name):
            return False
        with self._writing() as (execute, _many):
            placed = {self._component(execute, one): layer for one, layer in listed.components.items()}
            manifest = listed.identity.manifest
            row = execute("SELECT image, names, components FROM image WHERE manifest = ?", (manifest,)).fetchone()
            names = tuple(one for one in (msgspec.msgpack.decode(row[1]) if row else ()) if one != name)
            said = _said(listed, placed)
            values = said | {
                "manifest": manifest,
                "top_chain": listed.identity.chain_ids[-1] if listed.identity.diff_ids else "",
                "layers": len(listed.identity.diff_ids),
                "names": msgspec.msgpack.encode((*names, name)[-_MAX_NAMES:] if name else names),
                "listed_ns": now_ns,
            }
            columns = ", ".join(values)
            marks = ", ".join(f":{column}" for column in values)
            if row is None:
                image = execute(f"INSERT INTO image ({columns}) VALUES ({marks}) RETURNING image", values).fetchone()[0]  # noqa: S608
            else:
                image = row[0]
                execute(f"UPDATE image SET ({columns}) = ({marks}) WHERE image = {int(image)}", values)  # noqa: S608
            self._note(execute, image, set(_unpack_numbers(row[2])) if row else set(), set(placed))
        return row is None or row[2] != said["components"]

    def _holds(self, listed: ListedImage, name: str) -> bool:
        """Whether all that `put` would write stands there."""
        placed = self._numbers(listed.components)
        if placed is None:
            return False
        said = _said(listed, placed)
        for names, *kept in self._rows(
            f"SELECT names, {', '.join(said)} FROM image WHERE manifest = ?",  # noqa: S608 - names of `_said`
            (listed.identity.manifest,),
        ):
            return kept == list(said.values()) and (not name or msgspec.msgpack.decode(names)[-1:] == [name])
        return False

    def _note(self, execute: Any, image: int, before: set[int], after: set[int]) -> None:
        for number in before ^ after:
            images = BitMap.deserialize(execute("SELECT images FROM component WHERE component = ?", (number,)).fetchone()[0])
            (images.add if number in after else images.discard)(image)
            execute("UPDATE component SET images = ? WHERE component = ?", (images.serialize(), number))

    def image(self, digest: Digest) -> FleetImage | None:
        """The image with this manifest or configuration digest."""
        for row in self._rows(f"{_SELECT} WHERE manifest = ? OR config = ?", (digest, digest)):
            return _image(row)
        return None

    def images(self, numbers: Iterable[int] | None = None, limit: int = 1_000_000) -> list[FleetImage]:
        """Images by number, or all, the latest listed first."""
        if numbers is None:
            return [_image(row) for row in self._rows(f"{_SELECT} ORDER BY listed_ns DESC LIMIT ?", (limit,))]
        found: list[FleetImage] = []
        for part in parts_of(numbers):
            marks = ",".join("?" * len(part))
            found += [_image(row) for row in self._rows(f"{_SELECT} WHERE image IN ({marks})", part)]
        return sorted(found, key=lambda image: -image.listed_ns)[:limit]

    def base_of(self, identity: ImageIdentity) -> FleetImage | None:
        """The known image whose layers all lie under `identity`'s, of several the one with the most layers."""
        chains = list(identity.chain_ids[:-1])
        best: FleetImage | None = None
        for part in parts_of(chains):
            marks = ",".join("?" * len(part))
            for row in self._rows(f"{_SELECT} WHERE top_chain IN ({marks}) ORDER BY layers DESC LIMIT 1", part):
                image = _image(row)
                if best is None or len(image.identity.diff_ids) > len(best.identity.diff_ids):
                    best = image
        return best

    def components_of(self, image: int) -> dict[int, Component]:
        """The components of an image, by number."""
        return self.components(self.numbers_of(image))

    def numbers_of(self, image: int) -> list[int]:
        """The numbers of an image's components."""
        for (packed,) in self._rows("SELECT components FROM image WHERE image = ?", (image,)):
            return _unpack_numbers(packed)
        return []

    def layers_of(self, image: int) -> tuple[tuple[str, ...], dict[int, int]]:
        """The command of each layer, and by component the index of its layer (NO_LAYER: not known)."""
        for packed, places, history in self._rows("SELECT components, places, history FROM image WHERE image = ?", (image,)):
            numbers = _unpack_numbers(packed)
            layers = [int.from_bytes(places[at : at + 2], "little") for at in range(0, len(places), 2)]
            return msgspec.msgpack.decode(history, type=tuple[str, ...]), dict(zip(numbers, layers, strict=True))
        return (), {}


_SELECT = "SELECT image, identity, distribution, names, created, listed_ns, length(components) FROM image"


def _image(row: Any) -> FleetImage:
    number, identity, distribution, names, created, listed_ns, size = row
    return FleetImage(
        number=number,
        identity=msgspec.msgpack.decode(identity, type=ImageIdentity),
        distribution=msgspec.msgpack.decode(distribution, type=Distribution),
        names=msgspec.msgpack.decode(names, type=tuple[str, ...]),
        created=created,
        listed_ns=listed_ns,
        components=size // 4,
    )


def _said(listed: ListedImage, placed: Mapping[int, int]) -> dict[str, object]:
    """By column, what an inventory says of its image. `placed`: by component's number the layer it lies in."""
    numbers = sorted(placed)
    return {
        "config": listed.identity.config,
        "identity": msgspec.msgpack.encode(listed.identity),
        "distribution": msgspec.msgpack.encode(listed.distribution),
        "created": listed.created,
        "components": _pack_numbers(numbers),
        "places": b"".join(placed[number].to_bytes(2, "little") for number in numbers),
        "history": msgspec.msgpack.encode(listed.history),
    }


def _pack_numbers(numbers: Sequence[int]) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)


def _unpack_numbers(packed: bytes) -> list[int]:
    return [int.from_bytes(packed[at : at + 4], "little") for at in range(0, len(packed), 4)]
