"""Clean-up goes through the journal, newest first, and one failure does not stop it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Entry, Journal
from shipwall.journeys import cleanup
from shipwall.journeys.cleanup import clean_up
from shipwall.model.errors import RemoteError


def test_newest_first_once_and_failures_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Instance(tmp_path)
    journal = Journal(tmp_path / "journal.jsonl")
    seen: list[str] = []

    def undo(_instance: Instance, entry: Entry) -> list[str]:
        seen.append(entry.key)
        if entry.key == "stuck":
            raise RemoteError("thing", "is stuck", "wait")
        return [f"removed {entry.facts['name']}"]

    monkeypatch.setitem(cleanup.UNDO, "probe", undo)
    for key in ("first", "stuck", "half", "gone"):
        journal.begin(key, "probe", name=key)
        if key != "half":
            journal.confirm(key, "probe")
    journal.undo("gone", "probe")
    journal.begin("odd", "of-another-version")
    report = clean_up(instance)
    assert seen == ["half", "stuck", "first"]
    assert [(done.key, done.what) for done in report.done] == [("half", ("removed half",)), ("first", ("removed first",))]
    assert [(left.key, left.why) for left in report.left] == [
        ("odd", "this version does not know how to undo it"),
        ("stuck", "thing: is stuck; wait"),
    ]
    assert [entry.key for entry in journal.standing()] == ["odd", "stuck"]


def test_nothing_to_do(tmp_path: Path) -> None:
    assert clean_up(Instance(tmp_path / "none")) == cleanup.Report(done=(), left=())
    assert not (tmp_path / "none").exists()
