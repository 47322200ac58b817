"""THE rule for bad records, whatever the format: one is skipped and counted; too many, and the whole feed is refused.

A publisher's slip must not take away all his advisories, and a file that lost half of them must not take the place of a whole one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from shipwall.model.errors import InputError
from shipwall.model.package import Skipped

_FEW = 10  # so many are a slip in a file of any size, unless they are most of it
_SHARE = 10  # of more, not more than one in so many

_Record = TypeVar("_Record")
_Item = TypeVar("_Item")


def decode_record(decoder: msgspec.json.Decoder[_Record], raw: bytes | msgspec.Raw, what: str) -> _Record | Skipped:
    """The record in `raw`, called `what` where it cannot be read. Total."""
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Skipped(what=what[:200], reason=str(error)[:200])


def refuse_bad(items: Iterable[_Item | Skipped], name: str) -> Iterator[_Item | Skipped]:
    """`items` of the feed `name` as they come. *Raises* InputError at the end, when too many of them are Skipped."""
    good = bad = 0
    first: Skipped | None = None
    for item in items:
        if isinstance(item, Skipped):
            bad += 1
            first = first or item
        else:
            good += 1
        yield item
    if first is not None and (bad > good or (bad > _FEW and bad * _SHARE > good + bad)):
        reason = f"{bad} of {good + bad} records cannot be read, first {first.what}: {first.reason}"
        raise InputError(f"feed {name[:80]}", reason, "have its publisher look at it; what was known before stays in force")
