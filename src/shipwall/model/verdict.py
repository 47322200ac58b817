"""Verdicts: allowed or not, with every reason, its evidence and the shortest way to pass."""

from __future__ import annotations

from typing import NoReturn

import msgspec


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim rests on. `kind`: package, file, finding, statement, rule, event, request, policy. `ref` locates it."""

    kind: str
    ref: str
    detail: str = ""


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One ground of a verdict. `code` is stable (kebab-case), `message` is one line, `next_step` the shortest way to pass."""

    code: str
    message: str
    evidence: tuple[Evidence, ...] = ()
    next_step: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A decision. An allowed verdict may carry reasons too (why it was allowed)."""

    allowed: bool
    reasons: tuple[Reason, ...] = ()

    def __bool__(self) -> NoReturn:
        """Refused: `if verdict:` would hide the reasons; ask `.allowed`."""
        raise TypeError("ask verdict.allowed; a verdict is not a truth value")


def refuse(*reasons: Reason) -> Verdict:
    """A refusal for `reasons`."""
    return Verdict(allowed=False, reasons=reasons)
