"""Whether a condition holds for an event, and why.

`evaluate` is the definition: it walks the tree. `compile_condition` gives the same answer faster and `specialise` prepares trees for it;
tests hold them equal. The meaning, as Falco has it: a missing value makes every comparison false, so `not f = x` holds when `f` is
missing and `f != x` does not; `exists` alone asks for presence. A field of several values passes when any of them does; `!=` is the
opposite of `=` on a value that is there. Addresses compare as addresses, and `10.0.0.0/8` means "within".
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias, TypeVar

from shipwall.lang.condition import (
    And,
    Compare,
    Condition,
    Exists,
    Field,
    Macro,
    Not,
    Operand,
    Or,
    Transform,
    Value,
    render_leaf,
)
from shipwall.lang.regex import Regex
from shipwall.model.alert import Why
from shipwall.model.errors import InputError

MAX_SHOWN_CHARS = 512
MAX_MADE_CHARS = 64 * 1024
WORDS = "*"
"""Argument of `proc.args` that asks for all its words one by one (`join`, `getopt`)."""


class Address(str):
    """The text of an IP address: compared as an address, not letter by letter."""

    __slots__ = ()


Single: TypeAlias = str | int | bool
Found: TypeAlias = Single | tuple[Single, ...] | None
Lookup: TypeAlias = Callable[[Field], Found]
Check: TypeAlias = Callable[[Single], bool]
F = TypeVar("F")

_HEXADECIMAL = re.compile(r"(?:[0-9a-fA-F]{2})*\Z")


class LiteralError(InputError):
    """The value at `index` of a comparison cannot be compared with this field by this operator."""

    def __init__(self, index: int, reason: str) -> None:
        self.index = index
        self.reason = reason
        super().__init__("comparison", reason)


class Bound(NamedTuple):
    """A field as the compiler needs it: its `kind` (text, number, flag, address), whether it has `many` values, and how to get them.

    `code`: the same as a Python expression of the `facts` and the event `e`, where that is quicker.
    """

    kind: str
    many: bool
    get: Callable[..., Found]
    code: str = ""


# --- one comparison ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8192)
def make_check(operator: str, literals: tuple[str, ...], kind: str) -> Check:
    """The test `operator` against `literals` for one value of `kind`. Raises LiteralError when that has no meaning."""
    if operator in {"<", "<=", ">", ">="}:
        return _number_check(operator, literals[0], kind)
    if operator in {"=", "==", "!="}:
        inside = _membership(literals[:1], kind)
        return (lambda value: not inside(value)) if operator == "!=" else inside
    if operator in {"in", "intersects"}:
        return _membership(literals, kind)
    if operator == "startswith":  # of several, as the compiler joins them, any
        return _over_text(lambda value: value.startswith(literals), kind)
    if operator == "pmatch":
        return _over_text(_path_check(literals), kind)
    return _over_text(_text_check(operator, literals[0]), kind)


def _membership(literals: tuple[str, ...], kind: str) -> Check:
    if kind == "address":
        return _address_check(literals)
    known: frozenset[Single] = frozenset(_convert(index, literal, kind) for index, literal in enumerate(literals))
    return known.__contains__


def _convert(index: int, literal: str, kind: str) -> Single:
    if kind == "number":
        try:
            return int(literal, 0) if literal[:2].lower() == "0x" else int(literal)
        except ValueError:
            raise LiteralError(index, f"{literal[:40]!r} is not a whole number") from None
    if kind == "flag":
        if literal.lower() not in {"true", "false"}:
            raise LiteralError(index, f"{literal[:40]!r} is neither true nor false")
        return literal.lower() == "true"
    return literal


def _address_check(literals: tuple[str, ...]) -> Check:
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    for index, literal in enumerate(literals):
        try:
            networks.append(ipaddress.ip_network(literal, strict=False))
        except ValueError:
            raise LiteralError(index, f"{literal[:40]!r} is not an address or a network") from None

    @lru_cache(maxsize=1024)
    def within(value: Single) -> bool:
        try:
            address = ipaddress.ip_address(str(value))
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any(address in network or (mapped is not None and mapped in network) for network in networks)

    return within


def _number_check(operator: str, literal: str, kind: str) -> Check:
    if kind != "number":
        raise LiteralError(0, f"{operator} compares numbers, and this field is {_article(kind)}")
    try:
        limit: float = int(literal, 0) if re.fullmatch(r"[+-]?[0-9]+|0[xX][0-9a-fA-F]+", literal) else float(literal)
    except ValueError:  # `int` with base 0 refuses leading zeros
        try:
            limit = int(literal)
        except ValueError:
            raise LiteralError(0, f"{literal[:40]!r} is not a number") from None
    checks: dict[str, Callable[[float], bool]] = {
        "<": lambda value: value < limit,
        "<=": lambda value: value <= limit,
        ">": lambda value: value > limit,
        ">=": lambda value: value >= limit,
    }
    check = checks[operator]
    return lambda value: not isinstance(value, str) and check(value)


def _text_check(operator: str, literal: str) -> Callable[[str], bool]:
    folded = literal.lower()
    simple: dict[str, Callable[[str], bool]] = {
        "contains": lambda value: literal in value,
        "icontains": lambda value: folded in value.lower(),
        "endswith": lambda value: value.endswith(literal),
    }
    if operator in simple:
        return simple[operator]
    if operator in {"bcontains", "bstartswith"}:
        if not _HEXADECIMAL.match(literal):
            raise LiteralError(0, f"{operator} takes bytes in hexadecimal, two digits each")
        wanted = bytes.fromhex(literal)
        if operator == "bcontains":
            return lambda value: wanted in _bytes(value)
        return lambda value: _bytes(value).startswith(wanted)
    if operator in {"glob", "iglob"}:
        # translate() writes one lazy atomic group per star, so a match takes time proportional to text × pattern
        pattern = re.compile(fnmatch.translate(folded if operator == "iglob" else literal))
        if operator == "iglob":
            return lambda value: pattern.match(value.lower()) is not None
        return lambda value: pattern.match(value) is not None
    try:
        return Regex(literal).matches
    except InputError as error:
        raise LiteralError(0, error.line()) from error


def _path_check(literals: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a path is one of `literals` or below one; a component of a literal may hold * ? [ ]."""
    plain = {literal.rstrip("/") for literal in literals if not re.search(r"[*?\[]", literal)}
    globs = [literal.strip("/").split("/") for literal in literals if re.search(r"[*?\[]", literal)]

    inside = tuple(f"{literal}/" for literal in plain)

    def below(value: str) -> bool:
        if value.startswith(inside) or value.rstrip("/") in plain:
            return True
        if not globs:
            return False
        parts = value.strip("/").split("/")
        return any(
            len(parts) >= len(pattern)
            and all(fnmatch.fnmatchcase(part, wanted) for part, wanted in zip(parts, pattern, strict=False))
            for pattern in globs
        )

    return below


def _over_text(check: Callable[[str], bool], kind: str) -> Check:
    if kind in {"text", "address"}:
        return check  # type: ignore[return-value]  # values of these kinds are str
    return lambda value: check(text_of(value))


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _article(kind: str) -> str:
    return {"text": "text", "flag": "true or false", "address": "an address"}.get(kind, kind)


def kind_of(value: Single) -> str:
    """The kind of a value: flag, number, address or text."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int):
        return "number"
    return "address" if isinstance(value, Address) else "text"


def text_of(value: Found) -> str:
    """A value as text: `<NA>` when it is missing, several joined by commas."""
    if value is None:
        return "<NA>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(text_of(item) for item in value)
    return str(value)


def _holds(operator: str, literals: tuple[str, ...], found: Found) -> bool:
    """The comparison on whatever was found."""
    if found is None or found == () or not literals:
        return False
    values = found if isinstance(found, tuple) else (found,)
    if operator == "!=":
        return not _holds("=", literals, found)
    return any(make_check(operator, literals, kind_of(value))(value) for value in values)


def _quantified(modifier: str, results: list[bool]) -> bool:
    """What a modifier says of the results for each value; of none it says no."""
    if modifier == "anyof":
        return any(results)
    return all(results) and bool(results) if modifier == "allof" else sum(results) == 1


# --- operands ---------------------------------------------------------------------------------------------------------


def _transformed(name: str, found: Found) -> Found:
    """The function `name` of what was found; missing stays missing, and what cannot be decoded is missing."""
    if found is None:
        return None
    if name == "len":
        return len(found) if isinstance(found, tuple) else len(text_of(found))
    if isinstance(found, tuple):
        parts = [_transformed(name, item) for item in found]
        return tuple(part for part in parts if part is not None and not isinstance(part, tuple))
    text = text_of(found)
    if name == "tolower":
        return text.lower()
    if name == "toupper":
        return text.upper()
    if name == "basename":
        return text.rpartition("/")[2]
    try:  # b64
        return base64.b64decode(text, validate=True).decode("utf-8", "backslashreplace")
    except (binascii.Error, ValueError):
        return None


def _combined(transform: Transform, found: list[Found]) -> Found:
    """The function of several operands: `concat` of texts, `join` of a separator and a list, `getopt` of a list and its options."""
    if any(value is None for value in found):
        return None
    if transform.name == "concat":
        return "".join(text_of(value) for value in found)[:MAX_MADE_CHARS]
    if transform.name == "join":
        separator, values = text_of(found[0]), found[1]
        return (separator.join(map(text_of, values)) if isinstance(values, tuple) else text_of(values))[:MAX_MADE_CHARS]
    words = found[0] if isinstance(found[0], tuple) else (text_of(found[0]),)
    return _options(tuple(map(text_of, words)), text_of(found[1]), transform.argument)


def _options(words: tuple[str, ...], known: str, wanted: str | None) -> Found:
    """Short options among `words` as getopt(3) reads them with the option string `known`: letters, each followed by its value if it takes
    one, `?` for others; with `wanted` the last value of that letter (or the letter). Long options are passed over."""
    takes = {letter: known[at + 1 : at + 2] == ":" for at, letter in enumerate(known) if letter != ":"}
    found: list[str] = []
    chosen: str | None = None
    waiting = iter(words)
    for word in waiting:
        if word == "--" or len(word) < 2 or word[0] != "-":
            break
        if word.startswith("--"):
            continue
        for at, letter in enumerate(word[1:], 2):
            if letter not in takes:
                found.append("?")
                continue
            value = (word[at:] or next(waiting, "")) if takes[letter] else None
            found += [letter] if value is None else ([letter, value] if value else [""])
            if letter == wanted:
                chosen = letter if value is None else value
            if takes[letter]:
                break
    return chosen if wanted is not None else tuple(found)


def is_many(transform: Transform, inside: bool) -> bool:
    """Whether a transformer gives several values when what it is of does (`inside`)."""
    if transform.name == "getopt":
        return transform.argument is None
    return inside and transform.name not in {"len", "join", "concat"}


def _operands(transform: Transform) -> tuple[Operand | Value, ...]:
    """The operands, `proc.args` as its words where a list is asked for."""
    place = {"join": 1, "getopt": 0}.get(transform.name)
    return tuple(
        Field(operand.name, WORDS) if at == place and operand == Field("proc.args") else operand
        for at, operand in enumerate(transform.operands)
    )


def value_of(operand: Operand | Value, lookup: Lookup) -> Found:
    """What an operand gives with `lookup` giving each field's value."""
    if isinstance(operand, Value):
        return operand.text
    if isinstance(operand, Field):
        return lookup(operand)
    found = [value_of(inside, lookup) for inside in _operands(operand)]
    return _transformed(operand.name, found[0]) if len(found) == 1 else _combined(operand, found)


def _literals_of(found: Found) -> tuple[str, ...]:
    if found is None:
        return ()
    return tuple(text_of(item) for item in found) if isinstance(found, tuple) else (text_of(found),)


# --- the definition ---------------------------------------------------------------------------------------------------


def evaluate(tree: Condition, lookup: Lookup) -> bool:
    """Whether the condition holds, with `lookup` giving each field's value (None when missing). Macros must be expanded.

    Raises LiteralError where a literal has no meaning for the kind of value found.
    """
    if isinstance(tree, And):
        return all(evaluate(item, lookup) for item in tree.items)
    if isinstance(tree, Or):
        return any(evaluate(item, lookup) for item in tree.items)
    if isinstance(tree, Not):
        return not evaluate(tree.item, lookup)
    return _leaf(tree, lookup)[1]


class Explanation:
    """Why a condition holds or does not; made once for each rule, because alerts come in floods too."""

    def __init__(self, tree: Condition) -> None:
        self._lines: list[_Line] = []
        self._walk(tree, negated=False)

    def of(self, lookup: Lookup) -> tuple[Why, ...]:
        """Every comparison in source order with the value it saw and its result; one below an odd number of `not` is shown negated.

        So joining the results as the tree joins its comparisons (and ↔ or below a `not`) gives what `evaluate` says.
        """
        return tuple(line.why(lookup) for line in self._lines)

    def _walk(self, node: Condition, *, negated: bool) -> None:
        if isinstance(node, And | Or):
            for item in node.items:
                self._walk(item, negated=negated)
        elif isinstance(node, Not):
            self._walk(node.item, negated=not negated)
        else:
            self._lines.append(_Line(_checked(node), negated=negated))


class _Line:
    """One comparison of an explanation."""

    def __init__(self, leaf: Compare | Exists, *, negated: bool) -> None:
        source = " ".join(getattr(leaf, "text", "").split()) or render_leaf(leaf)
        self._leaf = leaf
        self._negated = negated
        self._condition = f"not {source}" if negated else source
        is_plain = isinstance(leaf, Compare) and isinstance(leaf.operand, Field) and leaf.right is None and not leaf.modifier
        self._literals = tuple(value.text for value in leaf.values) if isinstance(leaf, Compare) and is_plain else ()
        self._checks: dict[str, Check] = {}

    def why(self, lookup: Lookup) -> Why:
        found, result = self._judge(lookup)
        shown = text_of(found)
        if len(shown) > MAX_SHOWN_CHARS:
            shown = shown[:MAX_SHOWN_CHARS] + "…"
        return Why(condition=self._condition, value=shown, result=result != self._negated)

    def _judge(self, lookup: Lookup) -> tuple[Found, bool]:
        """As `_leaf`, keeping the test for the kind of value that is found."""
        if not self._literals:
            return _leaf(self._leaf, lookup)
        found = lookup(self._leaf.operand)  # type: ignore[arg-type]  # a field, see above
        if found is None or isinstance(found, tuple):
            return found, _holds(self._leaf.operator, self._literals, found)  # type: ignore[union-attr]
        kind = kind_of(found)
        check = self._checks.get(kind)
        if check is None:
            check = self._checks[kind] = make_check(self._leaf.operator, self._literals, kind)  # type: ignore[union-attr]
        return found, check(found)


def _checked(node: Condition) -> Compare | Exists:
    if isinstance(node, Macro):
        raise InputError(f"macro {node.name}", "was not expanded before its condition was used")
    assert isinstance(node, Compare | Exists)
    return node


def _leaf(node: Condition, lookup: Lookup) -> tuple[Found, bool]:
    leaf = _checked(node)
    found = value_of(leaf.operand, lookup)
    if isinstance(leaf, Exists):
        return found, found is not None and found != ()
    if leaf.modifier:
        return found, _quantified(leaf.modifier, [_holds(leaf.operator, (value.text,), found) for value in leaf.values])
    if leaf.right is None:
        return found, _holds(leaf.operator, tuple(value.text for value in leaf.values), found)
    try:
        return found, _holds(leaf.operator, _literals_of(value_of(leaf.right, lookup)), found)
    except LiteralError:  # two values that cannot be compared are not equal, less or within
        return found, False


# --- the faster forms -------------------------------------------------------------------------------------------------


def specialise(tree: Condition, known: Callable[[Compare | Exists], bool | None]) -> Condition | bool:
    """`tree` without the comparisons whose result `known` tells beforehand: True, False, or what is left to ask."""
    if isinstance(tree, And | Or):
        deciding = isinstance(tree, Or)
        left: list[Condition] = []
        for item in tree.items:
            result = specialise(item, known)
            if isinstance(result, bool):
                if result is deciding:
                    return deciding
            else:
                left.append(result)
        if not left:
            return not deciding
        return left[0] if len(left) == 1 else type(tree)(tuple(left), tree.start)
    if isinstance(tree, Not):
        result = specialise(tree.item, known)
        return (not result) if isinstance(result, bool) else Not(result, tree.start)
    told = known(_checked(tree))
    return tree if told is None else told


def compile_condition(tree: Condition, bind: Callable[[Field], Bound]) -> Callable[[F], bool]:
    """A function of the facts that says what `evaluate` says. Raises LiteralError for literals that have no meaning."""
    if isinstance(tree, And | Or):
        if isinstance(tree, And):
            return _all([compile_condition(item, bind) for item in tree.items])
        return _any([compile_condition(item, bind) for item in _join_prefixes(tree.items)])
    if isinstance(tree, Not):
        part: Callable[[F], bool] = compile_condition(tree.item, bind)
        return lambda facts: not part(facts)
    return _compile_leaf(_checked(tree), bind)


def _join_prefixes(items: tuple[Condition, ...]) -> list[Condition]:
    """Alternatives with the `startswith` tests of one field joined to a single one: Python tests many prefixes in one step."""
    joined: list[Condition] = []
    place: dict[Operand, int] = {}
    for item in items:
        if not (isinstance(item, Compare) and item.operator == "startswith" and item.right is None and not item.modifier):
            joined.append(item)
        elif item.operand in place:
            before = joined[place[item.operand]]
            assert isinstance(before, Compare)
            joined[place[item.operand]] = Compare(item.operand, "startswith", before.values + item.values)
        else:
            place[item.operand] = len(joined)
            joined.append(item)
    return joined


def _all(parts: list[Callable[[F], bool]]) -> Callable[[F], bool]:
    if len(parts) == 2:
        first, second = parts
        return lambda facts: first(facts) and second(facts)

    def every(facts: F) -> bool:
        for part in parts:  # noqa: SIM110  a generator would cost more than the tests
            if not part(facts):
                return False
        return True

    return every


def _any(parts: list[Callable[[F], bool]]) -> Callable[[F], bool]:
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        first, second = parts
        return lambda facts: first(facts) or second(facts)

    def some(facts: F) -> bool:
        for part in parts:  # noqa: SIM110  a generator would cost more than the tests
            if part(facts):
                return True
        return False

    return some


def _bind_operand(operand: Operand | Value, bind: Callable[[Field], Bound]) -> Bound:
    if isinstance(operand, Value):
        text = operand.text
        return Bound("text", False, lambda _facts: text)
    if isinstance(operand, Field):
        return bind(operand)
    parts = [_bind_operand(inside, bind) for inside in _operands(operand)]
    kind, many = "number" if operand.name == "len" else "text", is_many(operand, parts[0].many)
    if len(parts) > 1:
        return Bound(kind, many, lambda facts: _combined(operand, [part.get(facts) for part in parts]))
    name, get = operand.name, parts[0].get
    return Bound(kind, many, lambda facts: _transformed(name, get(facts)))


def _compile_leaf(leaf: Compare | Exists, bind: Callable[[Field], Bound]) -> Callable[[F], bool]:
    kind, many, get, _ = _bind_operand(leaf.operand, bind)
    if isinstance(leaf, Exists):
        return lambda facts: (found := get(facts)) is not None and found != ()
    operator = leaf.operator
    if leaf.right is not None:
        other = _bind_operand(leaf.right, bind).get

        def against(facts: F) -> bool:
            try:
                return _holds(operator, _literals_of(other(facts)), get(facts))
            except LiteralError:
                return False

        return against
    literals = tuple(value.text for value in leaf.values)
    if not literals:
        return lambda _facts: False
    if leaf.modifier:
        each = [_compile_leaf(Compare(leaf.operand, operator, (value,)), bind) for value in leaf.values]
        modifier = leaf.modifier
        return lambda facts: _quantified(modifier, [part(facts) for part in each])
    check = make_check(operator, literals, kind)
    if many:
        return lambda facts: _holds(operator, literals, get(facts))

    def single(facts: F) -> bool:
        found = get(facts)
        return found is not None and check(found)  # type: ignore[arg-type]  # not many, hence not a tuple

    return single
