"""Which part of a rule's condition can be decided when a file is about to be opened, and what it says of one: `lower_files`.

The permission hook knows the file's own path (links followed), whether it is a folder, and for what it is opened; nothing of the process.
A condition that asks more is not lowered, and the reason says why: *on failure* nothing is refused by the hook. What a condition says of
other acts than opens (create, unlink, rename) no permission hook answers for; an open that creates leaves an empty file behind.
"""

from __future__ import annotations

from collections.abc import Callable
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
from shipwall.runtime.conditions import Bound, LiteralError, compile_condition, evaluate, specialise
from shipwall.runtime.fields import has_meaning, kinds_with

READ, WRITE = 1, 2
ACCESSES = (READ, WRITE, READ | WRITE)
OPENS = frozenset({"open", "openat", "openat2"})
MAX_REFUSALS = 256
_NO_OPEN = "it is not about opening files"
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

    @property
    def is_about_opens(self) -> bool:
        """Whether the condition can hold for an open at all."""
        return self.reason != _NO_OPEN


def lower_files(tree: Condition, rule: str, mode: str = "deny") -> LoweredFiles:
    """The refusal of a condition whose macros are expanded and from which what is known of the container was taken out."""
    for leaf in leaves_of(tree):
        if isinstance(leaf, Compare) and leaf.operand == Field("evt.type") and _is_ambiguous(leaf):
            return LoweredFiles(reason="open, openat and openat2 pass the same hook: name all of them")
    left = specialise(tree, _known)
    if isinstance(left, bool):
        return LoweredFiles(reason="it holds for every open" if left else _NO_OPEN)
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
    if any(_is_never_of_opens(field) for field in fields_of(leaf)):
        return False  # a missing value makes every comparison false
    if not isinstance(leaf, Compare) or not isinstance(leaf.operand, Field):
        return None
    if leaf.operand == Field("evt.type"):
        return evaluate(leaf, lambda _field: "openat")
    if leaf.operand.name in _RESULTS and (leaf.operator, leaf.values[0].text if leaf.values else "") in {
        (">=", "0"), (">", "-1"), ("=", "SUCCESS"), ("!=", "-1"),
    }:  # fmt: skip
        return True
    return None


def _is_never_of_opens(field: Field) -> bool:
    kinds = kinds_with(field) if has_meaning(field) else None
    return kinds is not None and "open" not in kinds


class Judge:
    """Says which of `refusals` an open falls under. Raises InputError at a condition that is none."""

    def __init__(self, refusals: tuple[FileRefusal, ...]) -> None:
        if len(refusals) > MAX_REFUSALS:
            raise InputError(f"{len(refusals)} refusals", f"are more than {MAX_REFUSALS} for one container", "join them")
        self.refusals = refusals
        try:
            trees = [parse_condition(refusal.condition, refusal.rule) for refusal in refusals]
            self._checks = [_checks(tree) for tree in trees]
            self.judge("/", is_folder=True)  # a literal that means nothing shows at the first value
        except (SourceError, LiteralError) as error:
            raise InputError("file refusal", error.line()) from error

    def judge(self, path: str, *, is_folder: bool) -> tuple[frozenset[int], ...]:
        """For each of `ACCESSES` the numbers of the refusals that an open of `path` for it falls under."""
        folder, _, name = path.rpartition("/")
        file = _File(path or None, (folder or "/") if path.startswith("/") else None, name or None, is_folder)
        found: tuple[list[int], ...] = ([], [], [])
        for number, checks in enumerate(self._checks):
            results = [checks[0](file)] * len(ACCESSES) if len(checks) == 1 else [check(file) for check in checks]
            for holding, result in zip(found, results, strict=True):
                if result:
                    holding.append(number)
        return tuple(map(frozenset, found))


class _File(NamedTuple):
    name: str | None
    directory: str | None
    filename: str | None
    is_folder: bool


_BOUND: dict[str, Bound] = {
    "fd.name": Bound("text", False, lambda file: file.name),
    "fd.directory": Bound("text", False, lambda file: file.directory),
    "fd.filename": Bound("text", False, lambda file: file.filename),
    "fd.type": Bound("text", False, lambda file: "directory" if file.is_folder else "file"),
    "fd.typechar": Bound("text", False, lambda file: "d" if file.is_folder else "f"),
}


def _checks(tree: Condition) -> list[Callable[[_File], bool]]:
    """The condition as a function of the file, for each of `ACCESSES`; only one where it does not ask for what."""
    made = []
    if all(field.name in _BOUND for field in fields_of(tree)):
        return [compile_condition(tree, lambda field: _BOUND[field.name])]
    for access in ACCESSES:
        flags = {"evt.is_open_read": bool(access & READ), "evt.is_open_write": bool(access & WRITE)}
        left = specialise(tree, lambda leaf, flags=flags: _of_access(leaf, flags))  # type: ignore[misc]
        made.append(_always(left) if isinstance(left, bool) else compile_condition(left, lambda field: _BOUND[field.name]))
    return made


def _of_access(leaf: Compare | Exists, flags: dict[str, bool]) -> bool | None:
    return evaluate(leaf, lambda field: flags[field.name]) if all(field.name in flags for field in fields_of(leaf)) else None


def _always(holds: bool) -> Callable[[_File], bool]:
    return lambda _file: holds
