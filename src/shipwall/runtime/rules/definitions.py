"""Rule files as written: lists, macros and rules, with later definitions replacing, appending to or overriding earlier ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from shipwall.lang.diagnostic import SourceError, did_you_mean
from shipwall.lang.yaml_text import Node, parse_yaml

PRIORITIES = ("Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug")
ACTIONS = ("alert", "kill", "freeze")

_RULE_KEYS = {
    "rule", "desc", "condition", "output", "priority", "tags", "enabled", "source", "append", "override", "exceptions",
    "warn_evttypes", "skip-if-unknown-filter", "capture", "capture_duration", "action",
}  # fmt: skip
_MACRO_KEYS = {"macro", "condition", "append", "override"}
_LIST_KEYS = {"list", "items", "append", "override"}
_VERSION_KEYS = {"required_engine_version", "required_plugin_versions"}
_OVERRIDES: dict[str, dict[str, tuple[str, ...]]] = {
    "rule": {
        "desc": ("append", "replace"), "condition": ("append", "replace"), "output": ("append", "replace"),
        "tags": ("append", "replace"), "exceptions": ("append", "replace"), "priority": ("replace",), "enabled": ("replace",),
        "warn_evttypes": ("replace",), "skip-if-unknown-filter": ("replace",), "capture": ("replace",),
        "capture_duration": ("replace",), "action": ("replace",),
    },
    "macro": {"condition": ("append", "replace")},
    "list": {"items": ("append", "replace")},
}  # fmt: skip


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
    """A rule."""

    name: str
    node: Node
    condition: Text
    output: Text
    description: str
    priority: str
    tags: tuple[str, ...] = ()
    enabled: bool = True
    source: str = "syscall"
    action: str = "alert"
    skip_if_unknown: bool = False
    exceptions: tuple[Node, ...] = ()


@dataclass
class Definitions:
    """Everything the files define, in order of first definition."""

    lists: dict[str, ListDefinition] = field(default_factory=dict)
    macros: dict[str, MacroDefinition] = field(default_factory=dict)
    rules: dict[str, RuleDefinition] = field(default_factory=dict)


def read_definitions(files: Iterable[tuple[str, str | bytes]]) -> Definitions:
    """The definitions of the files (name, text), in order. Raises SourceError at what is not a rule file."""
    found = Definitions()
    for name, text in files:
        tree = parse_yaml(text, name)
        if tree.is_null():
            continue
        for item in tree.sequence():
            _read_item(found, item)
    return found


def _read_item(found: Definitions, item: Node) -> None:
    keys = item.mapping()
    if "rule" in keys:
        values = item.mapping(_RULE_KEYS)
        _read_rule(found, item, values)
    elif "macro" in keys:
        values = item.mapping(_MACRO_KEYS)
        name = values["macro"].string()
        known = found.macros.get(name)
        how = _how(item, values, "macro", "condition", exists=known is not None)
        condition = _needed(item, values, "condition")
        parts = (*known.condition.parts, condition) if known is not None and how == "append" else (condition,)
        found.macros[name] = MacroDefinition(name, known.node if known else item, _text(parts))
    elif "list" in keys:
        values = item.mapping(_LIST_KEYS)
        name = values["list"].string()
        listed = found.lists.get(name)
        how = _how(item, values, "list", "items", exists=listed is not None)
        node = _needed(item, values, "items")
        items = () if node.is_null() else node.sequence()
        for entry in items:
            entry.string()
        if listed is not None and how == "append":
            items = (*listed.items, *items)
        found.lists[name] = ListDefinition(name, listed.node if listed else item, items)
    else:
        if not keys.keys() & _VERSION_KEYS:
            hint = did_you_mean(next(iter(keys), ""), {"rule", "macro", "list", *_VERSION_KEYS})
            raise item.error("expected a rule, a macro or a list", hint)
        item.mapping(_VERSION_KEYS)


def _needed(item: Node, values: dict[str, Node], key: str) -> Node:
    if key not in values:
        raise item.error(f"key {key!r} is missing", f"add `{key}:`")
    return values[key]


def _text(parts: tuple[Node, ...]) -> Text:
    for part in parts:
        part.string()
    return Text(parts)


def _how(item: Node, values: dict[str, Node], kind: str, key: str, *, exists: bool) -> str:
    """append or replace, for the macros and lists whose only value is `key`."""
    ways = _ways(item, values, kind, exists=exists)
    return ways.get(key, "replace")


def _ways(item: Node, values: dict[str, Node], kind: str, *, exists: bool) -> dict[str, str]:
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
    if ways and not exists:
        raise item.error(f"changes {kind} {values[kind].string()!r}, which is not defined before", "define it first")
    return ways


def _read_rule(found: Definitions, item: Node, values: dict[str, Node]) -> None:
    name = values["rule"].string()
    known = found.rules.get(name)
    ways = _ways(item, values, "rule", exists=known is not None)
    if known is not None and not ways and values.keys() == {"rule", "enabled"}:  # how rules were switched before override
        found.rules[name] = replace(known, enabled=values["enabled"].boolean())
        return
    if known is not None and ways:
        found.rules[name] = _changed(known, values, ways)
        return
    for key in ("desc", "condition", "output", "priority"):
        _needed(item, values, key)
    found.rules.pop(name, None)
    found.rules[name] = RuleDefinition(
        name=name,
        node=item,
        condition=_text((values["condition"],)),
        output=_text((values["output"],)),
        description=_one_line(values["desc"]),
        priority=_priority(values["priority"]),
        tags=values["tags"].strings() if "tags" in values else (),
        enabled=values["enabled"].boolean() if "enabled" in values else True,
        source=values["source"].string() if "source" in values else "syscall",
        action=values["action"].choice(ACTIONS) if "action" in values else "alert",
        skip_if_unknown="skip-if-unknown-filter" in values and values["skip-if-unknown-filter"].boolean(),
        exceptions=values["exceptions"].sequence() if "exceptions" in values else (),
    )


def _changed(known: RuleDefinition, values: dict[str, Node], ways: dict[str, str]) -> RuleDefinition:
    """`known` after an append or an override."""
    rule = known
    for key, way in ways.items():
        node, adds = values[key], way == "append"
        if key == "condition":
            rule = replace(rule, condition=_text((*rule.condition.parts, node) if adds else (node,)))
        elif key == "output":
            rule = replace(rule, output=_text((*rule.output.parts, node) if adds else (node,)))
        elif key == "desc":
            rule = replace(rule, description=f"{rule.description} {_one_line(node)}" if adds else _one_line(node))
        elif key == "tags":
            rule = replace(rule, tags=tuple(dict.fromkeys((*rule.tags, *node.strings()))) if adds else node.strings())
        elif key == "exceptions":
            rule = replace(rule, exceptions=(*rule.exceptions, *node.sequence()) if adds else node.sequence())
        elif key == "priority":
            rule = replace(rule, priority=_priority(node))
        elif key == "enabled":
            rule = replace(rule, enabled=node.boolean())
        elif key == "action":
            rule = replace(rule, action=node.choice(ACTIONS))
        elif key == "skip-if-unknown-filter":
            rule = replace(rule, skip_if_unknown=node.boolean())
    return rule


def _one_line(node: Node) -> str:
    return " ".join(node.string().split())


def _priority(node: Node) -> str:
    wanted = node.string().strip().capitalize()
    wanted = "Informational" if wanted == "Info" else wanted
    if wanted not in PRIORITIES:
        raise node.error(f"{node.string()[:40]!r} is not a priority", did_you_mean(wanted, PRIORITIES) or ", ".join(PRIORITIES))
    return wanted
