"""Each shipped rule: events in, alerts out, as people would read them. Healthy containers raise nothing."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from shipwall.adapters.rule_files import load_rules, read_tests, shipped_tests
from shipwall.runtime.coverage import measure_coverage
from shipwall.runtime.rules import RuleSet
from shipwall.runtime.scene import parse_scenes, play_scene, summary_of

FOLDER = Path(__file__).parent / "rules"
SCENES = sorted(path for path in FOLDER.glob("*.json") if not path.name.endswith(".expected.json"))


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_rules()


@pytest.mark.parametrize("path", SCENES, ids=lambda path: path.stem)
def test_scene(rules: RuleSet, path: Path) -> None:
    (scene,) = parse_scenes(path.read_bytes(), path.name)
    played = play_scene(rules, scene)
    assert (played.missing, played.surplus) == ((), ())
    said = msgspec.json.format(msgspec.json.encode([summary_of(alert) for alert in played.alerts]), indent=1) + b"\n"
    expected = path.with_suffix(".expected.json")
    if os.environ.get("SHIPWALL_RENEW_GOLDEN"):
        expected.write_bytes(said)
    assert said.decode() == expected.read_text()


def test_every_shipped_rule_has_a_scene_that_raises_it(rules: RuleSet) -> None:
    raised = {name for path in SCENES for name in (parse_scenes(path.read_bytes(), path.name)[0].expect or ())}
    assert raised == {rule.name for rule in rules.rules}


def test_shipped_rules_are_whole(rules: RuleSet) -> None:
    assert rules.skipped == ()
    for rule in rules.rules:
        assert rule.untold == ()
        assert any(tag.startswith("mitre_") for tag in rule.tags)
        assert any(tag[:1] == "T" and tag[1:5].isdigit() for tag in rule.tags)


def test_every_shipped_rule_has_a_test_that_raises_it_and_one_that_does_not(rules: RuleSet) -> None:
    with shipped_tests() as folder:
        scenes = read_tests(folder)
    covered = measure_coverage(rules, [(scene, play_scene(rules, scene)) for scene in scenes])
    assert covered.failed == ()
    assert [one.rule for one in covered.rules if not (one.positive and one.negative)] == []
