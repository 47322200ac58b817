"""Which network acts are refused, as the tables the kernel part looks them up in.

`decide` is the definition. `compile_tables` makes three tables whose answers are sets of refusals (bits); a flow is refused by those in all
three. `simulate` looks up as `bpf/guard.bpf.c` does, and tests hold it equal to `decide`.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import msgspec

from shipwall.model.errors import InputError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Ranges: TypeAlias = tuple[tuple[int, int], ...]

HOOKS = ("connect", "bind", "sendmsg")
PROTOCOLS = ("tcp", "udp", "other")
MAX_REFUSALS = 64
MAX_NETWORKS = 16_384
ALL_PORTS: Ranges = ((0, 65535),)
_EVERYTHING: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_IPV4_IN_IPV6 = bytes(10) + b"\xff\xff"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Acts refused (`mode` deny) or only reported (monitor) for the rule `rule`.

    An act counts when its hook, its protocol and the family of its socket (4, 6) are named, its port lies in `ports` (inclusive
    ranges), its address in one of `within` and in none of `outside`.
    """

    rule: str
    hooks: frozenset[str]
    mode: str = "deny"
    protocols: frozenset[str] = frozenset(PROTOCOLS)
    families: frozenset[int] = frozenset({4, 6})
    within: tuple[Network, ...] = _EVERYTHING
    outside: tuple[Network, ...] = ()
    ports: Ranges = ALL_PORTS


class Flow(NamedTuple):
    """One act as a hook sees it: `family` of the socket call, `address` as bytes (4 or 16), port in the host's order."""

    hook: str
    protocol: str
    family: int
    address: bytes
    port: int


class Tables(NamedTuple):
    """`networks` (family, address, bits) → set; `ports` (port, bits) → set; `acts` (hook, family, protocol) → set; `deny` the denying set.

    A set is a number whose bit n stands for refusal n. The longest prefix of an address or a port answers.
    """

    networks: dict[tuple[int, bytes, int], int]
    ports: dict[tuple[int, int], int]
    acts: dict[tuple[str, int, str], int]
    deny: int


def addresses_of(flow: Flow) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """What the flow's address is compared as: an IPv4 address inside IPv6 is both."""
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [ipaddress.ip_address(flow.address)]
    if len(flow.address) == 16 and flow.address.startswith(_IPV4_IN_IPV6):
        found.append(ipaddress.IPv4Address(flow.address[12:]))
    return found


def decide(refusals: Iterable[Refusal], flow: Flow) -> list[int]:
    """The numbers of the refusals that the flow falls under: the definition."""
    return [number for number, refusal in enumerate(refusals) if _falls_under(refusal, flow)]


def _falls_under(refusal: Refusal, flow: Flow) -> bool:
    addresses = addresses_of(flow)
    return (
        flow.hook in refusal.hooks
        and flow.protocol in refusal.protocols
        and flow.family in refusal.families
        and any(low <= flow.port <= high for low, high in refusal.ports)
        and any(address in network for address in addresses for network in refusal.within)
        and not any(address in network for address in addresses for network in refusal.outside)
    )


def compile_tables(refusals: tuple[Refusal, ...]) -> Tables:
    """The tables of `refusals`. Raises InputError when there are more than the kernel part has room for."""
    if len(refusals) > MAX_REFUSALS:
        raise InputError(f"{len(refusals)} refusals", f"are more than {MAX_REFUSALS} for one container", "join their networks")
    named = set(_EVERYTHING).union(*(refusal.within + refusal.outside for refusal in refusals))
    if len(named) > MAX_NETWORKS:
        raise InputError(f"{len(named)} networks", f"are more than {MAX_NETWORKS} for one container", "name larger networks")
    acts: dict[tuple[str, int, str], int] = {}
    for number, refusal in enumerate(refusals):
        for hook in refusal.hooks:
            for family in refusal.families:
                for protocol in refusal.protocols:
                    acts[hook, family, protocol] = acts.get((hook, family, protocol), 0) | 1 << number
    deny = sum(1 << number for number, refusal in enumerate(refusals) if refusal.mode == "deny")
    return Tables(_networks(refusals, named), _ports(refusals), acts, deny)


def _networks(refusals: tuple[Refusal, ...], named: set[Network]) -> dict[tuple[int, bytes, int], int]:
    """For every named network, two sets in one number: whose `within` (low half) and whose `outside` (high half) it lies in.

    Two halves, because an IPv4 address inside IPv6 is looked up as both, and is within when either is, outside when either is.
    """
    within: dict[Network, int] = {}
    outside: dict[Network, int] = {}
    for number, refusal in enumerate(refusals):
        for table, networks in ((within, refusal.within), (outside, refusal.outside)):
            for network in networks:
                table[network] = table.get(network, 0) | 1 << number
    found: dict[tuple[int, bytes, int], int] = {}
    above: list[tuple[Network, int, int]] = []
    for network in sorted(named, key=lambda one: (one.version, int(one.network_address), one.prefixlen)):
        while above and not (above[-1][0].version == network.version and network.network_address in above[-1][0]):
            above.pop()
        _, low, high = above[-1] if above else (network, 0, 0)
        low, high = low | within.get(network, 0), high | outside.get(network, 0)
        above.append((network, low, high))
        found[network.version, network.network_address.packed, network.prefixlen] = low | high << MAX_REFUSALS
    return found


def _ports(refusals: tuple[Refusal, ...]) -> dict[tuple[int, int], int]:
    """Port prefixes that together cover every port, each with its set."""
    borders = {0, 65536}
    for refusal in refusals:
        for low, high in refusal.ports:
            borders |= {low, high + 1}
    edges = sorted(border for border in borders if 0 <= border <= 65536)
    found = {}
    for start, end in itertools.pairwise(edges):
        members = sum(
            1 << number
            for number, refusal in enumerate(refusals)
            if any(low <= start and end - 1 <= high for low, high in refusal.ports)
        )
        for port, bits in _prefixes(start, end):
            found[port, bits] = members
    return found


def _prefixes(start: int, end: int) -> Iterable[tuple[int, int]]:
    """The port prefixes that cover `start` to `end` (not included)."""
    while start < end:
        size = start & -start or 65536
        while start + size > end:
            size >>= 1
        yield start, 16 - (size.bit_length() - 1)
        start += size


def simulate(tables: Tables, flow: Flow) -> list[int]:
    """What the kernel part finds: the numbers of the refusals that the flow falls under."""
    both = 0
    for address in addresses_of(flow):
        both |= _longest(tables.networks, address.version, address.packed)
    inside, outside = both & (1 << MAX_REFUSALS) - 1, both >> MAX_REFUSALS
    port = next(
        found
        for bits in range(16, -1, -1)
        if (found := tables.ports.get((flow.port >> (16 - bits) << (16 - bits), bits))) is not None
    )
    hit = inside & ~outside & port & tables.acts.get((flow.hook, flow.family, flow.protocol), 0)
    return [number for number in range(MAX_REFUSALS) if hit >> number & 1]


def _longest(networks: dict[tuple[int, bytes, int], int], version: int, packed: bytes) -> int:
    width, value = len(packed) * 8, int.from_bytes(packed)
    for bits in range(width, -1, -1):
        key = (value >> (width - bits) << (width - bits)).to_bytes(len(packed))
        if (found := networks.get((version, key, bits))) is not None:
            return found
    return 0
