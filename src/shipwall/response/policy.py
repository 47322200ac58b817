"""Response policies: which alert leads to which plan, who must approve it, and how many plans are too many. Without one nothing is done."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from shipwall.lang.diagnostic import did_you_mean
from shipwall.lang.yaml_text import Node, parse_yaml
from shipwall.model.alert import PRIORITIES

STEPS = ("freeze", "cut", "capture", "replace")
MIB = 1024 * 1024
SECOND = 1_000_000_000
MAX_ENTRIES = 1_000

_ACTIONS = ("alert", "deny", "kill", "stop", "freeze")
_SPAN = re.compile(r"([1-9][0-9]{0,4})(s|m|h)\Z")
_SPAN_NS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a policy.

    It applies to an alert that `rules`, `actions` or `tags` name (any of them; globs in tags), of at least `priority` when one is given,
    in a container whose name, image, service and environment each match one of the globs in `containers`, `images`, `services`,
    `environments`. `approval_ns`: for how long its plan waits for a person, 0 for not at all. `line` in the policy.
    """

    steps: tuple[str, ...]
    rules: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    priority: str = ""
    containers: tuple[str, ...] = ("*",)
    images: tuple[str, ...] = ("*",)
    services: tuple[str, ...] = ("*",)
    environments: tuple[str, ...] = ("*",)
    approval_ns: int = 0
    line: int = 0


class ResponsePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`entries`: the first that applies counts. Limits: at most `frozen_per_service` frozen containers of one service and
    `frozen_per_node` of one node at a time, those that wait for approval among them; at most `plans` plans of a node in `plans_per_ns`;
    after a plan, `cooldown_ns` must pass before the next one for that service, `rule_cooldown_ns` before the next one by the same rule for
    that container; captured memory and file contents are cut at `memory_bytes` and `file_bytes`.
    """

    entries: tuple[Entry, ...] = ()
    frozen_per_service: int = 2
    frozen_per_node: int = 8
    plans: int = 20
    plans_per_ns: int = 600 * SECOND
    cooldown_ns: int = 60 * SECOND
    rule_cooldown_ns: int = 300 * SECOND
    memory_bytes: int = 256 * MIB
    file_bytes: int = 128 * MIB

    @property
    def memory_ns(self) -> int:
        """For how long plans of the past matter to its limits."""
        return max(self.plans_per_ns, self.cooldown_ns, self.rule_cooldown_ns)


def parse_response_policy(text: str | bytes, name: str) -> ResponsePolicy:
    """The policy in YAML `text`, called `name` in errors. An empty text is the policy that does nothing.

    *Shape*: `responses:` a list of entries: `steps` (of `freeze cut capture replace`; freeze comes first, and a replacement needs the cut
    that frees the published port) with `rules`, `actions`, `tags`, `priority`, `containers`, `images`, `services`, `environments`,
    `approval` (`15m`); `limits:` `frozen_per_service`, `frozen_per_node`, `plans` (`{count: 20, per: 10m}`), `cooldown_s`,
    `rule_cooldown_s`, `memory_mib`, `files_mib`. *Raises*: InputError with line and column. Total on arbitrary text.
    """
    root = parse_yaml(text, name)
    if root.is_null():
        return ResponsePolicy()
    keys = root.mapping({"responses", "limits"})
    nodes = keys["responses"].sequence() if "responses" in keys else ()
    if len(nodes) > MAX_ENTRIES:
        raise keys["responses"].error(f"{len(nodes)} entries are over the limit of {MAX_ENTRIES}")
    limits = keys["limits"].mapping({*_LIMITS, "plans"}) if "limits" in keys else {}
    values: dict[str, int] = {}
    for key, node in limits.items():
        if key == "plans":
            parts = node.mapping({"count", "per"}, required=("count", "per"))
            values["plans"] = _number(parts["count"], "count", 1, 100_000)
            values["plans_per_ns"] = _span_ns(parts["per"])
            continue
        field, unit, lowest, highest = _LIMITS[key]
        values[field] = _number(node, key, lowest, highest) * unit
    return ResponsePolicy(entries=tuple(map(_entry, nodes)), **values)


_LIMITS = {
    "frozen_per_service": ("frozen_per_service", 1, 1, 1000),
    "frozen_per_node": ("frozen_per_node", 1, 1, 1000),
    "cooldown_s": ("cooldown_ns", SECOND, 0, 86_400),
    "rule_cooldown_s": ("rule_cooldown_ns", SECOND, 0, 86_400),
    "memory_mib": ("memory_bytes", MIB, 0, 1024 * 1024),
    "files_mib": ("file_bytes", MIB, 0, 1024 * 1024),
}


def _number(node: Node, name: str, lowest: int, highest: int) -> int:
    number = node.integer()
    if not lowest <= number <= highest:
        raise node.error(f"{name} is {number}, outside {lowest} to {highest}")
    return number


def _span_ns(node: Node) -> int:
    """`30s`, `15m`, `8h` in nanoseconds."""
    found = _SPAN.match(node.string())
    if found is None:
        raise node.error(f"{node.string()[:40]!r} is not a length of time", "write it as 30s, 15m or 8h")
    return int(found[1]) * _SPAN_NS[found[2]]


def _steps(node: Node) -> tuple[str, ...]:
    steps = tuple(item.choice(STEPS) for item in node.sequence())
    if len(set(steps)) != len(steps):
        raise node.error("a step is named twice", "name each once")
    if not steps or steps[0] != "freeze":
        raise node.error("the first step must be freeze", f"for example: [{', '.join(STEPS)}]")
    if "replace" in steps and "cut" not in steps[: steps.index("replace")]:
        raise node.error("replace without cut before it: the published port is still taken", "put cut before replace")
    return steps


def _priority(node: Node) -> str:
    wanted = node.string().strip().capitalize()
    if wanted not in PRIORITIES:
        hint = did_you_mean(wanted, PRIORITIES) or ", ".join(PRIORITIES)
        raise node.error(f"{node.string()[:40]!r} is not a priority", hint)
    return wanted


def _some(node: Node) -> tuple[str, ...]:
    names = node.strings()
    if not names:
        raise node.error("an empty list matches nothing", "leave the key out to match everything")
    return names


_READERS: dict[str, tuple[str, Callable[[Node], object]]] = {
    "steps": ("steps", _steps),
    "rules": ("rules", Node.strings),
    "actions": ("actions", lambda node: tuple(item.choice(_ACTIONS) for item in node.sequence())),
    "tags": ("tags", Node.strings),
    "priority": ("priority", _priority),
    "containers": ("containers", _some),
    "images": ("images", _some),
    "services": ("services", _some),
    "environments": ("environments", _some),
    "approval": ("approval_ns", _span_ns),
}
"""Keys of an entry: which field of it they say, and how they are read."""


def _entry(node: Node) -> Entry:
    keys = node.mapping(_READERS, required=("steps",))
    values = {_READERS[key][0]: _READERS[key][1](value) for key, value in keys.items()}
    if not any(values.get(name) for name in ("rules", "actions", "tags", "priority")):
        raise node.error("names neither rules nor actions, tags or a priority", "add `rules: [NAME]` or `actions: [freeze]`")
    return msgspec.convert({**values, "line": node.line}, Entry)
