"""Which part of a rule's condition can be decided when a file is about to be opened, and what it says of one: `lower_files`.

The permission hook knows the file's own path (links followed), whether it is a folder, and for what it is opened; nothing of the process.
A condition that asks more is not lowered, and the reason says why: *on failure* nothing is refused by the hook. What a condition says of
other acts than opens (create, unlink, rename) no permission hook answers for; an open that creates leaves an empty file behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from shipwall.lang.condition import (
    Compare,
    Condition,
    Exists,
    Field,
    fields_of,
    leaves_of,
    parse_condition,
    render_condition,
    render_leaf,
)
from shipwall.lang.diagnostic import SourceError
from shipwall.model.errors import InputError
from shipwall.runtime.conditions import LiteralError, Single, evaluate, specialise

READ, WRITE = 1, 2
ACCESSES = (READ, WRITE, READ | WRITE)
OPENS = frozenset({"open", "openat", "openat2"})
MAX_REFUSALS = 256
_DECIDABLE = frozenset({
    "fd.name", "fd.directory", "fd.filename", "fd.type", "fd.typechar", "evt.is_open_read", "evt.is_open_write",
})  # fmt: skip
_RESULTS = frozenset({"evt.rawres", "evt.res", "fd.num"})


class FileRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Opens refused (`mode` deny) or only reported (monitor) for the rule `rule`: those for which `condition` holds."""

    rule: str
    condition: str
    mode: str = "deny"


class LoweredFiles(NamedTuple):
    """The refusal that is the condition as far as it is about opens, or why there is none (`reason`)."""

    refusal: FileRefusal | None = None
    reason: str = ""


def lower_files(tree: Condition, rule: str, mode: str = "deny") -> LoweredFiles:
    """The refusal of a condition whose macros are expanded and from which what is known of the container was taken out."""
    for leaf in leaves_of(tree):
        if isinstance(leaf, Compare) and leaf.operand == Field("evt.type") and _is_ambiguous(leaf):
            return LoweredFiles(reason="open, openat and openat2 pass the same hook: name all of them")
    left = specialise(tree, _known)
    if isinstance(left, bool):
        return LoweredFiles(reason="it holds for every open" if left else "it is not about opening files")
    for leaf in leaves_of(left):
        if any(field.name not in _DECIDABLE or field.argument for field in fields_of(leaf)):
            return LoweredFiles(reason=f"the hook knows nothing of `{render_leaf(leaf)[:80]}`")
    return LoweredFiles(FileRefusal(rule=rule, condition=render_condition(left), mode=mode))


def _is_ambiguous(leaf: Compare) -> bool:
    if leaf.operator not in {"=", "==", "!=", "in"} or leaf.right is not None or leaf.modifier:
        return True
    return len({value.text for value in leaf.values} & OPENS) not in {0, len(OPENS)}


def _known(leaf: Compare | Exists) -> bool | None:
    """What is certain of a comparison for an open that is about to succeed: the hook runs after every other check."""
    if not isinstance(leaf, Compare) or not isinstance(leaf.operand, Field):
        return None
    if leaf.operand == Field("evt.type"):
        return evaluate(leaf, lambda _field: "openat")
    if leaf.operand.name in _RESULTS and (leaf.operator, leaf.values[0].text if leaf.values else "") in {
        (">=", "0"), (">", "-1"), ("=", "SUCCESS"), ("!=", "-1"),
    }:  # fmt: skip
        return True
    return None


class Judge:
    """Says which of `refusals` an open falls under. Raises InputError at a condition that is none."""

    def __init__(self, refusals: tuple[FileRefusal, ...]) -> None:
        if len(refusals) > MAX_REFUSALS:
            raise InputError(f"{len(refusals)} refusals", f"are more than {MAX_REFUSALS} for one container", "join them")
        self.refusals = refusals
        try:
            self._trees = [parse_condition(refusal.condition, refusal.rule) for refusal in refusals]
            names = {field.name for tree in self._trees for field in fields_of(tree)}
            self._by_access = not names.isdisjoint({"evt.is_open_read", "evt.is_open_write"})
            self.judge("/", is_folder=True)  # a literal that means nothing shows at the first value
        except (SourceError, LiteralError) as error:
            raise InputError("file refusal", error.line()) from error

    def judge(self, path: str, *, is_folder: bool) -> tuple[frozenset[int], ...]:
        """For each of `ACCESSES` the numbers of the refusals that an open of `path` for it falls under."""
        if not self._by_access:
            return (frozenset(self._holding(path, READ, is_folder)),) * len(ACCESSES)
        return tuple(frozenset(self._holding(path, access, is_folder)) for access in ACCESSES)

    def _holding(self, path: str, access: int, is_folder: bool) -> Iterator[int]:
        folder, _, name = path.rpartition("/")
        values: dict[str, Single | None] = {
            "fd.name": path or None,
            "fd.directory": (folder or "/") if path.startswith("/") else None,
            "fd.filename": name or None,
            "fd.type": "directory" if is_folder else "file",
            "fd.typechar": "d" if is_folder else "f",
            "evt.is_open_read": bool(access & READ),
            "evt.is_open_write": bool(access & WRITE),
        }
        for number, tree in enumerate(self._trees):
            if evaluate(tree, lambda field: values.get(field.name)):
                yield number
