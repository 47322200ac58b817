"""Verdicts: how each component is judged now, by which state of the advisories (marks), and what changed (news)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec

from shipwall.adapters.fleet.components import decode_component
from shipwall.adapters.fleet.images import Images
from shipwall.adapters.sqlite_parts import parts_of
from shipwall.model.finding import Finding
from shipwall.supply.fleet import Change

SCORES = "CVSS"
"""The scope under which marks of vectors are kept: other feeds score problems of this one."""
HELD, NOT_HELD = b"+", b"-"
"""The mark of a scope as a whole, under the empty name: whether the database that judged speaks of it at all."""
_MAX_NEWS = 100_000


class News(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a verdict: `kind` new, gone or changed; `images`: how many have the component."""

    number: int
    time_ns: int
    kind: str
    finding: Finding
    component: int
    images: int
    why: str


class Judgement(NamedTuple):
    """What a judging found. `first`: components judged for the first time. `put`: findings by component, new or changed; `gone`: those
    that are no more, by component and id. `marks`: by scope and name, what was known (`changes` with their number of images).
    """

    first: Collection[int]
    put: Sequence[tuple[int, Finding]]
    gone: Sequence[tuple[int, str]]
    marks: dict[str, dict[str, bytes]]
    changes: Sequence[tuple[Change, int]]


_finding_decoder = msgspec.msgpack.Decoder(Finding)


class Verdicts(Images):
    """The verdicts in the file."""

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
        """By problem (its CVE names, its id first, with blanks between), the mark of what was last known of its CVSS vectors."""
        return dict(self._rows("SELECT name, mark FROM mark WHERE scope = ? AND name != ''", (SCORES,)))

    def having(self, ids: Iterable[str]) -> set[int]:
        """The components that have one of these problems."""
        found: set[int] = set()
        for part in parts_of(ids):
            marks = ",".join("?" * len(part))
            found.update(number for (number,) in self._rows(f"SELECT component FROM verdict WHERE id IN ({marks})", part))  # noqa: S608
        return found

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
        return {number for number, body in self._rows(statement, (HELD,)) if not decode_component(body).package.owner}

    def judge(self, judgement: Judgement, database: str, now_ns: int) -> None:
        """Keep what a judging by `database` found, as a whole."""
        news = [
            (now_ns, change.kind, change.finding.id, change.component, images, msgspec.msgpack.encode(change.finding), change.why)
            for change, images in judgement.changes
        ]
        put = [(number, finding.id, msgspec.msgpack.encode(finding)) for number, finding in judgement.put]
        marks = [(scope, name, mark) for scope, names in judgement.marks.items() for name, mark in names.items()]
        with self._writing() as (execute, many):
            many("DELETE FROM verdict WHERE component = ? AND id = ?", judgement.gone)
            many("INSERT OR REPLACE INTO verdict VALUES (?, ?, ?)", put)
            many("UPDATE component SET judged = 1 WHERE component = ?", [(number,) for number in judgement.first])
            many("INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", marks)
            many("INSERT INTO news (time_ns, kind, id, component, images, body, why) VALUES (?, ?, ?, ?, ?, ?, ?)", news)
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
        wanted = None if image is None else set(self.numbers_of(image))
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
