"""The generated C header is what the schema says."""

from __future__ import annotations

from pathlib import Path

from shipwall.abi.generate import render_header

HEADER = Path(__file__).resolve().parents[2] / "bpf" / "shipwall_abi.h"


def test_the_committed_header_is_fresh() -> None:
    assert HEADER.read_text() == render_header(), "renew it: python -m shipwall.abi.generate > bpf/shipwall_abi.h"
