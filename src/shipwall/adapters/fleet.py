"""The fleet: which image has which components, and how each component is judged now. One SQLite file.

Images of a component are a roaring bitmap beside it, so a question about a component is answered without looking at images. Readers
need only read the file (rollback journal, no shared memory file): the unprivileged server shows it. Losing it costs only listing anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import msgspec
from pyroaring import BitMap

from shipwall.adapters.sqlite_parts import parts_of
from shipwall.model.digest import Digest, ImageIdentity
from shipwall.model.errors import InputError, StorageError
from shipwall.model.finding import Finding
from shipwall.model.package import Distribution
from shipwall.supply.fleet import Change, Component, key_of

SCHEMA = 1
APPLICATION_ID = 0x53_41_46_4C  # "SAFL"
_MAX_NAMES = 50
NO_LAYER = 0xFFFF
SCORES = "CVSS"
"""The scope under which marks of vectors are kept: other feeds score problems of this one."""
HELD, NOT_HELD = b"+", b"-"
"""The mark of a scope as a whole, under the empty name: whether the database that judged speaks of it at all."""
_MAX_NEWS = 100_000
_TABLES = """
CREATE TABLE image (
    image INTEGER PRIMARY KEY, manifest TEXT NOT NULL UNIQUE, config TEXT NOT NULL, top_chain TEXT NOT NULL, layers INTEGER NOT NULL,
    identity BLOB NOT NULL, distribution BLOB NOT NULL, names BLOB NOT NULL, created TEXT NOT NULL, listed_ns INTEGER NOT NULL,
    components BLOB NOT NULL, places BLOB NOT NULL, history BLOB NOT NULL
);
CREATE INDEX image_config ON image (config);
CREATE INDEX image_chain ON image (top_chain);
CREATE TABLE component (
    component INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, name TEXT NOT NULL, body BLOB NOT NULL, images BLOB NOT NULL,
    judged INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE word (word TEXT NOT NULL, component INTEGER NOT NULL, PRIMARY KEY (word, component)) WITHOUT ROWID;
CREATE TABLE asked (
    scope TEXT NOT NULL, name TEXT NOT NULL, component INTEGER NOT NULL, PRIMARY KEY (scope, name, component)
) WITHOUT ROWID;
CREATE TABLE mark (scope TEXT NOT NULL, name TEXT NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (scope, name)) WITHOUT ROWID;
CREATE TABLE verdict (component INTEGER NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (component, id)) WITHOUT ROWID;
CREATE INDEX verdict_id ON verdict (id);
CREATE TABLE news (
    news INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, component INTEGER NOT NULL,
    images INTEGER NOT NULL, body BLOB NOT NULL, why TEXT NOT NULL
);
CREATE TABLE judged (one INTEGER PRIMARY KEY CHECK (one = 1), time_ns INTEGER NOT NULL, database TEXT NOT NULL);
"""


class FleetImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image. `names`: the references it was seen under, latest last. `components`: how many it has."""

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


class News(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a verdict: `kind` new, gone or changed; `images`: how many have the component."""

    number: int
    time_ns: int
    kind: str
    finding: Finding
    component: int
    images: int
    why: str


_finding_decoder = msgspec.msgpack.Decoder(Finding)
_component_decoder = msgspec.msgpack.Decoder(Component)


class Fleet:
    """The fleet in the file `path`. Use as a context manager. *Raises* StorageError everywhere (disk full, damaged, locked for long)."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        """With `write` the file is made when there is none, and one process at a time changes it."""
        self.path = path
        try:
            if write:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
            else:
                uri = f"file:{quote(str(path.absolute()))}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=60, check_same_thread=False)
            self._prepare(write=write)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"fleet {path}", str(error), "list an image first, or mend the folder") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the use of the file."""
        self._connection.close()

    # Images

    def put(self, listed: ListedImage, name: str, now_ns: int) -> bool:
        """Keep an image seen under `name` and what is in it; whether anything but its name or time was new."""
        identity = listed.identity
        with self._writing() as execute:
            placed = {self._component(execute, one): layer for one, layer in listed.components.items()}
            numbers = sorted(placed)
            row = execute("SELECT image, names, components FROM image WHERE manifest = ?", (identity.manifest,)).fetchone()
            names = tuple(one for one in (msgspec.msgpack.decode(row[1]) if row else ()) if one != name)
            values = {
                "manifest": identity.manifest,
                "config": identity.config,
                "top_chain": identity.chain_ids[-1] if identity.diff_ids else "",
                "layers": len(identity.diff_ids),
                "identity": msgspec.msgpack.encode(identity),
                "distribution": msgspec.msgpack.encode(listed.distribution),
                "names": msgspec.msgpack.encode((*names, name)[-_MAX_NAMES:] if name else names),
                "created": listed.created,
                "listed_ns": now_ns,
                "components": _pack_numbers(numbers),
                "places": b"".join(placed[number].to_bytes(2, "little") for number in numbers),
                "history": msgspec.msgpack.encode(listed.history),
            }
            columns = ", ".join(values)
            marks = ", ".join(f":{column}" for column in values)
            if row is None:
                image = execute(f"INSERT INTO image ({columns}) VALUES ({marks}) RETURNING image", values).fetchone()[0]  # noqa: S608
            else:
                image = row[0]
                execute(f"UPDATE image SET ({columns}) = ({marks}) WHERE image = {int(image)}", values)  # noqa: S608
            self._note(execute, image, set(_unpack_numbers(row[2])) if row else set(), set(numbers))
        return row is None or row[2] != values["components"]

    def _note(self, execute: Any, image: int, before: set[int], after: set[int]) -> None:
        for number in before ^ after:
            images = BitMap.deserialize(execute("SELECT images FROM component WHERE component = ?", (number,)).fetchone()[0])
            (images.add if number in after else images.discard)(image)
            execute("UPDATE component SET images = ? WHERE component = ?", (images.serialize(), number))

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
            execute("DELETE FROM mark WHERE scope = ? AND name = ?", (scope, name))  # so that it is judged next time
        return number

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

    # Components

    def components(self, numbers: Iterable[int]) -> dict[int, Component]:
        """Components by number."""
        found: dict[int, Component] = {}
        for part in parts_of(numbers):
            marks = ",".join("?" * len(part))
            for number, body in self._rows(f"SELECT component, body FROM component WHERE component IN ({marks})", part):  # noqa: S608
                found[number] = _component_decoder.decode(body)
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

    def questions(self) -> dict[str, dict[str, bytes]]:
        """By scope and name, what was last known of every package that is asked about: its mark, empty when never judged."""
        found: dict[str, dict[str, bytes]] = {}
        statement = (
            "SELECT DISTINCT asked.scope, asked.name, coalesce(mark.mark, x'') FROM asked LEFT JOIN mark "
            "ON mark.scope = asked.scope AND mark.name = asked.name"
        )
        for scope, name, mark in self._rows(statement):
            found.setdefault(scope, {})[name] = mark
        return found

    def mark(self, scope: str, name: str) -> bytes:
        """What was last known of `name`, empty when nothing was."""
        for (mark,) in self._rows("SELECT mark FROM mark WHERE scope = ? AND name = ?", (scope, name)):
            return bytes(mark)
        return b""

    def scores(self) -> dict[str, bytes]:
        """By id of a problem that some component has, the mark of what was last known of its CVSS vectors; empty when nothing was."""
        statement = (
            "SELECT DISTINCT verdict.id, coalesce(mark.mark, x'') FROM verdict LEFT JOIN mark "
            "ON mark.scope = ? AND mark.name = verdict.id"
        )
        return dict(self._rows(statement, (SCORES,)))

    def having(self, ids: Iterable[str]) -> set[int]:
        """The components that have one of these problems."""
        found: set[int] = set()
        for part in parts_of(ids):
            marks = ",".join("?" * len(part))
            found.update(number for (number,) in self._rows(f"SELECT component FROM verdict WHERE id IN ({marks})", part))  # noqa: S608
        return found

    def asking(self, scope: str, names: Iterable[str]) -> set[int]:
        """The components judged by what `scope` says of these names."""
        found: set[int] = set()
        for part in parts_of(names):
            marks = ",".join("?" * len(part))
            rows = self._rows(f"SELECT component FROM asked WHERE scope = ? AND name IN ({marks})", (scope, *part))  # noqa: S608
            found.update(number for (number,) in rows)
        return found

    # Verdicts

    def verdicts(self, components: Iterable[int]) -> dict[int, list[Finding]]:
        """The findings of these components as last judged; without signs of exploitation, which change daily."""
        found: dict[int, list[Finding]] = {}
        for part in parts_of(components):
            marks = ",".join("?" * len(part))
            for number, body in self._rows(f"SELECT component, body FROM verdict WHERE component IN ({marks})", part):  # noqa: S608
                found.setdefault(number, []).append(_finding_decoder.decode(body))
        return found

    def verdict_counts(self) -> dict[int, int]:
        """By component, how many findings it has."""
        return dict(self._rows("SELECT component, count(*) FROM verdict GROUP BY component"))

    def never_judged(self) -> set[int]:
        """The components that no database has judged yet."""
        return {number for (number,) in self._rows("SELECT component FROM component WHERE judged = 0")}

    def unjudged(self) -> set[int]:
        """The components of which no verdict is known: never judged, or of a scope the database held nothing of; no finding is no news.

        What a package of the distribution owns is judged with its owner, and not among them.
        """
        statement = (
            "SELECT component, body FROM component WHERE judged = 0 OR component NOT IN "
            "(SELECT component FROM asked WHERE scope IN (SELECT scope FROM mark WHERE name = '' AND mark = ?))"
        )
        return {number for number, body in self._rows(statement, (HELD,)) if not _component_decoder.decode(body).package.owner}

    def judge(
        self, verdicts: dict[int, list[Finding]], marks: dict[str, dict[str, bytes]], changes: Sequence[tuple[Change, int]],
        database: str, now_ns: int,
    ) -> None:  # fmt: skip
        """Replace the verdicts of these components, and keep what was known (`marks`) and what changed (with its number of images)."""
        with self._writing() as execute:
            for number, findings in verdicts.items():
                execute("DELETE FROM verdict WHERE component = ?", (number,))
                execute("UPDATE component SET judged = 1 WHERE component = ?", (number,))
                for finding in findings:
                    execute("INSERT INTO verdict VALUES (?, ?, ?)", (number, finding.id, msgspec.msgpack.encode(finding)))
            for scope, names in marks.items():
                for name, mark in names.items():
                    execute("INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", (scope, name, mark))
            for change, images in changes:
                body = msgspec.msgpack.encode(change.finding)
                values = (now_ns, change.kind, change.finding.id, change.component, images, body, change.why)
                execute("INSERT INTO news (time_ns, kind, id, component, images, body, why) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            execute("DELETE FROM news WHERE news <= (SELECT max(news) FROM news) - ?", (_MAX_NEWS,))
            execute("INSERT OR REPLACE INTO judged VALUES (1, ?, ?)", (now_ns, database))

    def judged(self) -> tuple[int, str] | None:
        """When the fleet was last judged, and by which database; None when it never was."""
        for time_ns, database in self._rows("SELECT time_ns, database FROM judged"):
            return time_ns, database
        return None

    def news(self, limit: int = 1000, image: int | None = None) -> list[News]:
        """The newest changes first; with `image`, only those of its components."""
        found: list[News] = []
        wanted = None if image is None else set(self.components_of(image))
        statement = "SELECT news, time_ns, kind, component, images, body, why FROM news ORDER BY news DESC"
        for number, time_ns, kind, component, images, body, why in self._rows(statement):
            if wanted is None or component in wanted:
                finding = _finding_decoder.decode(body)
                found.append(
                    News(number=number, time_ns=time_ns, kind=kind, finding=finding, component=component, images=images, why=why)
                )
                if len(found) >= limit:
                    break
        return found

    def counts(self) -> dict[str, int]:
        """How many images, components and verdicts there are."""
        tables = {"images": "image", "components": "component", "verdicts": "verdict"}
        return {what: next(iter(self._rows(f"SELECT count(*) FROM {table}")))[0] for what, table in tables.items()}  # noqa: S608

    # Inside

    def _prepare(self, *, write: bool) -> None:
        found = self._connection.execute("PRAGMA application_id").fetchone()[0]
        schema = self._connection.execute("PRAGMA user_version").fetchone()[0]
        is_empty = not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if write and is_empty:
            self._connection.executescript(
                f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}; {_TABLES} COMMIT;"
            )
            self.path.chmod(0o644)
        elif (found, schema) != (APPLICATION_ID, SCHEMA):
            self._connection.close()
            raise InputError(
                f"fleet {self.path}", "is a file of something else, or of another version", "remove it; it is made anew"
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"fleet {self.path}", str(error), "free space or mend the folder, then try again") from error

    def _rows(self, statement: str, values: Sequence[object] = ()) -> Iterator[Any]:
        try:
            yield from self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise StorageError(f"fleet {self.path}", str(error), "remove it; it is made anew") from error


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


def _pack_numbers(numbers: Sequence[int]) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)


def _unpack_numbers(packed: bytes) -> list[int]:
    return [int.from_bytes(packed[at : at + 4], "little") for at in range(0, len(packed), 4)]
