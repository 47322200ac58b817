"""CVSS v3.0 and v3.1 base scores. Source: FIRST, CVSS v3.1 specification 7.1, 7.4 and appendix A (Roundup); v3.0 specification 8.1."""

from __future__ import annotations

import math
from collections.abc import Mapping

from shipwall.model.errors import InputError

_IMPACT = {"H": 0.56, "L": 0.22, "N": 0.0}
_BASE = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "PR": {"N": 0.85, "L": 0.62, "H": 0.27},
    "UI": {"N": 0.85, "R": 0.62},
    "S": {"U": 0.0, "C": 1.0},
    "C": _IMPACT,
    "I": _IMPACT,
    "A": _IMPACT,
}
_PR_WHEN_CHANGED = {"N": 0.85, "L": 0.68, "H": 0.5}
_OTHERS = {"E", "RL", "RC", "CR", "IR", "AR", "MAV", "MAC", "MPR", "MUI", "MS", "MC", "MI", "MA"}


def score_v3(metrics: Mapping[str, str], thing: str, *, old: bool) -> float:
    """The base score of `metrics`; `old` for version 3.0, whose rounding differs. *Raises* InputError for a missing or unknown metric."""
    unknown = metrics.keys() - _BASE.keys() - _OTHERS
    if unknown:
        raise InputError(thing, f"metric {min(unknown)[:20]!r} is not of CVSS v3")
    for name, values in _BASE.items():
        if metrics.get(name) not in values:
            raise InputError(thing, f"metric {name} is missing or has an unknown value")
    changed = metrics["S"] == "C"
    weight = {name: values[metrics[name]] for name, values in _BASE.items()}
    iss = 1 - (1 - weight["C"]) * (1 - weight["I"]) * (1 - weight["A"])
    impact = 7.52 * (iss - 0.029) - 3.25 * (iss - 0.02) ** 15 if changed else 6.42 * iss
    if impact <= 0:
        return 0.0
    privileges = _PR_WHEN_CHANGED[metrics["PR"]] if changed else weight["PR"]
    exploitability = 8.22 * weight["AV"] * weight["AC"] * privileges * weight["UI"]
    score = min((1.08 if changed else 1.0) * (impact + exploitability), 10.0)
    return math.ceil(score * 10) / 10 if old else _round_up(score)


def _round_up(score: float) -> float:
    """The smallest number of one decimal that is not below `score`, free of floating-point noise (appendix A)."""
    whole = round(score * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (whole // 10_000 + 1) / 10
