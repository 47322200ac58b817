"""A condition → clauses over variables: each comparison is one, true or false of an event, whether or not the kernel can decide it.

`clauses_of` gives a disjunction that holds whenever the condition does. Where it would have too many clauses, literals are left out, which
lets more pass; no clause is ever left out. That the same comparison is one variable also where nobody decides it makes contradictions
(`p != tcp and ... and p = tcp`) vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeGuard

from shipwall.lang.condition import And, Compare, Condition, Exists, Not, Or

MAX_OF_CONDITION = 32
MANY = 2

Leaf = Compare | Exists


class Literals(NamedTuple):
    """A conjunction: bits of the variables that are to be true, and of those to be false."""

    true: int
    false: int


Disjunction = tuple[Literals, ...]
NOTHING = Literals(0, 0)
NEVER: Disjunction = ()
ALWAYS: Disjunction = (NOTHING,)


class Variables:
    """Numbers comparisons. `joins` says which comparisons of an `or` may be one variable: those with the same answer that is not None."""

    def __init__(self, joins: Callable[[Compare], object | None]) -> None:
        self._joins = joins
        self._numbers: dict[tuple[Leaf, ...], int] = {}

    def number(self, leaves: Iterable[Leaf]) -> int:
        """The variable that is true when any of `leaves` holds."""
        key = tuple(dict.fromkeys(leaves))
        return self._numbers.setdefault(key, len(self._numbers))

    def leaves(self) -> list[tuple[Leaf, ...]]:
        """The comparisons of each variable, in order of their numbers."""
        return list(self._numbers)

    def group(self, leaf: Compare) -> object | None:
        """With what other comparisons this one may be joined."""
        return self._joins(leaf)


def clauses_of(tree: Condition, variables: Variables) -> tuple[Disjunction, bool]:
    """Clauses of which at least one holds when `tree` does, and whether anything was left out for their number's sake."""
    work = _Work(variables)
    found = work.positive(tree)
    return found, work.widened


class _Work:
    def __init__(self, variables: Variables) -> None:
        self.variables = variables
        self.widened = False

    def positive(self, tree: Condition | _Any) -> Disjunction:
        if isinstance(tree, And):
            return self.all(self.positive(item) for item in tree.items)
        if isinstance(tree, Or):
            return self.any(self.positive(item) for item in self.joined(tree.items))
        if isinstance(tree, Not):
            return self.negative(tree.item)
        if isinstance(tree, _Any):
            return (Literals(1 << self.variables.number(tree.leaves), 0),)
        assert isinstance(tree, Compare | Exists)
        if _is_unequal(tree):
            return (Literals(1 << self.present(tree), 1 << self.equal(tree)),)
        return (Literals(1 << self.variables.number((_plain(tree),)), 0),)

    def negative(self, tree: Condition | _Any) -> Disjunction:
        if isinstance(tree, And):
            return self.any(self.negative(item) for item in tree.items)
        if isinstance(tree, Or):
            return self.all(self.negative(item) for item in self.joined(tree.items))
        if isinstance(tree, Not):
            return self.positive(tree.item)
        if isinstance(tree, _Any):
            return (Literals(0, 1 << self.variables.number(tree.leaves)),)
        assert isinstance(tree, Compare | Exists)
        if _is_unequal(tree):
            return self.any([(Literals(1 << self.equal(tree), 0),), (Literals(0, 1 << self.present(tree)),)])
        return (Literals(0, 1 << self.variables.number((_plain(tree),))),)

    def present(self, leaf: Compare) -> int:
        return self.variables.number((Exists(leaf.operand),))

    def equal(self, leaf: Compare) -> int:
        return self.variables.number((_plain(Compare(leaf.operand, "=", leaf.values)),))

    def joined(self, items: tuple[Condition, ...]) -> list[Condition | _Any]:
        """The items of an `or`, inner ones taken out, comparisons that go together as one."""
        groups: dict[object, list[Compare]] = {}
        others: list[Condition | _Any] = []
        waiting = list(reversed(items))
        while waiting:
            item = waiting.pop()
            if isinstance(item, Or):
                waiting += reversed(item.items)
                continue
            plain = _plain(item) if isinstance(item, Compare) and not _is_unequal(item) else None
            group = self.variables.group(plain) if isinstance(plain, Compare) else None
            if group is None or not isinstance(plain, Compare):
                others.append(item)
            else:
                groups.setdefault(group, []).append(plain)
        return [*(_Any(tuple(leaves)) for leaves in groups.values()), *others]

    def all(self, parts: Iterable[Disjunction]) -> Disjunction:
        """Of all parts; where that becomes too many clauses, the largest parts are not asked."""
        product: Disjunction = ALWAYS
        for part in sorted(parts, key=len):
            if len(product) * len(part) > MAX_OF_CONDITION:
                self.widened = True
                continue
            product = reduced(_both(first, second) for first in product for second in part)
        return product

    def any(self, parts: Iterable[Disjunction]) -> Disjunction:
        union = reduced(clause for part in parts for clause in part)
        if len(union) > MAX_OF_CONDITION:
            self.widened = True
            union = fewer(union, MAX_OF_CONDITION)
        return union


class _Any(NamedTuple):
    """Comparisons of an `or` that are one variable."""

    leaves: tuple[Compare, ...]


def _plain(leaf: Leaf) -> Leaf:
    """One form for what means the same."""
    if isinstance(leaf, Compare) and leaf.operator in {"=", "=="} and _is_simple(leaf):
        return Compare(leaf.operand, "in", leaf.values)
    return leaf


def _is_simple(leaf: Compare) -> bool:
    return leaf.right is None and not leaf.modifier and len(leaf.values) == 1


def _is_unequal(leaf: object) -> TypeGuard[Compare]:
    """`!=` with a value: present, and not equal."""
    return isinstance(leaf, Compare) and leaf.operator == "!=" and _is_simple(leaf)


def _both(first: Literals, second: Literals) -> Literals:
    return Literals(first.true | second.true, first.false | second.false)


def reduced(clauses: Iterable[Literals]) -> Disjunction:
    """Without contradictions, and without clauses that say no more than another."""
    kept: list[Literals] = []
    for clause in sorted(set(clauses), key=lambda one: (one.true | one.false).bit_count()):
        if clause.true & clause.false:
            continue
        if not any(one.true & ~clause.true == 0 and one.false & ~clause.false == 0 for one in kept):
            kept.append(clause)
    return tuple(kept)


def fewer(clauses: Disjunction, most: int) -> Disjunction:
    """At most `most` clauses that hold whenever one of `clauses` does: those with most in common become what they have in common."""
    left = sorted(set(clauses))
    while len(left) > MANY * most:  # neighbours in the order of their literals have much in common
        left = sorted({_common(*pair) for pair in zip(left[::2], [*left[1::2], left[-1]], strict=False)})
    left = list(reduced(left))
    while len(left) > most:
        pairs = ((first, second) for at, first in enumerate(left) for second in left[at + 1 :])
        first, second = max(pairs, key=lambda pair: _size(_common(*pair)))
        left = list(reduced([*(one for one in left if one not in {first, second}), _common(first, second)]))
    return tuple(left)


def _common(first: Literals, second: Literals) -> Literals:
    return Literals(first.true & second.true, first.false & second.false)


def _size(clause: Literals) -> int:
    return (clause.true | clause.false).bit_count()
