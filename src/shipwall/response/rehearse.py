"""What a response policy would have done about alerts of the past: the dry run of a policy before it is put in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.response.plan import Declined, Past, Plan, past_of, plan_response
from shipwall.response.policy import ResponsePolicy


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What is left: `services` how many more containers of each may be frozen, for services with a plan; of the node; plans in the time."""

    services: dict[str, int]
    node: int
    plans: int


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """`plans` oldest first; `declined` alerts by the reason's code, with an example of its words; `alerts` how many were looked at."""

    alerts: int
    plans: tuple[Plan, ...]
    declined: dict[str, int]
    examples: dict[str, str]
    left: Budget


def rehearse(
    policy: ResponsePolicy,
    alerts: Iterable[Alert],
    containers: Mapping[str, ContainerFacts],
    now_ns: int,
) -> Rehearsal:
    """The plans `policy` makes for `alerts` in the order they were raised, each node for itself and every plan carried out at its moment.

    Nobody thaws what is frozen in a rehearsal, so budgets run out sooner than in life: it errs to the side of too few plans. What waits for
    approval counts as frozen from then on.
    """
    pasts: dict[str, list[Past]] = {}
    plans: list[Plan] = []
    declined: dict[str, int] = {}
    examples: dict[str, str] = {}
    count = 0
    for alert in sorted(alerts, key=lambda alert: alert.raised_ns):
        count += 1
        known = pasts.setdefault(alert.node, [])
        facts = containers.get(alert.container)
        plan = plan_response(alert, policy, facts, alert.raised_ns, known)
        if isinstance(plan, Declined):
            declined[plan.reason.code] = declined.get(plan.reason.code, 0) + 1
            examples.setdefault(plan.reason.code, plan.reason.message)
            continue
        plans.append(plan)
        known.append(past_of(plan, is_frozen=not plan.expires_ns, is_waiting=bool(plan.expires_ns)))
    return Rehearsal(
        alerts=count, plans=tuple(plans), declined=declined, examples=examples, left=_left(policy, pasts.values(), plans, now_ns)
    )


def _left(policy: ResponsePolicy, nodes: Iterable[list[Past]], plans: list[Plan], now_ns: int) -> Budget:
    """The least that is left on any node."""
    node, recent = policy.frozen_per_node, policy.plans
    services = {plan.service: policy.frozen_per_service for plan in plans}
    for known in nodes:
        node = min(node, policy.frozen_per_node - len(known))
        recent = min(recent, policy.plans - sum(past.created_ns > now_ns - policy.plans_per_ns for past in known))
        for service, least in services.items():
            held = sum(past.service == service for past in known)
            services[service] = min(least, policy.frozen_per_service - held)
    return Budget(services={name: max(0, count) for name, count in services.items()}, node=max(0, node), plans=max(0, recent))
