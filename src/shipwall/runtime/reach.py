"""THE place that says what the action of a rule can do on this kernel: prevent the act, stop it before its effect, or only after.

`HOOKS` lists what is wired into the agent, and nothing else: a hook is added here together with its wiring and the test that it holds,
never before. Whatever no hook reaches is stopped afterwards, by the agent, once the event has told it. Measured of 1,000 acts each while
SIGKILL was sent at the very call: openat(O_CREAT), mkdir, unlink, rename, connect, sendto and kill all completed; so a signal
prevents none of these, and no claim here rests on one. A rule over several calls gets the weakest claim.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from shipwall.lang.condition import And, Compare, Exists, Field, Or
from shipwall.runtime.conditions import make_check, specialise
from shipwall.runtime.fields import EVENT_TYPES
from shipwall.runtime.prevention import NETWORK_CALLS, OPEN_CALLS, why_not_refused
from shipwall.runtime.rules.rule_set import Rule, left_for_type, left_to_ask

PREVENTED, BEFORE, AFTER, NOT = "prevented", "stopped before its effect", "stopped after it", "not stopped"
CLAIMS = (PREVENTED, BEFORE, AFTER, NOT)
"""Strongest first."""


class Hook(NamedTuple):
    """Something in the kernel that acts at `calls` for rules with one of `actions`.

    `feature`: what the kernel must have, by the name `shipwall doctor` probes it under. `misses`: given a rule and a call, why it does not
    act on everything of that call which the rule can match; empty when it does. `note`: what must be switched on, and what escapes it.
    """

    name: str
    actions: frozenset[str]
    calls: frozenset[str]
    claim: str
    feature: str
    misses: Callable[[Rule, str], str]
    note: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one call, through what, and why no more than that."""

    call: str
    claim: str
    hook: str
    reason: str


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What the action of `rule` can do. `claim`: the weakest of `claims`. `problem`: why the rule is wrong for this kernel, else empty;
    then `next_step` helps."""

    rule: str
    action: str
    mode: str
    claim: str
    claims: tuple[Claim, ...]
    problem: str = ""
    next_step: str = ""


_KILLED_ORIGINS = {("upper", True), ("upper", False), ("tmpfs", True), ("tmpfs", False), ("memfd", True), ("memfd", False),
                   ("deleted", True), ("deleted", False), ("mount", True)}  # fmt: skip
_ORIGIN_FLAGS = {"proc.is_exe_upper_layer": "upper", "proc.is_exe_from_memfd": "memfd"}
_ORIGINS = ("image", "upper", "tmpfs", "memfd", "mount", "deleted", "unknown")


def _matches_others_than_drift(rule: Rule, call: str) -> str:
    """Why the kill of what the image does not contain (`bpf/sensor.bpf.c`, on_exec) does not act on all that `rule` can match."""
    tree = _asked_of(rule, call)
    for origin, is_writable in itertools.product(_ORIGINS, (True, False)):
        if (origin, is_writable) in _KILLED_ORIGINS:
            continue

        def known(leaf: Compare | Exists, origin: str = origin, is_writable: bool = is_writable) -> bool | None:
            return _of_origin(leaf, origin, is_writable=is_writable)

        if specialise(tree, known) is not False:
            return f"the kernel kills at exec what the image does not contain, and this rule also matches programs of origin {origin}"
    return ""


def _of_origin(leaf: Compare | Exists, origin: str, *, is_writable: bool) -> bool | None:
    """What the comparison says of a program of that origin; None when it asks something else."""
    if isinstance(leaf, Exists) or leaf.right is not None or leaf.modifier or not isinstance(leaf.operand, Field):
        return None
    literals = tuple(value.text for value in leaf.values)
    name = leaf.operand.name
    if not literals:
        return None
    if name == "shipwall.origin":
        return make_check(leaf.operator, literals, "text")(origin)
    if name == "shipwall.writable_mount":
        return make_check(leaf.operator, literals, "flag")(is_writable)
    if name in _ORIGIN_FLAGS:
        return make_check(leaf.operator, literals, "flag")(origin == _ORIGIN_FLAGS[name])
    return None


def _is_not_refused(rule: Rule, call: str) -> str:
    """Why the hooks that refuse do not act on all that the rule says of `call`; its whole condition counts, also of other calls."""
    return why_not_refused(rule.condition).get("openat" if call == "creat" else call, "no hook refuses it")


_FROM_WHEN = "from when the agent has learnt of a container, also while it is down; monitored until the rule enforces"


# THE table: what is wired in.
HOOKS: tuple[Hook, ...] = (
    Hook(
        name="bpf_send_signal(SIGKILL) at sched_process_exec, before the first instruction",
        actions=frozenset({"kill"}),
        calls=frozenset({"execve", "execveat"}),
        claim=BEFORE,
        feature="send_signal",
        misses=_matches_others_than_drift,
        note="for all programs the image does not contain, rules or not, when `shipwall function set kill enforce` is on; not in the "
        "engine's own mount namespace",
    ),
    Hook(
        name="cgroup programs at connect, bind and sendmsg: EPERM",
        actions=frozenset({"deny"}),
        calls=frozenset(NETWORK_CALLS),
        claim=PREVENTED,
        feature="network_guard",
        misses=_is_not_refused,
        note=f"{_FROM_WHEN}; not of raw sockets and of sockets handed in from outside",
    ),
    Hook(
        name="fanotify FAN_OPEN_PERM: EPERM",
        actions=frozenset({"deny"}),
        calls=frozenset({*OPEN_CALLS, "creat"}),
        claim=PREVENTED,
        feature="fanotify",
        misses=_is_not_refused,
        note=f"{_FROM_WHEN}; an open that creates leaves an empty file; a file opened before and then moved can be",
    ),
)

_AFTERWARDS = {
    "kill": "SIGKILL from the agent, to the whole process",
    "stop": "SIGSTOP from the agent, to the whole process with all its threads",
    "freeze": "cgroup freezer from the agent, the whole container",
}


def calls_of(rule: Rule) -> tuple[str, ...]:
    """Every `evt.type` of the events the rule can match, sorted."""
    names = {name for kind in rule.kinds for name in EVENT_TYPES[kind]}
    return tuple(sorted(name for name in names if _asked_of(rule, name).items))


def _asked_of(rule: Rule, call: str) -> Or:
    """What the rule asks of events of that `evt.type`: nothing when it cannot match them. (A call can have events of several kinds.)"""
    kinds = [kind for kind in sorted(rule.kinds) if call in EVENT_TYPES[kind]]
    left = [left_for_type(left_to_ask(rule.condition, kind), kind, call) for kind in kinds]
    return Or(tuple(And(()) if tree is True else tree for tree in left if tree is not False))


def reach_of(rule: Rule, features: Mapping[str, bool | None], hooks: Iterable[Hook] = HOOKS) -> Reach | None:
    """What the action of `rule` can do on a kernel with `features` (present, absent, None for not probed); None when it has no action.

    *On failure* (a feature that is absent or was not probed): the weaker claim. *Raises*: nothing.
    """
    if rule.action == "alert":
        return None
    hooks = tuple(hooks)
    claims = tuple(_claim(rule, call, features, hooks) for call in calls_of(rule))
    weakest = max((one.claim for one in claims), key=CLAIMS.index, default=NOT)
    problem = step = ""
    if rule.action == "deny" and weakest != PREVENTED:
        missed = [one.call for one in claims if one.claim != PREVENTED]
        shown = ", ".join(missed[:6]) + (f" and {len(missed) - 6} more" if len(missed) > 6 else "")
        problem = f"action deny: nothing here can refuse {shown}"
        step = "use `action: kill` or `action: freeze`, which act after it" + (
            ", or narrow `evt.type`" if len(missed) < len(claims) else ""
        )
    return Reach(
        rule=rule.name, action=rule.action, mode=rule.mode, claim=weakest, claims=claims, problem=problem, next_step=step
    )


def features_asked(rules: Iterable[Rule], hooks: Iterable[Hook] = HOOKS) -> frozenset[str]:
    """The features on which the reach of `rules` depends: those to probe."""
    actions = {rule.action for rule in rules}
    return frozenset(hook.feature for hook in hooks if hook.actions & actions)


def _claim(rule: Rule, call: str, features: Mapping[str, bool | None], hooks: tuple[Hook, ...]) -> Claim:
    """The strongest claim for one call."""
    why = []
    for hook in hooks:
        if rule.action not in hook.actions or call not in hook.calls:
            continue
        present = features.get(hook.feature)
        if present is None:
            why.append(f"{hook.feature} was not probed (be root)")
        elif not present:
            why.append(f"this kernel lacks {hook.feature}")
        elif said := hook.misses(rule, call):
            why.append(said)
        else:
            return Claim(call=call, claim=hook.claim, hook=hook.name, reason=hook.note)
    reason = "; ".join(why) or "the call is over when the event of it is read"
    if rule.action not in _AFTERWARDS:
        return Claim(call=call, claim=NOT, hook="none", reason=reason)
    return Claim(call=call, claim=AFTER, hook=_AFTERWARDS[rule.action], reason=reason)


def render_reach(reach: Reach) -> list[str]:
    """Lines for a person: the claim, then each way with its calls."""
    lines = [f"{reach.rule}: {reach.action}, {reach.mode}: {reach.claim}"]
    ways: dict[tuple[str, str, str], list[str]] = {}
    for one in reach.claims:
        ways.setdefault((one.claim, one.hook, one.reason), []).append(one.call)
    for (claim, hook, reason), calls in ways.items():
        shown = ", ".join(calls[:8]) + (f" and {len(calls) - 8} more" if len(calls) > 8 else "")
        lines.append(f"  {shown}: {claim}, by {hook} ({reason})")
    if reach.mode == "monitor":
        lines.append("  monitor: the agent itself does nothing yet, its alerts say what it would have done")
    return lines
