"""Errors that point into a text: line, column, caret and the word that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from shipwall.model.errors import InputError

MAX_SHOWN = 160


class SourceError(InputError):
    """A text that cannot be what it claims. `excerpt` is its line with a caret below, empty when the place is not known."""

    def __init__(
        self,
        thing: str,
        reason: str,
        next_step: str = "",
        *,
        line_number: int | None = None,
        column: int | None = None,
        excerpt: str = "",
    ) -> None:
        super().__init__(thing, reason, next_step, line_number=line_number, column=column)
        self.source_name = thing
        self.excerpt = excerpt


def place_of(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of the character at `offset` (clamped) of `text`."""
    offset = min(max(offset, 0), len(text))
    start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - start + 1


def render_excerpt(text: str, line: int, column: int) -> str:
    """Line `line` of `text` and a caret below `column`; long lines are cut around the caret. Empty when there is no such line."""
    lines = text.split("\n", line)
    if not 1 <= line <= len(lines):
        return ""
    shown = lines[line - 1].rstrip("\r")
    at = min(max(column - 1, 0), len(shown))
    first = max(0, at - MAX_SHOWN // 2)
    shown = shown[first : first + MAX_SHOWN]
    blank = "".join("\t" if character == "\t" else " " for character in shown[: at - first])
    return f"{shown}\n{blank}^"


def source_error(name: str, text: str, offset: int, reason: str, next_step: str = "") -> SourceError:
    """The error at character `offset` of `text`, which is called `name`."""
    line, column = place_of(text, offset)
    return SourceError(name, reason, next_step, line_number=line, column=column, excerpt=render_excerpt(text, line, column))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for the nearest of `known`, or empty when none is near."""
    near = difflib.get_close_matches(word[:80], sorted(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""
