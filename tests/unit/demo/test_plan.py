"""Which steps of the story run, for every combination of what a machine offers."""

from __future__ import annotations

from itertools import product

import pytest

from shipwall.demo.plan import Means, Plan, plan_story

NAMES = ("start", "build", "scan", "refuse", "rebuild", "promote", "admit", "observe", "attack", "evidence", "console")
IMAGES = NAMES[:6]


def plan(**missing: str) -> Plan:
    return plan_story(Means(**missing), "dev/x", "prod/x")


def runs(found: Plan) -> tuple[str, ...]:
    return tuple(step.name for step in found.steps if not step.cannot)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ((), NAMES),
        (("sensor",), (*NAMES[:7], "console")),
        (("engine",), (*IMAGES, "console")),
        (("engine", "sensor"), (*IMAGES, "console")),
        (("engine", "server"), IMAGES),
        (("file_systems",), ("start", "console")),
        (("file_systems", "sensor"), ("start", "console")),
        (("engine", "file_systems"), ("start", "console")),
        (("engine", "file_systems", "sensor"), ("start", "console")),
        (("engine", "file_systems", "sensor", "server"), ("start",)),
    ],
)
def test_what_runs(missing: tuple[str, ...], expected: tuple[str, ...]) -> None:
    found = plan(**{name: f"no {name} today" for name in missing})
    assert runs(found) == expected
    assert tuple(step.name for step in found.steps) == NAMES
    assert found.engine == ("engine" not in missing)
    assert found.server == ("console" in expected)
    assert found.sensor == ("observe" in expected)


def test_every_reason_names_a_missing_thing_or_an_earlier_step_that_does() -> None:
    for engine, file_systems, sensor in product(("", "no root today"), ("", "no ids today"), ("", "no types today")):
        found = plan(engine=engine, file_systems=file_systems, sensor=sensor)
        reasons = [step.cannot for step in found.steps if step.cannot]
        given = [reason for reason in (engine, file_systems, sensor) if reason]
        assert all(any(word in reason for word in [*given, "step 2"]) for reason in reasons)
        assert bool(reasons) == bool(given)
        if any("step 2" in reason for reason in reasons):
            assert file_systems in found.steps[1].cannot


def test_the_title_says_which_way_images_are_made() -> None:
    assert "without an engine" in plan(engine="not root").steps[1].title
    assert "not root" in plan(engine="not root").steps[0].title
    assert "without an engine" not in plan(sensor="no types").steps[1].title
    assert "dev/x → prod/x" in plan().steps[3].title
