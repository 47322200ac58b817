"""Comparisons of numbers, and of texts that stand for numbers (flags, errors, families) → tests of numbers."""

from __future__ import annotations

import errno
import ipaddress
import itertools
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from shipwall.abi.calls import CALLS_BY_NAME, RESULT
from shipwall.abi.schema import FILTER_NUMBERS
from shipwall.lang.condition import Compare, Field
from shipwall.runtime.conditions import LiteralError, make_check
from shipwall.runtime.fields import DENIED, argument_of
from shipwall.runtime.flags import ACCESS, CLONE_FLAGS, MODE_FLAGS, NAMED_FLAGS, NAMED_VALUES, O_PATH, OPEN_FLAGS
from shipwall.runtime.lower.tables import EQUALS, RANGE

LOW, HIGH = -(1 << 63), (1 << 63) - 1
MISSING = LOW
"""A number that the event does not have: within no range."""
MAX_RANGES = 12
_RET, _UID, _GID, _FLAGS, _FD = (FILTER_NUMBERS[name] for name in ("ret", "uid", "gid", "flags", "fd"))
_FAMILY, _PROTOCOL, _PORT, _LOCAL_PORT, _IPV4 = (
    FILTER_NUMBERS[name] for name in ("family", "protocol", "port", "local_port", "ipv4")
)
_ARGUMENT = FILTER_NUMBERS["argument_0"]
_O_DIRECTORY = 0o200000
_FAMILIES = {"unix": 1, "ipv4": 2, "ipv6": 10}


class Asked(NamedTuple):
    """One test of a number. RANGE: low..high. EQUALS: exactly `high` of the bits `low`. `certain`: then the comparison holds, else it may.

    `signed`: of the low 32 bits, with their sign.
    """

    number: int
    kind: int
    low: int
    high: int
    certain: bool = True
    signed: bool = False


def tests_of(leaf: Compare, kind: str, call: str) -> list[Asked] | None:
    """Tests of which at least one is true when the comparison holds for an event of `call`; None when the kernel cannot tell.

    An empty list: it never holds.
    """
    if leaf.modifier or leaf.right is not None or not leaf.values or not isinstance(leaf.operand, Field):
        return None
    field = leaf.operand
    literals = tuple(value.text for value in leaf.values)
    try:
        name = argument_of(field)
        if name is not None:
            return _of_argument(leaf.operator, literals, kind, call, name)
        if field.argument is not None:
            return None
        if field.name in _WHOLE_NUMBERS or (kind, field.name) in _NUMBERS_OF:
            number = _NUMBERS_OF.get((kind, field.name), _WHOLE_NUMBERS.get(field.name, -1))
            return None if number < 0 else _of_number(leaf.operator, literals, number)
        special = _SPECIAL.get((kind, field.name)) or _SPECIAL.get(("", field.name))
        return None if special is None else special(leaf.operator, literals)
    except LiteralError:
        return None


_WHOLE_NUMBERS = {"evt.rawres": _RET, "user.uid": _UID, "group.gid": _GID}
_NUMBERS_OF = {
    ("open", "fd.num"): _FD,
    ("connect", "fd.port"): _PORT,
    ("connect", "fd.rport"): _PORT,
    ("connect", "fd.sport"): _PORT,
    ("connect", "fd.lport"): _LOCAL_PORT,
    ("connect", "fd.cport"): _LOCAL_PORT,
}
_BOUNDS: dict[str, Callable[[float], tuple[int, int]]] = {
    "<": lambda limit: (LOW + 1, math.ceil(limit) - 1),
    "<=": lambda limit: (LOW + 1, math.floor(limit)),
    ">": lambda limit: (math.floor(limit) + 1, HIGH),
    ">=": lambda limit: (math.ceil(limit), HIGH),
}


def _of_number(operator: str, literals: tuple[str, ...], number: int) -> list[Asked] | None:
    if operator in {"=", "==", "in", "intersects"}:
        values = sorted({int(text, 0) if text[:2].lower() == "0x" else int(text) for text in literals})
        return _ranges(number, [(value, value) for value in values])
    if operator not in _BOUNDS:
        return None
    limit = float(literals[0]) if literals[0][:2].lower() != "0x" else float(int(literals[0], 0))
    if not math.isfinite(limit) or abs(limit) > 1 << 52:
        return None
    return _ranges(number, [_BOUNDS[operator](limit)])


def _ranges(number: int, found: Iterable[tuple[int, int]], *, certain: bool = True, signed: bool = False) -> list[Asked] | None:
    inside = [(max(low, LOW + 1), min(high, HIGH)) for low, high in found]
    kept = [Asked(number, RANGE, low, high, certain, signed) for low, high in inside if low <= high]
    return kept if len(kept) <= MAX_RANGES else None


@lru_cache(maxsize=1024)
def _result(operator: str, literals: tuple[str, ...]) -> list[Asked] | None:
    """`evt.res`: the name of the error. What holds is tried for every error there is."""
    check = make_check(operator, literals, "text")
    ranges: list[tuple[int, int]] = [(0, HIGH)] if check("SUCCESS") else []
    start: int | None = None
    for ret in range(-4095, 1):
        holds = ret < 0 and check(errno.errorcode.get(-ret, str(ret)))
        if holds and start is None:
            start = ret
        elif not holds and start is not None:
            ranges.append((start, ret - 1))
            start = None
    found = _ranges(_RET, ranges)
    unusual = _ranges(_RET, [(LOW + 1, -4096)], certain=False)
    return None if found is None or unusual is None else found + unusual


def _failed(operator: str, literals: tuple[str, ...]) -> list[Asked] | None:
    check = make_check(operator, literals, "flag")
    return _ranges(_RET, ([(LOW + 1, -1)] if check(True) else []) + ([(0, HIGH)] if check(False) else []))


def _denied(operator: str, literals: tuple[str, ...]) -> list[Asked] | None:
    check = make_check(operator, literals, "flag")
    denied = sorted(-one for one in DENIED)
    edges = [LOW, *denied, HIGH + 1]
    others = [(low + 1, high - 1) for low, high in itertools.pairwise(edges)]
    return _ranges(_RET, ([(one, one) for one in denied] if check(True) else []) + (others if check(False) else []))


def _access(wanted: set[int]) -> Callable[[str, tuple[str, ...]], list[Asked] | None]:
    def tests(operator: str, literals: tuple[str, ...]) -> list[Asked] | None:
        check = make_check(operator, literals, "flag")
        yes = [Asked(_FLAGS, EQUALS, O_PATH | 3, mode) for mode in sorted(wanted)]
        no = [Asked(_FLAGS, EQUALS, O_PATH | 3, mode) for mode in sorted({0, 1, 2, 3} - wanted)]
        no.append(Asked(_FLAGS, EQUALS, O_PATH, O_PATH))
        return (yes if check(True) else []) + (no if check(False) else [])

    return tests


def _bit(mask: int, true: str | bool, false: str | bool, kind: str) -> Callable[[str, tuple[str, ...]], list[Asked] | None]:
    """A field that is `true` with the bit of the flags, `false` without."""

    def tests(operator: str, literals: tuple[str, ...]) -> list[Asked] | None:
        check = make_check(operator, literals, kind)
        found = [Asked(_FLAGS, EQUALS, mask, mask)] if check(true) else []
        return found + ([Asked(_FLAGS, EQUALS, mask, 0)] if check(false) else [])

    return tests


def _of_names(number: int, names: dict[str, int]) -> Callable[[str, tuple[str, ...]], list[Asked] | None]:
    """A field whose texts each stand for one number."""

    def tests(operator: str, literals: tuple[str, ...]) -> list[Asked] | None:
        check = make_check(operator, literals, "text")
        return _ranges(number, [(value, value) for name, value in names.items() if check(name)])

    return tests


def _network(operator: str, literals: tuple[str, ...]) -> list[Asked] | None:
    """The other end's address. IPv6 is only told from IPv4."""
    if operator not in {"=", "==", "in", "intersects"}:
        return None
    make_check(operator, literals, "address")  # what is no address is refused there
    found: list[Asked] = []
    for text in literals:
        network = ipaddress.ip_network(text, strict=False)
        if network.version == 4:
            first = int(network.network_address)
            found.append(Asked(_IPV4, RANGE, first, first + network.num_addresses - 1))
        else:
            found.append(Asked(_FAMILY, RANGE, 10, 10, certain=False))
    return found if len(found) <= MAX_RANGES else None


_SPECIAL: dict[tuple[str, str], Callable[[str, tuple[str, ...]], list[Asked] | None]] = {
    ("", "evt.res"): _result,
    ("", "evt.failed"): _failed,
    ("", "shipwall.denied"): _denied,
    ("open", "evt.is_open_read"): _access({0, 2}),
    ("open", "evt.is_open_write"): _access({1, 2}),
    ("open", "evt.is_open_create"): _bit(0o100, True, False, "flag"),
    ("open", "fd.typechar"): _bit(_O_DIRECTORY, "d", "f", "text"),
    ("open", "fd.type"): _bit(_O_DIRECTORY, "directory", "file", "text"),
    ("connect", "fd.type"): _of_names(_FAMILY, _FAMILIES),
    ("connect", "fd.typechar"): _of_names(_FAMILY, {"u": 1, "4": 2, "6": 10}),
    ("connect", "fd.l4proto"): _of_names(_PROTOCOL, {"tcp": 6, "udp": 17}),
    **{("connect", f"fd.{name}"): _network for name in ("ip", "net", "rip", "rnet", "sip", "snet")},
}


def _of_argument(operator: str, literals: tuple[str, ...], kind: str, call: str, name: str) -> list[Asked] | None:
    if name in {"flags", "nstype"} and kind in {"open", "namespace"}:
        names = CLONE_FLAGS if kind == "namespace" else OPEN_FLAGS
        found = _of_flags(operator, literals, _FLAGS, names)
        if found is not None and kind == "open":
            found += [Asked(_FLAGS, EQUALS, 3, mode) for mode, word in ACCESS.items() if literals[0] in word]
        return found
    if kind != "call":
        return None
    parameter = next((one for one in CALLS_BY_NAME[call].parameters if one.name == name), None)
    if parameter is None:
        return [] if name not in {"res", "tuple"} else None
    if parameter.at == RESULT:
        return None
    number = _ARGUMENT + parameter.at
    what, _, names_of = parameter.kind.partition(".")
    if what == "flags" and "0" not in literals:
        return _of_flags(operator, literals, number, NAMED_FLAGS[names_of])
    if what == "mode" and "0" not in literals:
        return _of_flags(operator, literals, number, MODE_FLAGS)
    if what == "enum" and operator in _OF_TEXT and not any(_may_be_in_number(text) for text in literals):
        check = make_check(operator, literals, "text")
        values = [value - (1 << 32) if value >> 31 else value for value, text in NAMED_VALUES[names_of].items() if check(text)]
        return _ranges(number, [(value, value) for value in values], signed=True)
    if what in {"int", "pid", "uid", "gid"} and operator in {"=", "==", "in"}:
        known = [int(text) for text in literals if text.lstrip("-").isdecimal() and text.isascii() and str(int(text)) == text]
        return _ranges(number, [(value, value) for value in known], signed=True)
    return None


_OF_TEXT = {"=", "==", "in", "contains", "startswith", "endswith"}


def _may_be_in_number(text: str) -> bool:
    """Whether the text may be a part of a number without a name."""
    return not text or set(text) <= set("-0123456789")


def _of_flags(operator: str, literals: tuple[str, ...], number: int, names: dict[int, str]) -> list[Asked] | None:
    """Names joined by `|`: only a part of a single name can be looked for."""
    if operator != "contains" or not literals[0] or "|" in literals[0]:
        return None
    found = [Asked(number, EQUALS, bit, bit) for bit, name in names.items() if literals[0] in name]
    return found if len(found) <= MAX_RANGES else None
