"""Decides what is done about an alert: a plan of ordered steps, or the reason why nothing is done."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable

import msgspec

from shipwall.model.alert import PRIORITIES, Alert
from shipwall.model.container import ContainerFacts
from shipwall.model.digest import Digest
from shipwall.model.errors import InputError
from shipwall.model.image import parse_image_ref
from shipwall.model.verdict import Evidence, Reason
from shipwall.model.wire import ResponseStep
from shipwall.response.policy import Entry, ResponsePolicy

SERVICE_LABELS = ("shipwall.service", "com.docker.compose.service", "com.docker.swarm.service.name")
ENVIRONMENT_LABEL = "shipwall.environment"
FROZEN_MARK = "-frozen-"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What will be done with `container`, in the order of `steps` (freeze, cut, capture, replace).

    `id` follows from alert and container, so the same alert never makes two plans. `alert` is empty when a person (`actor`) asked.
    `image`: reference the replacement is made from. `memory_bytes`, `file_bytes`: budgets of the capture. `notes`: what was left
    out and why. `expires_ns`: until when it waits for a person to approve it, 0 when nobody need. `entry_line`: the line of the policy that
    asks for it, 0 when a rule's own action or a person does.
    """

    id: str
    node: str
    container: str
    container_name: str
    service: str
    steps: tuple[str, ...]
    created_ns: int
    alert: str = ""
    rule: str = ""
    actor: str = "policy"
    reason: str = ""
    image: str = ""
    image_digest: Digest | None = None
    memory_bytes: int
    file_bytes: int
    notes: tuple[str, ...] = ()
    expires_ns: int = 0
    entry_line: int = 0


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """One earlier plan, from the journal. `is_frozen`: its container still is. `is_waiting`: nobody has approved or rejected it yet."""

    plan: str
    container: str
    service: str
    created_ns: int
    is_frozen: bool
    is_waiting: bool = False
    rule: str = ""


def past_of(plan: Plan, *, is_frozen: bool, is_waiting: bool = False) -> Past:
    """`plan` as the plans after it see it."""
    return Past(
        plan=plan.id,
        container=plan.container,
        service=plan.service,
        created_ns=plan.created_ns,
        is_frozen=is_frozen,
        is_waiting=is_waiting,
        rule=plan.rule,
    )


def told_step(plan: Plan, step: str, status: str, time_ns: int, detail: str = "") -> ResponseStep:
    """What the server is told of a step of `plan`."""
    return ResponseStep(
        node=plan.node,
        plan=plan.id,
        alert=plan.alert,
        container=plan.container,
        step=step,
        status=status,
        time_ns=time_ns,
        detail=detail,
    )


class Declined(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing is done, and why."""

    reason: Reason


def service_of(facts: ContainerFacts) -> str:
    """The service a container belongs to: a label of its maker, else its name without the mark of a frozen one."""
    for label in SERVICE_LABELS:
        if facts.labels.get(label):
            return facts.labels[label]
    return facts.name.removeprefix("/").partition(FROZEN_MARK)[0]


def environment_of(facts: ContainerFacts) -> str:
    """The environment a container belongs to: what its label says, else empty."""
    return facts.labels.get(ENVIRONMENT_LABEL, "")


def plan_response(
    alert: Alert,
    policy: ResponsePolicy,
    facts: ContainerFacts | None,
    now_ns: int,
    history: Iterable[Past] = (),
    *,
    is_ordered: bool = False,
) -> Plan | Declined:
    """The plan `policy` asks for, or the reason why there is none. `is_ordered`: the rule's own action asks for a freeze, and is in force.

    Steps: 1 the alert counts (not silenced, in a known container) · 2 an entry applies, or the rule asks · 3 the container is not in a plan
    already · 4 budgets: frozen per service and node, plans in a time, cool-down of the service and of the rule in the container · 5 what
    the facts do not allow is left out and noted. *On failure*: declined; an alert was raised in any case.
    """
    # 1 the alert counts
    if alert.silenced_by:
        return _declined("silenced", f"silence {alert.silenced_by} mutes the alert", alert)
    if not alert.container or facts is None:
        return _declined("no-container", "the act is not of a known container", alert, "respond by hand")
    # 2 an entry applies
    entry = next((entry for entry in policy.entries if _applies(entry, alert, facts)), None)
    if entry is None and is_ordered:
        entry = Entry(steps=("freeze",))
    if entry is None:
        return _declined("no-entry", f"no entry of the response policy names {alert.rule!r}", alert, "add one to `responses:`")
    # 3 once is enough
    history = tuple(history)
    service = service_of(facts)
    plan_id = plan_id_of(alert.id, facts.id)
    if any(past.plan == plan_id or (past.container == facts.id and (past.is_frozen or past.is_waiting)) for past in history):
        return _declined("in-plan", f"container {facts.name} is in a plan already", alert)
    # 4 budgets
    if (spent := _spent(policy, history, service, facts.id, alert.rule, now_ns)) is not None:
        return _declined(*spent[:2], alert, spent[2])
    # 5 what the facts allow
    steps, notes = list(entry.steps), []
    if "replace" in steps and facts.promotion != "promoted":
        steps.remove("replace")
        notes.append(f"no replacement: the image is {facts.promotion}, and only a promoted one may take its place")
    return Plan(
        id=plan_id,
        node=alert.node,
        container=facts.id,
        container_name=facts.name.removeprefix("/"),
        service=service,
        steps=tuple(steps),
        created_ns=now_ns,
        alert=alert.id,
        rule=alert.rule,
        reason=alert.output,
        image=replacement_image(facts),
        image_digest=facts.image_digest,
        memory_bytes=policy.memory_bytes,
        file_bytes=policy.file_bytes,
        notes=tuple(notes),
        expires_ns=now_ns + entry.approval_ns if entry.approval_ns else 0,
        entry_line=entry.line,
    )


def _spent(
    policy: ResponsePolicy, history: tuple[Past, ...], service: str, container: str, rule: str, now_ns: int
) -> tuple[str, str, str] | None:
    """Which limit is reached: code, reason, next step; None when there is room."""
    held = [past for past in history if past.is_frozen or past.is_waiting]
    count = sum(past.service == service for past in held)
    if count >= policy.frozen_per_service:
        why = f"{count} containers of {service} are frozen or wait for approval, the limit is {policy.frozen_per_service}"
        return "service-budget", why, "thaw or destroy one"
    if len(held) >= policy.frozen_per_node:
        why = f"{len(held)} containers of this node are frozen or wait for approval, the limit is {policy.frozen_per_node}"
        return "node-budget", why, "thaw or destroy one"
    recent = sum(past.created_ns > now_ns - policy.plans_per_ns for past in history)
    if recent >= policy.plans:
        return (
            "plan-budget",
            f"{recent} plans in {policy.plans_per_ns / 1e9:.0f} s, the limit is {policy.plans}",
            "look what happens",
        )
    for code, what, wait_ns, past_ns in (
        ("cool-down", service, policy.cooldown_ns, [past.created_ns for past in history if past.service == service]),
        (
            "rule-cool-down",
            f"{rule!r} in this container",
            policy.rule_cooldown_ns,
            [past.created_ns for past in history if (past.container, past.rule) == (container, rule)],
        ),
    ):
        latest = max(past_ns, default=None)
        if latest is not None and now_ns < latest + wait_ns:
            why = f"the last plan for {what} was {(now_ns - latest) / 1e9:.0f} s ago, the cool-down is {wait_ns / 1e9:.0f} s"
            return code, why, ""
    return None


def plan_command(
    command_id: str, steps: tuple[str, ...], facts: ContainerFacts, node: str, actor: str, reason: str, now_ns: int
) -> Plan:
    """The plan a person asked for: no budget holds it up. `command_id` makes it unique."""
    limits = ResponsePolicy()
    return Plan(
        id=plan_id_of(command_id, facts.id),
        node=node,
        container=facts.id,
        container_name=facts.name.removeprefix("/"),
        service=service_of(facts),
        steps=steps,
        created_ns=now_ns,
        actor=actor,
        reason=reason,
        image=replacement_image(facts),
        image_digest=facts.image_digest,
        memory_bytes=limits.memory_bytes,
        file_bytes=limits.file_bytes,
    )


def plan_id_of(cause: str, container: str) -> str:
    """12 hex digits that follow from the cause (alert or command) and the container."""
    return hashlib.sha256(f"{cause}\n{container}".encode()).hexdigest()[:12]


def frozen_name(plan: Plan) -> str:
    """What the frozen container is called while its replacement bears its name."""
    return f"{plan.container_name[:200]}{FROZEN_MARK}{plan.id[:6]}"


def replacement_image(facts: ContainerFacts) -> str:
    """The reference to make a clean container from: by manifest digest when it is known, else the engine's image id. Never a tag."""
    if facts.image_digest is not None:
        try:
            return str(parse_image_ref(facts.image_ref).at(facts.image_digest))
        except InputError:
            pass
    return facts.image_config


def render_plan(plan: Plan | Declined) -> str:
    """The plan as lines for a person: what a dry run prints."""
    if isinstance(plan, Declined):
        return f"nothing would be done: {plan.reason.message}" + (f"; {plan.reason.next_step}" if plan.reason.next_step else "")
    words = {
        "freeze": "stop every process of it where it stands (kernel freezer, then the engine's pause)",
        "cut": "disconnect it from all its networks",
        "capture": f"seal evidence: processes, up to {plan.memory_bytes} bytes of memory, up to {plan.file_bytes} bytes of files",
        "replace": f"rename it to {frozen_name(plan)}, start a clean one from {plan.image}",
    }
    lines = [f"plan {plan.id} for container {plan.container_name} ({plan.container[:12]})"]
    if plan.expires_ns:
        lines.append(
            f"  waits for a person, {(plan.expires_ns - plan.created_ns) / 1e9:.0f} s at most: shipwall response approve {plan.id}"
        )
    lines += [f"  {number}. {step}: {words[step]}" for number, step in enumerate(plan.steps, 1)]
    return "\n".join(lines + [f"  note: {note}" for note in plan.notes])


def _applies(entry: Entry, alert: Alert, facts: ContainerFacts) -> bool:
    named = (
        alert.rule in entry.rules
        or alert.action in entry.actions
        or any(_matches(tag, entry.tags) for tag in alert.tags)
        or not (entry.rules or entry.actions or entry.tags)
    )
    return (
        named
        and (not entry.priority or _rank(alert.priority) <= _rank(entry.priority))
        and _matches(facts.name.removeprefix("/"), entry.containers)
        and _matches(facts.image_ref, entry.images)
        and _matches(service_of(facts), entry.services)
        and _matches(environment_of(facts), entry.environments)
    )


def _matches(value: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)


def _rank(priority: str) -> int:
    """0 for the most urgent; what is no priority comes last."""
    word = priority.capitalize()
    return PRIORITIES.index(word) if word in PRIORITIES else len(PRIORITIES)


def _declined(code: str, message: str, alert: Alert, next_step: str = "") -> Declined:
    evidence = (Evidence(kind="rule", ref=alert.rule, detail=alert.id),)
    return Declined(reason=Reason(code=code, message=message, evidence=evidence, next_step=next_step))
