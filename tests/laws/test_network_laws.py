"""What the network hooks refuse is what the rule says: condition → refusals → tables, each equal to the one before."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.condition_trees import trees_of

from shipwall.lang.condition import And, Compare, Condition, Field, Value
from shipwall.model.event import Connect
from shipwall.runtime.conditions import evaluate
from shipwall.runtime.facts import Context, Facts
from shipwall.runtime.fields import look_up
from shipwall.runtime.network_refusals import lower_network
from shipwall.runtime.network_tables import HOOKS, PROTOCOLS, Flow, Refusal, compile_tables, decide, simulate
from shipwall.runtime.processes import ProcessTable

TEXTS = ["10.0.0.1", "10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "192.168.3.4/32", "::1", "fd00::/8", "::/0", "::ffff:10.0.0.0/104"]
ADDRESSES = [
    "10.0.0.1",
    "10.1.2.3",
    "11.0.0.1",
    "192.168.3.4",
    "0.0.0.0",
    "::1",
    "fd00::5",
    "2001:db8::1",
    "::ffff:10.1.2.3",
    "::ffff:11.0.0.1",
]
PORTS = [0, 1, 22, 80, 443, 1023, 1024, 32768, 65535]
networks = st.sampled_from(TEXTS).map(ipaddress.ip_network)
edges = st.sampled_from(PORTS)
refusals = st.builds(
    Refusal,
    rule=st.just("r"),
    mode=st.sampled_from(["deny", "monitor"]),
    hooks=st.frozensets(st.sampled_from(HOOKS)),
    protocols=st.frozensets(st.sampled_from(PROTOCOLS)),
    families=st.frozensets(st.sampled_from([4, 6])),
    within=st.lists(networks, max_size=4).map(tuple),
    outside=st.lists(networks, max_size=3).map(tuple),
    ports=st.lists(st.tuples(edges, edges).map(lambda two: (min(two), max(two))), max_size=3).map(tuple),
)
flows = st.builds(
    lambda hook, protocol, address, port: Flow(hook, protocol, address.version, address.packed, port),
    st.sampled_from(HOOKS),
    st.sampled_from(PROTOCOLS),
    st.sampled_from(ADDRESSES).map(ipaddress.ip_address) | st.ip_addresses(),
    edges | st.integers(0, 65535),
)


@given(st.lists(refusals, max_size=6).map(tuple), flows)
def test_the_tables_say_what_the_refusals_say(made: tuple[Refusal, ...], flow: Flow) -> None:
    tables = compile_tables(made)
    found = simulate(tables, flow)
    assert found == decide(made, flow)
    assert [number for number in found if tables.deny >> number & 1] == [
        number for number in found if made[number].mode == "deny"
    ]


def _compare(name: str, operators: list[str], values: list[str]) -> st.SearchStrategy[Condition]:
    def build(operator: str, chosen: list[str]) -> Condition:
        return Compare(Field(name), operator, tuple(Value(text, True) for text in (chosen if operator == "in" else chosen[:1])))

    return st.builds(build, st.sampled_from(operators), st.lists(st.sampled_from(values), min_size=1, max_size=3))


leaves = st.one_of(
    *(_compare(name, ["=", "!=", "in"], TEXTS) for name in ("fd.ip", "fd.net", "fd.sip", "fd.rnet")),
    *(_compare(name, ["=", "!=", "in", "<", "<=", ">", ">="], [str(port) for port in PORTS]) for name in ("fd.port", "fd.sport")),
    _compare("fd.l4proto", ["=", "!=", "in"], ["tcp", "udp"]),
    _compare("fd.typechar", ["=", "!=", "in"], ["4", "6", "u", "f"]),
    _compare("fd.type", ["=", "in"], ["ipv4", "ipv6", "unix"]),
    _compare("evt.type", ["=", "in", "!="], ["connect", "open"]),
)
trees = trees_of(leaves, 6)
asked = Compare(Field("evt.type"), "=", (Value("connect"),))


class _Nobody(Context):
    """Knows no container."""


def _connect(address: str, protocol: str, port: int) -> Connect:
    return Connect(
        seq=1, time_ns=0, cgroup_id=1, pid=9, tid=9, ppid=1, ns_pid=9, uid=0, gid=0, comm="c", ret=-1, syscall="connect",
        family=f"ipv{ipaddress.ip_address(address).version}", protocol=protocol, address=address, port=port,
    )  # fmt: skip


@given(trees, st.sampled_from(["tcp", "udp", ""]), st.sampled_from(ADDRESSES), edges)
def test_what_is_lowered_refuses_exactly_what_the_condition_means(
    tree: Condition, protocol: str, address: str, port: int
) -> None:
    whole = And((asked, tree))
    lowered = lower_network(whole, "r").get("connect")
    if lowered is None:
        assert not evaluate(whole, look_up(Facts(_connect("10.0.0.1", "tcp", 1), ProcessTable(), _Nobody(), "n")))
        return
    if lowered.reason:
        assert lowered.refusals == ()
        return
    where = ipaddress.ip_address(address)
    event = _connect(address, protocol, port)
    local = structs.replace(event, family="unix", protocol="", address="/run/socket", port=0)  # the hooks never see it
    expected, otherwise = (evaluate(whole, look_up(Facts(one, ProcessTable(), _Nobody(), "n"))) for one in (event, local))
    assert otherwise is False
    flow = Flow("connect", protocol or "other", where.version, where.packed, port)
    assert bool(decide(lowered.refusals, flow)) == expected
