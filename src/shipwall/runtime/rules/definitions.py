"""Rule files as written: lists, macros and rules, with later definitions replacing, appending to or overriding earlier ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from shipwall.lang.diagnostic import SourceError, did_you_mean
from shipwall.lang.yaml_text import Node, parse_yaml
from shipwall.model.alert import PRIORITIES

ACTIONS = ("alert", "deny", "kill", "stop", "freeze")
RULE_MODES = ("monitor", "enforce")
STEPS_OF_SEQUENCES = range(2, 9)
MAX_WITHIN_NS = 3_600_000_000_000

_RULE_KEYS = {
    "rule", "desc", "condition", "output", "priority", "tags", "enabled", "source", "append", "override", "exceptions",
    "warn_evttypes", "skip-if-unknown-filter", "capture", "capture_duration", "action", "throttle", "mode",
    "sequence", "within",
}  # fmt: skip
_MACRO_KEYS = {"macro", "condition", "append", "override"}
_LIST_KEYS = {"list", "items", "append", "override"}
_VERSION_KEYS = {"required_engine_version", "required_plugin_versions"}
_OVERRIDES: dict[str, dict[str, tuple[str, ...]]] = {
    "rule": {
        "desc": ("append", "replace"), "condition": ("append", "replace"), "output": ("append", "replace"),
        "tags": ("append", "replace"), "exceptions": ("append", "replace"), "priority": ("replace",), "enabled": ("replace",),
        "warn_evttypes": ("replace",), "skip-if-unknown-filter": ("replace",), "capture": ("replace",),
        "capture_duration": ("replace",), "action": ("replace",), "throttle": ("replace",),
        "mode": ("replace",), "sequence": ("replace",), "within": ("replace",),
    },
    "macro": {"condition": ("append", "replace")},
    "list": {"items": ("append", "replace")},
}  # fmt: skip


ENGINE_VERSION = (0, 57, 0)
"""The version of Falco's rule language and fields that is understood here (`required_engine_version`)."""
PLUGINS = {"container": (0, 7, 1)}
"""Falco's plugins whose fields are built in."""

_DURATION = re.compile(r"([0-9]{1,6})\s*(ms|s|m|h|d)")
_UNITS_NS = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000}


class Throttle(NamedTuple):
    """At most `alerts` of a rule in `per_ns` nanoseconds in each container."""

    alerts: int
    per_ns: int


class Notice(NamedTuple):
    """Something in a rule file that is not wrong but deserves a look."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class Text:
    """A text made of scalars joined by blanks, each still knowing its place in its file."""

    parts: tuple[Node, ...]

    @property
    def text(self) -> str:
        """The whole text."""
        return " ".join(part.string() for part in self.parts)

    def error_at(self, offset: int, reason: str, next_step: str = "") -> SourceError:
        """The error at character `offset` of the whole text, placed in the file that part came from."""
        for part in self.parts[:-1]:
            if offset <= len(part.string()):
                return part.error_at(offset, reason, next_step)
            offset -= len(part.string()) + 1
        return self.parts[-1].error_at(offset, reason, next_step)


@dataclass(frozen=True)
class ListDefinition:
    """A list: its items as written; some may name other lists."""

    name: str
    node: Node
    items: tuple[Node, ...]


@dataclass(frozen=True)
class MacroDefinition:
    """A macro."""

    name: str
    node: Node
    condition: Text


@dataclass(frozen=True)
class RuleDefinition:
    """A rule. `condition` None: it has only a sequence, which its last rule ends. `action_node`: where its action is written."""

    name: str
    node: Node
    condition: Text | None
    output: Text
    description: str
    priority: str
    tags: tuple[str, ...] = ()
    enabled: bool = True
    source: str = "syscall"
    action: str = "alert"
    skip_if_unknown: bool = False
    exceptions: tuple[Node, ...] = ()
    warn_evttypes: bool = True
    capture: bool = False
    capture_ms: int = 0
    throttle: Throttle | None = None
    unmet: str = ""
    mode: str = "monitor"
    action_node: Node | None = None
    sequence: tuple[Node, ...] = ()
    within_ns: int = 0


@dataclass
class Definitions:
    """Everything the files define, in order of first definition.

    `unmet`: by file, why its rules cannot be judged (it wants a newer engine or a plugin that is not here); empty when they can.
    """

    lists: dict[str, ListDefinition] = field(default_factory=dict)
    macros: dict[str, MacroDefinition] = field(default_factory=dict)
    rules: dict[str, RuleDefinition] = field(default_factory=dict)
    unmet: dict[str, str] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)


def read_definitions(files: Iterable[tuple[str, str | bytes]]) -> Definitions:
    """The definitions of the files (name, text), in order. Raises SourceError at what is not a rule file."""
    found = Definitions()
    for name, text in files:
        tree = parse_yaml(text, name)
        if tree.is_null():
            continue
        items = tree.sequence()
        for item in items:  # wherever it stands, it speaks for the whole file
            if _VERSION_KEYS & item.mapping().keys():
                _read_versions(found, item)
        for item in items:
            _read_item(found, item)
    return found


def _read_versions(found: Definitions, item: Node) -> None:
    values = item.mapping(_VERSION_KEYS)
    why = ""
    if "required_engine_version" in values:
        node = values["required_engine_version"]
        wanted = _version(node)
        if wanted > ENGINE_VERSION:
            why = f"its file needs engine version {node.string()}, and this one understands {'.'.join(map(str, ENGINE_VERSION))}"
    if "required_plugin_versions" in values:
        for plugin in values["required_plugin_versions"].sequence():
            keys = plugin.mapping({"name", "version", "alternatives"}, required=("name", "version"))
            offers = [keys, *(one.mapping({"name", "version"}, required=("name", "version")) for one in
                              (keys["alternatives"].sequence() if "alternatives" in keys else ()))]  # fmt: skip
            if not any(_version(offer["version"]) <= PLUGINS.get(offer["name"].string(), (-1,)) for offer in offers):
                why = f"its file needs the plugin {keys['name'].string()} {keys['version'].string()}"
    if why:
        found.unmet[item.document.name] = why
        found.notices.append(Notice(item.document.name, item.line, why.replace("its file", "this file", 1)))


def _version(node: Node) -> tuple[int, ...]:
    """`0.57.0`, or the old form `57`, which means 0.57.0."""
    text = node.string()
    parts = text.split(".")
    if len(parts) == 1 and text.isdigit() and len(text) < 6:
        return (0, int(text), 0)
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise node.error(f"{text[:40]!r} is not a version", "write it as 0.57.0")
    return tuple(map(int, parts))


def _read_item(found: Definitions, item: Node) -> None:
    keys = item.mapping()
    if "rule" in keys:
        values = item.mapping(_RULE_KEYS)
        _read_rule(found, item, values)
    elif "macro" in keys:
        values = item.mapping(_MACRO_KEYS)
        name = values["macro"].string()
        known = found.macros.get(name)
        how = _how(found, item, values, "macro", "condition", exists=known is not None)
        condition = _needed(item, values, "condition")
        parts = (*known.condition.parts, condition) if known is not None and how == "append" else (condition,)
        found.macros[name] = MacroDefinition(name, known.node if known else item, _text(parts))
    elif "list" in keys:
        values = item.mapping(_LIST_KEYS)
        name = values["list"].string()
        listed = found.lists.get(name)
        how = _how(found, item, values, "list", "items", exists=listed is not None)
        node = _needed(item, values, "items")
        items = () if node.is_null() else node.sequence()
        for entry in items:
            entry.string()
        if listed is not None and how == "append":
            items = (*listed.items, *items)
        found.lists[name] = ListDefinition(name, listed.node if listed else item, items)
    elif not keys.keys() & _VERSION_KEYS:
        hint = did_you_mean(next(iter(keys), ""), {"rule", "macro", "list", *_VERSION_KEYS})
        raise item.error("expected a rule, a macro or a list", hint)


def _needed(item: Node, values: dict[str, Node], key: str) -> Node:
    if key not in values:
        raise item.error(f"key {key!r} is missing", f"add `{key}:`")
    return values[key]


def _text(parts: tuple[Node, ...]) -> Text:
    for part in parts:
        part.string()
    return Text(parts)


def _how(found: Definitions, item: Node, values: dict[str, Node], kind: str, key: str, *, exists: bool) -> str:
    """append or replace, for the macros and lists whose only value is `key`."""
    ways = _ways(found, item, values, kind, exists=exists)
    return ways.get(key, "replace")


def _ways(found: Definitions, item: Node, values: dict[str, Node], kind: str, *, exists: bool) -> dict[str, str]:
    """What to do with each key: empty for a new definition, else append or replace by key."""
    appends = "append" in values and values["append"].boolean()
    ways: dict[str, str] = {}
    if "override" in values:
        if appends:
            raise values["append"].error("append and override cannot stand together", "keep override")
        for key, node in values["override"].mapping(_OVERRIDES[kind]).items():
            ways[key] = node.choice(_OVERRIDES[kind][key])
            if key not in values:
                raise node.error(f"overrides {key!r} but gives no {key!r}", f"add `{key}:`")
        extra = values.keys() - ways.keys() - {kind, "override", "append"}
        if extra:
            raise item.error(f"key {min(extra)!r} is given but not overridden", f"add `{min(extra)}: replace` to override")
    elif appends:
        ways = {key: "append" for key in _OVERRIDES[kind] if key in values and "append" in _OVERRIDES[kind][key]}
        line = values["append"].line
        found.notices.append(Notice(item.document.name, line, "`append: true` is the old form; write `override:`"))
    if ways and not exists:
        raise item.error(f"changes {kind} {values[kind].string()!r}, which is not defined before", "define it first")
    return ways


def _read_rule(found: Definitions, item: Node, values: dict[str, Node]) -> None:
    name = values["rule"].string()
    known = found.rules.get(name)
    ways = _ways(found, item, values, "rule", exists=known is not None)
    if known is not None and ways and (unmet := found.unmet.get(item.document.name)):
        found.notices.append(Notice(item.document.name, item.line, f"the change of rule {name!r} is left out: {unmet}"))
        return
    if known is not None and not ways and values.keys() == {"rule", "enabled"}:  # how rules were switched before override
        found.rules[name] = replace(known, enabled=values["enabled"].boolean())
        return
    if known is not None and ways:
        found.rules[name] = _changed(known, values, ways)
        return
    for key in ("desc", "output", "priority") if "sequence" in values else ("desc", "condition", "output", "priority"):
        _needed(item, values, key)
    found.rules[name] = RuleDefinition(  # a rule defined anew keeps its place in the order
        name=name,
        node=item,
        condition=_text((values["condition"],)) if "condition" in values else None,
        output=_text((values["output"],)),
        description=_one_line(values["desc"]),
        priority=_priority(values["priority"]),
        tags=values["tags"].strings() if "tags" in values else (),
        enabled=values["enabled"].boolean() if "enabled" in values else True,
        source=values["source"].string() if "source" in values else "syscall",
        action=values["action"].choice(ACTIONS) if "action" in values else "alert",
        skip_if_unknown="skip-if-unknown-filter" in values and values["skip-if-unknown-filter"].boolean(),
        exceptions=values["exceptions"].sequence() if "exceptions" in values else (),
        warn_evttypes=values["warn_evttypes"].boolean() if "warn_evttypes" in values else True,
        capture="capture" in values and values["capture"].boolean(),
        capture_ms=_milliseconds(values["capture_duration"]) if "capture_duration" in values else 0,
        throttle=_throttle(values["throttle"]) if "throttle" in values else None,
        unmet=found.unmet.get(item.document.name, ""),
        mode=values["mode"].choice(RULE_MODES) if "mode" in values else "monitor",
        action_node=values.get("action"),
        sequence=_sequence(values["sequence"]) if "sequence" in values else (),
        within_ns=_within(values["within"]) if "within" in values else 0,
    )
    _check_sequence(found.rules[name], values)


def _sequence(node: Node) -> tuple[Node, ...]:
    """The names of rules in order; null takes a sequence away."""
    if node.is_null():
        return ()
    names = node.sequence()
    if len(names) not in STEPS_OF_SEQUENCES:
        raise node.error(f"a sequence of {len(names)} rules", f"name {STEPS_OF_SEQUENCES.start} to {STEPS_OF_SEQUENCES.stop - 1}")
    for name in names:
        name.string()
    return names


def _within(node: Node) -> int:
    if node.is_null():
        return 0
    span_ns = _duration_ns(node)
    if span_ns > MAX_WITHIN_NS:
        raise node.error("longer than 1h", "what is further apart is not held together by its order")
    return span_ns


def _check_sequence(rule: RuleDefinition, values: dict[str, Node]) -> None:
    """A sequence and its time come together, and a rule has one or a condition."""
    if rule.sequence and not rule.within_ns:
        raise values.get("sequence", rule.node).error("a sequence without `within`", "add for example `within: 30s`")
    if rule.within_ns and not rule.sequence:
        raise values.get("within", rule.node).error("`within` without a sequence", "add `sequence: [RULE, RULE]`")
    if rule.condition is None and not rule.sequence:
        raise rule.node.error("neither a condition nor a sequence is left", "add `condition:`")


def _duration_ns(node: Node) -> int:
    """`30s`, `10m`, `1h` in nanoseconds."""
    found = _DURATION.fullmatch(node.string())
    if found is None or int(found[1]) == 0:
        raise node.error(f"{node.string()[:40]!r} is not a duration", "write it as 30s, 10m or 1h")
    return int(found[1]) * _UNITS_NS[found[2]]


def _milliseconds(node: Node) -> int:
    if node.integer() < 0:
        raise node.error("a duration cannot be negative")
    return node.integer()


def _throttle(node: Node) -> Throttle | None:
    """`{alerts: 3, per: 10m}`; null takes a throttle away."""
    if node.is_null():
        return None
    keys = node.mapping({"alerts", "per"}, required=("alerts", "per"))
    alerts = keys["alerts"].integer()
    if not 1 <= alerts <= 10_000:
        raise keys["alerts"].error("expected 1 to 10000 alerts")
    return Throttle(alerts, _duration_ns(keys["per"]))


def _changed(known: RuleDefinition, values: dict[str, Node], ways: dict[str, str]) -> RuleDefinition:
    """`known` after an append or an override."""
    rule = known
    for key, way in ways.items():
        node, adds = values[key], way == "append"
        if key == "condition":
            before = rule.condition.parts if adds and rule.condition is not None else ()
            rule = replace(rule, condition=_text((*before, node)))
        elif key == "output":
            rule = replace(rule, output=_text((*rule.output.parts, node) if adds else (node,)))
        elif key == "desc":
            rule = replace(rule, description=f"{rule.description} {_one_line(node)}" if adds else _one_line(node))
        elif key == "tags":
            rule = replace(rule, tags=tuple(dict.fromkeys((*rule.tags, *node.strings()))) if adds else node.strings())
        elif key == "exceptions":
            rule = replace(rule, exceptions=(*rule.exceptions, *node.sequence()) if adds else node.sequence())
        else:
            name, read = _SWITCHES[key]
            rule = replace(rule, **{name: read(node)})
        if key == "action":
            rule = replace(rule, action_node=node)
    _check_sequence(rule, values)
    return rule


def _one_line(node: Node) -> str:
    return " ".join(node.string().split())


def _priority(node: Node) -> str:
    wanted = node.string().strip().capitalize()
    wanted = "Informational" if wanted == "Info" else wanted
    if wanted not in PRIORITIES:
        raise node.error(f"{node.string()[:40]!r} is not a priority", did_you_mean(wanted, PRIORITIES) or ", ".join(PRIORITIES))
    return wanted


_SWITCHES: dict[str, tuple[str, Callable[[Node], Any]]] = {
    "priority": ("priority", _priority),
    "enabled": ("enabled", Node.boolean),
    "action": ("action", lambda node: node.choice(ACTIONS)),
    "skip-if-unknown-filter": ("skip_if_unknown", Node.boolean),
    "warn_evttypes": ("warn_evttypes", Node.boolean),
    "capture": ("capture", Node.boolean),
    "capture_duration": ("capture_ms", _milliseconds),
    "throttle": ("throttle", _throttle),
    "mode": ("mode", lambda node: node.choice(RULE_MODES)),
    "sequence": ("sequence", _sequence),
    "within": ("within_ns", _within),
}
"""Keys that can only be replaced: what of the rule they say, and how they are read."""
