"""The journal survives torn lines, full disks and several writers; files are written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shipwall.adapters.files import write_whole
from shipwall.adapters.journal import Journal
from shipwall.model.errors import StorageError


def test_an_act_is_unfinished_until_confirmed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.begin("c1", "freeze", path="/x")
    assert [(entry.key, entry.act) for entry in journal.unfinished()] == [("c1", "freeze")]
    journal.confirm("c1", "freeze", took_ns=5)
    assert journal.unfinished() == []
    assert journal.standing()[0].facts == {"path": "/x", "took_ns": 5}
    journal.undo("c1", "freeze")
    assert journal.standing() == []


def test_standing_acts_come_newest_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for key in ("a", "b", "c"):
        journal.begin(key, "start")
    assert [entry.key for entry in journal.standing()] == ["c", "b", "a"]


@pytest.mark.parametrize("kept", range(1, 30, 7))
def test_a_torn_last_line_is_forgotten_and_repaired(tmp_path: Path, kept: int) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.begin("a", "start")
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + whole[:kept])
    assert [entry.key for entry in journal.read()] == ["a"]
    journal.confirm("a", "start")
    assert [entry.status for entry in journal.read()] == ["begun", "confirmed"]


def test_a_damaged_earlier_line_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.begin("a", "start")
    journal.path.write_bytes(b"garbage\n" + journal.path.read_bytes())
    with pytest.raises(StorageError, match=r"journal\.jsonl:1"):
        journal.read()


def test_several_processes_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    program = f"""
from pathlib import Path
from shipwall.adapters.journal import Journal
import os
for number in range(40):
    Journal(Path({str(path)!r})).begin(f"{{os.getpid()}}-{{number}}", "x", filler="y" * 200)
"""
    writers = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len({entry.key for entry in Journal(path).read()}) == 120


def _fill(journal: Journal) -> None:
    for number in range(1000):
        journal.begin(f"k{number}", "start", filler="z" * 500)


@pytest.mark.root
def test_a_full_disk_leaves_the_old_file_and_a_whole_journal(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        write_whole(disk / "kept", b"old")
        journal = Journal(disk / "journal.jsonl")
        journal.begin("a", "start")
        (disk / "filler").write_bytes(os.urandom(48 * 1024))
        with pytest.raises(StorageError, match="No space left"):
            write_whole(disk / "kept", b"n" * 40_000)
        assert (disk / "kept").read_bytes() == b"old"
        with pytest.raises(StorageError):
            _fill(journal)
        assert all(entry.act == "start" for entry in journal.read())
        (disk / "filler").unlink()
        journal.confirm("a", "start")
        assert journal.last()["a", "start"].status == "confirmed"
    finally:
        subprocess.run(["umount", str(disk)], check=True)
