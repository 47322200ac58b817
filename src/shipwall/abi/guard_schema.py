"""What the network guard's programs and Python share: keys and values of its maps, and the record of a decision.

Written once, as in `schema.py`: the C header `bpf/guard_abi.h` is generated from here and the compiled object is compared with it.
"""

from __future__ import annotations

from shipwall.abi.schema import Field, Record

HOOKS = ("connect", "bind", "sendmsg")
PROTOCOLS = ("tcp", "udp", "other")
CONSTANTS = {
    "POLICY_BITS": 32,
    "FAMILY_BITS": 64,
    "NETWORKS_MAX": 262_144,
    "PORTS_MAX": 65_536,
    "ACTS_MAX": 16_384,
    "COUNTS_MAX": 16_384,
    "RING_BYTES": 262_144,
    "UNTOLD": 64,
}

NETWORK = Record(
    "network",
    "Key of `networks`: `bits` counts policy and family too. family 4: the first four bytes are the address.",
    Field("bits", "u32"),
    Field("policy", "u32"),
    Field("family", "u32"),
    Field("address", "u8", 16),
)
MEMBERSHIP = Record(
    "membership",
    "Value of `networks`: the refusals this network lies within, and those that leave it out.",
    Field("within", "u64"),
    Field("outside", "u64"),
)
PORT = Record(
    "port",
    "Key of `ports`: `bits` counts the policy too; the port in network order. Value: the refusals of these ports.",
    Field("bits", "u32"),
    Field("policy", "u32"),
    Field("port", "u8", 2),
    Field("pad", "u8", 2),
)
ACT = Record(
    "act",
    "Key of `acts`: which kind of act by which kind of socket.",
    Field("policy", "u32"),
    Field("hook", "u8"),
    Field("family", "u8"),
    Field("protocol", "u8"),
    Field("pad", "u8"),
)
ANSWER = Record(
    "answer",
    "Value of `acts`: the refusals of this kind of act, and those of the policy that deny (the rest only report).",
    Field("refusals", "u64"),
    Field("deny", "u64"),
)
COUNT = Record(
    "count",
    "Key of `counts`: how often a refusal of a policy was the first that was met; UNTOLD: met, and the ring had no room to tell.",
    Field("policy", "u32"),
    Field("refusal", "u32"),
)
PLACE = Record(
    "place",
    "What the kernel keeps with a guarded cgroup. policy 0: nothing is refused.",
    Field("cgroup_id", "u64"),
    Field("policy", "u32"),
    Field("pad", "u32"),
)
DECISION = Record(
    "decision",
    "Record in the ring: an act that was refused (denied 1) or would have been. hits: every refusal that was met, refusal: the one "
    "counted; port in network order.",
    Field("time_ns", "u64"),
    Field("hits", "u64"),
    Field("cgroup_id", "u64"),
    Field("policy", "u32"),
    Field("pid", "u32"),
    Field("tid", "u32"),
    Field("uid", "u32"),
    Field("refusal", "u8"),
    Field("hook", "u8"),
    Field("family", "u8"),
    Field("protocol", "u8"),
    Field("denied", "u8"),
    Field("pad", "u8"),
    Field("port", "u8", 2),
    Field("address", "u8", 16),
    Field("comm", "char", 16),
)


def structs() -> dict[str, Record]:
    """Every shared struct under its C name."""
    return {f"guard_{one.name}": one for one in (NETWORK, MEMBERSHIP, PORT, ACT, ANSWER, COUNT, PLACE, DECISION)}


def enumerators() -> dict[str, int]:
    """Every shared constant under its C name."""
    found = {f"GUARD_HOOK_{name.upper()}": number for number, name in enumerate(HOOKS)}
    found |= {f"GUARD_PROTOCOL_{name.upper()}": number for number, name in enumerate(PROTOCOLS)}
    return found | {f"GUARD_{name}": value for name, value in CONSTANTS.items()}
