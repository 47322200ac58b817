"""Captures of real processes: replayed they raise what the live rules raised; killed they keep what was recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shipwall.adapters.captures import CaptureFile, read_capture
from shipwall.journeys.capture import Recorder, Wanted
from shipwall.kernel.cgroups import join, read_id, unified_mount
from shipwall.kernel.sensor import EVENTS, Sensor
from shipwall.model.alert import Alert
from shipwall.model.event import AnyEvent, Exec, Exit
from shipwall.runtime.capture import End, Header, Record, Replay
from shipwall.runtime.rules import parse_rules

pytestmark = [pytest.mark.root, pytest.mark.bpf]

RULES = """
- rule: Shell
  desc: d
  condition: evt.type in (execve, execveat) and proc.name = sh and user.name = root and proc.tty = 0
  output: "%proc.cmdline cwd=%proc.cwd caps=%thread.cap_effective parent=%proc.pname ino=%proc.exe_ino"
  priority: ERROR
- rule: Passwords
  desc: d
  condition: evt.type in (open, openat) and fd.name startswith /etc/passwd and proc.aname = sh
  output: "%fd.name %proc.name %proc.pcmdline"
  priority: ERROR
  throttle: {alerts: 1, per: 1h}
"""
ACT = "read line; cd /tmp; for n in 1 2 3; do cat /etc/passwd > /dev/null; sh -c 'sleep 0.2; :'; done"


def _run_inside(folder: Path) -> None:
    with subprocess.Popen(["/bin/sh", "-c", ACT], stdin=subprocess.PIPE) as child:
        join(folder, child.pid)
        child.communicate(b"go\n", timeout=60)


def test_a_replay_raises_what_the_live_rules_raised(folder: Path, objects: Path, tmp_path: Path) -> None:
    live: list[Alert] = []
    place = tmp_path / "c"
    with CaptureFile(place, 1 << 24) as file, Sensor() as sensor:
        judge = Replay(parse_rules(RULES, "r"), "n")

        def put(record: Record) -> None:
            file.put(record)
            live.extend(judge.take(record))

        put(Header(version="1", node="n", began_ns=0))
        recorder = Recorder(Wanted(node="n", seconds=1, folders={folder: ""}), put, lambda _id, _container: None)
        sensor.set_open_prefixes(["/etc/"])
        sensor.set_flags(read_id(folder), EVENTS)
        recorder.begin([], {}, set())
        ends: list[AnyEvent] = []

        def take(event: AnyEvent) -> None:
            recorder.take(event)
            if isinstance(event, Exit):
                ends.append(event)

        deadline = time.monotonic() + 30
        with subprocess.Popen(["/bin/sh", "-c", ACT], stdin=subprocess.PIPE) as child:
            assert child.stdin is not None
            join(folder, child.pid)
            child.stdin.write(b"go\n")
            child.stdin.close()
            while not any(event.pid == child.pid for event in ends):
                assert time.monotonic() < deadline, ends
                sensor.poll(50, take)
        file.finish(End(ended_ns=0, events=file.events))
    assert {alert.rule for alert in live} == {"Shell", "Passwords"}
    assert any("cwd=/tmp/ caps=CAP_CHOWN" in alert.output for alert in live)
    again = Replay(parse_rules(RULES, "r"), "n")
    replayed = [alert for record in read_capture(place) for alert in again.take(record)]
    assert [(a.rule, a.output, a.event, a.lineage, a.suppressed) for a in replayed] == [
        (a.rule, a.output, a.event, a.lineage, a.suppressed) for a in live
    ]


def test_a_killed_recorder_leaves_a_capture_that_ends_early(folder: Path, objects: Path, tmp_path: Path) -> None:
    place = tmp_path / "c"
    name = "/" + str(folder.relative_to(unified_mount()))
    command = [sys.executable, "-m", "shipwall", "capture", name, "--for", "5m", "--to", str(place)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 60
        try:
            while not place.exists() or place.stat().st_size < 200:
                assert time.monotonic() < deadline
                assert child.poll() is None
                time.sleep(0.05)
            _run_inside(folder)
            size = place.stat().st_size
            while place.stat().st_size == size:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            os.kill(child.pid, signal.SIGKILL)
    reader = read_capture(place)
    records = list(reader)
    assert reader.end is None
    assert any(isinstance(record, Exec) and record.argv[:2] == ("sh", "-c") for record in records)


def test_the_command_ends_by_itself_and_says_what_it_has(folder: Path, objects: Path, tmp_path: Path) -> None:
    place = tmp_path / "c"
    name = "/" + str(folder.relative_to(unified_mount()))
    command = [sys.executable, "-m", "shipwall", "capture", name, "--for", "3s", "--to", str(place), "--output", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        deadline = time.monotonic() + 60
        while not place.exists() or place.stat().st_size < 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        _run_inside(folder)
        said, _ = child.communicate(timeout=60)
    assert b'"reason": "the time is over"' in said
    reader = read_capture(place)
    assert sum(isinstance(record, Exec) for record in reader) >= 6
    assert reader.end is not None
    assert not reader.end.lost
