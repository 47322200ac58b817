"""Which conditions the network hooks take, and the reasons they give for the rest."""

from __future__ import annotations

import ipaddress

import pytest

from shipwall.lang.condition import parse_condition
from shipwall.model.errors import InputError
from shipwall.runtime.network_refusals import lower_network
from shipwall.runtime.network_tables import MAX_REFUSALS, Refusal, compile_tables


def test_ports_networks_and_protocols_of_a_connect() -> None:
    tree = parse_condition(
        "evt.type = connect and fd.l4proto = tcp and fd.sport in (4444, 5555) and fd.net in (10.0.0.0/8) and not fd.sip = 10.0.0.1"
    )
    assert lower_network(tree, "Mining", "monitor").refusals == (
        Refusal(
            rule="Mining",
            mode="monitor",
            hooks=frozenset({"connect"}),
            protocols=frozenset({"tcp"}),
            within=(ipaddress.ip_network("10.0.0.0/8"),),
            outside=(ipaddress.ip_network("10.0.0.1/32"),),
            ports=((4444, 4444), (5555, 5555)),
        ),
    )


def test_alternatives_become_refusals_and_success_becomes_attempts() -> None:
    tree = parse_condition(
        "evt.type in (connect, sendto, sendmsg, sendmmsg) "
        "and (fd.rport = 53 or fd.net = 10.0.0.0/8) and (evt.rawres >= 0 or evt.res = EINPROGRESS)"
    )
    lowered = lower_network(tree, "r")
    assert lowered.attempts
    assert {refusal.hooks for refusal in lowered.refusals} == {frozenset({"connect", "sendmsg"})}
    assert {refusal.ports for refusal in lowered.refusals} == {((53, 53),), ((0, 65535),)}


def test_a_bind_is_about_our_own_end() -> None:
    assert lower_network(parse_condition("evt.type = bind and fd.lport < 1024"), "r").refusals[0].ports == ((1, 1023),)
    assert lower_network(parse_condition("evt.type = bind and fd.sockfamily = ip"), "r").refusals[0].ports == ((0, 65535),)


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("evt.type = connect and fd.sport = 22 and proc.name = nc", "the hook knows nothing of `proc.name = nc`"),
        ("evt.type = connect", "it also holds for sockets that are not of the internet, which the hook does not see"),
        (
            "evt.type = connect and not fd.sport = 443",
            "it also holds for sockets that are not of the internet, which the hook does not see",
        ),
        ("fd.sport = 22", "it does not say which acts (evt.type) it is about"),
        ("evt.type in (connect, accept) and fd.sport = 22", "accept is no act of the network that a hook can refuse"),
        (
            "evt.type in (sendto, sendmsg, sendmmsg) and fd.sport = 53",
            "a message on a socket that is connected already does not pass the hook: name connect too",
        ),
        ("evt.type in (connect, sendto) and fd.sport = 53", "sendto, sendmsg and sendmmsg pass the same hook: name all of them"),
        (
            "evt.type in (connect, sendto, sendmsg, sendmmsg) and fd.typechar = 6",
            "a message to an IPv4 address inside IPv6 passes the hook as IPv4: name both families and IPv4 networks",
        ),
        (
            "evt.type in (connect, sendto, sendmsg, sendmmsg) and fd.net = ::/0",
            "a message to an IPv4 address inside IPv6 passes the hook as IPv4: name both families and IPv4 networks",
        ),
        ("evt.type = connect and fd.lport = 53 ", "our own end is not known before the act"),
        (
            "evt.type in (connect, bind) and fd.sport = 53",
            "the address of a bind is our own end and that of the other acts is not: make two rules",
        ),
        ("evt.type = bind and fd.rport = 53", "a bind has no other end"),
        ("evt.type = bind and fd.lport > 1024", "a bind to any port may be given one from 32768 on after the hook was asked"),
        ("evt.type = connect and fd.sport exists", "the hook cannot decide `fd.sport exists`"),
        ("evt.type = connect and fd.sport = 1 and evt.rawres < 0", "the hook knows nothing of `evt.rawres < 0`"),
        ("evt.type = connect and fd.sip.name = example.org", "the hook knows nothing of `fd.sip.name = example.org`"),
        (
            "evt.type = connect and fd.net in (10.0.0.0/8, fd00::/8) and fd.net in (10.0.0.0/8)",
            "it joins networks of both kinds, and an IPv4 address inside IPv6 is of both",
        ),
        ("evt.type = connect and fd.sport in (a, b)", "`fd.sport in (a, b)` compares a port with no whole number"),
        (
            f"evt.type = connect and {' and '.join(f'(fd.sport = {n} or fd.sport = {n + 1})' for n in range(7))}",
            "it has more than 64 alternatives",
        ),
    ],
)
def test_what_it_cannot_decide_exactly_it_does_not_take(condition: str, reason: str) -> None:
    lowered = lower_network(parse_condition(condition), "r")
    assert (lowered.refusals, lowered.reason) == ((), reason)


def test_more_than_the_kernel_part_has_room_for_is_said() -> None:
    one = Refusal(rule="r", hooks=frozenset({"connect"}))
    with pytest.raises(InputError, match="65 refusals: are more than 64"):
        compile_tables((one,) * (MAX_REFUSALS + 1))
