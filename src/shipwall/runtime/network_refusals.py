"""Which acts of a rule the network hooks can decide before they happen: `lower_network`.

A hook knows the kind of act, the protocol and the address it is asked for, nothing of the process. What a condition says of an act is
lowered exactly or not at all, and then the reason says why: *on failure* nothing is refused by the hook.
Results are the one exception: a rule about successful connections is lowered to all attempts, because an attempt that would have failed
loses only its own error; `Lowered.attempts` says so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from shipwall.lang.condition import And, Compare, Condition, Exists, Field, Not, Or, render_leaf
from shipwall.model.errors import ShipwallError
from shipwall.runtime.conditions import evaluate, specialise
from shipwall.runtime.network_tables import ALL_PORTS, HOOKS, PROTOCOLS, Network, Ranges, Refusal

MAX_ALTERNATIVES = 64
EPHEMERAL_FIRST = 32_768
"""Ports from here on may be given to a bind that asks for any (net.ipv4.ip_local_port_range)."""

_HOOK_OF = {"connect": "connect", "bind": "bind", "sendto": "sendmsg", "sendmsg": "sendmsg", "sendmmsg": "sendmsg"}
_SENDS = ("sendto", "sendmsg", "sendmmsg")
_NOT_INTERNET = "it also holds for sockets that are not of the internet, which the hook does not see"
_REMOTE = frozenset({"fd.ip", "fd.net", "fd.rip", "fd.rnet"})
_SERVER = frozenset({"fd.sip", "fd.snet"})
_OWN = frozenset({"fd.lip", "fd.lnet"})
_ADDRESSES = _REMOTE | _SERVER | _OWN
_PORTS = {"fd.port": "remote", "fd.rport": "remote", "fd.sport": "server", "fd.lport": "own"}
_FAMILIES = {"4": 4, "6": 6, "ipv4": 4, "ipv6": 6}
_RESULTS = frozenset({"evt.rawres", "evt.res", "fd.num", "evt.failed"})
_SUCCESSES = frozenset({"SUCCESS", "EINPROGRESS", "0", "false"})
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
Leaf: TypeAlias = Compare | Exists


class Lowered(NamedTuple):
    """What becomes of one call: the refusals that together are the condition, `attempts`: also what would have failed; or the `reason`."""

    refusals: tuple[Refusal, ...] = ()
    attempts: bool = False
    reason: str = ""


class _UndecidableError(ShipwallError):
    """The hook cannot decide this."""


class _Case:
    """One alternative of the condition, as far as it has been read: what an act must be."""

    def __init__(self) -> None:
        self.families = {0, 4, 6}  # 0: neither
        self.protocols = set(PROTOCOLS)
        self.ports: Ranges = ALL_PORTS
        self.within: list[tuple[Network, ...]] = []
        self.outside: list[Network] = []
        self.ends: set[str] = set()
        self.attempts = False


def lower_network(tree: Condition, rule: str, mode: str = "deny") -> dict[str, Lowered]:
    """For every network call that the condition can be about, what the hooks refuse of it.

    The condition's macros are expanded, and what is known of the container was taken out (`specialise`).
    """
    left = {call: specialise(tree, lambda leaf, call=call: _of_call(leaf, call)) for call in _HOOK_OF}  # type: ignore[misc]
    return {call: _lower_call(call, left, rule, mode) for call in _HOOK_OF if left[call] is not False}


def join_refusals(lowered: Iterable[Lowered]) -> tuple[Refusal, ...]:
    """All their refusals, those that differ in nothing but the hook made one."""
    joined: dict[Refusal, frozenset[str]] = {}
    for refusal in (one for each in lowered for one in each.refusals):
        bare = replace(refusal, hooks=frozenset())
        joined[bare] = joined.get(bare, frozenset()) | refusal.hooks
    return tuple(replace(bare, hooks=hooks) for bare, hooks in joined.items())


def _of_call(leaf: Leaf, call: str) -> bool | None:
    if isinstance(leaf, Compare) and leaf.operand == Field("evt.type"):
        return evaluate(leaf, lambda _field: call)
    return None


def _lower_call(call: str, left: dict[str, Condition | bool], rule: str, mode: str) -> Lowered:
    tree = left[call]
    try:
        if isinstance(tree, bool):
            raise _undecidable(_NOT_INTERNET)
        hook = _HOOK_OF[call]
        if hook == "sendmsg" and any(left[other] != tree for other in ("connect", *_SENDS)):
            raise _undecidable(
                "on a connected socket it does not pass the hook: say the same of connect, sendto, sendmsg, sendmmsg"
            )
        cases = [_read(case) for case in _alternatives(tree, negated=False)]
        return Lowered(tuple(_refusal(case, hook, rule, mode) for case in cases), any(case.attempts for case in cases))
    except _UndecidableError as error:
        return Lowered(reason=error.reason)


def _undecidable(reason: str) -> _UndecidableError:
    return _UndecidableError("condition", reason)


def _alternatives(tree: Condition, *, negated: bool) -> list[list[tuple[Leaf, bool]]]:
    """The condition as alternatives of comparisons that must hold (or, with True beside them, must not)."""
    if isinstance(tree, Not):
        return _alternatives(tree.item, negated=not negated)
    if isinstance(tree, And | Or):
        parts = [_alternatives(item, negated=negated) for item in tree.items]
        if isinstance(tree, Or) is not negated:
            found = [case for part in parts for case in part]
        else:
            found = [[]]
            for part in parts:
                found = [before + case for before in found for case in part]
                if len(found) > MAX_ALTERNATIVES:
                    break
        if len(found) > MAX_ALTERNATIVES:
            raise _undecidable(f"it has more than {MAX_ALTERNATIVES} alternatives")
        return found
    if not isinstance(tree, Compare | Exists):
        raise _undecidable("a macro in it was not expanded")
    return [[(tree, negated)]]


def _read(leaves: list[tuple[Leaf, bool]]) -> _Case:
    case = _Case()
    for leaf, negated in leaves:
        field = leaf.operand
        if not isinstance(field, Field) or field.argument or isinstance(leaf, Exists) or leaf.right is not None or leaf.modifier:
            raise _undecidable(f"the hook cannot decide `{_shown(leaf)}`")
        values = tuple(value.text for value in leaf.values)
        equal = leaf.operator in {"=", "==", "in", "!="}
        present = not negated  # a missing value makes every comparison false, this one too
        hold = negated if leaf.operator == "!=" else not negated
        if field.name in {"fd.typechar", "fd.type", "fd.sockfamily", "fd.l4proto"} and equal:
            _narrow_kind(case, field.name, values, hold=hold, present=present)
        elif field.name in _PORTS:
            case.ends.add(_PORTS[field.name])
            case.ports = _both(case.ports, _port_ranges(leaf, values, hold))
            case.families -= {0} if present else set()
        elif field.name in _ADDRESSES and equal:
            case.ends.add("remote" if field.name in _REMOTE else "server" if field.name in _SERVER else "own")
            networks = tuple(_network(value) for value in values)
            case.within += [networks] if hold else []
            case.outside += [] if hold else networks
            case.families -= {0} if present else set()
        elif field.name in _RESULTS and _means_success(field.name, leaf.operator, values, hold):
            case.attempts = True
        else:
            raise _undecidable(f"the hook knows nothing of `{_shown(leaf)}`")
    return case


def _shown(leaf: Leaf) -> str:
    return render_leaf(leaf)[:80]


def _narrow_kind(case: _Case, name: str, values: tuple[str, ...], *, hold: bool, present: bool) -> None:
    """Family or protocol: what a socket that is of neither family says is missing for fd.l4proto, another value for the rest."""
    if name == "fd.l4proto":
        named = set(values) & {"tcp", "udp"}
        case.protocols &= (named | {"other"}) if hold else set(PROTOCOLS) - named
        case.protocols -= {"other"} if present else set()
        case.families -= {0} if present else set()
        return
    named_families = {4, 6} if name == "fd.sockfamily" and "ip" in values else {_FAMILIES[v] for v in values if v in _FAMILIES}
    others = any(value not in {*_FAMILIES, "ip"} for value in values)
    if hold:
        case.families &= named_families | ({0} if others or not present else set())
    else:
        case.families -= named_families


def _port_ranges(leaf: Compare, values: tuple[str, ...], hold: bool) -> Ranges:
    try:
        numbers = [int(value, 0) if value[:2].lower() == "0x" else int(value) for value in values]
    except ValueError:
        raise _undecidable(f"`{_shown(leaf)}` compares a port with no whole number") from None
    first = numbers[0] if numbers else 0
    simple = {"<": (0, first - 1), "<=": (0, first), ">": (first + 1, 65535), ">=": (first, 65535)}
    ranges = [simple[leaf.operator]] if leaf.operator in simple else [(number, number) for number in numbers]
    if leaf.operator not in {*simple, "=", "==", "in", "!="}:
        raise _undecidable(f"the hook cannot decide `{_shown(leaf)}`")
    kept = tuple((max(low, 0), min(high, 65535)) for low, high in ranges if low <= 65535 and high >= 0 and low <= high)
    return kept if hold else _complement(kept)


def _complement(ranges: Ranges) -> Ranges:
    found, at = [], 0
    for low, high in sorted(ranges):
        if low > at:
            found.append((at, low - 1))
        at = max(at, high + 1)
    return tuple(found) + (((at, 65535),) if at <= 65535 else ())


def _both(one: Ranges, other: Ranges) -> Ranges:
    return tuple((max(a, c), min(b, d)) for a, b in one for c, d in other if max(a, c) <= min(b, d))


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise _undecidable(f"{text[:60]!r} is no address or network") from None


def _means_success(name: str, operator: str, values: tuple[str, ...], hold: bool) -> bool:
    if name in {"evt.rawres", "fd.num"}:
        return hold and (operator, values) in {(">=", ("0",)), (">", ("-1",)), ("=", ("0",))}
    return hold and operator in {"=", "==", "in"} and set(values) <= _SUCCESSES


def _refusal(case: _Case, hook: str, rule: str, mode: str) -> Refusal:
    if 0 in case.families:
        raise _undecidable(_NOT_INTERNET)
    if hook == "sendmsg" and (case.families != {4, 6} or any(_may_be_mapped(one) for one in _named(case))):
        raise _undecidable(
            "a message to an IPv4 address inside IPv6 passes the hook as IPv4: name both families and IPv4 networks"
        )
    if hook == "bind":
        _check_bind(case)
    elif "own" in case.ends:
        raise _undecidable("our own end is not known before the act")
    networks = [network for group in case.within for network in group]
    if len(case.within) > 1:
        if len({network.version for network in networks}) > 1:
            raise _undecidable("it joins networks of both kinds, and an IPv4 address inside IPv6 is of both")
        networks = [inner for inner in networks if all(any(_lies_in(inner, outer) for outer in group) for group in case.within)]
    return Refusal(
        rule=rule,
        mode=mode,
        hooks=frozenset({hook}),
        protocols=frozenset(case.protocols),
        families=frozenset(case.families),
        ports=case.ports,
        outside=tuple(case.outside),
        **({"within": tuple(networks)} if case.within else {}),
    )


def _named(case: _Case) -> list[Network]:
    return [network for group in case.within for network in group] + case.outside


def _may_be_mapped(network: Network) -> bool:
    return network.version == 6 and network.overlaps(_MAPPED)


def _lies_in(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def _check_bind(case: _Case) -> None:
    """A bind has no other end, and one to port 0 gets its port only after the hook."""
    if "remote" in case.ends:
        raise _undecidable("a bind has no other end")
    if case.ports != ALL_PORTS:
        if any(high >= EPHEMERAL_FIRST for _, high in case.ports):
            raise _undecidable(f"a bind to any port may be given one from {EPHEMERAL_FIRST} on after the hook was asked")
        case.ports = _both(case.ports, ((1, 65535),))


assert set(_HOOK_OF.values()) == set(HOOKS)
