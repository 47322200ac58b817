"""Package URLs against the suite of the specification: every case of every type."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from shipwall.model.errors import InputError
from shipwall.supply.purl import canonical_purl, make_purl, parse_purl, render_purl

FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "purl"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")

CASES = 586


def parse(text: str) -> dict[str, Any]:
    """The parts in the suite's words: absent ones are None."""
    purl = parse_purl(text)
    parts = {"type": purl.type, "namespace": purl.namespace, "name": purl.name, "version": purl.version}
    return {key: value or None for key, value in (parts | {"qualifiers": purl.qualifiers, "subpath": purl.subpath}).items()}


def build(given: dict[str, Any]) -> str:
    """The URL of the suite's parts."""
    return render_purl(
        make_purl(
            given["type"] or "",
            given["name"] or "",
            namespace=given["namespace"] or "",
            version=given["version"] or "",
            qualifiers=given["qualifiers"],
            subpath=given["subpath"] or "",
        )
    )


def judge(case: dict[str, Any]) -> Any:
    """What we make of a case; None when we refuse it."""
    try:
        return {"parse": parse, "build": build, "validate": canonical_purl}[case["test_type"]](case["input"])  # type: ignore[operator]
    except InputError:
        return None


def test_every_case() -> None:
    cases = [case for path in sorted(FOLDER.glob("*/*.json")) for case in json.loads(path.read_text())["tests"]]
    wrong = [case for case in cases if judge(case) != (None if case["expected_failure"] else case["expected_output"])]
    assert len(cases) >= CASES
    assert wrong == []
