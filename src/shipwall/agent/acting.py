"""What the agent does about alerts: what rules order, freezes, plans of the response policy. It counts what it does and misses.

Called by the thread of the sensor, so nothing here waits for the engine or the network: a signal, a write into a cgroup, one line of the
journal. A thousand alerts a second about one container cost a look into a set each.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from shipwall.journeys.respond import Outcome, Responder
from shipwall.kernel.signals import NotSignalledError, Signals
from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.model.wire import AlertRaised, Message
from shipwall.response.act import FAILED, GONE, NO_ENGINE, NOT_ALLOWED, OTHER, PROTECTED, Order, Withheld
from shipwall.response.plan import Declined, Past, Plan, past_of, plan_response, render_plan, told_step
from shipwall.response.policy import ResponsePolicy

_CAUSES = {"gone": GONE, "other": OTHER, "protected": PROTECTED, "not-allowed": NOT_ALLOWED}
_STOPPED = {"kill": "killed after the act", "stop": "stopped after the act"}
SAY_AGAIN_NS = 10 * 1_000_000_000
MAX_PLACES = 2_000


class Acting:
    """`jobs`: takes a plan whose slow steps must follow, by another thread. `functions`: modes of the node's functions, now.
    `boot_ns`: the boot-time clock at a time since 1970."""

    def __init__(
        self,
        tell: Callable[[Message], None],
        say: Callable[[str], None],
        jobs: Callable[[Plan, Alert], None],
        boot_ns: Callable[[int], int],
    ) -> None:
        self.policy = ResponsePolicy()
        self.functions: dict[str, str] = {}
        self.responder: Responder | None = None
        self.signals = Signals()
        self._tell = tell
        self._say = say
        self._jobs = jobs
        self._boot_ns = boot_ns
        self._lock = threading.Lock()
        self._acts: Counter[str] = Counter()
        self._missed: Counter[str] = Counter()
        self._observed: dict[str, Past] = {}
        self._said: dict[tuple[str, str], int] = {}

    # -- counts ---------------------------------------------------------------------------------------------------------

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """What was done (or would have been), and what was missed with its cause, since the start."""
        with self._lock:
            return dict(self._acts), dict(self._missed)

    def count(self, action: str) -> None:
        """Something was done."""
        with self._lock:
            self._acts[action] += 1

    def miss(self, action: str, cause: str) -> None:
        """Something should have been enforced and was not."""
        with self._lock:
            self._missed[f"{action}: {cause}"] += 1

    # -- what rules order -----------------------------------------------------------------------------------------------

    def enforce(self, decision: Order | Withheld) -> Alert | None:
        """Kill or stop the process that acted; returns the alert that says what became of it, None when nothing was to be done."""
        if isinstance(decision, Withheld):
            if decision.cause:
                self.miss(decision.action, decision.cause)
            else:
                self.count(f"would {decision.action}")
            return None
        alert = decision.alert
        try:
            self.signals.send(decision.action, decision.pid, self._boot_ns(decision.time_ns))
        except NotSignalledError as error:
            cause = _CAUSES[error.cause]
            self.miss(decision.action, cause)
            return msgspec.structs.replace(alert, acted=f"missed: {cause}")
        self.count(decision.action)
        stopped = _STOPPED[decision.action]
        return msgspec.structs.replace(alert, stopped=alert.stopped or stopped, acted=stopped)

    # -- plans ----------------------------------------------------------------------------------------------------------

    def consider(self, alert: Alert, facts: ContainerFacts | None, *, is_ordered: bool) -> None:
        """Plan, freeze at once (or let the plan wait for a person), leave the slow steps to the other thread."""
        if not (self.policy.entries or is_ordered):
            return
        if self.responder is None:
            if is_ordered:
                self.miss("freeze", NO_ENGINE)
            return
        if self.responder.is_taken(alert.container):
            self.count("coalesced")
            return
        now_ns = time.time_ns()
        policy = self.policy
        if policy.entries and self.functions.get("response") != "enforce":
            self._observe(alert, facts, now_ns)
            policy = msgspec.structs.replace(policy, entries=())
            if not is_ordered:
                return
        history = self.responder.history(now_ns - policy.memory_ns)
        plan = plan_response(alert, policy, facts, now_ns, history, is_ordered=is_ordered)
        if isinstance(plan, Declined):
            self._declined(plan, alert, now_ns)
        elif plan.expires_ns:
            self.responder.propose(plan, alert)
            self.count("waiting for approval")
            self._jobs(plan, alert)
        else:
            self.count("freeze" if self.responder.freeze_now(plan, alert) else "plan")
            self._jobs(plan, alert)

    def carried_out(self, outcome: Outcome) -> None:
        """The slow part of a plan is over, for now: its alert says whether the container stands still."""
        alert = outcome.alert
        if alert is None:
            return
        if outcome.frozen_ns:
            stopped = alert.stopped or "frozen"
            self._send(msgspec.structs.replace(alert, stopped=stopped, acted=alert.acted or "frozen after the act"))
        elif any((step.step, step.status) == ("freeze", "failed") for step in outcome.steps):
            self.miss("freeze", FAILED)
            self._send(msgspec.structs.replace(alert, acted=f"missed: {FAILED}"))

    def _observe(self, alert: Alert, facts: ContainerFacts | None, now_ns: int) -> None:
        """Say what the policy would do, once for each container and cool-down: its budgets count as if it had been done."""
        self._observed = {
            name: past
            for name, past in self._observed.items()
            if past.created_ns > now_ns - max(self.policy.memory_ns, SAY_AGAIN_NS)
        }
        if alert.container in self._observed:
            return
        plan = plan_response(alert, self.policy, facts, now_ns, self._observed.values())
        if isinstance(plan, Declined):
            return
        self._observed[plan.container] = past_of(plan, is_frozen=False)
        self.count("would freeze")
        self._say(f"function response only observes; it would do: {render_plan(plan)}")
        for step in plan.steps:
            self._tell(told_step(plan, step, "observed", now_ns))

    def _declined(self, declined: Declined, alert: Alert, now_ns: int) -> None:
        """Count it; say it once in a while for each container and reason, on the alert too."""
        code = declined.reason.code
        if code == "no-entry":
            return
        if code == "in-plan":
            self.count("coalesced")
            return
        self.miss("freeze", code)
        if now_ns < self._said.get((alert.container, code), 0) + SAY_AGAIN_NS:
            return
        if len(self._said) >= MAX_PLACES:
            self._said.clear()
        self._said[alert.container, code] = now_ns
        self._say(f"no response to alert {alert.id}: {declined.reason.message}")
        self._send(msgspec.structs.replace(alert, acted=f"missed: {declined.reason.message}"))

    def _send(self, alert: Alert) -> None:
        self._tell(AlertRaised(alert=alert))
