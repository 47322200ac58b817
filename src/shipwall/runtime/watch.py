"""Events in, alerts out."""

from __future__ import annotations

import itertools

from shipwall.model.alert import Alert, Step
from shipwall.model.event import AnyEvent, Exec
from shipwall.runtime.conditions import Explanation
from shipwall.runtime.facts import Context, Facts
from shipwall.runtime.fields import exe_path, is_denied, look_up
from shipwall.runtime.processes import ProcessTable
from shipwall.runtime.quiet import Quiet
from shipwall.runtime.rule_costs import RuleCosts
from shipwall.runtime.rules.output import render_output
from shipwall.runtime.rules.rule_set import Rule, RuleSet
from shipwall.runtime.sequences import Sequences
from shipwall.runtime.throttle import Throttles

KILLED = "killed before its first instruction"
REFUSED = "refused by the system"


class Watch:
    """Judges every event of one node by `rules`, remembering processes.

    `boot` makes alert ids unique across restarts: give something random or the start time. With `first_match` only the first rule in
    load order speaks for an event, as Falco does by default; otherwise every rule that matches does. `costs` samples what rules cost.
    """

    def __init__(
        self, rules: RuleSet, node: str, boot: str = "0", *, first_match: bool = False, costs: RuleCosts | None = None
    ) -> None:
        self._rules = rules
        self.node = node
        self.processes = ProcessTable()
        self.quiet = Quiet(self.processes)
        self._boot = boot
        self._first_match = first_match
        self._count = itertools.count(1)
        self.throttles = Throttles()
        self.costs = costs
        self.sequences = Sequences(rules.rules)
        self._explanations: dict[str, Explanation] = {}

    @property
    def rules(self) -> RuleSet:
        """The rules in force. Others may be set at any time."""
        return self._rules

    @rules.setter
    def rules(self, rules: RuleSet) -> None:
        self._rules = rules
        self.sequences = Sequences(rules.rules)
        self._explanations.clear()
        self.quiet.forget_all()

    def handle(self, event: AnyEvent, context: Context, now_ns: int) -> list[Alert]:
        """The alerts `event` raises, in the rules' order; most events raise none and cost a few microseconds."""
        processes = self.processes
        processes.before(event)
        alerts: list[Alert] = []
        matching: list[int] = []
        asked = 0
        judged = self._rules.judge(event)
        if judged is not None:
            facts = Facts(event, processes, context, self.node)
            rules, judge = judged
            matching = judge(facts)
            asked = facts.asked
            matched = [rules[number] for number in matching]
            if self.costs is not None:
                self.costs.take(rules, facts)
            ended: set[str] = set()
            for rule in matched:
                steps: tuple[Step, ...] = ()
                if not rule.enabled or (rule.sequence and not (steps := self.sequences.complete(rule, event))):
                    continue
                if steps:
                    ended.add(rule.name)
                suppressed = 0
                if rule.throttle is not None:
                    suppressed = self.throttles.take(rule.name, rule.throttle, event.container, event.time_ns)
                if suppressed >= 0:
                    alerts.append(self._raise(rule, facts, now_ns, suppressed, steps))
                if self._first_match:
                    break
            for rule in matched:
                if rule.is_step:
                    self.sequences.note(rule, event, ended)
        processes.after(event)
        if not matching:
            self.quiet.settle(event, asked)
        return alerts

    def _explanation(self, rule: Rule) -> Explanation:
        made = self._explanations.get(rule.name)
        if made is None:
            made = self._explanations[rule.name] = Explanation(rule.condition)
        return made

    def new_id(self, now_ns: int) -> str:
        """The id of an alert raised now."""
        return f"{now_ns:016x}-{self._boot}-{next(self._count):x}"

    def _raise(self, rule: Rule, facts: Facts, now_ns: int, suppressed: int, steps: tuple[Step, ...]) -> Alert:
        event, container = facts.event, facts.container
        lookup = look_up(facts)
        output, fields = render_output(rule.output, lookup)
        digest = container.image_digest if container is not None else None
        denied = is_denied(event)
        if isinstance(event, Exec) and event.killed:
            stopped = KILLED
        else:
            stopped = REFUSED if denied else ""
        return Alert(
            id=self.new_id(now_ns),
            node=self.node,
            time_ns=event.time_ns,
            raised_ns=now_ns,
            rule=rule.name,
            priority=rule.priority,
            output=output,
            action=rule.action,
            event=event,  # type: ignore[arg-type]  # handle() takes AnyEvent
            container=event.container,
            container_name=container.name if container is not None else "",
            image_digest=digest,
            promotion=container.promotion if container is not None else "unknown",
            package=facts.context.package_of(digest, exe_path(facts)) if container is not None else "",
            lineage=facts.lineage,
            why=self._explanation(rule).of(lookup),
            tags=rule.tags,
            denied=denied,
            stopped=stopped,
            output_fields=fields,
            suppressed=suppressed,
            sequence=steps,
        )
