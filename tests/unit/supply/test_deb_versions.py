"""Debian version order, on the pairs where people go wrong."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest

from shipwall.model.errors import InputError
from shipwall.supply.versions.deb import compare_versions, parse_version, version_order

ASCENDING = [
    "0~~",
    "0~~a",
    "0~",
    "0",
    "1.0~rc1-1",
    "1.0-1~bpo12+1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1+deb12u1",
    "1.0-1+deb12u10",
    "1.0a-1",
    "1.0+dfsg-1",
    "1.0.1-1",
    "1.10-1",
    "1.10-1-1",
    "1:0.1-1",
    "2:0",
]


def test_the_order() -> None:
    assert sorted(ASCENDING, key=version_order) == ASCENDING


@pytest.mark.skipif(not shutil.which("dpkg"), reason="needs dpkg")
def test_dpkg_agrees() -> None:
    for older, newer in itertools.pairwise(ASCENDING):
        subprocess.run(["dpkg", "--compare-versions", older, "lt", newer], check=True, timeout=10)


@pytest.mark.parametrize(("left", "right"), [("1.0", "1.0-0"), ("0:1", "1"), ("1.0-1", "1.00-01"), ("1.", "1.0")])
def test_equal_though_written_differently(left: str, right: str) -> None:
    assert compare_versions(left, right) == compare_versions(right, left) == 0


@pytest.mark.parametrize("text", ["", ":1", "x:1", "1:", "-1", "1 0", "1_0", "9999999999:1", "1\n", "ü", "1" * 513])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(InputError, match="Debian version"):
        parse_version(text)


def test_numbers_of_any_length() -> None:
    assert compare_versions("1." + "9" * 400, "1.1" + "0" * 400) == -1
