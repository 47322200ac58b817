"""ADFA-LD: how well the product's model of sequences tells attacks from normal traces. Only the training part is ever learnt from.

`python -m scripts.bench.adfa choose ZIP` repeats how the parameters were chosen, within the training part: the order by the likelihood of
held-out traces, the score by leaving out one kind of program at a time and telling it from held-out traces of the other kinds.
"""

from __future__ import annotations

import bisect
import math
import os
import random
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from scripts.bench.table import Row

from shipwall.runtime.profile.sequences import SequenceModel

TARGET = 0.90
PLACE = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "adfa-ld.zip"

Trace = tuple[int, ...]


class Found(NamedTuple):
    """Traces of each part, the area under the curve, and the share of attacks found at 1 and 5 % false alarms."""

    learnt: int
    normal: int
    attacks: int
    area: float
    rate_1: float
    rate_5: float
    seconds: float


def read_part(archive: zipfile.ZipFile, part: str) -> list[Trace]:
    """The traces below the folder `part`, by name."""
    names = sorted(
        name for name in archive.namelist() if f"/{part}/" in name and name.endswith(".txt") and "__MACOSX" not in name
    )
    return [tuple(map(int, archive.read(name).split())) for name in names]


def area(normal: Sequence[float], attacks: Sequence[float]) -> float:
    """The area under the curve: how often an attack scores higher than a normal trace, a tie counting half."""
    ordered = sorted(normal)
    wins = sum(bisect.bisect_left(ordered, one) + bisect.bisect_right(ordered, one) for one in attacks)
    return wins / 2 / len(normal) / len(attacks)


def rate_at(normal: Sequence[float], attacks: Sequence[float], false_share: float) -> float:
    """The share of `attacks` above the threshold that at most `false_share` of the normal traces exceed."""
    limit = sorted(normal)[-int(len(normal) * false_share) - 1]
    return sum(one > limit for one in attacks) / len(attacks)


def measure_adfa(archive: zipfile.ZipFile) -> Found:
    """Learn the training part, judge the rest."""
    began = time.monotonic()
    model = SequenceModel()
    training = read_part(archive, "Training_Data_Master")
    for trace in training:
        model.learn(trace)
    normal = [model.score(trace).value for trace in read_part(archive, "Validation_Data_Master")]
    attacks = [model.score(trace).value for trace in read_part(archive, "Attack_Data_Master")]
    return Found(
        len(training),
        len(normal),
        len(attacks),
        area(normal, attacks),
        rate_at(normal, attacks, 0.01),
        rate_at(normal, attacks, 0.05),
        time.monotonic() - began,
    )


def rows() -> list[Row]:
    """The row of the benchmark; says so when the data set is not here."""
    if not PLACE.exists():
        return [Row("ADFA-LD", "not measured: set SHIPWALL_CONFORMANCE to the folder with adfa-ld.zip")]
    with zipfile.ZipFile(PLACE) as archive:
        found = measure_adfa(archive)
    told = f"AUC {found.area:.3f}, TPR {found.rate_1:.1%} at 1 % FPR, {found.rate_5:.1%} at 5 % ({found.seconds:.0f} s)"
    return [
        Row(
            f"ADFA-LD, {found.normal} normal and {found.attacks} attack traces",
            told,
            f"AUC at least {TARGET:.2f}",
            found.area >= TARGET,
        )
    ]


def choose(archive: zipfile.ZipFile) -> None:
    """Print what the parameters were chosen by."""
    training = read_part(archive, "Training_Data_Master")
    for order in (3, 4, 5, 6, 8, 10):
        print(f"order {order}: {held_out_bits(training, order):.3f} bits for each call of held-out traces", flush=True)
    for name, value in leave_out_programs(training).items():
        print(f"{name}: {value:.3f} mean area, one kind of program left out at a time", flush=True)


def held_out_bits(training: Sequence[Trace], order: int, folds: int = 5) -> float:
    """Mean bits for each call, each fold of neighbouring traces judged by the model of the others."""
    total = 0.0
    for fold in range(folds):
        first, last = fold * len(training) // folds, (fold + 1) * len(training) // folds
        model = SequenceModel(order)
        for trace in (*training[:first], *training[last:]):
            model.learn(trace)
        total += sum(model.score(trace).bits for trace in training[first:last])
    return total / len(training)


def leave_out_programs(training: Sequence[Trace]) -> dict[str, float]:
    """For each score the mean area when traces of a kind of program that was not learnt are to be told from held-out ones that were.

    The mean of six ways to part the traces into kinds, because one alone is decided by chance.
    """
    areas: dict[str, list[float]] = {}
    for seed, kinds in ((0, 10), (1, 10), (2, 10), (3, 6), (4, 15), (5, 10)):
        for name, found in _leave_out_each(training, kinds, random.Random(seed)).items():  # noqa: S311  the same folds every time
            areas.setdefault(name, []).append(sum(found) / len(found))
    return {name: sum(found) / len(found) for name, found in areas.items()}


def _leave_out_each(training: Sequence[Trace], kinds: int, chance: random.Random) -> dict[str, list[float]]:
    labels = _kinds_of_programs(training, kinds, chance)
    areas: dict[str, list[float]] = {}
    for left_out in range(kinds):
        known = [trace for trace, label in zip(training, labels, strict=True) if label != left_out]
        unknown = [trace for trace, label in zip(training, labels, strict=True) if label == left_out]
        chance.shuffle(known)
        held, learnt = known[: len(known) // 5], known[len(known) // 5 :]
        model = SequenceModel()
        for trace in learnt:
            model.learn(trace)
        bits = [[model.score(trace).bits for trace in part] for part in (held, unknown)]
        for what, count in (("calls", lambda trace: len(set(trace))), ("pairs", lambda trace: len(set(pairwise(trace))))):
            sizes = [[math.log2(count(trace)) for trace in part] for part in (held, unknown)]
            for penalty in (0.0, 0.5, 1.0):
                scores = [[b - penalty * n for b, n in zip(*part, strict=True)] for part in zip(bits, sizes, strict=True)]
                areas.setdefault(f"surprise less {penalty} bits of the different {what}", []).append(area(*scores))
    return areas


def _kinds_of_programs(training: Sequence[Trace], kinds: int, chance: random.Random) -> list[int]:
    """A kind for each trace, by its shares of calls (k-means on their square roots)."""
    shares = [{call: (count / len(trace)) ** 0.5 for call, count in Counter(trace).items()} for trace in training]
    centres = [dict(shares[at]) for at in chance.sample(range(len(shares)), kinds)]
    labels = [0] * len(shares)
    for _ in range(15):
        labels = [max(range(kinds), key=lambda at, share=share: _alike(share, centres[at])) for share in shares]
        for at in range(kinds):
            members = [share for share, label in zip(shares, labels, strict=True) if label == at]
            if members:
                summed: Counter[int] = Counter()
                for share in members:
                    summed.update(share)  # type: ignore[arg-type]  # counts of a Counter may be fractions
                length = sum(value**2 for value in summed.values()) ** 0.5
                centres[at] = {call: value / length for call, value in summed.items()}
    return labels


def _alike(one: dict[int, float], other: dict[int, float]) -> float:
    return sum(value * other.get(call, 0.0) for call, value in one.items())


if __name__ == "__main__":
    with zipfile.ZipFile(sys.argv[2]) as opened:
        choose(opened)
