"""Rule tests as people write them, and what they cover."""

from __future__ import annotations

import pytest

from shipwall.model.errors import InputError
from shipwall.runtime.coverage import measure_coverage
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.scene import parse_scenes, play_scene
from shipwall.runtime.techniques import CONTAINER_TECHNIQUES, techniques_in

RULES = """
- rule: Shadow
  desc: d
  condition: evt.type = openat and fd.name = /etc/shadow and user.name = root
  output: "%fd.name by %proc.name (%proc.tty)"
  priority: ERROR
  tags: [T1552.001, mitre_credential_access]
- rule: Never asked
  desc: d
  condition: evt.type = connect and fd.sport = 1
  output: o
  priority: ERROR
  tags: [T1046]
"""
TESTS = """
shared:
  event: {cgroup_id: 1, pid: 5, tid: 5, ppid: 1, ns_pid: 5, uid: 0, gid: 0, comm: cat}
  details: {5: {tty: 3}}
tests:
  - test: read
    rule: Shadow
    events: [{kind: open, syscall: openat, path: /etc/shadow, asked: x, flags: 0, resolved: true, ret: 3}]
    alerts: [{rule: Shadow, priority: error, fields: {fd.name: /etc/shadow, proc.name: cat, proc.tty: 3}}]
  - test: other file
    rule: Shadow
    event: {comm: head}
    events: [{kind: open, syscall: openat, path: /etc/hosts, asked: x, flags: 0, resolved: true, ret: 3}]
    alerts: []
"""


def test_a_test_says_what_is_missing_wrong_and_too_many() -> None:
    rules = parse_rules(RULES, "f")
    good, quiet = (play_scene(rules, scene) for scene in parse_scenes(TESTS.encode(), "t"))
    assert not good.failed
    assert not quiet.failed
    changed = TESTS.replace("proc.name: cat, proc.tty: 3", "proc.name: dog, user.name: x").replace(
        "priority: error", "priority: debug"
    )
    changed = changed.replace("alerts: []", "alerts: [{rule: Never asked}]")
    wrong, missing = (play_scene(rules, scene) for scene in parse_scenes(changed.encode(), "t"))
    assert wrong.wrong == (
        "Shadow: priority is Error, not debug",
        "Shadow: proc.name is 'cat', not 'dog'",
        "Shadow: its output has no %user.name",
    )
    assert missing.missing == ("Never asked",)
    surplus = play_scene(rules, parse_scenes(TESTS.replace("/etc/hosts", "/etc/shadow").encode(), "t")[1])
    assert surplus.surplus == ("Shadow",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tests: [{test: x}]", "t:1:9: a test needs `test`"),
        ("tests: [{tst: x}]", "unknown key 'tst'; did you mean 'test'?"),
        ("tests: [{test: x, events: [{kind: open}]}]", "missing required field"),
        ("tests: [{test: x, events: [3]}]", "is not a rule test"),
        ("tests: [{test: x, events: [], alerts: [{rul: y}]}]", "unknown field `rul`"),
        ("shared: {}", "key 'tests' is missing"),
        ("{", "is not a rule test"),
    ],
)
def test_what_is_no_test_is_refused_at_its_place(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_scenes(text.encode(), "t")
    assert message in str(caught.value)


def test_coverage_counts_rules_fields_calls_and_techniques() -> None:
    rules = parse_rules(RULES, "f")
    covered = measure_coverage(rules, [(scene, play_scene(rules, scene)) for scene in parse_scenes(TESTS.encode(), "t")])
    assert [(one.rule, one.positive, one.negative, one.unseen) for one in covered.rules] == [
        ("Shadow", 1, 1, ()),
        ("Never asked", 0, 0, ("connect",)),
    ]
    assert covered.event_types == ("openat",)
    assert covered.fields == {"evt.type": True, "fd.name": True, "fd.sport": False, "user.name": True}
    assert covered.techniques["T1552"] == ("Shadow",)
    assert covered.techniques["T1046"] == ()
    assert set(covered.techniques) == set(CONTAINER_TECHNIQUES)
    assert techniques_in(["T1552.001", "T15", "mitre_x", "T1611"]) == ("T1552.001", "T1611")
