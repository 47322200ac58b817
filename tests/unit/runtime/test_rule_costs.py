"""What each rule costs, by a clock that the test holds."""

from __future__ import annotations

import itertools

from shipwall.model.event import Open
from shipwall.runtime.facts import Context
from shipwall.runtime.rule_costs import RuleCost, RuleCosts
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.watch import Watch


class _Nobody(Context):
    pass


RULES = b"""
- {rule: Dear, desc: d, condition: evt.type = openat and fd.name = /a, output: o, priority: INFO}
- {rule: Cheap, desc: d, condition: evt.type = openat and fd.name = /b, output: o, priority: INFO}
- {rule: Other, desc: d, condition: evt.type = connect and fd.port = 1, output: o, priority: INFO}
"""


def test_one_event_in_so_many_is_timed_for_every_rule_that_can_match_it() -> None:
    ticks = itertools.cycle([0, 100, 0, 10])  # the first rule takes a hundred, the second ten
    costs = RuleCosts(lambda: next(ticks), every=4)
    watch = Watch(parse_rules(RULES, "r"), "n", costs=costs)
    for number in range(11):
        event = Open(seq=number, time_ns=1, cgroup_id=1, pid=1, tid=1, ppid=1, ns_pid=1, uid=0, gid=0, comm="x", syscall="openat",
                     path="/a" if number == 7 else "/c", asked="", flags=0, resolved=True, ret=3)  # fmt: skip
        watch.handle(event, _Nobody(), 1)
    assert costs.costs() == {"Dear": RuleCost(2, 1, 200), "Cheap": RuleCost(2, 0, 20)}
    assert list(costs.costs()) == ["Dear", "Cheap"]
