"""Sequences of system calls against ADFA-LD (Creech and Hu): learnt from its training part only, judged on the other two."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from scripts.bench.adfa import area, measure_adfa, rate_at

PLACE = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "adfa-ld.zip"


def test_the_area_counts_pairs_and_ties_half() -> None:
    assert area([1.0, 2.0], [3.0, 4.0]) == 1.0
    assert area([3.0, 4.0], [1.0, 2.0]) == 0.0
    assert area([1.0, 2.0], [1.0, 2.0]) == 0.5
    assert area([1.0, 1.0], [1.0, 2.0]) == 0.75
    assert rate_at([float(n) for n in range(100)], [98.5, 99.5, 10.0], 0.01) == pytest.approx(2 / 3)


@pytest.mark.skipif(not PLACE.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")
def test_attacks_are_told_from_normal_traces() -> None:
    """Better than STIDE's 0.83 by the model of the product. The target of 0.90 is not reached (docs/decisions/0012)."""
    with zipfile.ZipFile(PLACE) as archive:
        found = measure_adfa(archive)
    assert (found.learnt, found.normal, found.attacks) == (833, 2171, 371)
    assert found.area >= 0.87
    assert found.rate_1 >= 0.10
    assert found.rate_5 >= 0.32
