"""The files that a policy names beside it: whatever lies there instead of a file is refused, never waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shipwall.journeys.promote import load_policy
from shipwall.model.errors import InputError

POLICY = """version: 1
routes:
- {from: dev/a, to: prod/a, findings: {ignore: [{file: beside}]}}
"""


def test_links_in_a_circle_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    policy, beside = tmp_path / "policy.yaml", tmp_path / "beside"
    policy.write_text(POLICY)
    with pytest.raises(InputError, match="is no file"):
        load_policy(policy)
    beside.symlink_to("beside")
    with pytest.raises(InputError):
        load_policy(policy)
    beside.unlink()
    os.mkfifo(beside)
    with pytest.raises(InputError, match="no regular file"):
        load_policy(policy)
    beside.unlink()
    beside.mkdir()
    with pytest.raises(InputError, match="no regular file"):
        load_policy(policy)
    beside.rmdir()
    beside.write_text("version: 1\nignore:\n- {id: CVE-1, reason: not reachable, until: 2099-01-01}\n")
    assert [one.entry.id for one in load_policy(policy).routes[0].ignored] == ["CVE-1"]
