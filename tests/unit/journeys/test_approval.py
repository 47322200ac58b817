"""Plans that wait for a person: they survive kill -9, expire, are approved or rejected once. No engine is asked before the approval."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.responders import lone_responder

from shipwall.adapters.journal import Journal
from shipwall.journeys.plan_journal import FIRST_WAIT_NS, LONGEST_WAIT_NS, count_failures, try_again_ns
from shipwall.journeys.respond import Responder
from shipwall.model.alert import Alert
from shipwall.model.errors import InputError
from shipwall.model.event import Exec
from shipwall.model.wire import Command, Message, ResponseStep
from shipwall.response.plan import Plan

EVENT = Exec(seq=1, time_ns=1, cgroup_id=1, pid=9, tid=9, ppid=1, ns_pid=2, uid=0, gid=0, comm="sh", path="/bin/sh")
ALERT = Alert(
    id="a1",
    node="n",
    time_ns=1,
    raised_ns=2,
    rule="R",
    priority="Error",
    output="o",
    action="alert",
    event=EVENT,
    container="c" * 64,
)
PLAN = Plan(
    id="0123456789ab", node="n", container="c" * 64, container_name="shop", service="shop", steps=("freeze",), created_ns=1000,
    alert="a1", rule="R", memory_bytes=0, file_bytes=0, expires_ns=2000,
)  # fmt: skip


class House:
    """A responder whose engine is not there, in a folder of its own. `clock[0]` is the time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[Message] = []
        self.clock = [1000]
        self.journal = Journal(folder / "journal.jsonl")

    def responder(self) -> Responder:
        return lone_responder(self.folder, self.told.append, journal=self.journal, now_ns=lambda: self.clock[0])

    def steps(self) -> list[tuple[str, str]]:
        return [(one.step, one.status) for one in self.told if isinstance(one, ResponseStep)]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_it_waits_and_is_told(house: House) -> None:
    responder = house.responder()
    responder.propose(PLAN, ALERT)
    responder.propose(PLAN, ALERT)
    assert house.steps() == [("approval", "waiting")]
    assert responder.waiting() == (PLAN,)
    assert responder.is_taken(PLAN.container)
    assert [(past.plan, past.is_waiting, past.is_frozen) for past in responder.history()] == [(PLAN.id, True, False)]
    assert responder.frozen() == set()
    assert responder.resume() == [], "nothing is done by itself"


def test_it_survives_kill_9(house: House) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tests.unit.journeys.test_approval import ALERT, PLAN, House;"
        "House(Path(sys.argv[1])).responder().propose(PLAN, ALERT); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, house.folder], cwd=Path(__file__).parents[3], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    responder = house.responder()
    assert responder.waiting() == (PLAN,)
    outcome = responder.approve(PLAN.id, "ann", "seen")
    assert outcome.alert == ALERT
    assert [step.step for step in outcome.steps] == ["freeze"]
    assert house.responder().waiting() == ()


def test_approved_before_the_crash_is_carried_out_after_it(house: House) -> None:
    house.responder().propose(PLAN, ALERT)
    house.journal.confirm(PLAN.id, "approval", actor="ann", reason="seen")  # and the agent was killed here
    house.clock[0] = 5000  # longer than it would have waited: it was approved in time
    responder = house.responder()
    assert responder.waiting() == ()
    (outcome,) = responder.resume()
    assert outcome.plan == PLAN
    assert ("freeze", "failed") in house.steps(), "tried: the container is not there"
    assert [entry.act for entry in house.journal.read()].count("plan") >= 1


@pytest.mark.parametrize("end", ["reject", "expire"])
def test_rejected_or_expired_is_over_for_good(house: House, end: str) -> None:
    responder = house.responder()
    responder.propose(PLAN, ALERT)
    if end == "reject":
        result, outcome = responder.decide(
            Command(id="c", action="reject", target="", actor="ann", reason="a backup", plan=PLAN.id)
        )
        assert (result.done, result.detail, outcome) == (True, "rejected by ann: a backup", None)
    else:
        house.clock[0] = 1999
        assert responder.expire() == []
        house.clock[0] = 2000
        assert responder.expire() == [PLAN]
    assert house.steps()[-1] == ("approval", "undone")
    for one in (responder, house.responder()):
        assert one.waiting() == ()
        assert not one.is_taken(PLAN.container)
        assert one.resume() == []
        with pytest.raises(InputError, match="does not wait"):
            one.approve(PLAN.id, "ann", "late")


def test_an_approval_that_comes_too_late_is_none(house: House) -> None:
    responder = house.responder()
    responder.propose(PLAN, ALERT)
    house.clock[0] = 2000
    result, outcome = responder.decide(Command(id="c", action="approve", target="", actor="ann", reason="seen", plan=PLAN.id))
    assert (result.done, outcome) == (False, None)
    assert "expired" in result.detail
    assert responder.frozen() == set()


def test_a_container_somebody_else_froze_meanwhile_is_not_frozen_again_later(house: House) -> None:
    house.responder().propose(PLAN, ALERT)
    responder = house.responder()
    responder._frozen[PLAN.container] = "another plan"
    outcome = responder.approve(PLAN.id, "ann", "seen")
    assert [(step.step, step.status) for step in outcome.steps] == [("plan", "skipped")]
    del responder._frozen[PLAN.container]
    assert responder.resume() == house.responder().resume() == []


def _failed(folder: Path, failures: int, *, disk: bool) -> Journal:
    journal = Journal(folder / "journal.jsonl")
    for _ in range(failures):
        journal.fail("p", "capture", why="no room", disk=disk)
    return journal


def test_failures_are_tried_again_later_and_later(tmp_path: Path) -> None:
    def wait(failures: int) -> int:
        folder = tmp_path / str(failures)
        folder.mkdir()
        journal = _failed(folder, failures, disk=True)
        assert count_failures(journal, "p", "capture") == 0, "a full disk is no reason to give up"
        return try_again_ns(journal, "p") - journal.read()[-1].time_ns

    assert [wait(n) for n in (1, 2, 3, 20)] == [0, FIRST_WAIT_NS, 2 * FIRST_WAIT_NS, LONGEST_WAIT_NS]
    (tmp_path / "other").mkdir()
    assert count_failures(_failed(tmp_path / "other", 3, disk=False), "p", "capture") == 3
    assert try_again_ns(Journal(tmp_path / "none.jsonl"), "p") == 0
