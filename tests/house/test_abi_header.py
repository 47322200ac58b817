"""The generated C header is what the schema says."""

from __future__ import annotations

from pathlib import Path

from shipwall.abi.generate import render_header

BPF = Path(__file__).resolve().parents[2] / "bpf"


def test_the_committed_headers_are_fresh() -> None:
    assert (BPF / "shipwall_abi.h").read_text() == render_header(), (
        "renew it: python -m shipwall.abi.generate > bpf/shipwall_abi.h"
    )
    assert (BPF / "guard_abi.h").read_text() == render_header("guard"), (
        "renew it: python -m shipwall.abi.generate guard > bpf/guard_abi.h"
    )
