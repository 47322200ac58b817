"""From alert and policy to a plan, or to the reason why there is none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.model.errors import InputError
from shipwall.model.event import Exec
from shipwall.response.plan import Declined, Past, Plan, frozen_name, plan_id_of, plan_response, render_plan
from shipwall.response.policy import ResponsePolicy, parse_response_policy
from shipwall.response.replace import derive_replacement

CONFIG, MANIFEST = "sha256:" + "1" * 64, "sha256:" + "2" * 64
EVENT = Exec(seq=1, time_ns=1, cgroup_id=1, pid=9, tid=9, ppid=1, ns_pid=2, uid=0, gid=0, comm="sh", path="/bin/sh")
ALERT = Alert(
    id="a1", node="n", time_ns=1, raised_ns=2, rule="Reverse shell", priority="Critical", output="why", action="alert",
    event=EVENT, container="c1",
)  # fmt: skip
FACTS = ContainerFacts(
    id="c1", name="/shop-1", image_ref="127.0.0.1:5000/prod/shop:1.2",
    image_config=CONFIG, image_digest=MANIFEST, promotion="promoted", state="running",
)  # fmt: skip
TEXT = """
responses:
  - rules: [Reverse shell]
    containers: [shop*]
    steps: [freeze, cut, capture, replace]
  - actions: [freeze]
    steps: [freeze]
limits: {frozen_per_service: 2, frozen_per_node: 3, cooldown_s: 60}
"""
POLICY = parse_response_policy(TEXT, "response.yaml")
NOW = 10**12


def plan(
    alert: Alert = ALERT, facts: ContainerFacts | None = FACTS, *past: Past, policy: ResponsePolicy = POLICY
) -> Plan | Declined:
    return plan_response(alert, policy, facts, NOW, past)


def but(value: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(value, **fields)


def past(number: int, *, service: str = "shop-1", ago_s: float = 100, is_frozen: bool = True) -> Past:
    return Past(
        plan=f"p{number}", container=f"x{number}", service=service, created_ns=int(NOW - ago_s * 1e9), is_frozen=is_frozen
    )


def test_plan_names_steps_in_order_and_the_promoted_digest() -> None:
    made = plan()
    assert isinstance(made, Plan)
    assert made.steps == ("freeze", "cut", "capture", "replace")
    assert made.image == f"127.0.0.1:5000/prod/shop@{MANIFEST}"
    assert made.id == plan_id_of("a1", "c1")
    assert msgspec.json.decode(msgspec.json.encode(made), type=Plan) == made
    assert frozen_name(made) == f"shop-1-frozen-{made.id[:6]}"
    lines = render_plan(made).splitlines()
    assert [line.strip()[:9] for line in lines[1:]] == ["1. freeze", "2. cut: d", "3. captur", "4. replac"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((but(ALERT, silenced_by="s"),), "silenced"),
        ((ALERT, None), "no-container"),
        ((but(ALERT, rule="Other"),), "no-entry"),
        ((ALERT, but(FACTS, name="other")), "no-entry"),
        ((ALERT, FACTS, but(past(1), container="c1")), "in-plan"),
        ((ALERT, FACTS, but(past(1, is_frozen=False), plan=plan_id_of("a1", "c1"))), "in-plan"),
        ((ALERT, FACTS, past(1), past(2)), "service-budget"),
        ((ALERT, FACTS, *(past(n, service=f"s{n}") for n in range(3))), "node-budget"),
        ((ALERT, FACTS, past(1, ago_s=59, is_frozen=False)), "cool-down"),
    ],
)
def test_declined_with_reason(arguments: tuple[Any, ...], code: str) -> None:
    declined = plan(*arguments)
    assert isinstance(declined, Declined)
    assert declined.reason.code == code
    assert render_plan(declined).startswith("nothing would be done: ")


def test_budgets_leave_room_up_to_the_limit() -> None:
    assert isinstance(plan(ALERT, FACTS, past(1), past(2, is_frozen=False)), Plan)
    assert isinstance(plan(ALERT, FACTS, past(1, service="a"), past(2, service="b")), Plan)
    assert isinstance(plan(ALERT, FACTS, past(1, ago_s=60, is_frozen=False)), Plan)


def test_action_of_the_rule_leads_to_a_plan_only_if_the_policy_says_so() -> None:
    asked = but(ALERT, rule="Anything", action="freeze")
    made = plan(asked)
    assert isinstance(made, Plan)
    assert made.steps == ("freeze",)
    assert isinstance(plan(asked, policy=ResponsePolicy()), Declined)


def test_unpromoted_image_is_not_started_again() -> None:
    made = plan(ALERT, but(FACTS, promotion="unknown"))
    assert isinstance(made, Plan)
    assert made.steps == ("freeze", "cut", "capture")
    assert "promoted" in made.notes[0]


def test_unknown_digest_falls_back_to_the_image_id_never_to_a_tag() -> None:
    made = plan(ALERT, but(FACTS, image_digest=None))
    assert isinstance(made, Plan)
    assert made.image == CONFIG


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("responses: [{rules: [x], steps: [cut]}]", (1, 33), "first step must be freeze"),
        ("responses: [{rules: [x], steps: [freeze, replace]}]", (1, 33), "replace without cut"),
        ("responses: [{rules: [x], steps: [freeze, freeze]}]", (1, 33), "twice"),
        ("responses: [{steps: [freeze]}]", (1, 13), "neither rules nor actions"),
        ("responses:\n  - rules: [x]\n    step: [freeze]", (3, 5), "unknown key 'step'"),
        ("responses: [{rules: [x], steps: [freezee]}]", (1, 34), "not one of"),
        ("limits: {cooldown_s: -1}", (1, 22), "outside 0"),
    ],
)
def test_policy_errors_point_at_the_place(text: str, place: tuple[int, int], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as wrong:
        parse_response_policy(text, "p.yaml")
    assert (wrong.value.line_number, wrong.value.column) == place


def test_empty_policy_does_nothing() -> None:
    assert parse_response_policy("", "p.yaml") == ResponsePolicy()


RECORD: dict[str, Any] = {
    "Id": "abcdef012345" + "0" * 52,
    "Config": {"Hostname": "abcdef012345", "Image": "shop:1", "Env": ["A=1"], "Labels": {"l": "1"}, "Cmd": ["run"]},
    "HostConfig": {
        "NetworkMode": "front",
        "ReadonlyRootfs": True,
        "PortBindings": {
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
            "81/tcp": [{"HostPort": ""}],
            "82/tcp": [{"HostPort": "1-9"}],
        },
    },
    "NetworkSettings": {
        "Networks": {
            "front": {"Aliases": ["web", "abcdef012345"], "NetworkID": "x"},
            "back": {"IPAMConfig": {"IPv4Address": "10.1.0.2"}},
        },
        "Ports": {"80/tcp": [{"HostPort": "8080"}], "81/tcp": [{"HostPort": "49153"}], "82/tcp": [{"HostPort": "5"}]},
    },
}


def test_replacement_is_a_clean_twin() -> None:
    body, further = derive_replacement(RECORD, "shop@digest", "p1")
    assert body["Image"] == "shop@digest"
    assert body["Labels"] == {"l": "1", "shipwall.replaces": RECORD["Id"], "shipwall.plan": "p1"}
    assert "Hostname" not in body
    assert (body["Cmd"], body["Env"], body["HostConfig"]["ReadonlyRootfs"]) == (["run"], ["A=1"], True)
    ports = {port: ones[0]["HostPort"] for port, ones in body["HostConfig"]["PortBindings"].items()}
    assert ports == {"80/tcp": "8080", "81/tcp": "49153", "82/tcp": "5"}
    assert body["NetworkingConfig"] == {"EndpointsConfig": {"front": {"Aliases": ["web"]}}}
    assert further == {"back": {"IPAMConfig": {"IPv4Address": "10.1.0.2"}}}
    assert RECORD["Config"]["Hostname"] == "abcdef012345", "the record is not changed"


def test_replacement_of_a_record_that_is_none() -> None:
    with pytest.raises(InputError, match="lacks"):
        derive_replacement({"Id": "x"}, "i", "p")
