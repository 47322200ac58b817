"""Many conditions as one function: what several of them ask is asked once, comparisons stand in line.

`compile_judge` writes Python for all conditions of one kind of event and lets Python compile it. The code consists of fixed pieces and
names (`c12`, `g3`) only; every text of a rule is a constant behind a name, so nothing a rule says can become code. Values of fields and
conditions that occur more than once are kept in locals, so that `open_read` of thirty rules is decided once per event. It says what
`conditions.evaluate` says; tests hold them equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from shipwall.lang.condition import And, Compare, Condition, Exists, Field, Not, Or
from shipwall.runtime.conditions import Bound, compile_condition, make_check
from shipwall.runtime.facts import Facts

Judge = Callable[[Facts], list[int]]
"""The numbers of the conditions that hold, in order."""

MAX_IN_ONE = 100
MAX_DEPTH = 12
MAX_LEAVES = 3000

_UNASKED = object()


def compile_judge(conditions: Sequence[Condition | bool], bind: Callable[[Field], Bound]) -> Judge:
    """A function of the facts that says which of `conditions` hold. Raises LiteralError for literals that have no meaning."""
    judges = [
        _Writer(bind).write(start, conditions[start : start + MAX_IN_ONE]) for start in range(0, len(conditions), MAX_IN_ONE)
    ]
    if len(judges) == 1:
        return judges[0]
    return lambda facts: [number for judge in judges for number in judge(facts)]


class _Writer:
    """Writes one function."""

    def __init__(self, bind: Callable[[Field], Bound]) -> None:
        self._bind = bind
        self._names: dict[str, Any] = {"U": _UNASKED}
        self._bound: dict[Field, tuple[Bound, str]] = {}
        self._asked: Counter[Field] = Counter()
        self._nodes: Counter[Condition] = Counter()
        self._kept: dict[object, str] = {}

    def write(self, start: int, conditions: Sequence[Condition | bool]) -> Judge:
        """The function for `conditions`, numbered from `start`."""
        for tree in conditions:
            if not isinstance(tree, bool):
                self._count(tree)
        body = []
        for number, tree in enumerate(conditions, start):
            test = str(tree) if isinstance(tree, bool) else self._test(tree, 0)
            body.append(f" if {test}: found.append({number})")
        first = [" e = facts.event; found = []"]
        if self._kept:
            first.append(f" {' = '.join(self._kept.values())} = U")
        source = "\n".join(["def judge(facts):", *first, *body, " return found"])
        exec(compile(source, "<rules>", "exec"), self._names)  # noqa: S102  fixed pieces and names only, see above
        judge: Judge = self._names["judge"]
        return judge

    def _count(self, tree: Condition) -> None:
        """How often each field and each condition is asked for; what stands in a condition seen before is asked once with it."""
        self._nodes[tree] += 1
        if self._nodes[tree] > 1:
            return
        if isinstance(tree, And | Or):
            for item in tree.items:
                self._count(item)
        elif isinstance(tree, Not):
            self._count(tree.item)
        elif isinstance(tree, Compare | Exists) and isinstance(tree.operand, Field):
            self._asked[tree.operand] += 1

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._names)}"
        self._names[name] = value
        return name

    def _keep(self, key: object, code: str) -> str:
        """`code`, worked out when first needed and kept."""
        name = self._kept.get(key)
        if name is None:
            name = self._kept[key] = f"v{len(self._kept)}"
        return f"({name} if {name} is not U else ({name} := {code}))"

    def _test(self, tree: Condition, depth: int) -> str:
        """Code that is true when `tree` holds."""
        if self._nodes[tree] > 1 and not isinstance(tree, Not):
            return self._keep(tree, self._plain(tree, depth))
        return self._plain(tree, depth)

    def _plain(self, tree: Condition, depth: int) -> str:
        if depth > MAX_DEPTH or (isinstance(tree, And | Or) and len(tree.items) > MAX_LEAVES):
            return f"{self._constant(compile_condition(tree, self._bind))}(facts)"
        if isinstance(tree, And | Or):
            word = " and " if isinstance(tree, And) else " or "
            return f"({word.join(self._test(item, depth + 1) for item in tree.items)})"
        if isinstance(tree, Not):
            return f"(not {self._test(tree.item, depth + 1)})"
        assert isinstance(tree, Compare | Exists)
        return self._leaf(tree)

    def _leaf(self, leaf: Compare | Exists) -> str:
        operand = leaf.operand
        in_line = isinstance(operand, Field) and (
            isinstance(leaf, Exists) or not (leaf.right or leaf.modifier or not leaf.values)
        )
        if not in_line or not isinstance(operand, Field):
            return f"{self._constant(compile_condition(leaf, self._bind))}(facts)"
        bound, value = self._value(operand)
        if isinstance(leaf, Exists):
            return f"((t := {value}) is not None and t != ())"
        if bound.many:
            return f"{self._constant(compile_condition(leaf, self._bind))}(facts)"
        literals = tuple(one.text for one in leaf.values)
        return self._comparison(leaf.operator, literals, bound.kind, value)

    def _comparison(self, operator: str, literals: tuple[str, ...], kind: str, value: str) -> str:
        check = make_check(operator, literals, kind)
        if operator in {"=", "==", "in", "intersects"} and kind != "address":
            known: Any = getattr(check, "__self__", frozenset())
            assert isinstance(known, frozenset)
            if len(known) == 1:
                return f"{value} == {self._constant(next(iter(known)))}"
            return f"{value} in {self._constant(known)}"
        there = f"(t := {value}) is not None"
        if kind == "text" and operator == "contains":
            return f"({there} and {self._constant(literals[0])} in t)"
        if kind == "text" and operator == "startswith":
            return f"({there} and t.startswith({self._constant(literals)}))"
        if kind == "text" and operator == "endswith":
            return f"({there} and t.endswith({self._constant(literals[0])}))"
        return f"({there} and {self._constant(check)}(t))"

    def _value(self, used: Field) -> tuple[Bound, str]:
        """How the field is bound, and code for its value."""
        if used not in self._bound:
            bound = self._bind(used)
            self._bound[used] = bound, bound.code or f"{self._constant(bound.get)}(facts)"
        bound, code = self._bound[used]
        return bound, self._keep(used, code) if self._asked[used] > 1 and not _is_short(code) else code


def _is_short(code: str) -> bool:
    """Whether the value is got as fast as a kept one is looked at."""
    return code.startswith("e.") and "(" not in code and " " not in code
