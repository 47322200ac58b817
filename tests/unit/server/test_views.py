"""What pages show, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipwall.server import sessions, views
from shipwall.server.hub import Hub

MS = 1_000_000


def a_step(digest: str, step: str, time_ns: int, **fields: Any) -> dict[str, Any]:
    base = {"digest": digest, "image": "dev/shop", "step": step, "time_ns": time_ns, "duration_ns": 0, "allowed": None, "summary": "",
            "reasons": [], "facts": {}, "parent": None}  # fmt: skip
    return {**base, **fields}


def a_response(step: str, status: str, time_ns: int, **fields: Any) -> dict[str, Any]:
    base = {
        "node": "n",
        "plan": "p",
        "alert": "a",
        "container": "c",
        "step": step,
        "status": status,
        "time_ns": time_ns,
        "detail": "",
    }
    return {**base, **fields}


def test_a_journey_in_time_order_with_what_waits() -> None:
    [journey] = views.journeys([a_step("d", "scanned", 2), a_step("d", "listed", 1), a_step("d", "gated", 3, allowed=False)])
    assert [(step["step"], step["state"]) for step in journey["steps"]] == [
        ("listed", "done"),
        ("scanned", "done"),
        ("gated", "refused"),
    ]
    assert journey["waiting"] == ["signed", "promoted", "admitted"]
    assert (journey["state"], [step["step"] for step in journey["refused"]]) == ("refused", ["gated"])


def test_a_gate_passed_later_is_no_longer_refused_and_repeats_are_counted() -> None:
    steps = [
        a_step("d", "gated", 1, allowed=False),
        a_step("d", "gated", 2, allowed=True),
        a_step("d", "promoted", 3, allowed=True),
    ]
    steps += [a_step("d", "admitted", 4 + i, allowed=True, image="prod/shop") for i in range(3)]
    [journey] = views.journeys(steps)
    assert (journey["state"], journey["refused"], journey["waiting"]) == ("promoted", [], [])
    assert [step["times"] for step in journey["steps"]] == [1, 1, 1, 3]
    assert journey["names"] == ["dev/shop", "prod/shop"]


def test_the_latest_journey_first_and_what_it_stands_in_for() -> None:
    found = views.journeys([
        a_step("old", "built", 1), a_step("new", "rebuilt", 2, parent="base", facts={"instead-of": "old"})
    ])  # fmt: skip
    assert [(j["digest"], j["parent"], j["instead_of"]) for j in found] == [("new", "base", "old"), ("old", None, None)]


def test_what_stopped_an_alert_and_after_how_long() -> None:
    alert = {
        "id": "a",
        "time_ns": 10 * MS,
        "raised_ns": 13 * MS,
        "priority": "CRITICAL",
        "stopped": "frozen",
        "event": {"kind": "exec", "ret": 0},
    }
    responses = [
        a_response("freeze", "begun", 14 * MS),
        a_response("freeze", "confirmed", 40 * MS),
        a_response("cut", "failed", 50 * MS),
    ]
    [view] = views.alert_views([alert], responses)
    assert (view["priority"], view["delay_ns"], view["kind"]) == ("critical", 3 * MS, "exec")
    assert [(end["what"], end["after_ns"]) for end in view["ends"]] == [("frozen", 30 * MS)]
    [view] = views.alert_views([{**alert, "stopped": "killed before its first instruction"}], [])
    assert [(end["what"], end["after_ns"]) for end in view["ends"]] == [("killed before its first instruction", None)]


@pytest.mark.parametrize(
    ("statuses", "state"),
    [(["begun"], "under way"), (["planned"], "under way"), (["begun", "confirmed"], "complete"), (["begun", "failed"], "failed"),
     (["observed"], "observed"), (["begun", "undone"], "complete")],
)  # fmt: skip
def test_the_state_of_a_plan(statuses: list[str], state: str) -> None:
    [plan] = views.plans([a_response("freeze", status, 5 + i) for i, status in enumerate(statuses)], [], {"c": "shop"})
    assert (plan["state"], plan["name"]) == (state, "shop")


def test_a_plan_that_waits_for_a_person() -> None:
    waiting, approved = a_response("approval", "waiting", 5), a_response("approval", "confirmed", 6)
    for rows, state in (
        ([waiting], "waiting"),
        ([waiting, a_response("approval", "undone", 6)], "given up"),
        ([waiting, approved, a_response("freeze", "begun", 7)], "under way"),
        ([waiting, approved, a_response("freeze", "confirmed", 7)], "complete"),
    ):
        [plan] = views.plans(rows, [], {})
        assert plan["state"] == state


def test_a_timeline_and_its_bundle() -> None:
    bundle = {"bundle": "b", "container": "c", "alert": "a", "node": "n", "time_ns": 9}
    loose = {**bundle, "bundle": "other", "alert": "elsewhere"}
    steps = [
        a_response("freeze", "begun", 0 + 1),
        a_response("freeze", "confirmed", 51),
        a_response("cut", "begun", 51),
        a_response("cut", "confirmed", 101),
    ]
    whole, alone = sorted(views.plans(steps, [bundle, loose], {}), key=lambda plan: plan["plan"], reverse=True)
    assert [(s["offset_ns"], s["duration_ns"], s["bar_x"], s["bar_width"]) for s in whole["steps"]] == [
        (0, 50, 0.0, 50.0),
        (50, 50, 50.0, 50.0),
    ]
    assert [b["bundle"] for b in whole["bundles"]] == ["b"]
    assert [b["bundle"] for b in alone["bundles"]] == ["other"]


def test_a_node_is_silent_after_ten_seconds() -> None:
    node = {
        "node": "n",
        "time_ns": 10**10,
        "health": {
            "lost": {"open": 2, "exec": 0},
            "filtered": {"open": 5, "call": 2},
            "functions": {"kill": "failed: no program"},
        },
    }
    history = [{"node": "n", "time_ns": t * 10**9, "started_ns": 1, "delivered": 100 * t, "cpu_ns": t * 10**7} for t in (1, 2, 3)]
    [view] = views.node_views([node], history, 2 * 10**10)
    assert (view["silent"], view["lost_total"], view["lost"], view["rate"]) == (False, 2, {"open": 2}, 100.0)
    assert view["filtered_total"] == 7
    assert view["functions"] == [{"name": "kill", "mode": "failed", "why": "no program"}]
    assert view["cpu"] == pytest.approx(1.0)
    assert views.node_views([node], history, 2 * 10**10 + 1)[0]["silent"]
    restarted = [{**history[0]}, {**history[1], "started_ns": 2, "delivered": 0}]
    assert views.node_views([node], restarted, 0)[0]["rate"] is None


anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=2))


@given(anything, st.integers(0, 2**63))
def test_rendering_is_total(value: object, now_ns: int) -> None:
    for text in (
        views.render_short(value), views.render_utc(value), views.render_duration(value), views.render_ago(value, now_ns),
        views.render_size(value), views.render_count(value),
    ):  # fmt: skip
        assert isinstance(text, str)


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ms"), (999, "999 ns"), (1500, "1.50 µs"), (27_900_000, "27.9 ms"), (1_842_000_000, "1.84 s"), (180 * 10**9, "3.00 min"),
     (7200 * 10**9, "2.00 h"), (2 * 86400 * 10**9, "2.00 d")],
)  # fmt: skip
def test_durations(ns: int, text: str) -> None:
    assert views.render_duration(ns) == text


@given(st.text(max_size=100), st.text(max_size=100))
def test_only_its_own_token_opens_a_session(secret: str, other: str) -> None:
    assert sessions.is_change_token(secret, sessions.change_token(secret))
    assert not sessions.is_change_token(secret, other)
    assert sessions.is_change_token(secret, sessions.change_token(other)) == (
        secret.encode("utf-8", "replace") == other.encode("utf-8", "replace")
    )


def test_attempts_come_back_after_a_minute() -> None:
    attempts = sessions.Attempts()
    for i in range(sessions.ATTEMPTS):
        assert attempts.allow(i)
        attempts.refused(i)
    assert not attempts.allow(100)
    assert attempts.allow(sessions.ATTEMPTS_NS + 1)


def test_a_slow_listener_costs_a_set() -> None:
    async def story() -> None:
        hub = Hub(limit=1)
        listener = hub.subscribe()
        assert listener is not None
        assert hub.subscribe() is None
        for _ in range(10_000):
            hub.publish({"alerts", "health"})
        assert await listener.wait(1) == {"alerts", "health"}
        assert await listener.wait(0.01) == set()
        hub.close()
        assert await listener.wait(1) == set()
        assert listener.closed
        hub.unsubscribe(listener)
        assert hub.subscribe() is None

    asyncio.run(story())
