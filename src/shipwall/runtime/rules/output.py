"""The sentence a rule says: text with %fields.

`%field`, `%field[argument]`, `%tolower(field)` and the other transformers; a number after the sign (`%30proc.name`) cuts or pads to that
many characters. A `*` before a field or at the very beginning says in Falco "even when values are missing", which is always so here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from shipwall.lang.condition import TRANSFORMERS, Field, Operand, operand_fields, parse_operand, render_operand
from shipwall.lang.diagnostic import SourceError, did_you_mean
from shipwall.runtime.conditions import Found, text_of, value_of
from shipwall.runtime.fields import is_known, known_names, wrong_argument
from shipwall.runtime.rules.definitions import Text

MAX_VALUE_CHARS = 2048

_TOKEN = re.compile(r"%(?:%|\*?([0-9]{0,3})(?=[a-zA-Z][a-zA-Z0-9_]*(?:(?:\.[a-zA-Z][a-zA-Z0-9_]*)+|(\())))?")
_WORD = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")


class Part(NamedTuple):
    """A value in an output. `name`: how it is called there. `width`: characters it takes, 0 for as many as it has."""

    name: str
    operand: Operand
    width: int = 0


Output = tuple[str | Part, ...]


def parse_output(text: Text) -> Output:
    """The texts and fields of an output in order. Raises SourceError at a field nobody defines."""
    source = text.text
    parts: list[str | Part] = []
    at = 1 if source.startswith("*") else 0
    while (token := _TOKEN.search(source, at)) is not None:
        parts.append(source[at : token.start()])
        at = token.end()
        width, call = token.groups()
        if width is None:
            parts.append("%")
            continue
        word = _WORD.match(source, at)
        if call is not None and word is not None and word.group() not in TRANSFORMERS:
            parts.append(token.group())  # a sign before a word in parentheses
            continue
        operand, at = _operand(text, at)
        parts.append(Part(render_operand(operand), operand, int(width or 0)))
    parts.append(source[at:])
    return tuple(part for part in parts if part)


def _operand(text: Text, at: int) -> tuple[Operand, int]:
    """The operand at character `at` and where it ends."""
    try:
        operand, end = parse_operand(text.text, at)
    except SourceError as error:
        raise text.error_at(at, error.reason, error.next_step) from error
    for used in operand_fields(operand):
        if not is_known(used):
            raise text.error_at(used.start, f"unknown field {used.name!r}", did_you_mean(used.name, known_names()))
        if reason := wrong_argument(used):
            raise text.error_at(used.start, reason)
    return operand, end


def render_output(output: Output, lookup: Callable[[Field], Found]) -> tuple[str, dict[str, str]]:
    """The sentence, and the value of each field it names (`<NA>` when missing). Values are cut at MAX_VALUE_CHARS."""
    said: list[str] = []
    fields: dict[str, str] = {}
    for part in output:
        if isinstance(part, str):
            said.append(part)
            continue
        value = text_of(value_of(part.operand, lookup))
        if len(value) > MAX_VALUE_CHARS:
            value = value[:MAX_VALUE_CHARS] + "…"
        fields[part.name] = value
        said.append(value[: part.width].ljust(part.width) if part.width else value)
    return " ".join("".join(said).split("\n")), fields
