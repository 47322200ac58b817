"""Regular expressions that cannot hang: time grows with text × pattern, never more.

Python's `re` backtracks; a rule is applied to text an intruder chose. So a subset of RE2's syntax is compiled to a Thompson automaton
whose states are followed together, with the transitions met so far remembered. The whole text must match, as with Falco's `regex`.

Understood: literals, `.` (any but line break), classes with ranges and negation, `\\d \\w \\s` and their opposites, groups `( )` and
`(?: )`, `|`, `* + ?`, `{m} {m,} {m,n}`, a leading `(?i)`, `^` first and `$` last (both are implied). Refused: back references,
look-around, word borders, named groups, automata above MAX_STATES. Source: R. Cox, Regular Expression Matching Can Be Simple And Fast.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

from shipwall.model.errors import InputError

MAX_PATTERN_CHARS = 1000
MAX_STATES = 400
MAX_REPEAT = 200
MAX_DEPTH = 30
MAX_REMEMBERED = 4096

_DIGITS = frozenset(string.digits)
_WORD = frozenset(string.ascii_letters + string.digits + "_")
_SPACE = frozenset(" \t\n\r\f\v")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_SETS = {"d": (False, _DIGITS), "w": (False, _WORD), "s": (False, _SPACE)}


class RegexError(InputError):
    """The pattern is not understood; `offset` is the character where that was noticed."""

    def __init__(self, pattern: str, offset: int, reason: str) -> None:
        self.offset = offset
        super().__init__(f"regex {pattern[:60]!r}", f"{reason} at character {offset + 1}")


@dataclass(frozen=True, slots=True)
class _Set:
    """Which characters a step takes: those in `single` or a range, or all the others when `negated`."""

    negated: bool
    single: frozenset[str]
    ranges: tuple[tuple[str, str], ...] = ()

    def takes(self, character: str) -> bool:
        """Whether the step takes `character`."""
        inside = character in self.single or any(low <= character <= high for low, high in self.ranges)
        return inside != self.negated


# An expression: ("set", _Set) | ("all", parts) | ("any", parts) | ("repeat", part, least, most or None)
_Expression = tuple[object, ...]
_ANY = _Set(True, frozenset("\n"))


class Regex:
    """A compiled pattern: `matches(text)` says whether the WHOLE text matches."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._steps: list[_Set | None] = []  # None: no character is taken
        self._next: list[list[int]] = []
        self._emitted = 0
        parsed = _Parser(pattern)
        self._fold = parsed.fold_case
        expression = parsed.parse()
        end = self._state(None)
        start = self._emit(expression, end)
        self._end = end
        self._start = self._closure([start])
        self._known: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def matches(self, text: str) -> bool:
        """Whether the whole `text` matches. Time: at most len(text) × number of states."""
        if self._fold:
            text = text.lower()
        states, known = self._start, self._known
        for character in text:
            key = (states, character)
            following = known.get(key)
            if following is None:
                following = self._step(states, character)
                if len(known) >= MAX_REMEMBERED:
                    known.clear()
                known[key] = following
            if not following:
                return False
            states = following
        return self._end in states

    def _step(self, states: frozenset[int], character: str) -> frozenset[int]:
        reached: list[int] = []
        for state in states:
            taken = self._steps[state]
            if taken is not None and taken.takes(character):
                reached += self._next[state]
        return self._closure(reached)

    def _closure(self, states: list[int]) -> frozenset[int]:
        seen: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state not in seen:
                seen.add(state)
                if self._steps[state] is None:
                    waiting += self._next[state]
        return frozenset(seen)

    def _state(self, takes: _Set | None, *following: int) -> int:
        if len(self._steps) >= MAX_STATES:
            raise RegexError(self.pattern, 0, f"the pattern needs more than {MAX_STATES} states")
        self._steps.append(takes)
        self._next.append(list(following))
        return len(self._steps) - 1

    def _emit(self, expression: _Expression, following: int) -> int:
        """The state from which `expression` leads to `following`."""
        self._emitted += 1
        if self._emitted > 10 * MAX_STATES:  # repetitions of nothing make work without making states
            raise RegexError(self.pattern, 0, f"the pattern needs more than {MAX_STATES} states")
        kind, *rest = expression
        if kind == "set":
            assert isinstance(rest[0], _Set)
            return self._state(rest[0], following)
        if kind == "repeat":
            return self._emit_repeat(rest, following)
        parts = rest[0]
        assert isinstance(parts, tuple)
        if kind == "any":
            return self._state(None, *[self._emit(part, following) for part in parts])
        for part in reversed(parts):
            following = self._emit(part, following)
        return following

    def _emit_repeat(self, rest: list[object], following: int) -> int:
        part, least, most = rest
        assert isinstance(part, tuple)
        assert isinstance(least, int)
        if most is None:
            loop = self._state(None, following)
            self._next[loop].append(self._emit(part, loop))
            following = loop
        else:
            assert isinstance(most, int)
            end = following
            for _time in range(most - least):
                following = self._state(None, self._emit(part, following), end)
        for _time in range(least):
            following = self._emit(part, following)
        return following


class _Parser:
    """Reads a pattern by recursive descent, at most MAX_DEPTH groups deep."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        if len(pattern) > MAX_PATTERN_CHARS:
            raise self.error(f"longer than {MAX_PATTERN_CHARS} characters")
        self.depth = 0
        self.fold_case = pattern.startswith("(?i)")
        if self.fold_case:
            self.at = 4

    def error(self, reason: str) -> RegexError:
        return RegexError(self.pattern, self.at, reason)

    def parse(self) -> _Expression:
        if self.peek() == "^":
            self.at += 1
        expression = self.alternatives()
        if self.at < len(self.pattern):
            raise self.error("`)` without `(`")
        return expression

    def peek(self) -> str:
        return self.pattern[self.at] if self.at < len(self.pattern) else ""

    def take(self) -> str:
        character = self.peek()
        if not character:
            raise self.error("the pattern ends too early")
        self.at += 1
        return character

    def alternatives(self) -> _Expression:
        parts = [self.concatenation()]
        while self.peek() == "|":
            self.at += 1
            parts.append(self.concatenation())
        return parts[0] if len(parts) == 1 else ("any", tuple(parts))

    def concatenation(self) -> _Expression:
        parts: list[_Expression] = []
        while (character := self.peek()) and character not in "|)":
            if character == "$" and self.at == len(self.pattern) - 1:
                self.at += 1
                break
            parts.append(self.repeated(self.single()))
        return ("all", tuple(parts))

    def repeated(self, part: _Expression) -> _Expression:
        character = self.peek()
        if not character or character not in "*+?{":
            return part
        if character == "{":
            least, most = self.counts()
        else:
            self.at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[character]
        if self.peek() == "?":  # not greedy: the same whole matches
            self.at += 1
        if self.peek() and self.peek() in "*+?{":
            raise self.error("a repetition of a repetition")
        return ("repeat", part, least, most)

    def counts(self) -> tuple[int, int | None]:
        end = self.pattern.find("}", self.at)
        low, comma, high = self.pattern[self.at + 1 : end].partition(",")
        if end < 0 or not _is_count(low) or (high and not _is_count(high)):
            raise self.error("expected {m}, {m,} or {m,n}; write \\{ for the character")
        least = int(low)
        most = (int(high) if high else None) if comma else least
        if least > MAX_REPEAT or (most is not None and (most > MAX_REPEAT or most < least)):
            raise self.error(f"counts must rise and stay within {MAX_REPEAT}")
        self.at = end + 1
        return least, most

    def single(self) -> _Expression:
        character = self.take()
        if character == "(":
            return self.group()
        if character == "[":
            return ("set", self.folded(self.character_class()))
        if character == ".":
            return ("set", _ANY)
        if character == "\\":
            return ("set", self.folded(self.escape()))
        if character in "*+?{^$":
            self.at -= 1
            raise self.error(f"{character!r} has nothing to work on; write \\{character} for the character")
        return ("set", self.folded(_Set(False, frozenset(character))))

    def group(self) -> _Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"groups deeper than {MAX_DEPTH}")
        if self.peek() == "?":
            if self.pattern[self.at : self.at + 2] != "?:":
                raise self.error("only ( ) and (?: ) groups are understood")
            self.at += 2
        inside = self.alternatives()
        if self.peek() != ")":
            raise self.error("`)` is missing")
        self.at += 1
        self.depth -= 1
        return inside

    def escape(self) -> _Set:
        character = self.take()
        if character.lower() in _SETS:
            negated, single = _SETS[character.lower()]
            return _Set(negated != character.isupper(), single)
        if character in _ESCAPED:
            return _Set(False, frozenset(_ESCAPED[character]))
        if character.isalnum():
            self.at -= 1
            raise self.error(f"escape \\{character} is not understood")
        return _Set(False, frozenset(character))

    def character_class(self) -> _Set:
        negated = self.peek() == "^"
        self.at += negated
        single: set[str] = set()
        ranges: list[tuple[str, str]] = []
        first = True
        while (character := self.take()) != "]" or first:
            first = False
            inside = self.escape() if character == "\\" else _Set(False, frozenset(character))
            if inside.negated:
                raise self.error("\\D, \\W and \\S are not understood inside [ ]")
            is_range = len(inside.single) == 1 and self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in {"]", ""}
            if not is_range:
                single |= inside.single
                continue
            self.at += 1
            high = self.take()
            (low,) = inside.single
            if high == "\\":
                upper = self.escape()
                if upper.negated or len(upper.single) != 1:
                    raise self.error("a range needs a character at each end")
                (high,) = upper.single
            if high < low:
                raise self.error("a range runs backwards")
            ranges.append((low, high))
        return _Set(negated, frozenset(single), tuple(ranges))

    def folded(self, taken: _Set) -> _Set:
        if not self.fold_case:
            return taken
        ranges = tuple((low.lower(), high.lower()) for low, high in taken.ranges if low.isalpha() and high.isalpha())
        return _Set(taken.negated, frozenset(taken.single | {c.lower() for c in taken.single}), taken.ranges + ranges)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4
