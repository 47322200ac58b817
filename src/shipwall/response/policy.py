"""Response policies: which rule leads to which plan, and how many plans are too many. Without a policy nothing is done."""

from __future__ import annotations

import msgspec

from shipwall.lang.yaml_text import Node, parse_yaml

STEPS = ("freeze", "cut", "capture", "replace")
MIB = 1024 * 1024

_ACTIONS = ("alert", "kill", "freeze")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a policy. It applies to an alert whose rule is in `rules` or whose action is in `actions`, in a container whose name
    matches one of the globs in `containers`."""

    steps: tuple[str, ...]
    rules: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    containers: tuple[str, ...] = ("*",)


class ResponsePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`entries`: the first that applies counts. Limits: at most `frozen_per_service` frozen containers of one service and
    `frozen_per_node` of one node at a time; after a plan, `cooldown_ns` must pass before the next one for that service; captured
    memory and file contents are cut at `memory_bytes` and `file_bytes`.
    """

    entries: tuple[Entry, ...] = ()
    frozen_per_service: int = 2
    frozen_per_node: int = 8
    cooldown_ns: int = 60 * 1_000_000_000
    memory_bytes: int = 256 * MIB
    file_bytes: int = 128 * MIB


def parse_response_policy(text: str | bytes, name: str) -> ResponsePolicy:
    """The policy in YAML `text`, called `name` in errors. An empty text is the policy that does nothing.

    *Shape*: `responses:` a list of `{rules: [...], actions: [...], containers: [...], steps: [...]}`; `limits:` `frozen_per_service`,
    `frozen_per_node`, `cooldown_s`, `memory_mib`, `files_mib`. Steps are `freeze cut capture replace`; freeze comes first, and a
    replacement needs the cut that frees the published port. *Raises*: InputError with line and column. Total on arbitrary text.
    """
    root = parse_yaml(text, name)
    if root.is_null():
        return ResponsePolicy()
    keys = root.mapping({"responses", "limits"})
    entries = tuple(_entry(node) for node in keys["responses"].sequence()) if "responses" in keys else ()
    limits = keys["limits"].mapping(_LIMITS) if "limits" in keys else {}
    values = {}
    for key, node in limits.items():
        field, unit, lowest, highest = _LIMITS[key]
        number = node.integer()
        if not lowest <= number <= highest:
            raise node.error(f"{key} is {number}, outside {lowest} to {highest}")
        values[field] = number * unit
    return ResponsePolicy(entries=entries, **values)


_LIMITS = {
    "frozen_per_service": ("frozen_per_service", 1, 1, 1000),
    "frozen_per_node": ("frozen_per_node", 1, 1, 1000),
    "cooldown_s": ("cooldown_ns", 1_000_000_000, 0, 86_400),
    "memory_mib": ("memory_bytes", MIB, 0, 1024 * 1024),
    "files_mib": ("file_bytes", MIB, 0, 1024 * 1024),
}


def _entry(node: Node) -> Entry:
    keys = node.mapping({"rules", "actions", "containers", "steps"}, required=("steps",))
    steps = tuple(item.choice(STEPS) for item in keys["steps"].sequence())
    if len(set(steps)) != len(steps):
        raise keys["steps"].error("a step is named twice", "name each once")
    if not steps or steps[0] != "freeze":
        raise keys["steps"].error("the first step must be freeze", f"for example: [{', '.join(STEPS)}]")
    if "replace" in steps and "cut" not in steps[: steps.index("replace")]:
        raise keys["steps"].error("replace without cut before it: the published port is still taken", "put cut before replace")
    rules = keys["rules"].strings() if "rules" in keys else ()
    actions = tuple(item.choice(_ACTIONS) for item in keys["actions"].sequence()) if "actions" in keys else ()
    if not rules and not actions:
        raise node.error("names neither rules nor actions", "add `rules: [NAME]` or `actions: [freeze]`")
    containers = keys["containers"].strings() if "containers" in keys else ("*",)
    return Entry(steps=steps, rules=rules, actions=actions, containers=containers)
