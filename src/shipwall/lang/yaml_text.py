"""YAML text → tree in which every node knows its line and column.

Read from PyYAML's event stream without recursion, so that depth, number of nodes and aliases are bounded before a tree exists.
Scalars follow YAML 1.2's core schema (`no` is a word, not false). Duplicate keys, merge keys, application tags and several documents
are refused. Source: yaml.org/spec/1.2.2 chapters 3 and 10.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from shipwall.lang.diagnostic import SourceError, did_you_mean, render_excerpt, source_error

MAX_CHARS = 8 * 1024 * 1024
MAX_NODES = 500_000
MAX_DEPTH = 64

Scalar: TypeAlias = str | int | float | bool | None

_STR_TAG = "tag:yaml.org,2002:str"
_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WORDS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,20}\Z|0x[0-9a-fA-F]{1,15}\Z|0o[0-7]{1,20}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,3})?\Z")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """The whole text and what it is called in errors."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One value. `kind`: scalar, sequence or mapping; `line` and `column` count from 1; `start` and `end` are character offsets.

    Ask the reading methods (`mapping`, `sequence`, `string`, ...): they return the value or raise SourceError at this place.
    """

    document: Document = field(repr=False)
    kind: str
    start: int
    end: int
    line: int
    column: int
    scalar: Scalar = None
    text: str = ""
    style: str = ""
    items: tuple[Node, ...] = ()
    entries: tuple[tuple[Node, Node], ...] = ()
    size: int = 1
    depth: int = 0

    def error(self, reason: str, next_step: str = "") -> SourceError:
        """The error `reason` at the start of this node."""
        excerpt = render_excerpt(self.document.text, self.line, self.column)
        return SourceError(self.document.name, reason, next_step, line_number=self.line, column=self.column, excerpt=excerpt)

    def error_at(self, offset: int, reason: str, next_step: str = "") -> SourceError:
        """The error at character `offset` of this scalar's value, placed in the file although folding moved it."""
        return source_error(self.document.name, self.document.text, self.offset_of(offset), reason, next_step)

    def offset_of(self, offset: int) -> int:
        """The offset in the whole text of character `offset` of this scalar's value.

        Characters are matched in order, leaving out what YAML adds (indentation, quotes, escapes): exact for plain and block
        scalars, near for double-quoted ones with escapes.
        """
        raw, at, end = self.document.text, self.start, self.end
        if self.style in {"|", ">"}:
            at = max(raw.find("\n", at, end) + 1, at)
        for character in self.text[:offset]:
            if character.isspace():
                continue
            found = raw.find(character, at, end)
            if found < 0:
                break
            at = found + 1
        while at < end and raw[at].isspace():
            at += 1
        return min(at, end)

    def is_null(self) -> bool:
        """Whether this is YAML's null (an absent value)."""
        return self.kind == "scalar" and self.scalar is None

    def mapping(self, known: Iterable[str] | None = None, required: Iterable[str] = ()) -> dict[str, Node]:
        """Values by key. With `known`, another key is refused; each of `required` must be there."""
        if self.kind != "mapping":
            raise self.error(f"expected keys and values, found {self.describe()}")
        values = {key.text: value for key, value in self.entries}
        if known is not None:
            known = set(known)
            for key, _value in self.entries:
                if key.text not in known:
                    hint = did_you_mean(key.text, known) or f"known keys: {', '.join(sorted(known))}"
                    raise key.error(f"unknown key {key.text[:80]!r}", hint)
        for name in required:
            if name not in values:
                raise self.error(f"key {name!r} is missing", f"add `{name}:`")
        return values

    def sequence(self) -> tuple[Node, ...]:
        """The items of a list."""
        if self.kind != "sequence":
            raise self.error(f"expected a list, found {self.describe()}")
        return self.items

    def string(self) -> str:
        """The text of a scalar as it is written, whatever it looks like (`8080` too), but not null."""
        if self.kind != "scalar" or (self.scalar is None):
            raise self.error(f"expected text, found {self.describe()}")
        return self.text

    def strings(self) -> tuple[str, ...]:
        """The texts of a list of scalars."""
        return tuple(item.string() for item in self.sequence())

    def choice(self, known: Iterable[str]) -> str:
        """The text of a scalar that must be one of `known`."""
        text, known = self.string(), tuple(known)
        if text not in known:
            raise self.error(f"{text[:80]!r} is not one of {', '.join(known)}", did_you_mean(text, known))
        return text

    def integer(self) -> int:
        """The whole number this scalar is."""
        if self.kind != "scalar" or isinstance(self.scalar, bool) or not isinstance(self.scalar, int):
            raise self.error(f"expected a whole number, found {self.describe()}")
        return self.scalar

    def boolean(self) -> bool:
        """true or false; the words yes, no, on and off are understood where a boolean is expected."""
        if self.kind == "scalar" and self.text.lower() in _WORDS:
            return _WORDS[self.text.lower()]
        raise self.error(f"expected true or false, found {self.describe()}")

    def plain(self) -> Any:
        """The value as builtins."""
        if self.kind == "scalar":
            return self.scalar
        if self.kind == "sequence":
            return [item.plain() for item in self.items]
        return {key.text: value.plain() for key, value in self.entries}

    def describe(self) -> str:
        """What this is, for an error."""
        if self.kind == "mapping":
            return "keys and values"
        if self.kind == "sequence":
            return "a list"
        return "nothing" if self.scalar is None else repr(self.text[:40])


def parse_yaml(text: str | bytes, name: str) -> Node:
    """The one document in `text`, called `name` in errors. An empty text is a null scalar.

    Total on arbitrary text: raises SourceError (line and column when known) for anything that is not such a document.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceError(name, f"is not UTF-8 at byte {error.start}", "save it as UTF-8") from error
    if len(text) > MAX_CHARS:
        raise SourceError(name, f"{len(text)} characters are over the limit of {MAX_CHARS}", "split the file")
    document = Document(name, text)
    try:
        builder = _Builder(document)
        for event in _events(text):
            builder.take(event)
        return builder.root or Node(document, "scalar", 0, 0, 1, 1)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = "; ".join(part for part in (error.problem, error.context) if part) or "is not YAML"
        if mark is None:
            raise SourceError(name, reason, "mend its YAML") from error
        line, column = mark.line + 1, mark.column + 1
        begun = error.context_mark or mark
        step = (
            "mend it there"
            if begun.line == mark.line
            else f"what is not ended there begins at {begun.line + 1}:{begun.column + 1}"
        )
        raise SourceError(
            name, reason, step, line_number=line, column=column, excerpt=render_excerpt(text, line, column)
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise SourceError(name, f"is not YAML: {str(error).splitlines()[0] if str(error) else 'unreadable'}") from error


@dataclass(slots=True)
class _Open:
    """A sequence or mapping whose end has not come yet."""

    kind: str
    anchor: str | None
    start: int
    line: int
    column: int
    children: list[Node] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)


def _events(text: str) -> Iterator[Any]:
    loader = _LOADER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


class _Builder:
    """Makes the tree of the event stream with an explicit stack: depth costs no Python frames."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.root: Node | None = None
        self.total = 0

    def take(self, event: Any) -> None:
        """Add one event."""
        if isinstance(event, yaml.DocumentStartEvent):
            if self.root is not None:
                raise self.error(event, "a second document starts here", "keep one document per file")
        elif isinstance(event, yaml.ScalarEvent):
            self._finish(event, self._scalar(event), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise self.error(event, f"alias of unknown anchor {event.anchor!r}")
            self._finish(event, self.anchors[event.anchor], None)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            self._open(event, "sequence" if isinstance(event, yaml.SequenceStartEvent) else "mapping")
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            closed = self.stack.pop()
            self._finish(event, self._close(event, closed), closed.anchor)

    def error(self, event: Any, reason: str, next_step: str = "") -> SourceError:
        """The error `reason` at the start of `event`."""
        return source_error(self.document.name, self.document.text, event.start_mark.index, reason, next_step)

    def _open(self, event: Any, kind: str) -> None:
        if event.tag is not None and not event.implicit:
            raise self.error(event, f"tag {event.tag!r} is not allowed", "remove it")
        if len(self.stack) >= MAX_DEPTH:
            raise self.error(event, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        mark = event.start_mark
        self.stack.append(_Open(kind, event.anchor, mark.index, mark.line + 1, mark.column + 1))

    def _close(self, event: Any, closed: _Open) -> Node:
        children = closed.children
        return Node(
            self.document,
            closed.kind,
            closed.start,
            event.end_mark.index,
            closed.line,
            closed.column,
            items=tuple(children) if closed.kind == "sequence" else (),
            entries=tuple(zip(children[::2], children[1::2], strict=True)) if closed.kind == "mapping" else (),
            size=1 + sum(child.size for child in children),
            depth=1 + max((child.depth for child in children), default=0),
        )

    def _scalar(self, event: Any) -> Node:
        if event.tag not in {None, "!", _STR_TAG}:
            raise self.error(event, f"tag {event.tag!r} is not allowed", "remove it")
        plain = event.tag is None and event.implicit[0] and not event.style
        mark = event.start_mark
        return Node(
            self.document,
            "scalar",
            mark.index,
            event.end_mark.index,
            mark.line + 1,
            mark.column + 1,
            scalar=_resolve(event.value) if plain else event.value,
            text=event.value,
            style=event.style or "",
        )

    def _finish(self, event: Any, done: Node, anchor: str | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = done
        if isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):  # an alias counts as often as it is written
            self.total += done.size
        if self.total > MAX_NODES:
            raise self.error(event, f"more than {MAX_NODES} values (aliases included)", "split the file")
        if done.depth + len(self.stack) > MAX_DEPTH:  # aliases can nest deeper than the text does
            raise self.error(event, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        if not self.stack:
            self.root = done
            return
        parent = self.stack[-1]
        if parent.kind == "mapping" and len(parent.children) % 2 == 0:
            self._check_key(event, parent, done)
        parent.children.append(done)

    def _check_key(self, event: Any, parent: _Open, key: Node) -> None:
        if key.kind != "scalar":
            raise self.error(event, "a key must be a word, not a list or a mapping")
        if key.text == "<<" and not key.style:
            raise self.error(event, "merge keys are not supported", "write the keys out")
        if key.text in parent.keys:
            raise self.error(event, f"key {key.text[:80]!r} appears twice", "keep one of them")
        parent.keys.add(key.text)


def _resolve(text: str) -> Scalar:
    """The value of a plain scalar in the core schema."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.match(text):
        return int(text, 0) if text[:2] in {"0x", "0o"} else int(text)
    if _FLOAT.match(text):
        return float(text)
    return text
