"""Falco's condition language: text → tree with source positions, and back.

    or      = and {"or" and}                         and = not {"and" not}
    not     = {"not"} check                          check = "(" or ")" | macro | operand test
    test    = "exists" | operator value | text-operator modifier list | list-operator (list | name | right)
    operand = field | transformer "(" inside {"," inside} ")" ["[" argument "]"]    inside = operand | quoted
    right   = "val(" field ")" | transformer ...     modifier = "oneof" | "anyof" | "allof"
    field   = name "." name {"." name} ["[" argument "]"]

A bare word is a macro where a condition stands and text where a value stands; inside a list a bare word may be the name of a list,
which whoever knows the lists replaces. Quoted text knows the escapes \\b \\f \\n \\r \\t \\/ \\\\ and its own quote. Depth, length and the
number of nodes are bounded. Source: falcosecurity/libs userspace/libsinsp/filter/parser.h (grammar in EBNF) and its documentation;
modifiers: falcosecurity/libs#2984 and #3005; join, concat, getopt: sinsp_filtercheck_multivalue_transformer.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from shipwall.lang.diagnostic import SourceError, did_you_mean, source_error

MAX_CHARS = 256 * 1024
MAX_DEPTH = 100
MAX_NODES = 50_000

NUMBER_OPERATORS = ("<=", "<", ">=", ">")
TEXT_OPERATORS = (
    "==",
    "=",
    "!=",
    "glob",
    "iglob",
    "contains",
    "icontains",
    "bcontains",
    "startswith",
    "bstartswith",
    "endswith",
    "regex",
)
LIST_OPERATORS = ("in", "intersects", "pmatch")
OPERATORS = ("exists", *NUMBER_OPERATORS, *TEXT_OPERATORS, *LIST_OPERATORS)
MODIFIERS = ("oneof", "anyof", "allof")
TRANSFORMERS = ("tolower", "toupper", "b64", "basename", "len", "join", "concat", "getopt")
_INSIDE = {"join": (2, 2), "concat": (2, 32), "getopt": (2, 2)}
"""How many operands a transformer takes, least and most; those not here take one."""

_BLANK = re.compile(r"[ \t\b\r\n]*")
_FIELD = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*(?:\.[a-zA-Z][a-zA-Z0-9_]*)+")
_WORD = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BARE = re.compile(r"[^()\"' \t\b\r\n\f\v=,]+")
_ARGUMENT = re.compile(r"[^\]\[\"' \t\b\r\n\f\v]+")
_MODIFIER = re.compile(r"(oneof|anyof|allof)[ \t\b\r\n]*\(")
_SYMBOL = re.compile(r"<=|>=|==|!=|<|>|=")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\", " ": "\\"}
_QUOTING = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the event, with the argument in brackets when there is one: `proc.aname[2]`."""

    name: str
    argument: str | None = None
    start: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Transform:
    """A function of operands: `tolower(proc.name)`, `join(",", proc.args)`, `getopt(proc.args, "c:")[c]`."""

    name: str
    operands: tuple[Operand | Value, ...]
    argument: str | None = None
    start: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Value:
    """A value as written, without its quotes. `quoted` tells text from what may be a list's name."""

    text: str
    quoted: bool = False
    start: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether the operand has a value. `text` is the source."""

    operand: Operand
    start: int = field(default=0, compare=False)
    text: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison. `values` has one value, several for list operators; empty with `right`, the operand on the other side.

    With a `modifier` the operator is applied to each value: anyof wants one that holds, allof all, oneof exactly one; none of no values.
    """

    operand: Operand
    operator: str
    values: tuple[Value, ...] = ()
    right: Operand | None = None
    modifier: str = ""
    start: int = field(default=0, compare=False)
    text: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Macro:
    """The name of a condition defined elsewhere."""

    name: str
    start: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of `item`."""

    item: Condition
    start: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class And:
    """All of `items`, from left to right."""

    items: tuple[Condition, ...]
    start: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Or:
    """Any of `items`, from left to right."""

    items: tuple[Condition, ...]
    start: int = field(default=0, compare=False)


Operand: TypeAlias = Field | Transform
Condition: TypeAlias = And | Or | Not | Macro | Exists | Compare


def parse_condition(text: str, name: str = "condition") -> Condition:
    """The tree of `text`, called `name` in errors. Total: raises SourceError with line, column, caret and hint for anything else."""
    if len(text) > MAX_CHARS:
        raise SourceError(name, f"{len(text)} characters are over the limit of {MAX_CHARS}", "split it into macros")
    return _Parser(text, name).parse()


def parse_item(text: str, name: str = "list item") -> Value:
    """The value an item of a list stands for: its text, or what is between the quotes when it brings its own quotes."""
    if len(text) >= 2 and text[0] in "\"'" and text[-1] == text[0]:
        parser = _Parser(text, name)
        value = parser.quoted()
        if value is not None and parser.at == len(text):
            return value
    return Value(text)


def parse_operand(text: str, at: int, name: str = "output") -> tuple[Operand, int]:
    """The field or transformed field that begins at character `at` of `text`, and where it ends. Raises SourceError."""
    parser = _Parser(text, name)
    parser.at = at
    operand = parser.operand()
    if operand is None:
        parser.fail("expected a field", at)
    return operand, parser.at


def render_condition(tree: Condition) -> str:
    """Text with the same tree: `parse_condition(render_condition(tree)) == tree`."""
    return _render(tree, 0)


def fields_of(tree: Condition) -> Iterator[Field]:
    """Every field the condition asks for, in source order, repeated when it is."""
    for leaf in leaves_of(tree):
        yield from operand_fields(leaf.operand)
        if isinstance(leaf, Compare) and leaf.right is not None:
            yield from operand_fields(leaf.right)


def operand_fields(operand: Operand | Value) -> Iterator[Field]:
    """Every field an operand asks for."""
    if isinstance(operand, Field):
        yield operand
    elif isinstance(operand, Transform):
        for inside in operand.operands:
            yield from operand_fields(inside)


def leaves_of(tree: Condition) -> Iterator[Compare | Exists]:
    """Every comparison of the condition, in source order."""
    if isinstance(tree, And | Or):
        for item in tree.items:
            yield from leaves_of(item)
    elif isinstance(tree, Not):
        yield from leaves_of(tree.item)
    elif not isinstance(tree, Macro):
        yield tree


class _Parser:
    """Reads one condition by recursive descent; what a word is depends on where it stands, so there is no separate token list."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.at = 0
        self.depth = 0
        self.nodes = 0

    def parse(self) -> Condition:
        self.blank()
        if self.at == len(self.text):
            self.fail("the condition is empty")
        tree = self.either()
        if self.at < len(self.text):
            self.unexpected()
        return tree

    def either(self) -> Condition:
        """Alternatives joined by `or`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"nested deeper than {MAX_DEPTH} levels", next_step="split it into macros")
        start = self.at
        items = [self.both()]
        while self.keyword("or"):
            items.append(self.both())
        self.depth -= 1
        return items[0] if len(items) == 1 else Or(tuple(items), start)

    def both(self) -> Condition:
        """Conditions joined by `and`."""
        self.blank()
        start = self.at
        items = [self.negated()]
        while self.keyword("and"):
            items.append(self.negated())
        return items[0] if len(items) == 1 else And(tuple(items), start)

    def negated(self) -> Condition:
        self.blank()
        start = self.at
        count = 0
        while self.keyword("not"):
            count += 1
        item = self.check()
        return Not(item, start) if count % 2 else item

    def check(self) -> Condition:
        self.blank()
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.fail(f"more than {MAX_NODES} comparisons", next_step="split the rule")
        start = self.at
        if self.symbol("("):
            inside = self.either()
            self.close(start)
            return inside
        operand = self.operand()
        if operand is not None:
            return self.test(operand, start)
        word = self.match(_WORD)
        if word is None:
            self.fail(
                "expected a condition here: a field, a macro or `(`"
                if self.at < len(self.text)
                else "the condition ends too early"
            )
        if word in {"and", "or", "not"}:
            self.fail(f"expected a condition before {word!r}" if word != "not" else "expected a condition after 'not'", start)
        self.blank()
        if (operator := self.peek_operator()) is not None:
            self.fail(f"{word!r} is not a field, so {operator!r} cannot test it", start, "fields have a dot, as proc.name")
        return Macro(word, start)

    def operand(self) -> Operand | None:
        """A field or a transformed one, None when a macro stands here."""
        start = self.at
        name = self.match(_FIELD)
        if name is not None:
            return Field(name, self.argument(), start)
        word = _WORD.match(self.text, self.at)
        if word is None or not self.text.startswith("(", word.end()):
            return None
        if word.group() not in TRANSFORMERS:
            if word.group() in {"and", "or", "not"}:
                return None
            self.fail(
                f"unknown transformer {word.group()!r}",
                next_step=did_you_mean(word.group(), TRANSFORMERS) or f"known: {', '.join(TRANSFORMERS)}",
            )
        self.at = word.end()
        inside = self.enclosed(*_INSIDE.get(word.group(), (1, 1)))
        argument = self.argument() if word.group() == "getopt" else None
        if argument is not None and len(argument) != 1:
            self.fail("getopt( )[ ] takes one option letter", start)
        return Transform(word.group(), inside, argument, start)

    def enclosed(self, least: int, most: int) -> tuple[Operand | Value, ...]:
        """The operands in the parentheses that open here; only with several may quoted text be among them."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"nested deeper than {MAX_DEPTH} levels")
        opened = self.at
        self.at += 1
        inside: list[Operand | Value] = []
        while not inside or self.symbol(","):
            self.blank()
            self.nodes += 1
            if self.nodes > MAX_NODES:
                self.fail(f"more than {MAX_NODES} operands", next_step="split the rule")
            found = self.operand() or (self.quoted() if most > 1 else None)
            if found is None:
                self.fail("expected a field or quoted text" if most > 1 else "expected a field")
            inside.append(found)
        self.close(opened)
        if not least <= len(inside) <= most:
            self.fail(f"{len(inside)} operands where {least if least == most else f'{least} to {most}'} are needed", opened)
        if all(isinstance(found, Value) for found in inside):
            self.fail("expected a field among these", opened)
        self.depth -= 1
        return tuple(inside)

    def argument(self) -> str | None:
        """What stands in brackets after a field's name."""
        opened = self.at
        if not self.text.startswith("[", self.at):
            return None
        self.at += 1
        quoted = self.quoted()
        argument = quoted.text if quoted is not None else self.match(_ARGUMENT)
        if argument is None or not self.text.startswith("]", self.at):
            self.fail("expected an argument and `]`", opened)
        self.at += 1
        return argument

    def test(self, operand: Operand, start: int) -> Condition:
        self.blank()
        at = self.at
        operator = self.peek_operator()
        if operator is None:
            word = _BARE.match(self.text, self.at)
            if word is None or word.group() in {"and", "or"}:
                self.fail("a field alone is no condition", start, "compare it, or write `exists` after it")
            hint = did_you_mean(word.group(), OPERATORS) or f"known: {' '.join(OPERATORS)}"
            self.fail(f"unknown operator {word.group()[:40]!r}", next_step=hint)
        self.at += len(operator)
        if operator == "exists":
            return Exists(operand, start, self.text[start : self.at])
        self.blank()
        modifier = self.modifier(operator)
        right = self.right() if not modifier else None
        values: tuple[Value, ...] = ()
        if right is None:
            if operator in LIST_OPERATORS or modifier:
                values = self.list_values(operator)
            else:
                values = (self.number(operator) if operator in NUMBER_OPERATORS else self.value(operator, at),)
        return Compare(operand, operator, values, right, modifier, start, self.text[start : self.at])

    def modifier(self, operator: str) -> str:
        """The modifier that stands here before a list in parentheses, empty when none does; a word elsewhere is a value."""
        word = _MODIFIER.match(self.text, self.at)
        if word is None:
            return ""
        if operator not in TEXT_OPERATORS:
            self.fail(f"{word[1]} cannot follow {operator!r}", next_step=f"it follows {' '.join(TEXT_OPERATORS)}")
        self.at = word.end(1)
        return word[1]

    def right(self) -> Operand | None:
        """A field on the right side: `val(field)`, or a transformer."""
        word = _WORD.match(self.text, self.at)
        if word is None or not self.text.startswith("(", word.end()):
            return None
        if word.group() == "val":
            self.at = word.end()
            (operand,) = self.enclosed(1, 1)
            if not isinstance(operand, Field):
                self.fail("val( ) takes a field")
            return operand
        return self.operand() if word.group() in TRANSFORMERS else None

    def list_values(self, operator: str) -> tuple[Value, ...]:
        opened = self.at
        if not self.symbol("("):
            start = self.at
            word = self.match(_WORD)
            if word is None:
                self.fail(f"expected a list in parentheses after {operator!r}")
            return (Value(word, False, start),)
        values: list[Value] = []
        self.blank()
        while not self.text.startswith(")", self.at):
            if values and not self.symbol(","):
                self.fail(
                    "expected `,` or `)` in the list" if self.at < len(self.text) else "the list is not closed",
                    None if self.at < len(self.text) else opened,
                )
            self.blank()
            values.append(self.value(operator, self.at))
            self.nodes += 1
            if self.nodes > MAX_NODES:
                self.fail(f"more than {MAX_NODES} values", next_step="split the list")
            self.blank()
        self.at += 1
        return tuple(values)

    def number(self, operator: str) -> Value:
        start = self.at
        text = self.match(_NUMBER)
        if text is None or _BARE.match(self.text, self.at):
            self.fail(f"expected a number after {operator!r}", start)
        return Value(text, False, start)

    def value(self, operator: str, at: int) -> Value:
        quoted = self.quoted()
        if quoted is not None:
            return quoted
        start = self.at
        text = self.match(_BARE)
        if text is None:
            self.fail(
                f"expected a value after {operator!r}",
                self.at if self.at < len(self.text) else at,
                "quote it when it holds blanks or any of ( ) , =",
            )
        return Value(text, False, start)

    def quoted(self) -> Value | None:
        """Text in single or double quotes, None when none opens here."""
        start = self.at
        quote = self.text[self.at : self.at + 1]
        if quote not in {'"', "'"}:
            return None
        parts: list[str] = []
        at = start + 1
        while at < len(self.text) and (character := self.text[at]) != quote:
            if character == "\\":
                at += 1
                following = self.text[at : at + 1]
                if following == quote:
                    character = quote
                elif following in _ESCAPES and following:
                    character = _ESCAPES[following]
                else:
                    self.fail(f"escape \\{following} is not understood", at - 1, "write \\\\ for a backslash")
            parts.append(character)
            at += 1
        if at >= len(self.text):
            self.fail("the quote is not closed", start)
        self.at = at + 1
        return Value("".join(parts), True, start)

    def peek_operator(self) -> str | None:
        symbol = _SYMBOL.match(self.text, self.at)
        if symbol is not None:
            return symbol.group()
        word = _WORD.match(self.text, self.at)
        if word is None or word.group() not in OPERATORS or self.text.startswith(".", word.end()):
            return None
        return word.group()

    def keyword(self, word: str) -> bool:
        """Whether `word` stands here as a word of its own; it is taken."""
        self.blank()
        found = _WORD.match(self.text, self.at)
        if found is None or found.group() != word or self.text.startswith(".", found.end()):
            return False
        self.at = found.end()
        return True

    def symbol(self, character: str) -> bool:
        """Whether `character` stands here; it is taken."""
        self.blank()
        if not self.text.startswith(character, self.at):
            return False
        self.at += 1
        return True

    def close(self, opened: int) -> None:
        self.blank()
        if self.at == len(self.text):
            self.fail("this `(` is not closed", opened)
        if not self.symbol(")"):
            self.unexpected()

    def match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found.group()

    def blank(self) -> None:
        found = _BLANK.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def unexpected(self) -> NoReturn:
        """The error for what follows a complete condition."""
        if self.text.startswith(")", self.at):
            self.fail("`)` without `(`")
        word = _BARE.match(self.text, self.at)
        shown = word.group()[:40] if word else self.text[self.at]
        self.fail(f"expected `and`, `or` or the end before {shown!r}", next_step=did_you_mean(shown, ("and", "or")))

    def fail(self, reason: str, at: int | None = None, next_step: str = "") -> NoReturn:
        raise source_error(self.name, self.text, self.at if at is None else at, reason, next_step)


def _render(tree: Condition, outer: int) -> str:
    """`tree` in parentheses when it binds weaker than what is around it (0 nothing, 1 or, 2 and, 3 not)."""
    if isinstance(tree, Macro):
        return tree.name
    if isinstance(tree, Not):
        text = f"not {_render(tree.item, 3)}"
        return f"({text})" if outer >= 3 else text  # `not not x` would be read as `x`
    if isinstance(tree, Or | And):
        strength = 1 if isinstance(tree, Or) else 2
        text = (" or " if isinstance(tree, Or) else " and ").join(_render(item, strength) for item in tree.items)
        return f"({text})" if outer >= strength else text
    return render_leaf(tree)


def render_leaf(leaf: Compare | Exists) -> str:
    """The text of one comparison."""
    operand = render_operand(leaf.operand)
    if isinstance(leaf, Exists):
        return f"{operand} exists"
    if leaf.right is not None:
        right = render_operand(leaf.right)
        return f"{operand} {leaf.operator} {f'val({right})' if isinstance(leaf.right, Field) else right}"
    if leaf.operator in LIST_OPERATORS or leaf.modifier:
        operator = f"{leaf.operator} {leaf.modifier}".rstrip()
        return f"{operand} {operator} ({', '.join(_render_value(value) for value in leaf.values)})"
    return f"{operand} {leaf.operator} {_render_value(leaf.values[0])}"


def render_operand(operand: Operand | Value) -> str:
    """The text of a field or a transformed one."""
    if isinstance(operand, Value):
        return _quote(operand.text)
    name = operand.name
    if isinstance(operand, Transform):
        name += f"({', '.join(render_operand(inside) for inside in operand.operands)})"
    if operand.argument is None:
        return name
    bare = _ARGUMENT.fullmatch(operand.argument)
    return f"{name}[{operand.argument if bare else _quote(operand.argument)}]"


def _render_value(value: Value) -> str:
    return _quote(value.text) if value.quoted or not _BARE.fullmatch(value.text) else value.text


def _quote(text: str) -> str:
    return '"' + "".join(_QUOTING.get(character, character) for character in text) + '"'
