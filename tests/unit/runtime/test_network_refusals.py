"""Which acts of a rule the network hooks take, and the reasons they give for the rest."""

from __future__ import annotations

import ipaddress

import pytest

from shipwall.lang.condition import parse_condition
from shipwall.model.errors import InputError
from shipwall.runtime.network_refusals import Lowered, join_refusals, lower_network
from shipwall.runtime.network_tables import MAX_REFUSALS, Refusal, compile_tables

SENDS = "evt.type in (connect, sendto, sendmsg, sendmmsg) and "
CONNECTED = "on a connected socket it does not pass the hook: say the same of connect, sendto, sendmsg, sendmmsg"
NOT_INTERNET = "it also holds for sockets that are not of the internet, which the hook does not see"
MAPPED = "a message to an IPv4 address inside IPv6 passes the hook as IPv4: name both families and IPv4 networks"


def test_ports_networks_and_protocols_of_a_connect() -> None:
    tree = parse_condition(
        "evt.type = connect and fd.l4proto = tcp and fd.sport in (4444, 5555) and fd.net in (10.0.0.0/8) and not fd.sip = 10.0.0.1"
    )
    assert lower_network(tree, "Mining", "monitor") == {
        "connect": Lowered((
            Refusal(
                rule="Mining",
                mode="monitor",
                hooks=frozenset({"connect"}),
                protocols=frozenset({"tcp"}),
                within=(ipaddress.ip_network("10.0.0.0/8"),),
                outside=(ipaddress.ip_network("10.0.0.1/32"),),
                ports=((4444, 4444), (5555, 5555)),
            ),
        ))
    }  # fmt: skip


def test_alternatives_become_refusals_and_success_becomes_attempts() -> None:
    tree = parse_condition(SENDS + "(fd.rport = 53 or fd.net = 10.0.0.0/8) and (evt.rawres >= 0 or evt.res = EINPROGRESS)")
    lowered = lower_network(tree, "r")
    assert set(lowered) == {"connect", "sendto", "sendmsg", "sendmmsg"}
    assert all(one.attempts and not one.reason for one in lowered.values())
    joined = join_refusals(lowered.values())
    assert {refusal.ports for refusal in joined} == {((53, 53),), ((0, 65535),)}
    assert {refusal.hooks for refusal in joined} == {frozenset({"connect", "sendmsg"})}
    assert len(joined) == 2


def test_a_bind_is_about_our_own_end_and_each_act_is_taken_by_itself() -> None:
    assert lower_network(parse_condition("evt.type = bind and fd.lport < 1024"), "r")["bind"].refusals[0].ports == ((1, 1023),)
    every = lower_network(parse_condition("evt.type = bind and fd.sockfamily = ip"), "r")["bind"]
    assert every.refusals[0].ports == ((0, 65535),)
    both = lower_network(parse_condition("evt.type in (bind, connect, accept) and fd.sport = 22"), "r")
    assert [refusal.hooks for refusal in join_refusals(both.values())] == [frozenset({"bind", "connect"})]
    split = lower_network(parse_condition("evt.type in (bind, connect) and fd.rport = 22"), "r")
    assert {call: one.reason for call, one in split.items()} == {"connect": "", "bind": "a bind has no other end"}
    assert lower_network(parse_condition("evt.type in (open, unlink) and fd.name = /a"), "r") == {}


@pytest.mark.parametrize(
    ("condition", "call", "reason"),
    [
        ("evt.type = connect and fd.sport = 22 and proc.name = nc", "connect", "the hook knows nothing of `proc.name = nc`"),
        ("evt.type = connect", "connect", NOT_INTERNET),
        ("evt.type = connect and not fd.sport = 443", "connect", NOT_INTERNET),
        ("evt.type in (sendto, sendmsg, sendmmsg) and fd.sport = 53", "sendto", CONNECTED),
        ("evt.type in (connect, sendto) and fd.sport = 53", "sendto", CONNECTED),
        (SENDS + "fd.typechar = 6", "sendmsg", MAPPED),
        (SENDS + "fd.net = ::/0", "sendmmsg", MAPPED),
        ("evt.type = connect and fd.lport = 53 ", "connect", "our own end is not known before the act"),
        (
            "evt.type = bind and fd.lport > 1024",
            "bind",
            "a bind to any port may be given one from 32768 on after the hook was asked",
        ),
        ("evt.type = connect and fd.sport exists", "connect", "the hook cannot decide `fd.sport exists`"),
        ("evt.type = connect and fd.sport = 1 and evt.rawres < 0", "connect", "the hook knows nothing of `evt.rawres < 0`"),
        (
            "evt.type = connect and fd.sip.name = example.org",
            "connect",
            "the hook knows nothing of `fd.sip.name = example.org`",
        ),
        (
            "evt.type = connect and fd.net in (10.0.0.0/8, fd00::/8) and fd.net in (10.0.0.0/8)",
            "connect",
            "it joins networks of both kinds, and an IPv4 address inside IPv6 is of both",
        ),
        ("evt.type = connect and fd.sport in (a, b)", "connect", "`fd.sport in (a, b)` compares a port with no whole number"),
        (
            "evt.type = connect and " + " and ".join(f"(fd.sport = {n} or fd.sport = {n + 1})" for n in range(7)),
            "connect",
            "it has more than 64 alternatives",
        ),
    ],
)
def test_what_it_cannot_decide_exactly_it_does_not_take(condition: str, call: str, reason: str) -> None:
    lowered = lower_network(parse_condition(condition), "r")[call]
    assert (lowered.refusals, lowered.reason) == ((), reason)


def test_more_than_the_kernel_part_has_room_for_is_said() -> None:
    one = Refusal(rule="r", hooks=frozenset({"connect"}))
    with pytest.raises(InputError, match="65 refusals: are more than 64"):
        compile_tables((one,) * (MAX_REFUSALS + 1))
