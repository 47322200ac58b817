"""The syntax of CEL: text → tree, each node with the offset it starts at. Source: cel-spec doc/langdef.md, Syntax."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

MAX_CHARS = 4000
MAX_DEPTH = 60


class Fail(Protocol):
    """Makes the error for a place in the text."""

    def __call__(self, offset: int, reason: str, next_step: str = "", /) -> Exception:
        """The error."""
        ...


_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n\f]+|//[^\n]*)"
    r"|(?P<double>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<int>0[xX][0-9a-fA-F]+|[0-9]+)"
    r"|(?P<string>[rR]?(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'))"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]])",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|X[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"} | {one: one for one in "\\?\"'`"}
_RESERVED = frozenset(
    "as break const continue else for function if import let loop package namespace return var void while null".split()  # noqa: SIM905
)
# From weakest to strongest; all lean to the left.
_LEVELS = (("||",), ("&&",), ("<", "<=", ">", ">=", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))


class Node(NamedTuple):
    """`kind`: literal name list select index not negate choose binary call method; `value`: literal, name or operator."""

    kind: str
    start: int
    value: bool | int | float | str = ""
    parts: tuple[Node, ...] = ()


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


def parse_syntax(text: str, fail: Fail) -> Node:
    """The tree of `text`. Raises what `fail` makes for anything that is not one CEL expression of the understood kind."""
    if len(text) > MAX_CHARS:
        raise fail(0, f"is longer than {MAX_CHARS} characters", "split it")
    parser = _Parser(text, fail)
    tree = parser.expression()
    if parser.token.kind != "end":
        raise parser.error(f"{parser.token.text[:40]!r} is not expected here", _hint(parser.token.text))
    return tree


def _hint(text: str) -> str:
    return {
        "=": "write == to compare",
        "and": "write &&",
        "or": "write ||",
        "not": "write !",
        "&": "write &&",
        "|": "write ||",
    }.get(text.lower(), "")


class _Parser:
    def __init__(self, text: str, fail: Fail) -> None:
        self.text = text
        self.fail = fail
        self.at = 0
        self.depth = 0
        self.token = self.next()

    def error(self, reason: str, next_step: str = "") -> Exception:
        return self.fail(self.token.start, reason, next_step)

    def next(self) -> _Token:
        while self.at < len(self.text):
            match = _TOKEN.match(self.text, self.at)
            if match is None:
                shown = self.text[self.at]
                reason = "a text has no end" if shown in "\"'" else f"{shown!r} is not part of an expression"
                raise self.fail(self.at, reason, _hint(shown))
            start, self.at = self.at, match.end()
            if match.lastgroup != "space":
                return _Token(match.lastgroup or "", match.group(), start)
        return _Token("end", "", len(self.text))

    def take(self, *signs: str) -> str:
        """The text of the token, if it is one of `signs`, and on to the next; else empty."""
        found = self.token.text
        if found not in signs or self.token.kind not in {"sign", "word"}:
            return ""
        self.token = self.next()
        return found

    def want(self, sign: str) -> None:
        if not self.take(sign):
            shown = f"not {self.token.text[:40]!r}" if self.token.text else "but the expression ends"
            raise self.error(f"{sign!r} is expected here, {shown}", _hint(self.token.text))

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"is nested deeper than {MAX_DEPTH}")
        node = self.level(0)
        start = self.token.start
        if self.take("?"):
            yes = self.level(0)
            self.want(":")
            node = Node("choose", start, "?", (node, yes, self.expression()))
        self.depth -= 1
        return node

    def level(self, number: int) -> Node:
        if number == len(_LEVELS):
            return self.unary()
        node, length = self.level(number + 1), 0
        while True:
            start = self.token.start
            operator = self.take(*_LEVELS[number])
            if not operator:
                return node
            length += 1
            if length > MAX_DEPTH:
                raise self.fail(start, f"has more than {MAX_DEPTH} parts in a row", "use a list and `in`, or brackets")
            node = Node("binary", start, operator, (node, self.level(number + 1)))

    def unary(self) -> Node:
        signs = []
        while (sign := self.token).kind == "sign" and sign.text in {"!", "-"}:
            signs.append(sign)
            if len(signs) > MAX_DEPTH:
                raise self.error(f"has more than {MAX_DEPTH} signs in a row")
            self.token = self.next()
        if signs and signs[-1].text == "-" and self.token.kind in {"int", "double"}:
            node = self.member(negative=True, start=signs.pop().start)
        else:
            node = self.member()
        for sign in reversed(signs):
            node = Node("not" if sign.text == "!" else "negate", sign.start, sign.text, (node,))
        return node

    def member(self, *, negative: bool = False, start: int = -1) -> Node:
        node, length = self.primary(negative, start), 0
        while True:
            length += 1
            if length > MAX_DEPTH:
                raise self.error(f"has more than {MAX_DEPTH} steps in a row")
            if self.take("."):
                word = self.token
                if word.kind != "word":
                    raise self.error("a field or method is expected here")
                self.token = self.next()
                if self.take("("):
                    node = Node("method", word.start, word.text, (node, *self.items(")")))
                else:
                    node = Node("select", word.start, word.text, (node,))
            elif self.token.text == "[" and self.token.kind == "sign":
                at = self.token.start
                self.token = self.next()
                node = Node("index", at, "[", (node, self.expression()))
                self.want("]")
            else:
                return node

    def primary(self, negative: bool, start: int) -> Node:
        token = self.token
        start = token.start if start < 0 else start
        if token.kind in {"int", "double"}:
            self.token = self.next()
            return Node("literal", start, self.number(token, negative))
        if token.kind == "string":
            self.token = self.next()
            return Node("literal", start, self.string(token))
        if token.kind == "word":
            return self.word(token)
        if self.take("("):
            node = self.expression()
            self.want(")")
            return node
        if self.take("["):
            return Node("list", start, "[", self.items("]"))
        shown = f"not {token.text[:40]!r}" if token.text else "but the expression ends"
        raise self.error(f"a value is expected here, {shown}", _hint(token.text))

    def word(self, token: _Token) -> Node:
        self.token = self.next()
        if token.text in {"true", "false"}:
            return Node("literal", token.start, token.text == "true")
        if token.text in _RESERVED:
            hint = "ask has(x.field) whether it is there" if token.text == "null" else ""
            raise self.fail(token.start, f"{token.text!r} cannot be used here", hint)
        if self.take("("):
            return Node("call", token.start, token.text, self.items(")"))
        return Node("name", token.start, token.text)

    def items(self, end: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self.take(end):
            if found:
                self.want(",")
            if end == "]" and found and self.take(end):  # a comma may follow the last item
                break
            found.append(self.expression())
        return tuple(found)

    def number(self, token: _Token, negative: bool) -> int | float:
        if token.kind == "double":
            value = float(token.text)
            return -value if negative else value
        whole = int(token.text, 16 if token.text[:2].lower() == "0x" else 10) if len(token.text) < 40 else 2**64
        whole = -whole if negative else whole
        if not -(2**63) <= whole < 2**63:
            raise self.fail(token.start, "is beyond 64 bits", "")
        return whole

    def string(self, token: _Token) -> str:
        raw = token.text[:1] in "rR"
        text = token.text[raw:]
        width = 3 if text[:3] in {'"""', "'''"} else 1
        text = text[width : len(text) - width]
        if raw:
            return text
        return _ESCAPE.sub(lambda match: self.escape(match, token.start), text)

    def escape(self, match: re.Match[str], start: int) -> str:
        code = match.group()[1:]
        if code in _ESCAPED:
            return _ESCAPED[code]
        if len(code) > 1:
            value = int(code, 8) if code[0] in "0123" else int(code[1:], 16)
            if value < 0x110000 and not 0xD800 <= value < 0xE000:
                return chr(value)
        raise self.fail(start, f"escape \\{code[:10]} is not understood", 'write r"…" for a text without escapes')
