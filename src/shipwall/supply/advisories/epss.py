"""EPSS scores (CSV) → the probability that a CVE is exploited within 30 days. Source: first.org/epss, data format."""

from __future__ import annotations

import math
from collections.abc import Iterator

from shipwall.model.errors import InputError
from shipwall.model.finding import Exploited
from shipwall.model.package import Skipped
from shipwall.supply.advisory_ids import is_cve

MAX_BYTES = 256 << 20


def parse_epss(data: bytes, _feed: str) -> Iterator[tuple[str, Exploited] | Skipped]:
    """(CVE id, scores) of each row after the head `cve,epss,percentile`. Total. *Raises* InputError when there is no such head."""
    if len(data) > MAX_BYTES:
        raise InputError("EPSS scores", f"are {len(data)} bytes, over the limit of {MAX_BYTES}")
    lines = iter(data.decode("utf-8", "backslashreplace").splitlines())
    for line in lines:
        if line.startswith("#"):
            continue
        if line.split(",")[:3] != ["cve", "epss", "percentile"]:
            break
        return _rows(lines)
    raise InputError("EPSS scores", "do not begin with the line cve,epss,percentile")


def _rows(lines: Iterator[str]) -> Iterator[tuple[str, Exploited] | Skipped]:
    for line in lines:
        if not line:
            continue
        cells = line.split(",")
        score, percentile = (_share(cell) for cell in [*cells[1:3], "", ""][:2])
        if is_cve(cells[0]) and score is not None:
            yield cells[0], Exploited(epss=score, percentile=percentile)
        else:
            yield Skipped(what="a row of the EPSS scores", reason=f"{line[:60]!r} is not CVE,score,percentile")


def _share(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= 1 else None
