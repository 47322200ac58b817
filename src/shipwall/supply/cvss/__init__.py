"""CVSS vectors → scores, computed from the vector: a feed's own number is never believed.

Source: FIRST, CVSS v2.0 guide 3.2.1; v3.0 and v3.1 specification 7.1 and appendix A; v4.0 specification 8. For v2 and v3 the base
score; for v4 the score of the vector as written (threat and environmental metrics count where they are set), as its specification asks.
"""

from __future__ import annotations

from collections.abc import Iterable

from shipwall.model.errors import InputError
from shipwall.model.finding import Severity
from shipwall.supply.cvss.v2 import score_v2
from shipwall.supply.cvss.v3 import score_v3
from shipwall.supply.cvss.v4 import score_v4

_MAX_VECTOR = 512
_RATINGS = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM), (0.1, Severity.LOW))
_RATINGS_V2 = ((7.0, Severity.HIGH), (4.0, Severity.MEDIUM), (0.0, Severity.LOW))


def score_vector(vector: str) -> tuple[float, Severity]:
    """The score (0.0 to 10.0, one decimal) of `vector` and its rating. Total. *Raises* InputError for what is no vector.

    A vector without the prefix `CVSS:` is a v2 one, in brackets or not. A score of 0 is rated NEGLIGIBLE (v3 and v4: "none").
    """
    thing = f"CVSS vector {vector[:80]!r}"
    if len(vector) > _MAX_VECTOR:
        raise InputError(thing, f"is longer than {_MAX_VECTOR} characters")
    text = vector.strip()
    if not text.startswith("CVSS:"):
        score = score_v2(split_metrics(text.removeprefix("(").removesuffix(")"), thing), thing)
        return score, next(word for limit, word in _RATINGS_V2 if score >= limit)
    version, _slash, rest = text.partition("/")
    metrics = split_metrics(rest, thing)
    match version:
        case "CVSS:3.0" | "CVSS:3.1":
            score = score_v3(metrics, thing, old=version == "CVSS:3.0")
        case "CVSS:4.0":
            score = score_v4(metrics, thing)
        case "CVSS:2.0":
            score = score_v2(metrics, thing)
            return score, next(word for limit, word in _RATINGS_V2 if score >= limit)
        case _:
            raise InputError(thing, "is of no known CVSS version")
    return score, next((word for limit, word in _RATINGS if score >= limit), Severity.NEGLIGIBLE)


def split_metrics(text: str, thing: str) -> dict[str, str]:
    """`AV:N/AC:L` as a mapping. *Raises* InputError: a part without a value, a metric twice."""
    metrics: dict[str, str] = {}
    for part in text.rstrip("/").split("/"):
        name, colon, value = part.partition(":")
        if not colon or not name or not value:
            raise InputError(thing, f"part {part[:20]!r} is not METRIC:VALUE")
        if name in metrics:
            raise InputError(thing, f"says {name[:20]} twice")
        metrics[name] = value
    return metrics


def best_vector(vectors: Iterable[str]) -> tuple[str, float | None, Severity]:
    """Of `vectors` the one of the newest CVSS version (the most severe of several), its score and rating; `("", None, UNKNOWN)` for none.

    What is no vector counts as absent: a feed's slip in one field must not hide the advisory.
    """
    best: tuple[tuple[str, float], str, Severity] | None = None
    for vector in vectors:
        try:
            score, severity = score_vector(vector)
        except InputError:
            continue
        rank = (vector[5:8] if vector.startswith("CVSS:") else "2.0", score)
        if best is None or rank > best[0]:
            best = (rank, vector, severity)
    return ("", None, Severity.UNKNOWN) if best is None else (best[1], best[0][1], best[2])
