"""Which read-only opens the rules want to hear of, as prefixes of paths: what the kernel part tells where no filter is in force.

Opening a file for writing is always reported. A rule whose reads cannot be told by prefixes (`fd.name endswith .pem`) is named, so that
nobody believes it watches everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from shipwall.lang.condition import And, Compare, Condition, Field, Or
from shipwall.runtime.conditions import specialise
from shipwall.runtime.rules.rule_set import RuleSet, left_to_ask

_WRITE = Field("evt.is_open_write")
_READ = Field("evt.is_open_read")


@dataclass(frozen=True)
class ReadPaths:
    """`prefixes`: a read-only open is of interest when its path begins with one. `unbounded`: rules that would want more than those."""

    prefixes: tuple[str, ...]
    unbounded: tuple[str, ...]


def read_paths(rules: RuleSet) -> ReadPaths:
    """The prefixes of all enabled rules; one that begins with another is left out."""
    wanted: set[str] = set()
    unbounded: list[str] = []
    for rule in rules.rules:
        if not rule.is_judged or "open" not in rule.kinds:
            continue
        tree = left_to_ask(rule.condition, "open")
        if not isinstance(tree, bool):
            tree = specialise(tree, _known_of_read)
        prefixes = (set[str]() if tree is False else None) if isinstance(tree, bool) else _prefixes(tree)
        if prefixes is None or "" in prefixes:
            unbounded.append(rule.name)
        else:
            wanted |= prefixes
    return ReadPaths(tuple(_shortest(wanted)), tuple(unbounded))


def _known_of_read(leaf: Condition) -> bool | None:
    """What a comparison says about every read-only open."""
    if isinstance(leaf, Compare) and leaf.operator in {"=", "=="} and len(leaf.values) == 1 and leaf.operand in {_WRITE, _READ}:
        is_asked = leaf.values[0].text.lower() == "true"
        return is_asked == (leaf.operand == _READ)
    return None


def _prefixes(tree: Condition) -> set[str] | None:
    """Prefixes of every path for which the condition can hold; None for any path."""
    if isinstance(tree, And):
        bounded = [found for item in tree.items if (found := _prefixes(item)) is not None]
        return min(bounded, key=lambda found: (len(found), sorted(found))) if bounded else None
    if isinstance(tree, Or):
        parts = [_prefixes(item) for item in tree.items]
        return None if None in parts else {prefix for part in parts if part is not None for prefix in part}
    if not isinstance(tree, Compare) or tree.right is not None or not isinstance(tree.operand, Field):
        return None
    values = {value.text for value in tree.values}
    if tree.operand.name == "fd.name":
        if tree.operator in {"=", "==", "in", "startswith"}:
            return values
        if tree.operator in {"glob", "pmatch"}:
            return {_literal(value) for value in values}
    if tree.operand.name == "fd.directory":
        if tree.operator in {"=", "==", "in"}:
            return {value.rstrip("/") + "/" for value in values}
        if tree.operator in {"startswith", "glob", "pmatch"}:
            return {_literal(value) for value in values}
    return None


def _literal(pattern: str) -> str:
    """The part of a pattern before its first wildcard."""
    at = min((found for mark in "*?[" if (found := pattern.find(mark)) >= 0), default=len(pattern))
    return pattern[:at]


def _shortest(prefixes: set[str]) -> list[str]:
    """`prefixes` sorted, without those that begin with another."""
    kept: list[str] = []
    for prefix in sorted(prefixes):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept
