"""Definitions → rules: names resolved, fields and values checked, prepared for each kind of event.

A rule that could only match events the sensor does not report, or that depends on a field it does not tell, is `skipped` and says so;
it is never evaluated as if the value were missing. What can be known of a comparison from the kind of event alone (its `evt.type`, fields
it never has) is decided here once, so that an event meets only rules that can match it and only the comparisons that are open.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from shipwall.lang.condition import (
    LIST_OPERATORS,
    MODIFIERS,
    NUMBER_OPERATORS,
    TEXT_OPERATORS,
    And,
    Compare,
    Condition,
    Exists,
    Field,
    Macro,
    Not,
    Operand,
    Or,
    Transform,
    Value,
    fields_of,
    leaves_of,
    operand_fields,
    parse_condition,
    parse_item,
    render_condition,
    render_leaf,
)
from shipwall.lang.diagnostic import SourceError, did_you_mean
from shipwall.lang.yaml_text import Node
from shipwall.model.event import Event
from shipwall.runtime.conditions import LiteralError, make_check, specialise
from shipwall.runtime.fields import (
    EVENT_TYPES,
    HOST_NAMES,
    KIND_OF,
    KINDS,
    MEANINGS,
    bind_field,
    event_type,
    has_meaning,
    is_known,
    kinds_with,
    known_names,
    wrong_argument,
)
from shipwall.runtime.judge import Judge, compile_judge
from shipwall.runtime.rules.definitions import Definitions, Notice, RuleDefinition, Text, Throttle
from shipwall.runtime.rules.output import Output, parse_output
from shipwall.runtime.untold import NOT_REPORTED, UNTOLD

MAX_LEAVES = 50_000
MAX_RULES = 20_000
MANY_KINDS = 6

Candidates = tuple[tuple["Rule", Condition | bool], ...]
"""Rules that can match a kind of event, each with what is left to ask."""


@dataclass(frozen=True)
class Rule:
    """One rule. `condition` has macros and lists expanded; `written` is its own text. `kinds`: the events it can match.

    `untold`: fields of its output that the sensor does not tell (shown as `<NA>`). `file` and `line` say where it stands.
    `throttle`: how many alerts it may raise in a container; None for all. `capture_ms`: for how long it asks to capture, None for not.
    `action` alert, deny, kill, stop or freeze; `mode` monitor or enforce; `action_at` (line, column) of the action. `sequence`: rules that
    must have matched in this order in the same container, the last with this very event, all `within_ns`. `is_step`: some sequence names
    it, so it is judged also when it is off.
    """

    name: str
    description: str
    written: str
    condition: Condition
    output: Output
    priority: str
    tags: tuple[str, ...]
    enabled: bool
    action: str
    kinds: frozenset[str]
    untold: tuple[str, ...]
    file: str
    line: int
    throttle: Throttle | None = None
    capture_ms: int | None = None
    mode: str = "monitor"
    action_at: tuple[int, int] = (0, 0)
    sequence: tuple[str, ...] = ()
    within_ns: int = 0
    is_step: bool = False

    @property
    def is_judged(self) -> bool:
        """Whether events are held against it."""
        return self.enabled or self.is_step


@dataclass(frozen=True)
class SkippedRule:
    """A rule that cannot be judged yet: why, and the fields that are missing for it."""

    name: str
    reason: str
    fields: tuple[str, ...]
    file: str
    line: int


@dataclass(frozen=True)
class RuleSet:
    """Rules in load order, skipped ones apart, and for each kind of event the judged rules that can match it.

    `notices`: what is not wrong but deserves a look. `host_names`: names of hosts that conditions ask for (`fd.sip.name = example.org`).
    """

    rules: tuple[Rule, ...]
    skipped: tuple[SkippedRule, ...]
    macros: dict[str, Condition]
    lists: dict[str, tuple[Value, ...]]
    by_event: dict[type[Event], Candidates] = field(repr=False, default_factory=dict)
    notices: tuple[Notice, ...] = ()
    host_names: frozenset[str] = frozenset()
    _judges: dict[tuple[type[Event], str], tuple[tuple[Rule, ...], Judge] | None] = field(repr=False, default_factory=dict)

    def judge(self, event: Event) -> tuple[tuple[Rule, ...], Judge] | None:
        """The rules that can match events like this one, in load order, and what says which of them do; None when none can.

        Made when the first event of its `evt.type` comes: most types never do.
        """
        key = (type(event), event_type(event))
        try:
            return self._judges[key]
        except KeyError:
            made = self._judges[key] = self._make(*key)
            return made

    def _make(self, struct: type[Event], name: str) -> tuple[tuple[Rule, ...], Judge] | None:
        kind = KIND_OF[struct]
        left = [(rule, left_for_type(tree, kind, name)) for rule, tree in self.by_event.get(struct, ())]
        open_ = [(rule, tree) for rule, tree in left if tree is not False]
        if not open_:
            return None
        return tuple(rule for rule, _ in open_), compile_judge([tree for _, tree in open_], lambda used: bind_field(used, kind))

    def find(self, name: str) -> Rule | None:
        """The rule called `name`, letters' case aside."""
        return next((rule for rule in self.rules if rule.name.lower() == name.lower()), None)


def build_rule_set(definitions: Definitions) -> RuleSet:
    """The rules that the definitions make. Raises SourceError at unknown names, cycles and values that cannot be compared."""
    return _Builder(definitions).build()


class _Builder:
    """Resolves lists, then macros, then rules; every cycle is found by the names being resolved."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.lists: dict[str, tuple[Value, ...]] = {}
        self.macros: dict[str, Condition] = {}
        self.sizes: dict[str, int] = {}
        self.resolving: list[str] = []
        self.index: dict[type[Event], list[tuple[Rule, Condition | bool]]] = {}
        self.notices: list[Notice] = list(definitions.notices)
        self.steps: set[str] = set()
        self.unbuilt: dict[str, str] = {}

    def build(self) -> RuleSet:
        if len(self.definitions.rules) > MAX_RULES:
            node = next(iter(self.definitions.rules.values())).node
            raise node.error(f"{len(self.definitions.rules)} rules are over the limit of {MAX_RULES}")
        for name in self.definitions.lists:
            self.list(name)
        for name, macro in self.definitions.macros.items():
            self.macro(name, macro.condition, 0)
        for definition in self.definitions.rules.values():
            self.check_steps(definition)
        order = {name: number for number, name in enumerate(self.definitions.rules)}
        rules: list[Rule] = []
        skipped: list[SkippedRule] = []
        for definition in sorted(
            self.definitions.rules.values(), key=lambda one: bool(one.sequence)
        ):  # what they name comes first
            made = self.rule(definition)
            if isinstance(made, Rule):
                rules.append(made)
            else:
                skipped.append(made)
                self.unbuilt[made.name] = made.reason
        rules.sort(key=lambda rule: order[rule.name])
        skipped.sort(key=lambda rule: order[rule.name])
        index = {struct: tuple(sorted(entries, key=lambda entry: order[entry[0].name])) for struct, entries in self.index.items()}
        names = {
            value.text
            for rule in rules
            for leaf in leaves_of(rule.condition)
            if isinstance(leaf, Compare) and isinstance(leaf.operand, Field) and leaf.operand.name in HOST_NAMES
            for value in leaf.values
        }
        return RuleSet(tuple(rules), tuple(skipped), self.macros, self.lists, index, tuple(self.notices), frozenset(names))

    # names

    def list(self, name: str) -> tuple[Value, ...]:
        """The values of a list, the lists it names replaced by theirs."""
        if name in self.lists:
            return self.lists[name]
        definition = self.definitions.lists[name]
        self.enter(f"list {name}", definition.node)
        values: list[Value] = []
        for node in definition.items:
            value = self.item(node)
            nested = not value.quoted and value.text in self.definitions.lists
            values += self.list(value.text) if nested else (value,)
            if len(values) > MAX_LEAVES:
                raise node.error(f"list {name!r} has more than {MAX_LEAVES} values", "split it")
        self.resolving.pop()
        self.lists[name] = tuple(dict.fromkeys(values))
        return self.lists[name]

    def item(self, node: Node) -> Value:
        try:
            return parse_item(node.string())
        except SourceError as error:
            raise node.error(f"list item {node.string()[:40]!r} has a wrong escape") from error

    def macro(self, name: str, used_in: Text, offset: int) -> Condition:
        """The expanded condition of a macro used at `offset` of a text."""
        if name in self.macros:
            return self.macros[name]
        definition = self.definitions.macros.get(name)
        if definition is None:
            if name in self.definitions.lists:
                raise used_in.error_at(offset, f"{name!r} is a list, not a condition", f"write `FIELD in ({name})`")
            hint = did_you_mean(name, self.definitions.macros)
            raise used_in.error_at(offset, f"macro {name!r} is not defined", hint)
        self.enter(f"macro {name}", definition.node)
        tree = self.expand(self.parse(definition.condition), definition.condition)
        self.resolving.pop()
        self.macros[name] = tree
        self.sizes[name] = sum(1 for _leaf in leaves_of(tree))
        return tree

    def enter(self, what: str, node: Node) -> None:
        if what in self.resolving:
            circle = " → ".join([*self.resolving[self.resolving.index(what) :], what])
            raise node.error(f"defined by itself: {circle[:300]}", "break the circle")
        if len(self.resolving) >= 100:
            raise node.error("definitions are nested deeper than 100", "flatten them")
        self.resolving.append(what)

    # conditions

    def parse(self, text: Text) -> Condition:
        try:
            return parse_condition(text.text)
        except SourceError as error:
            offset = _offset(text.text, error.line_number or 1, error.column or 1)
            raise text.error_at(offset, error.reason, error.next_step) from error

    def expand(self, tree: Condition, text: Text) -> Condition:
        """`tree` with macros and lists replaced, its fields and values checked."""
        left = MAX_LEAVES

        def walk(node: Condition) -> Condition:
            nonlocal left
            if isinstance(node, And | Or):
                return replace(node, items=tuple(walk(item) for item in node.items))
            if isinstance(node, Not):
                return replace(node, item=walk(node.item))
            if isinstance(node, Macro):
                inside = self.macro(node.name, text, node.start)
                left -= self.sizes[node.name]
            else:
                inside = self.leaf(node, text)
                left -= 1
            if left < 0:
                raise text.error_at(node.start, f"more than {MAX_LEAVES} comparisons", "split the rule")
            return inside

        return walk(tree)

    def leaf(self, leaf: Compare | Exists, text: Text) -> Condition:
        """The comparison with its lists replaced and its values checked; anyof and allof are written out."""
        for used in fields_of(leaf):
            self.check_field(used, text)
        if isinstance(leaf, Exists) or leaf.right is not None:
            return leaf
        if leaf.operator in LIST_OPERATORS or leaf.modifier:
            values: list[Value] = []
            for value in leaf.values:
                is_list = not value.quoted and value.text in self.definitions.lists
                values += self.list(value.text) if is_list else (value,)
            leaf = replace(leaf, values=tuple(replace(value, start=0) for value in values))
        kind = _kind_of(leaf)
        if kind is not None and leaf.values:
            groups = [(value,) for value in leaf.values] if leaf.modifier else [leaf.values]
            try:
                for group in groups:
                    make_check(leaf.operator, tuple(value.text for value in group), kind)
            except LiteralError as error:
                raise text.error_at(leaf.start, f"{render_leaf(leaf)[:80]}: {error.reason}") from error
        return _written_out(leaf)

    def check_field(self, used: Field, text: Text) -> None:
        if not is_known(used):
            raise text.error_at(used.start, f"unknown field {used.name!r}", did_you_mean(used.name, known_names()))
        if reason := wrong_argument(used):
            raise text.error_at(used.start, reason)

    # sequences

    def check_steps(self, definition: RuleDefinition) -> None:
        """Every rule a sequence names exists and is no sequence itself."""
        for node in definition.sequence:
            step = self.definitions.rules.get(node.string())
            if step is None:
                hint = did_you_mean(node.string(), self.definitions.rules)
                raise node.error(f"rule {node.string()[:80]!r} is not defined", hint or "see `shipwall rule list`")
            if step.sequence:
                raise node.error(f"rule {step.name!r} is a sequence itself", "name the rules it is made of")
            if definition.enabled:
                self.steps.add(step.name)

    def tree_of(self, definition: RuleDefinition) -> Condition:
        """The whole condition: of a sequence that of its last rule, and its own."""
        own = definition.condition
        trees = [] if own is None else [self.with_exceptions(self.expand(self.parse(own), own), definition)]
        if definition.sequence:
            trees.insert(0, self.tree_of(self.definitions.rules[definition.sequence[-1].string()]))
        return trees[0] if len(trees) == 1 else And(tuple(trees))

    # rules

    def rule(self, definition: RuleDefinition) -> Rule | SkippedRule:
        node = definition.node

        def skip(reason: str, *fields: str) -> SkippedRule:
            return SkippedRule(definition.name, reason, fields, node.document.name, node.line)

        if definition.unmet:
            return skip(definition.unmet)
        if definition.source != "syscall":
            return skip(f"its source is {definition.source!r}, and only syscall is observed")
        sequence = tuple(step.string() for step in definition.sequence)
        for name in sequence:
            if name in self.unbuilt:
                return skip(f"rule {name!r} of its sequence is skipped: {self.unbuilt[name]}")
        try:
            tree = self.tree_of(definition)
            output = parse_output(definition.output)
        except SourceError as error:
            if definition.skip_if_unknown and error.reason.startswith("unknown field"):
                return skip(error.reason)
            raise
        left = {kind: rest for kind in KINDS if (rest := left_to_ask(tree, kind)) is not False}
        if not left:
            return skip(_never(tree))
        missing = {
            _name(used)
            for rest in left.values()
            if not isinstance(rest, bool)
            for used in fields_of(rest)
            if not has_meaning(used)
        }
        if missing:
            return skip(f"the sensor does not tell {', '.join(sorted(missing))}{_why_untold(missing)}", *sorted(missing))
        rule = Rule(
            name=definition.name,
            description=definition.description,
            written=" ".join(definition.condition.text.split()) if definition.condition is not None else "",
            condition=tree,
            output=output,
            priority=definition.priority,
            tags=definition.tags,
            enabled=definition.enabled,
            action=definition.action,
            kinds=frozenset(left),
            untold=tuple(sorted({_name(part) for part in _fields_in(output) if not has_meaning(part)})),
            file=node.document.name,
            line=node.line,
            throttle=definition.throttle,
            capture_ms=definition.capture_ms if definition.capture else None,
            mode=definition.mode,
            action_at=(definition.action_node.line, definition.action_node.column) if definition.action_node else (0, 0),
            sequence=sequence,
            within_ns=definition.within_ns,
            is_step=definition.name in self.steps,
        )
        if len(left) > MANY_KINDS and definition.warn_evttypes:
            reason = f"rule {rule.name!r} is judged on {len(left)} kinds of event; say `evt.type` or `warn_evttypes: false`"
            self.notices.append(Notice(node.document.name, node.line, reason))
        if rule.is_judged:
            for kind, rest in left.items():
                self.index.setdefault(KINDS[kind], []).append((rule, rest))
        return rule

    def with_exceptions(self, tree: Condition, definition: RuleDefinition) -> Condition:
        """`tree and not (exceptions)`: each exception is any of its value rows, a row all of its comparisons."""
        rows: list[Condition] = []
        known: dict[str, tuple[tuple[str, ...], tuple[str, ...], bool]] = {}
        for node in definition.exceptions:
            keys = node.mapping({"name", "fields", "comps", "values"}, required=("name",))
            name = keys["name"].string()
            if "fields" in keys:
                known[name] = _exception_shape(keys)
            elif name not in known:
                raise node.error(f"exception {name!r} has no fields", "add `fields:`")
            if "values" not in keys or keys["values"].is_null():
                continue
            fields, operators, is_single = known[name]
            if is_single:
                rows.append(self.exception_leaf(fields[0], operators[0], keys["values"]))
                continue
            for row in keys["values"].sequence():
                cells = row.sequence()
                if len(cells) != len(fields):
                    raise row.error(f"{len(cells)} values for {len(fields)} fields")
                tests = [self.exception_leaf(*cell) for cell in zip(fields, operators, cells, strict=True)]
                rows.append(tests[0] if len(tests) == 1 else And(tuple(tests)))
        if not rows:
            return tree
        return And((tree, Not(rows[0] if len(rows) == 1 else Or(tuple(rows)))))

    def exception_leaf(self, name: str, operator: str, node: Node) -> Condition:
        values = tuple(self.item(item) for item in ((node,) if node.kind == "scalar" else node.sequence()))
        text = Text((node if node.kind == "scalar" or not node.items else node.items[0],))
        try:
            operand = next(fields_of(parse_condition(f"{name} exists")))
        except SourceError as error:
            raise node.error(f"{name!r} is not a field", error.next_step) from error
        name, _, modifier = operator.partition(" ")
        leaf = Compare(operand, name, values, None, modifier)
        return self.leaf(replace(leaf, text=render_leaf(leaf)), text)


_MODIFIED = tuple(f"{operator} {modifier}" for operator in TEXT_OPERATORS for modifier in MODIFIERS)


def _written_out(leaf: Compare) -> Condition:
    """`leaf` without anyof and allof, which are several comparisons; what is compared with no value at all is false."""
    if leaf.modifier and not leaf.values:
        return replace(leaf, operator="in", modifier="")
    if leaf.modifier not in {"anyof", "allof"}:
        return leaf
    parts = tuple(Compare(leaf.operand, leaf.operator, (value,), start=leaf.start) for value in leaf.values)
    if len(parts) == 1:
        return parts[0]
    return Or(parts, leaf.start) if leaf.modifier == "anyof" else And(parts, leaf.start)


def _why_untold(names: set[str]) -> str:
    """The reasons, where there is more to say than that the sensor does not."""
    whys = {UNTOLD.get(name.partition("[")[0], "") for name in names} - {"", NOT_REPORTED}
    return f": {'; '.join(sorted(whys))}" if whys else ""


def _fields_in(output: Output) -> list[Field]:
    return [used for part in output if not isinstance(part, str) for used in operand_fields(part.operand)]


def _exception_shape(keys: dict[str, Node]) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Fields and operators of an exception, and whether it has one field with a plain list of values."""
    fields, comps = keys["fields"], keys.get("comps")
    operators = {*LIST_OPERATORS, *TEXT_OPERATORS, *NUMBER_OPERATORS, *_MODIFIED}
    if fields.kind == "scalar":
        operator = "in" if comps is None else comps.choice((*LIST_OPERATORS, *_MODIFIED))
        return (fields.string(),), (operator,), True
    names = fields.strings()
    chosen = ("=",) * len(names) if comps is None else tuple(item.choice(sorted(operators)) for item in comps.sequence())
    if not names or len(chosen) != len(names):
        raise fields.error(f"{len(names)} fields and {len(chosen)} comps", "give one comparison for each field")
    return names, chosen, False


def left_to_ask(tree: Condition, kind: str) -> Condition | bool:
    """What remains of the condition for events of `kind`: True, False, or the comparisons still open."""
    return specialise(tree, lambda leaf: known_result(leaf, kind))


def left_for_type(tree: Condition | bool, kind: str, name: str) -> Condition | bool:
    """What remains for events of `kind` whose `evt.type` is `name`."""
    return tree if isinstance(tree, bool) else specialise(tree, lambda leaf: known_result(leaf, kind, (name,)))


def known_result(leaf: Compare | Exists, kind: str, types: tuple[str, ...] = ()) -> bool | None:
    """What the comparison says about EVERY event of `kind` (and of one of `types`); None when that depends on the event or the field is
    not told."""
    used = list(fields_of(leaf))
    for asked in used:
        if has_meaning(asked) and (kinds := kinds_with(asked)) is not None and kind not in kinds:
            return False
    operand = leaf.operand
    if isinstance(leaf, Exists) or leaf.right is not None or leaf.modifier or not isinstance(operand, Field) or not leaf.values:
        return None
    literals = tuple(value.text for value in leaf.values)
    if operand.name == "evt.type":
        check = make_check(leaf.operator, literals, "text")
        results = {check(name) for name in types or EVENT_TYPES[kind]}
        return results.pop() if len(results) == 1 else None
    if operand.name == "evt.num" and literals == ("0",):  # the idiom for never and always: numbers begin at 1
        return {"=": False, "==": False, "<": False, "<=": False, "!=": True, ">": True, ">=": True}.get(leaf.operator)
    return None


def _kind_of(leaf: Compare) -> str | None:
    """The kind of value the comparison sees, None when the field has no meaning here."""
    operand: Operand = leaf.operand
    if isinstance(operand, Transform):
        return "number" if operand.name == "len" else "text"
    if operand.name.startswith("evt.arg"):
        return "text"
    meaning = MEANINGS.get(operand.name)
    return None if meaning is None else meaning.kind


def _name(used: Field) -> str:
    return used.name if used.argument is None else f"{used.name}[{used.argument}]"


def _never(tree: Condition) -> str:
    """Why no observed event can match."""
    observed = {name for names in EVENT_TYPES.values() for name in names}
    asked = {
        value.text
        for leaf in leaves_of(tree)
        if isinstance(leaf, Compare) and leaf.operator in {"=", "==", "in"} and leaf.operand == Field("evt.type")
        for value in leaf.values
    }
    unseen = sorted(asked - observed)
    if unseen:
        return f"the sensor does not report {', '.join(unseen)}"
    return f"no event can match {render_condition(tree)[:120]}"


def _offset(text: str, line: int, column: int) -> int:
    """The character at line and column of `text`."""
    at = 0
    for _line in range(line - 1):
        at = text.find("\n", at) + 1
    return at + column - 1
