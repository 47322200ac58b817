"""What a rule's action leads to, decided without touching anything."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shipwall.model.alert import Alert
from shipwall.model.event import Exec, Lost
from shipwall.response.act import NO_HOOK, NO_PROCESS, OUTSIDE, RUNTIME, Order, Withheld, decide_act

HEADER: dict[str, Any] = {
    "seq": 1,
    "time_ns": 5,
    "cgroup_id": 1,
    "pid": 9,
    "tid": 9,
    "ppid": 1,
    "ns_pid": 2,
    "uid": 0,
    "gid": 0,
    "comm": "sh",
}
EVENT = Exec(**HEADER, path="/bin/sh")
ALERT = Alert(
    id="a", node="n", time_ns=5, raised_ns=6, rule="R", priority="Error", output="o", action="kill", event=EVENT, container="c"
)


def _decide(mode: str = "enforce", *, is_runtime: bool = False, **changed: Any) -> Order | Withheld | None:
    return decide_act(msgspec.structs.replace(ALERT, **changed), mode, is_runtime=is_runtime)


def test_an_order_names_the_process_and_when_it_was_there() -> None:
    for action in ("kill", "stop", "freeze"):
        order = _decide(action=action)
        assert isinstance(order, Order)
        assert (order.action, order.pid, order.time_ns) == (action, 9, 5)


def test_what_a_hook_refused_needs_nothing_more() -> None:
    refused = msgspec.structs.replace(EVENT, ret=-1)
    assert _decide(action="deny", event=refused) is None
    assert isinstance(_decide(action="kill", event=refused), Order)


def test_monitoring_says_what_would_have_been_done() -> None:
    for action in ("kill", "stop", "freeze", "deny"):
        withheld = _decide("monitor", action=action)
        assert isinstance(withheld, Withheld)
        assert (withheld.text, withheld.cause) == (f"would have: {action}", "")


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"container": ""}, OUTSIDE),
        ({"container": "", "action": "freeze"}, OUTSIDE),
        ({"action": "deny"}, NO_HOOK),
        ({"is_runtime": True}, RUNTIME),
        ({"is_runtime": True, "action": "stop"}, RUNTIME),
        ({"event": Lost(**HEADER, of="open", count=3)}, NO_PROCESS),
    ],
)
def test_what_cannot_be_enforced_is_a_miss_with_its_cause(changed: dict[str, Any], cause: str) -> None:
    withheld = _decide(**changed)
    assert isinstance(withheld, Withheld)
    assert (withheld.cause, withheld.text) == (cause, f"missed: {cause}")


def test_a_freeze_reaches_the_container_whoever_acted_in_it() -> None:
    assert isinstance(_decide(action="freeze", is_runtime=True), Order)
    assert isinstance(_decide(action="freeze", event=Lost(**HEADER, of="open", count=3)), Order)


def test_nothing_is_decided_where_nothing_is_left_to_do() -> None:
    assert _decide(action="alert") is None
    assert _decide(silenced_by="s") is None
    killed = msgspec.structs.replace(EVENT, killed=True)
    assert _decide(event=killed) is None
    assert _decide("monitor", event=killed) is None, "the kernel killed it: saying `would have` would be wrong"
    assert isinstance(_decide(event=killed, action="freeze"), Order)
