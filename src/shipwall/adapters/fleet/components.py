"""Components: what equal packages of different images are, the images that have each, and the names they are asked about under."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from pyroaring import BitMap

from shipwall.adapters.fleet.file import FleetFile
from shipwall.adapters.sqlite_parts import parts_of
from shipwall.supply.fleet import Component, key_of

decode_component = msgspec.msgpack.Decoder(Component).decode


class Components(FleetFile):
    """The components in the file."""

    def _component(self, execute: Any, component: Component) -> int:
        key = key_of(component)
        row = execute("SELECT component FROM component WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return int(row[0])
        package = component.package
        number = int(
            execute(
                "INSERT INTO component (key, name, body, images) VALUES (?, ?, ?, ?) RETURNING component",
                (key, package.name, msgspec.msgpack.encode(component), BitMap().serialize()),
            ).fetchone()[0]
        )
        name = package.name.lower()
        words = {name, package.source.lower(), name.rpartition(":")[2], name.rpartition("/")[2]}
        for word in words - {""}:
            execute("INSERT INTO word VALUES (?, ?)", (word, number))
        for scope, name in component.names():
            execute("INSERT INTO asked VALUES (?, ?, ?)", (scope, name, number))
        return number

    def _numbers(self, listed: Mapping[Component, int]) -> dict[int, int] | None:
        """`listed` by the numbers of its components; None when one of them has none yet."""
        by_key = {key_of(component): layer for component, layer in listed.items()}
        found: dict[int, int] = {}
        for part in parts_of(by_key):
            marks = ",".join("?" * len(part))
            for number, key in self._rows(f"SELECT component, key FROM component WHERE key IN ({marks})", part):  # noqa: S608
                found[number] = by_key[key]
        return found if len(found) == len(by_key) else None

    def components(self, numbers: Iterable[int]) -> dict[int, Component]:
        """Components by number."""
        found: dict[int, Component] = {}
        for part in parts_of(numbers):
            marks = ",".join("?" * len(part))
            for number, body in self._rows(f"SELECT component, body FROM component WHERE component IN ({marks})", part):  # noqa: S608
                found[number] = decode_component(body)
        return found

    def called(self, word: str) -> dict[int, Component]:
        """The components whose name, source or last part of the name is `word`."""
        return self.components([number for (number,) in self._rows("SELECT component FROM word WHERE word = ?", (word.lower(),))])

    def images_with(self, components: Iterable[int]) -> dict[int, BitMap]:
        """By component, the numbers of the images that have it."""
        found: dict[int, BitMap] = {}
        for part in parts_of(components):
            marks = ",".join("?" * len(part))
            for number, images in self._rows(f"SELECT component, images FROM component WHERE component IN ({marks})", part):  # noqa: S608
                found[number] = BitMap.deserialize(images)
        return found

    def asking(self, scope: str, names: Iterable[str]) -> set[int]:
        """The components judged by what `scope` says of these names."""
        found: set[int] = set()
        for part in parts_of(names):
            marks = ",".join("?" * len(part))
            rows = self._rows(f"SELECT component FROM asked WHERE scope = ? AND name IN ({marks})", (scope, *part))  # noqa: S608
            found.update(number for (number,) in rows)
        return found
