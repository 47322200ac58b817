"""CVSS v4.0 scores: macro vectors, their scores, and the place of a vector within its own.

Source: FIRST, CVSS v4.0 specification 8.2 (scoring with the macro vector), 8.3 (tables 24 to 32) and the published table of macro vector
scores. Five sets of equivalence classes divide all vectors into 270; a vector's score is its class's, less the mean share of the way to
the next lower class in each set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal

from shipwall.model.errors import InputError

# Values of each metric from the most severe; the place is the severity level (8.3, in tenths).
_BASE = {
    "AV": "NALP", "AC": "LH", "AT": "NP", "PR": "NLH", "UI": "NPA",
    "VC": "HLN", "VI": "HLN", "VA": "HLN", "SC": "HLN", "SI": "HLN", "SA": "HLN",
}  # fmt: skip
_REQUIREMENTS = {"CR": "HML", "IR": "HML", "AR": "HML"}
_THREAT = {"E": "APU"}
_SUPPLEMENTAL = {"S": "XNP", "AU": "XNY", "R": "XAUI", "V": "XDC", "RE": "XLMH", "U": ("X", "Clear", "Green", "Amber", "Red")}
_SUBSEQUENT = {"S": 0, "H": 1, "L": 2, "N": 3}  # SI and SA may be S (safety) where modified, so H is one level lower

# Highest vectors of each class of each set, and how many levels lie between the highest and the lowest of the class.
_HIGHEST_1 = ({"AV": "N", "PR": "N", "UI": "N"},), (
    {"AV": "A", "PR": "N", "UI": "N"}, {"AV": "N", "PR": "L", "UI": "N"}, {"AV": "N", "PR": "N", "UI": "P"},
), ({"AV": "P", "PR": "N", "UI": "N"}, {"AV": "A", "PR": "L", "UI": "P"})  # fmt: skip
_HIGHEST_2 = ({"AC": "L", "AT": "N"},), ({"AC": "H", "AT": "N"}, {"AC": "L", "AT": "P"})
_IMPACTS = ("VC", "VI", "VA", "CR", "IR", "AR")
_HIGHEST_36 = ("HHHHHH",), ("HHLMMH", "HHHMMM"), ("LHHHHH", "HLHHHH"), (
    "LHLHMH", "LHHHMM", "HLHMHM", "HLLMHH", "LLHHHM",
), ("LLLHHH",)  # fmt: skip
_HIGHEST_4 = ({"SC": "H", "SI": "S", "SA": "S"},), ({"SC": "H", "SI": "H", "SA": "H"},), ({"SC": "L", "SI": "L", "SA": "L"},)
_DEPTH_1, _DEPTH_2, _DEPTH_36, _DEPTH_4 = (1, 4, 5), (1, 2), (7, 6, 8, 8, 10), (6, 5, 4)
_CLASSES_36 = ((0, 0), (0, 1), (1, 0), (1, 1), (2, 1))  # (set 3, set 6); the others are impossible
_LOWER_36 = ((1, 2), (3,), (3,), (4,), ())  # by place in _CLASSES_36: the next lower classes

# Tenths. One line for each class of sets 1, 2 and 3+6; in it one number for each of sets 4 and 5.
_SCORES = """
    100 98 95 100 93 91 93 89 81
    99 95 92 96 87 81 90 80 68
    98 95 90 93 89 81 88 78 69
    95 92 84 92 81 65 80 70 48
    92 82 72 79 69 50 69 55 27
    99 95 92 95 90 84 92 82 72
    97 92 85 91 83 71 81 71 53
    95 92 85 92 80 70 84 71 50
    93 85 73 82 72 59 70 52 30
    86 75 52 71 52 29 63 29 17
    98 94 91 94 86 77 87 74 63
    95 87 81 89 74 64 75 63 49
    94 88 76 86 74 59 72 57 52
    89 77 67 76 58 50 57 52 25
    83 70 54 65 58 26 53 21 13
    95 88 76 90 75 61 77 68 52
    90 76 70 77 62 53 66 59 30
    89 76 62 74 57 47 61 57 24
    78 67 58 59 57 23 52 29 16
    71 59 30 58 26 15 23 13 6
    93 86 75 86 74 56 70 52 40
    87 72 58 74 61 34 54 40 22
    85 74 62 72 55 46 53 34 19
    75 55 51 57 41 19 36 19 8
    64 51 20 47 21 11 24 9 4
    88 73 60 73 59 41 54 45 20
    75 53 50 55 40 20 43 22 11
    75 58 40 61 48 20 46 17 8
    55 45 21 51 18 9 18 7 2
    53 24 14 24 12 5 10 3 1
"""
_TENTHS = [[int(cell) for cell in line.split()] for line in _SCORES.strip().splitlines()]


def score_v4(metrics: Mapping[str, str], thing: str) -> float:
    """The score of `metrics`. *Raises* InputError for a missing or unknown metric or value."""
    value = _effective(metrics, thing)
    if all(value[name] == "N" for name in ("VC", "VI", "VA", "SC", "SI", "SA")):
        return 0.0
    one, two, four, five = _class_1(value), _class_2(value), _class_4(value), "APU".index(value["E"])
    joint = _CLASSES_36.index((_class_3(value), _class_6(value)))
    own = _tenths(one, two, joint, four, five)
    assert own is not None  # every vector is in a class
    impacts = tuple(dict(zip(_IMPACTS, text, strict=True)) for text in _HIGHEST_36[joint])
    # For each set: the score of the next lower class, and which share of the way to it the vector has gone.
    steps = [
        (_tenths(one + 1, two, joint, four, five), Decimal(_distance(value, _HIGHEST_1[one])) / _DEPTH_1[one]),
        (_tenths(one, two + 1, joint, four, five), Decimal(_distance(value, _HIGHEST_2[two])) / _DEPTH_2[two]),
        (
            max((_tenths(one, two, lower, four, five) or 0 for lower in _LOWER_36[joint]), default=None),
            Decimal(_distance(value, impacts)) / _DEPTH_36[joint],
        ),
        (_tenths(one, two, joint, four + 1, five), Decimal(_distance(value, _HIGHEST_4[four])) / _DEPTH_4[four]),
        (_tenths(one, two, joint, four, five + 1), Decimal(0)),
    ]
    losses = [(own - lower) * share for lower, share in steps if lower is not None]
    mean = sum(losses, Decimal(0)) / len(losses) if losses else Decimal(0)
    score = max(Decimal(0), min(Decimal(100), own - mean)).quantize(Decimal(1), ROUND_HALF_UP)
    return int(score) / 10


def _effective(metrics: Mapping[str, str], thing: str) -> dict[str, str]:
    """The values that count: modified ones where set, and the worst where a threat or requirement is not defined."""
    for name in _BASE:
        if name not in metrics:
            raise InputError(thing, f"metric {name} is missing")
    for name, value in metrics.items():
        if value not in _allowed(name, thing):
            raise InputError(thing, f"{name} has the unknown value {value[:20]!r}")
    found = {}
    for name in _BASE:
        modified = metrics.get(f"M{name}", "X")
        found[name] = metrics[name] if modified == "X" else modified
    for name, values in (_REQUIREMENTS | _THREAT).items():
        given = metrics.get(name, "X")
        found[name] = values[0] if given == "X" else given
    return found


def _allowed(name: str, thing: str) -> Sequence[str]:
    if name in _BASE:
        return _BASE[name]
    if name in _REQUIREMENTS or name in _THREAT:
        return (_REQUIREMENTS | _THREAT)[name] + "X"
    if name in _SUPPLEMENTAL:
        return _SUPPLEMENTAL[name]
    if name[:1] == "M" and name[1:] in _BASE:
        return _BASE[name[1:]] + ("XS" if name in {"MSI", "MSA"} else "X")
    raise InputError(thing, f"metric {name[:20]!r} is not of CVSS v4")


def _class_1(value: Mapping[str, str]) -> int:
    none = [value[name] == "N" for name in ("AV", "PR", "UI")]
    if all(none):
        return 0
    return 1 if any(none) and value["AV"] != "P" else 2


def _class_2(value: Mapping[str, str]) -> int:
    return 0 if value["AC"] == "L" and value["AT"] == "N" else 1


def _class_3(value: Mapping[str, str]) -> int:
    if value["VC"] == value["VI"] == "H":
        return 0
    return 1 if "H" in {value["VC"], value["VI"], value["VA"]} else 2


def _class_4(value: Mapping[str, str]) -> int:
    if "S" in {value["SI"], value["SA"]}:
        return 0
    return 1 if "H" in {value["SC"], value["SI"], value["SA"]} else 2


def _class_6(value: Mapping[str, str]) -> int:
    pairs = (("CR", "VC"), ("IR", "VI"), ("AR", "VA"))
    return 0 if any(value[requirement] == "H" and value[impact] == "H" for requirement, impact in pairs) else 1


def _tenths(one: int, two: int, joint: int, four: int, five: int) -> int | None:
    """The score of a class, None where no such class exists."""
    if one > 2 or two > 1 or four > 2 or five > 2:
        return None
    return _TENTHS[(one * 2 + two) * 5 + joint][four * 3 + five]


def _distance(value: Mapping[str, str], highest: tuple[dict[str, str], ...]) -> int:
    """Levels between `value` and the first of the class's highest vectors that is nowhere below it."""
    for vector in highest:
        steps = [_level(name, value[name]) - _level(name, top) for name, top in vector.items()]
        if min(steps) >= 0:
            return sum(steps)
    raise AssertionError("every vector lies below a highest vector of its class")


def _level(name: str, value: str) -> int:
    if name in {"SC", "SI", "SA"}:
        return _SUBSEQUENT[value]
    return (_BASE | _REQUIREMENTS)[name].index(value)
