"""Sequences keep little; what they find is what looking at everything again would find."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shipwall.model.event import Exec
from shipwall.runtime.facts import Context
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.watch import Watch

WITHIN = 10
PATTERNS = [("a", "b"), ("a", "a"), ("a", "b", "c"), ("a", "b", "a"), ("b", "a", "a", "c")]
STEPS = "".join(
    f"- {{rule: {name}, desc: d, condition: evt.type = execve and proc.name = {name}, output: o, priority: DEBUG, enabled: false}}\n"
    for name in "abc"
)


class _Nobody(Context):
    pass


def _event(at_s: int, name: str, container: str) -> Exec:
    header: dict[str, Any] = {
        "seq": 1,
        "cgroup_id": 1,
        "pid": 9,
        "tid": 9,
        "ppid": 1,
        "ns_pid": 9,
        "uid": 0,
        "gid": 0,
        "comm": name,
    }
    return Exec(**header, time_ns=at_s * 10**9, container=container, path=f"/bin/{name}", argv=(name,), syscall="execve")


def _by_definition(pattern: tuple[str, ...], acts: list[tuple[int, str]]) -> list[int]:
    """Where sequences end: the first act at which `pattern` can be read out of those since the last end, all within the time."""
    found, begin = [], 0
    for end in range(len(acts)):
        since = acts[begin : end + 1]
        if any(_reads(pattern, since[first:], since[first][0] + WITHIN) for first in range(len(since))):
            found.append(acts[end][0])
            begin = end + 1
    return found


def _reads(pattern: tuple[str, ...], acts: list[tuple[int, str]], until: int) -> bool:
    """Whether `pattern` begins with the first of `acts` and ends with the last."""
    if acts[0][1] != pattern[0] or acts[-1][1] != pattern[-1] or acts[-1][0] > until or len(acts) < len(pattern):
        return False
    left = list(pattern[1:-1])
    for _, name in acts[1:-1]:
        if left and name == left[0]:
            left.pop(0)
    return not left


@settings(max_examples=60, deadline=None)
@given(
    pattern=st.sampled_from(PATTERNS),
    acts=st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc"), st.sampled_from("xy")), max_size=40),
)
def test_sequences_are_found_as_by_definition(pattern: tuple[str, ...], acts: list[tuple[int, str, str]]) -> None:
    text = (
        STEPS + f"- {{rule: whole, desc: d, sequence: [{', '.join(pattern)}], within: {WITHIN}s, output: o, priority: ERROR}}\n"
    )
    watch = Watch(parse_rules(text, "r.yaml"), "n")
    now, told = 1, []
    by_container: dict[str, list[tuple[int, str]]] = {"x": [], "y": []}
    for later, name, container in acts:
        now += later
        by_container[container].append((now, name))
        told += [(container, alert) for alert in watch.handle(_event(now, name, container), _Nobody(), 0)]
    for container, seen in by_container.items():
        ended = [alert for where, alert in told if where == container]
        assert [alert.time_ns // 10**9 for alert in ended] == _by_definition(pattern, seen)
        for alert in ended:
            assert [step.rule for step in alert.sequence] == list(pattern)
            times = [step.event.time_ns for step in alert.sequence]
            assert times == sorted(times)
            assert times[-1] - times[0] <= WITHIN * 10**9
    assert len(watch.sequences) <= 2
