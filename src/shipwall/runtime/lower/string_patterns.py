"""Comparisons of strings → patterns. Where there is no exact one, a wider one that is not `exact`, or none: the kernel does not ask."""

from __future__ import annotations

import re
from typing import NamedTuple

from shipwall.abi.calls import CALLS_BY_NAME
from shipwall.lang.condition import Compare, Field
from shipwall.runtime.fields import argument_of
from shipwall.runtime.lower.automaton import ANY, END, NO_SLASH, SLASH, Pattern, Step, literal

FIRST, SECOND, PATH = range(3)
"""Where a string comes from: the first or second one the call names, as it stands in the caller's memory; the path of the opened file."""

_REST = Step(ANY, many=True)
_NAME = Step(NO_SLASH, many=True)
_AT_END = Step(END)
MAX_LITERAL = 512


class Source(NamedTuple):
    """`place`: FIRST, SECOND or PATH. `part`: whole, directory or filename of it. `is_joined`: told by a path that user space makes of
    it."""

    place: int
    part: str = "whole"
    is_joined: bool = False


_OF_OPEN = {
    "fd.name": Source(PATH),
    "fd.directory": Source(PATH, "directory"),
    "fd.filename": Source(PATH, "filename"),
    "fd.nameraw": Source(FIRST),
}


def source_of(field: Field, kind: str, call: str) -> Source | None:
    """Where the kernel finds what `field` says of events of `call`; None when it does not."""
    name = argument_of(field)
    if kind == "open":
        return Source(FIRST) if name == "name" else _OF_OPEN.get(field.name)
    if kind != "call" or name is None:
        return None
    strings = CALLS_BY_NAME[call].of_kind("path", "text")[:2]
    for place, parameter in enumerate(strings):
        if parameter.name == name:
            return Source(place, is_joined=parameter.kind == "path")
    return None


def patterns_of(leaf: Compare, source: Source) -> list[Pattern] | None:
    """Patterns of which a string fits at least one when the comparison holds; None when there are none."""
    if leaf.modifier or leaf.right is not None or not leaf.values:
        return None
    found: list[Pattern] = []
    for value in leaf.values:
        text = value.text
        # user space writes bytes that are no text as `\\xff`: a backslash may stand for one
        if not text or not text.isascii() or "\0" in text or "\\" in text or len(text) > MAX_LITERAL:
            return None
        made = _PARTS[source.part](leaf.operator, text)
        if made is None:
            return None
        found += made
    return found


def prefixes_of(patterns: list[Pattern]) -> list[bytes] | None:
    """With what strings that fit begin; None when with anything."""
    found = []
    for pattern in patterns:
        head = bytearray()
        for step in pattern.steps:
            if step.many or step.bytes.bit_count() != 1 or step.bytes == END:
                break
            head.append(step.bytes.bit_length() - 1)
        if not head:
            return None
        found.append(bytes(head))
    return found


POISONS = [
    Pattern((_REST, *literal("//"))),
    Pattern((_REST, *literal("/."))),
    Pattern((_REST, Step(SLASH), _AT_END)),
    Pattern((Step(NO_SLASH),)),
]
"""What user space may write differently when it joins and normalises a path, and every path that is not absolute."""


def _whole(operator: str, text: str) -> list[Pattern] | None:
    steps = literal(text)
    if operator in {"=", "==", "in"}:
        return [Pattern((*steps, _AT_END))]
    if operator == "startswith":
        return [Pattern(steps)]
    if operator == "endswith":
        return [Pattern((_REST, *steps, _AT_END))]
    if operator == "contains":
        return [Pattern((_REST, *steps))]
    if operator == "icontains":
        return [Pattern((_REST, *map(_both_cases, text)))]
    if operator == "pmatch":
        if re.search(r"[*?\[]", text):
            return None
        stem = text.rstrip("/")
        return [Pattern((*literal(stem), _AT_END)), Pattern(literal(stem + "/"))] if stem else None
    return _glob(text) if operator == "glob" else None


def _glob(text: str) -> list[Pattern] | None:
    """Only of stars and question marks; before a set in brackets the pattern ends and may fit more."""
    head, bracket, _ = text.partition("[")
    steps: list[Step] = []
    for letter in head:
        if letter == "*":
            if not (steps and steps[-1] == _REST):
                steps.append(_REST)
        else:
            steps.append(Step(ANY) if letter == "?" else Step(1 << ord(letter)))
    if bracket:
        return [Pattern(tuple(steps), exact=False)] if steps else None
    return [Pattern((*steps, _AT_END))]


def _both_cases(letter: str) -> Step:
    return Step(1 << ord(letter.lower()) | 1 << ord(letter.upper()))


def _directory(operator: str, text: str) -> list[Pattern] | None:
    stem = text.rstrip("/")
    if operator in {"=", "==", "in"}:
        if text == "/":
            return [Pattern((Step(SLASH), _NAME, _AT_END)), Pattern((*literal("//"), _NAME, _AT_END))]
        return [Pattern((*literal(text + "/"), _NAME, _AT_END), exact=text.startswith("/"))]
    if text == "/":  # every folder has one, the root nothing else
        return None
    if operator == "startswith":
        return [Pattern((*literal(text), _REST, Step(SLASH)), exact=False)]
    if operator == "pmatch" and stem and not re.search(r"[*?\[]", text):
        return [Pattern(literal(stem + "/"), exact=stem.startswith("/"))]
    if operator in {"contains", "endswith"}:
        return [Pattern((_REST, *literal(text), *(() if operator == "endswith" else (_REST,)), Step(SLASH)), exact=False)]
    return None


def _filename(operator: str, text: str) -> list[Pattern] | None:
    if "/" in text:
        return None
    steps = literal(text)
    if operator in {"=", "==", "in"}:
        return [Pattern((_REST, Step(SLASH), *steps, _AT_END)), Pattern((*steps, _AT_END))]
    if operator == "startswith":
        tail = (*steps, _NAME, _AT_END)
        return [Pattern((_REST, Step(SLASH), *tail)), Pattern(tail)]
    if operator == "endswith":
        return [Pattern((_REST, *steps, _AT_END))]
    if operator == "contains":
        return [Pattern((_REST, *steps, _NAME, _AT_END))]
    return None


_PARTS = {"whole": _whole, "directory": _directory, "filename": _filename}
