"""The sentence a rule says: text with %fields."""

from __future__ import annotations

import re
from collections.abc import Callable

from shipwall.lang.condition import TRANSFORMERS, Field
from shipwall.lang.diagnostic import did_you_mean
from shipwall.runtime.conditions import Found, text_of
from shipwall.runtime.fields import is_known, known_names, wrong_argument
from shipwall.runtime.rules.definitions import Text

MAX_VALUE_CHARS = 2048

_TOKEN = re.compile(r"%(?:%|\*?([a-zA-Z][a-zA-Z0-9_]*(?:\.[a-zA-Z][a-zA-Z0-9_]*)+)(?:\[([^\]\[]{1,256})\])?|([a-z0-9]+)\()?")

Output = tuple[str | Field, ...]


def parse_output(text: Text) -> Output:
    """The texts and fields of an output in order. Raises SourceError at a field nobody defines."""
    source = text.text
    parts: list[str | Field] = []
    at = 0
    for token in _TOKEN.finditer(source):
        parts.append(source[at : token.start()])
        at = token.end()
        name, argument, function = token.groups()
        if token.group() in {"%", "%%"}:
            parts.append("%")
            continue
        if function is not None:
            if function in TRANSFORMERS:
                raise text.error_at(token.start(), f"{function}( ) cannot be used in an output", "write the field itself")
            parts.append(token.group())
            continue
        field = Field(name, argument, token.start())
        if not is_known(field):
            raise text.error_at(token.start() + 1, f"unknown field {name!r}", did_you_mean(name, known_names()))
        if reason := wrong_argument(field):
            raise text.error_at(token.start() + 1, reason)
        parts.append(field)
    parts.append(source[at:])
    return tuple(part for part in parts if part)


def render_output(output: Output, lookup: Callable[[Field], Found]) -> tuple[str, dict[str, str]]:
    """The sentence, and the value of each field it names (`<NA>` when missing). Values are cut at MAX_VALUE_CHARS."""
    said: list[str] = []
    fields: dict[str, str] = {}
    for part in output:
        if isinstance(part, str):
            said.append(part)
            continue
        value = text_of(lookup(part))
        if len(value) > MAX_VALUE_CHARS:
            value = value[:MAX_VALUE_CHARS] + "…"
        fields[part.name if part.argument is None else f"{part.name}[{part.argument}]"] = value
        said.append(value)
    return " ".join("".join(said).split("\n")), fields
