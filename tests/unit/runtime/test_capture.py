"""The form of a capture, what is left of a damaged one, replay and the difference of two rule sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shipwall.adapters.captures import CaptureFile, read_capture
from shipwall.cli.app import build_app
from shipwall.model.container import Accounts, ContainerFacts, Process, ProcessDetails, User
from shipwall.model.errors import InputError, StorageError
from shipwall.model.event import Exec, Open
from shipwall.runtime.alert_difference import difference_of_alerts
from shipwall.runtime.capture import MAGIC, End, Header, Known, Reader, Record, Replay, render_part
from shipwall.runtime.rules import parse_rules

C = "ab" * 32
RULE = """
- rule: Read
  desc: d
  condition: evt.type = openat and fd.name startswith {prefix} and user.name = www
  output: "%fd.name by %proc.name tty=%proc.tty of %container.name (%user.name)"
  priority: {priority}
"""


def _event(kind: Any, seq: int, **more: Any) -> Any:
    return kind(
        seq=seq, time_ns=1000 + seq, cgroup_id=1, pid=9, tid=9, ppid=1, ns_pid=9, uid=33, gid=33, comm="cat", container=C, **more
    )


def _open(seq: int, path: str) -> Open:
    return _event(Open, seq, syscall="openat", path=path, asked=path, flags=0, resolved=True, ret=3)


RECORDS: list[Record] = [
    Known(processes=(Process(pid=1, ppid=0, ns_pid=1, start_ns=1, uid=0, gid=0, comm="init", path="/init", argv=("init",)),)),
    Known(accounts=Accounts(users={33: User("www", "/", "/bin/sh")}), container_id=C),
    Known(container=ContainerFacts(id=C, name="web", image_ref="x:1", image_config="sha256:" + "0" * 64)),
    Known(pid=9, details=ProcessDetails(tty=7)),
    _event(Exec, 1, path="/bin/cat", argv=("cat",), ret=0, syscall="execve"),
    _open(2, "/etc/shadow"),
    _open(3, "/etc/hosts"),
    _open(4, "/srv/x"),
]
HEADER = Header(version="1", node="n", began_ns=5, containers=(C,))
END = End(ended_ns=9, events=4, lost={"open": 2}, reason="the time is over")


def _whole() -> bytes:
    return MAGIC + render_part([HEADER, *RECORDS[:4]]) + render_part(RECORDS[4:6]) + render_part([*RECORDS[6:], END])


def test_what_is_written_is_read() -> None:
    reader = Reader([_whole()], "c")
    assert reader.header == HEADER
    assert list(reader) == RECORDS
    assert (reader.end, reader.cut) == (END, "")
    assert list(Reader((_whole()[at : at + 7] for at in range(0, len(_whole()), 7)), "c")) == RECORDS


def test_cut_anywhere_it_gives_the_parts_before() -> None:
    whole = _whole()
    counts = set()
    for length in range(len(whole)):
        try:
            reader = Reader([whole[:length]], "c")
        except InputError:
            continue
        found = list(reader)
        assert found == RECORDS[: len(found)]
        assert reader.end is None
        assert reader.cut
        counts.add(len(found))
    assert counts == {4, 6}


def test_any_flipped_byte_is_noticed() -> None:
    whole = _whole()
    for at in range(len(whole)):
        broken = whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :]
        try:
            reader = Reader([broken], "c")
        except InputError:
            continue
        assert list(reader) == RECORDS[:4] or list(reader) != RECORDS
        assert reader.end is None


def _alerts(rules: str) -> list[Any]:
    judge = Replay(parse_rules(rules, "f"), "n")
    return [alert for record in RECORDS for alert in judge.take(record)]


def test_replay_asks_what_was_recorded() -> None:
    alerts = _alerts(RULE.format(prefix="/etc/", priority="ERROR"))
    assert [alert.output for alert in alerts] == [
        "/etc/shadow by cat tty=7 of web (www)",
        "/etc/hosts by cat tty=7 of web (www)",
    ]
    assert [alert.raised_ns for alert in alerts] == [1002, 1003]


def test_the_difference_counts_and_gives_examples() -> None:
    old, new = (
        _alerts(RULE.format(prefix=prefix, priority=priority)) for prefix, priority in (("/etc/", "ERROR"), ("/", "ERROR"))
    )
    (change,) = difference_of_alerts(old, new)
    assert (change.kept, change.added, change.removed, change.changed) == (2, 1, 0, 0)
    assert change.added_examples == ("/srv/x by cat tty=7 of web (www)",)
    (change,) = difference_of_alerts(new, _alerts(RULE.format(prefix="/etc/s", priority="DEBUG")))
    assert (change.kept, change.added, change.removed, change.changed) == (0, 0, 2, 1)


def test_a_capture_file_is_private_new_and_bounded(tmp_path: Path) -> None:
    place = tmp_path / "c"
    with CaptureFile(place, 600) as file:
        file.put(HEADER)
        file.flush()
        assert not file.is_full
        for record in RECORDS * 100:
            file.put(record)
        file.flush()
        assert file.is_full
        file.finish(END)
    assert place.stat().st_mode & 0o777 == 0o600
    assert len(list(read_capture(place))) == 800
    with pytest.raises(InputError, match="is there already"):
        CaptureFile(place, 600)
    with pytest.raises(StorageError):
        CaptureFile(tmp_path / "none/c", 600)
    with pytest.raises(InputError, match="is not a capture"):
        read_capture(Path(__file__))


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), list(words), env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_the_command_replays_and_compares(tmp_path: Path) -> None:
    capture, old, new = tmp_path / "c", tmp_path / "old.yaml", tmp_path / "new.yaml"
    capture.write_bytes(_whole()[:-3])
    old.write_text(RULE.format(prefix="/etc/", priority="ERROR"))
    new.write_text(RULE.format(prefix="/srv", priority="ERROR"))
    code, said = _run("replay", str(capture), "--alone", "--rules", str(old))
    assert code == 0
    assert "Error: Read: /etc/shadow by cat tty=7 of web (www)" in said
    assert "1 alerts in 2 events of n" in said
    assert "the capture ends early: it was still being written" in said
    capture.write_bytes(_whole())
    code, said = _run("replay", str(capture), "--alone", "--diff", str(old), str(new))
    assert "Read: 0 kept, 1 added, 2 removed, 0 changed\n  + /srv/x by cat" in said
    assert "2 alerts before, 1 after in 4 events of n\nthe sensor lost events while it was recorded: {'open': 2}" in said
    code, said = _run("replay", str(capture), "--alone", "--diff", str(old), str(new), "--output", "json")
    answer = json.loads(said)
    assert (answer["old"], answer["new"], answer["rules"][0]["removed"], answer["cut"]) == (2, 1, 2, "")
    code, said = _run("replay", str(capture), "--alone", "--rules", str(old), "--output", "json")
    assert json.loads(said)["alerts"][0]["output_fields"]["fd.name"] == "/etc/shadow"
