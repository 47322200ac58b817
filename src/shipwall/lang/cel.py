"""CEL, the Common Expression Language: text → a checked condition over declared values. Total and bounded.

Understood: literals (int, double, string, bool), lists, `&& || ! == != < <= > >= in + - * / % ? :`, fields, `x[i]` on lists, `has(x.f)`,
`size`, `startsWith`, `endsWith`, `contains`, `matches` (RE2's syntax as far as lang/regex.py knows it, a literal), and the macros
`exists all exists_one filter map`. Not: maps, messages, bytes, uint, timestamps, null.

Stricter than the specification: every name, field and type is checked before anything runs; enumerators compare only with their own
kind. Source: cel-spec doc/langdef.md. Values are bool, int (64 bits), float, str and lists of these; an object is a mapping, and a
field that is None is absent: `has` is false and the field reads as empty, as in Protocol Buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shipwall.lang.cel_syntax import MAX_CHARS, Fail, Node, parse_syntax
from shipwall.lang.diagnostic import did_you_mean, source_error
from shipwall.lang.regex import MAX_PATTERN_CHARS, Regex, RegexError
from shipwall.model.errors import InputError

__all__ = [
    "BOOL",
    "DOUBLE",
    "INT",
    "MAX_CHARS",
    "STRING",
    "Condition",
    "Type",
    "compile_condition",
    "enum_type",
    "list_of",
    "object_type",
]

MAX_STEPS = 100_000
MAX_SIZE = 100_000
MAX_LIST_DEPTH = 2

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_COMPARED = frozenset({"<", "<=", ">", ">="})
_MACROS = frozenset({"exists", "all", "exists_one", "filter", "map"})
_METHODS: dict[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, part: part in text,
}


class Type(NamedTuple):
    """`kind`: bool int double string list object enum. `of`: of a list's items. `fields`: of an object. `name` for people."""

    kind: str
    name: str
    of: Type | None = None
    fields: Mapping[str, Type] = {}


BOOL, INT, DOUBLE, STRING = (Type(kind, kind) for kind in ("bool", "int", "double", "string"))
_EMPTY: dict[str, Any] = {"bool": False, "int": 0, "double": 0.0, "string": "", "list": (), "enum": 0}


def list_of(item: Type) -> Type:
    """The type of lists of `item`."""
    return Type("list", f"list of {item.name}", item)


def object_type(name: str, fields: Mapping[str, Type]) -> Type:
    """The type of objects with `fields`."""
    return Type("object", name, None, fields)


def enum_type(name: str) -> Type:
    """A type whose values are ordered, and compare with nothing else."""
    return Type("enum", name)


class _RunError(Exception):
    """What CEL calls an error while an expression runs: `&&` and `||` may absorb it."""


class _Scope:
    """The values of one evaluation, and how many steps are left to it."""

    __slots__ = ("left", "values")

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.left = MAX_STEPS


_Run = Callable[[_Scope], Any]


class _Checked(NamedTuple):
    type: Type
    run: _Run


@dataclass(frozen=True)
class Condition:
    """A checked condition. `names`: the declared values it reads."""

    text: str
    names: frozenset[str]
    _run: _Run

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition is true of `values`. Raises InputError where it divides by zero, overflows or takes too many steps."""
        try:
            return bool(self._run(_Scope(dict(values))))
        except _RunError as error:
            raise InputError(f"condition {self.text[:80]!r}", str(error)) from error


def compile_condition(
    text: str,
    declared: Mapping[str, Type],
    constants: Mapping[str, tuple[Type, Any]],
    name: str = "condition",
    fail: Fail | None = None,
) -> Condition:
    """The condition `text` is, over `declared` values and named `constants`. Total.

    Raises SourceError with a caret and, where a name is misspelt, what was probably meant; with `fail` what that makes of (offset,
    reason, next step), for texts that are part of a file.
    """

    def fail_here(offset: int, reason: str, next_step: str = "") -> InputError:
        return source_error(name, text, offset, reason, next_step)

    checker = _Checker(declared, constants, fail or fail_here)
    tree = parse_syntax(text, checker.fail)
    checked = checker.check(tree, {})
    if checked.type != BOOL:
        raise checker.fail(tree.start, f"is {_a(checked.type)}, not a condition", "compare it with something")
    return Condition(text, frozenset(checker.read), checked.run)


class _Checker:
    """Gives every node a type and a way to run."""

    def __init__(self, declared: Mapping[str, Type], constants: Mapping[str, tuple[Type, Any]], fail: Fail) -> None:
        self.declared = declared
        self.constants = constants
        self.fail = fail
        self.read: set[str] = set()

    def check(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        """`node` with its type; `local` are names bound by macros."""
        checked: _Checked = getattr(self, "_" + node.kind)(node, local)
        return checked

    def _literal(self, node: Node, _local: Mapping[str, Type]) -> _Checked:
        value = node.value
        type_ = {bool: BOOL, int: INT, float: DOUBLE, str: STRING}[type(value)]
        return _Checked(type_, lambda _scope: value)

    def _name(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        name = str(node.value)
        if name in local or name in self.declared:
            if name not in local:
                self.read.add(name)
            return _Checked(local.get(name) or self.declared[name], lambda scope: scope.values[name])
        if name in self.constants:
            type_, value = self.constants[name]
            return _Checked(type_, lambda _scope: value)
        known = [*local, *self.declared, *self.constants]
        hint = did_you_mean(name, known) or did_you_mean(name.upper(), known) or f"known: {', '.join(sorted(known))}"
        raise self.fail(node.start, f"{name[:60]!r} is not known", hint)

    def _list(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        items = [self.check(item, local) for item in node.parts]
        if not items:
            return _Checked(list_of(STRING), lambda _scope: ())
        for item, part in zip(items, node.parts, strict=True):
            if item.type != items[0].type:
                raise self.fail(part.start, f"is {_a(item.type)} in a {list_of(items[0].type).name}", "give a list one type")
        runs = [item.run for item in items]
        return _Checked(self._list_type(items[0].type, node), lambda scope: tuple(run(scope) for run in runs))

    def _list_type(self, item: Type, node: Node) -> Type:
        depth, inner = 1, item
        while inner.kind == "list" and inner.of is not None:
            depth, inner = depth + 1, inner.of
        if depth > MAX_LIST_DEPTH:
            raise self.fail(node.start, f"lists are deeper than {MAX_LIST_DEPTH}")
        return list_of(item)

    def _select(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        of, field, type_ = self._field(node, local)
        empty = _EMPTY.get(type_.kind)
        run = of.run

        def select(scope: _Scope) -> Any:
            value = run(scope)[field]
            return empty if value is None else value

        return _Checked(type_, select)

    def _field(self, node: Node, local: Mapping[str, Type]) -> tuple[_Checked, str, Type]:
        of, field = self.check(node.parts[0], local), str(node.value)
        if of.type.kind != "object":
            raise self.fail(node.start, f"{_a(of.type)} has no fields, so no {field[:60]!r}")
        if field not in of.type.fields:
            known = sorted(of.type.fields)
            hint = did_you_mean(field, known) or f"fields: {', '.join(known)}"
            raise self.fail(node.start, f"{of.type.name} has no field {field[:60]!r}", hint)
        return of, field, of.type.fields[field]

    def _index(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        of, index = (self.check(part, local) for part in node.parts)
        if of.type.kind != "list" or of.type.of is None:
            raise self.fail(node.start, f"{_a(of.type)} has no items")
        self._want(INT, index, node.parts[1])
        items, place = of.run, index.run

        def item(scope: _Scope) -> Any:
            values, at = items(scope), place(scope)
            if not 0 <= at < len(values):
                raise _RunError(f"item {at} of a list of {len(values)}")
            return values[at]

        return _Checked(of.type.of, item)

    def _not(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        inner = self._want(BOOL, self.check(node.parts[0], local), node.parts[0]).run
        return _Checked(BOOL, lambda scope: not inner(scope))

    def _negate(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        inner = self.check(node.parts[0], local)
        if inner.type not in (INT, DOUBLE):
            raise self.fail(node.start, f"{_a(inner.type)} has no negative")
        return _Checked(inner.type, lambda scope: _bounded(-inner.run(scope)))

    def _choose(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        condition, yes, no = (self.check(part, local) for part in node.parts)
        self._want(BOOL, condition, node.parts[0])
        self._want(yes.type, no, node.parts[2])
        return _Checked(yes.type, lambda scope: yes.run(scope) if condition.run(scope) else no.run(scope))

    def _binary(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        operator = str(node.value)
        left, right = (self.check(part, local) for part in node.parts)
        if operator in {"&&", "||"}:
            for one, part in zip((left, right), node.parts, strict=True):
                self._want(BOOL, one, part)
            return _Checked(BOOL, _both(left.run, right.run, decides=operator == "||"))
        if operator == "in":
            if right.type.kind != "list" or right.type.of is None:
                raise self.fail(node.parts[1].start, f"is {_a(right.type)}, not a list", "write it like [HIGH, CRITICAL]")
            if node.parts[1].parts or node.parts[1].kind != "list":
                self._comparable(node, left.type, right.type.of)
            return _Checked(BOOL, lambda scope: _member(left.run(scope), right.run(scope)))
        if operator in {"==", "!="} or operator in _COMPARED:
            self._comparable(node, left.type, right.type)
            if operator in _COMPARED and left.type.kind in {"list", "object"}:
                raise self.fail(node.start, f"{_a(left.type)} has no order")
            return _Checked(BOOL, _comparison(operator, left.run, right.run))
        return self._arithmetic(node, operator, left, right)

    def _comparable(self, node: Node, left: Type, right: Type) -> None:
        if left == right or {left.kind, right.kind} == {"int", "double"}:
            return
        hint = ""
        if "enum" in {left.kind, right.kind}:
            name = left.name if left.kind == "enum" else right.name
            values = [word for word, (type_, _value) in self.constants.items() if type_.name == name]
            hint = f"compare it with one of {', '.join(values)}, written without quotes"
        elif {left.kind, right.kind} == {"string", "int"}:
            hint = "write both as text or both as numbers"
        raise self.fail(node.start, f"{_a(left)} and {_a(right)} cannot be compared", hint)

    def _arithmetic(self, node: Node, operator: str, left: _Checked, right: _Checked) -> _Checked:
        if left.type != right.type:
            hint = "write whole numbers as 1.0 beside a double" if {left.type.kind, right.type.kind} == {"int", "double"} else ""
            raise self.fail(node.start, f"{operator} does not take {_a(left.type)} and {_a(right.type)}", hint)
        allowed = {"+": ("int", "double", "string", "list"), "%": ("int",)}.get(operator, ("int", "double"))
        if left.type.kind not in allowed:
            raise self.fail(node.start, f"{operator} does not take {_a(left.type)}")
        return _Checked(left.type, _calculation(operator, left.run, right.run))

    def _call(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        """A function: `has(x.f)` or `size(x)`."""
        name = str(node.value)
        if name == "has" and len(node.parts) == 1 and node.parts[0].kind == "select":
            of, field, _type = self._field(node.parts[0], local)
            return _Checked(BOOL, lambda scope: of.run(scope)[field] is not None)
        if name == "has":
            raise self.fail(node.start, "has wants one field", "write it like has(finding.epss)")
        if name == "size" and len(node.parts) == 1:
            return self._size(self.check(node.parts[0], local), node)
        hint = did_you_mean(name, ("has", "size")) or "functions: has, size"
        raise self.fail(node.start, f"no function {name[:60]!r} takes {len(node.parts)} arguments", hint)

    def _method(self, node: Node, local: Mapping[str, Type]) -> _Checked:
        name, target, arguments = str(node.value), node.parts[0], node.parts[1:]
        if name in _MACROS:
            return self._macro(node, name, local)
        if name == "size" and not arguments:
            return self._size(self.check(target, local), node)
        if name not in {*_METHODS, "matches"} or len(arguments) != 1:
            known = sorted({*_METHODS, *_MACROS, "matches", "size"})
            hint = did_you_mean(name, known) or f"methods: {', '.join(known)}"
            raise self.fail(node.start, f"no method {name[:60]!r} takes {len(arguments)} arguments", hint)
        text = self._want(STRING, self.check(target, local), target).run
        argument = self._want(STRING, self.check(arguments[0], local), arguments[0]).run
        if name == "matches":
            pattern = self._pattern(arguments[0])
            return _Checked(BOOL, lambda scope: pattern.matches(text(scope)))
        test = _METHODS[name]
        return _Checked(BOOL, lambda scope: test(text(scope), argument(scope)))

    def _pattern(self, node: Node) -> Regex:
        if node.kind != "literal":
            raise self.fail(node.start, "the pattern is not a literal", "write it in quotes")
        try:
            return Regex(_searching(str(node.value)))
        except RegexError as error:
            raise self.fail(node.start, f"pattern: {error.reason.rpartition(' at character ')[0] or error.reason}") from error
        except ValueError as error:
            raise self.fail(node.start, f"pattern: {error}") from error

    def _size(self, of: _Checked, node: Node) -> _Checked:
        if of.type.kind not in {"string", "list"}:
            raise self.fail(node.start, f"{_a(of.type)} has no size")
        return _Checked(INT, lambda scope: len(of.run(scope)))

    def _macro(self, node: Node, name: str, local: Mapping[str, Type]) -> _Checked:
        if len(node.parts) != 3 or node.parts[1].kind != "name":
            raise self.fail(node.start, f"{name} wants a name and an expression", f'write it like list.{name}(x, x == "a")')
        over, word = self.check(node.parts[0], local), str(node.parts[1].value)
        if over.type.kind != "list" or over.type.of is None:
            raise self.fail(node.start, f"{_a(over.type)} has no items to go through")
        if word in {**self.declared, **self.constants} or word in local:
            raise self.fail(node.parts[1].start, f"{word[:60]!r} has a meaning already", "choose another name")
        body = self.check(node.parts[2], {**local, word: over.type.of})
        if name == "map":
            return _Checked(self._list_type(body.type, node), lambda scope: tuple(_each(scope, word, over.run, body.run)))
        self._want(BOOL, body, node.parts[2])
        if name == "filter":
            return _Checked(over.type, lambda scope: _filtered(scope, word, over.run, body.run))
        if name == "exists_one":
            return _Checked(BOOL, lambda scope: sum(_each(scope, word, over.run, body.run)) == 1)
        decides = name == "exists"
        return _Checked(BOOL, lambda scope: _decided(scope, word, over.run, body.run, decides=decides))

    def _want(self, type_: Type, checked: _Checked, node: Node) -> _Checked:
        if checked.type != type_:
            raise self.fail(node.start, f"is {_a(checked.type)}, where {_a(type_)} is wanted")
        return checked


def _a(type_: Type) -> str:
    return f"{'an' if type_.name[:1] in 'aeiou' else 'a'} {type_.name}"


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
        raise _RunError("a number is beyond 64 bits")
    if isinstance(value, str | tuple) and len(value) > MAX_SIZE:
        raise _RunError(f"a value has more than {MAX_SIZE} items or characters")
    return value


def _both(left: Callable[[_Scope], bool], right: Callable[[_Scope], bool], *, decides: bool) -> _Run:
    """`&&` (decides: False) and `||` (True): an error of one side counts only when the other does not decide."""

    def run(scope: _Scope) -> bool:
        try:
            if left(scope) is decides:
                return decides
        except _RunError:
            if right(scope) is decides:
                return decides
            raise
        return bool(right(scope))

    return run


def _member(value: Any, items: tuple[Any, ...]) -> bool:
    return any(bool(value == item) for item in items)


def _comparison(operator: str, left: _Run, right: _Run) -> _Run:
    return {
        "==": lambda scope: left(scope) == right(scope),
        "!=": lambda scope: left(scope) != right(scope),
        "<": lambda scope: left(scope) < right(scope),
        "<=": lambda scope: left(scope) <= right(scope),
        ">": lambda scope: left(scope) > right(scope),
        ">=": lambda scope: left(scope) >= right(scope),
    }[operator]


def _calculation(operator: str, left: _Run, right: _Run) -> _Run:
    work = {"+": _add, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": _divide, "%": _rest}[operator]
    return lambda scope: _bounded(work(left(scope), right(scope)))


def _add(left: Any, right: Any) -> Any:
    return left + right if not isinstance(left, tuple | list) else (*left, *right)


def _divide(left: Any, right: Any) -> Any:
    """Whole numbers are cut towards zero, as in CEL."""
    if isinstance(left, int):
        if right == 0:
            raise _RunError("divides by zero")
        whole = abs(left) // abs(right)
        return whole if (left < 0) == (right < 0) else -whole
    if right == 0:
        return float("nan") if left == 0 or left != left else float("inf") if left > 0 else float("-inf")  # noqa: PLR0124 (not a number)
    return left / right


def _rest(left: int, right: int) -> int:
    if right == 0:
        raise _RunError("divides by zero")
    return left - right * int(_divide(left, right))


def _each(scope: _Scope, word: str, over: _Run, body: _Run) -> list[Any]:
    """What `body` is for each item, in order."""
    found = []
    for item in over(scope):
        scope.left -= 1
        if scope.left < 0:
            raise _RunError(f"takes more than {MAX_STEPS} steps")
        scope.values[word] = item
        found.append(body(scope))
    return found


def _filtered(scope: _Scope, word: str, over: _Run, body: _Run) -> tuple[Any, ...]:
    items = tuple(over(scope))
    kept = _each(scope, word, lambda _scope: items, body)
    return tuple(item for item, keep in zip(items, kept, strict=True) if keep)


def _decided(scope: _Scope, word: str, over: _Run, body: Callable[[_Scope], bool], *, decides: bool) -> bool:
    """`exists` and `all`: the first item that decides ends it; an error counts only when none does."""
    failed: _RunError | None = None
    for item in over(scope):
        scope.left -= 1
        if scope.left < 0:
            raise _RunError(f"takes more than {MAX_STEPS} steps")
        scope.values[word] = item
        try:
            if body(scope) is decides:
                return decides
        except _RunError as error:
            failed = error
    if failed is not None:
        raise failed
    return not decides


def _searching(pattern: str) -> str:
    """A pattern for the whole text that finds `pattern` anywhere in it. Raises ValueError where the two cannot mean the same."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"is longer than {MAX_PATTERN_CHARS} characters")
    flags = "(?i)" if pattern.startswith("(?i)") else ""
    inner = pattern.removeprefix("(?i)")
    at_start = inner.startswith("^")
    slashes = len(inner.removesuffix("$")) - len(inner.removesuffix("$").rstrip("\\"))
    at_end = inner.endswith("$") and slashes % 2 == 0
    inner = inner[at_start : len(inner) - at_end]
    if (at_start or at_end) and _has_bare_choice(inner):
        raise ValueError("^ and $ beside | hold for one side only; write ^(a|b)$")
    anything = r"(?:.|\n)*"
    return f"{flags}{'' if at_start else anything}(?:{inner}){'' if at_end else anything}"


def _has_bare_choice(pattern: str) -> bool:
    depth, at, in_class = 0, 0, False
    while at < len(pattern):
        character = pattern[at]
        at += 2 if character == "\\" else 1
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "|" and depth == 0:
            return True
    return False
