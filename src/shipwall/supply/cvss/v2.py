"""CVSS v2 base scores. Source: FIRST, A Complete Guide to CVSS Version 2.0, 3.2.1."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

from shipwall.model.errors import InputError

_IMPACT = {"N": "0", "P": "0.275", "C": "0.660"}
_BASE = {
    "AV": {"L": "0.395", "A": "0.646", "N": "1"},
    "AC": {"H": "0.35", "M": "0.61", "L": "0.71"},
    "Au": {"M": "0.45", "S": "0.56", "N": "0.704"},
    "C": _IMPACT,
    "I": _IMPACT,
    "A": _IMPACT,
}
_OTHERS = {"E", "RL", "RC", "CDP", "TD", "CR", "IR", "AR"}  # temporal and environmental: not part of the base score


def score_v2(metrics: Mapping[str, str], thing: str) -> float:
    """The base score of `metrics`. *Raises* InputError for a missing or unknown metric or value."""
    unknown = metrics.keys() - _BASE.keys() - _OTHERS
    if unknown:
        raise InputError(thing, f"metric {min(unknown)[:20]!r} is not of CVSS v2")
    weights = {}
    for name, values in _BASE.items():
        value = values.get(metrics.get(name, ""))
        if value is None:
            raise InputError(thing, f"metric {name} is missing or has an unknown value")
        weights[name] = Decimal(value)
    impact = Decimal("10.41") * (1 - (1 - weights["C"]) * (1 - weights["I"]) * (1 - weights["A"]))
    exploitability = 20 * weights["AV"] * weights["AC"] * weights["Au"]
    factor = Decimal("1.176") if impact else Decimal(0)
    score = (Decimal("0.6") * impact + Decimal("0.4") * exploitability - Decimal("1.5")) * factor
    return float(score.quantize(Decimal("0.1"), ROUND_HALF_UP))
