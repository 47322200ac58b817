"""Carries out response plans: freeze, cut, capture, replace; later thaw or destroy.

Every step is journalled before and confirmed after, and is right to do again: it looks at what is there and does what is missing. So
`resume` after a crash at any instant finishes a plan, and finishes it once: a frozen container is found frozen, a cut one cut, a sealed
bundle sealed, a replacement by its label. The plan's own entry counts as the one before its first step, so that only one disk write
stands between the decision and the frozen container. A disk too full for the journal does not protect an intruder: the freeze is done
all the same, and said.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from shipwall.adapters.engine import Engine
from shipwall.adapters.evidence import EvidenceStore
from shipwall.adapters.journal import Entry, Journal
from shipwall.journeys.collect import Sealed, Sign
from shipwall.journeys.plan_journal import (
    Asked,
    count_failures,
    last_of,
    read_approvals,
    read_plans,
    receipts_of,
    stands_frozen,
    try_again_ns,
)
from shipwall.journeys.response_steps import Json, Steps, Work
from shipwall.kernel.freezer import Freezer
from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.model.digest import ImageIdentity
from shipwall.model.errors import InputError, RemoteError, ShipwallError, StorageError
from shipwall.model.event import AnyEvent
from shipwall.model.wire import Command, CommandResult, EvidenceStored, Message
from shipwall.response.plan import Past, Plan, past_of, plan_command, told_step

MAX_TRIES = 5


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one step. `status`: confirmed, failed, skipped (given up earlier, or done before a crash)."""

    step: str
    status: str
    duration_ns: int = 0
    detail: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a plan. Not `done`: something failed, and `resume` will try it again. `frozen_ns`: until the kernel confirmed."""

    plan: Plan
    done: bool
    steps: tuple[StepResult, ...]
    frozen_ns: int = 0
    replacement: str = ""
    evidence: Sealed | None = None
    alert: Alert | None = None


class Responder:
    """Carries out plans on the containers of `engine`. Safe for several threads: freezing waits for nobody, other steps go one plan at
    a time.

    `journal`: of the agent. `folder`: where contexts of plans are kept. `sign`: statement → envelope (`collect.seal_with`).
    `report`: told every step and bundle; must not block. `act_headers`: headers that admit the agent's own act (method, URI as sent).
    `is_reachable(address, port)`: whether a published port answers, asked beside the check that somebody listens inside; None: not asked.
    `identify`: identity of the image in an image record of the engine.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        journal: Journal,
        store: EvidenceStore,
        sign: Sign,
        report: Callable[[Message], None],
        folder: Path,
        node: str,
        freezer: Freezer | None = None,
        act_headers: Callable[[str, str], dict[str, str]] = lambda _method, _uri: {},
        is_reachable: Callable[[str, int], bool] | None = None,
        identify: Callable[[Json], ImageIdentity | None] = lambda _record: None,
        now_ns: Callable[[], int] = time.time_ns,
        ready_s: float = 30.0,
    ) -> None:
        self.engine = engine
        self.journal = journal
        self.store = store
        self.node = node
        self.freezer = freezer or Freezer()
        self._report = report
        self._now_ns = now_ns
        self._steps = Steps(
            engine=engine,
            freezer=self.freezer,
            store=store,
            sign=sign,
            folder=folder,
            act_headers=act_headers,
            is_reachable=is_reachable,
            identify=identify,
            receipts=lambda plan: receipts_of(journal, plan),
            now_ns=now_ns,
            ready_s=ready_s,
        )
        self._turn = threading.Lock()  # one plan's slow steps at a time
        self._guard = threading.Lock()  # the sets below
        self._active: set[str] = set()
        self._frozen: dict[str, str] = {}  # container → plan
        self._known: dict[str, Plan] = {}  # by id, oldest first
        self._unwritten: dict[str, Work] = {}  # plans the journal had no room for
        self._early: dict[str, int] = {}  # plan → nanoseconds its freeze took, until `carry_out` takes it over
        self._waiting = {asked.plan.id: asked for asked in read_approvals(self.journal) if asked.status == "waiting"}
        for plan, last in read_plans(self.journal):
            self._known[plan.id] = plan
            if stands_frozen(plan, last):
                self._frozen[plan.container] = plan.id

    # -- what is asked --------------------------------------------------------------------------------------------------

    def frozen(self) -> set[str]:
        """Ids of containers that are, or are about to be, frozen by a plan and neither thawed nor destroyed. Survives restarts."""
        with self._guard:
            return set(self._frozen)

    def is_taken(self, container: str) -> bool:
        """Whether a plan has the container frozen already, or waits for a person's word about it: another one would change nothing."""
        with self._guard:
            return container in self._frozen or any(asked.plan.container == container for asked in self._waiting.values())

    def waiting(self) -> tuple[Plan, ...]:
        """Plans that nobody has approved or rejected yet, oldest first."""
        with self._guard:
            return tuple(asked.plan for asked in self._waiting.values())

    def history(self, since_ns: int = 0) -> tuple[Past, ...]:
        """Earlier plans made since then, and all that still hold or wait: what `plan_response` weighs. From memory, so it may be asked at
        every alert."""
        with self._guard:
            waiting = {asked.plan.id: asked.plan for asked in self._waiting.values()}
            return tuple(
                past_of(plan, is_frozen=self._frozen.get(plan.container) == plan.id, is_waiting=plan.id in waiting)
                for plan in (*self._known.values(), *waiting.values())
                if plan.created_ns >= since_ns or plan.id in waiting or self._frozen.get(plan.container) == plan.id
            )

    def freeze_now(self, plan: Plan, alert: Alert | None = None) -> int:
        """Journal `plan` and freeze its container at once, without a word to the engine; returns nanoseconds until the kernel confirmed.

        For the thread that must not wait; `carry_out` with the same plan has to follow, from any thread. 0 when there is nothing to do
        or it did not work: `carry_out` tries again and says why.
        """
        if plan.steps[:1] != ("freeze",) or not self._reserve(plan):
            return 0
        started = time.monotonic_ns()
        taken = 0
        with suppress(ShipwallError):
            self._begin_plan(Work(plan, alert, ()))
            self.freezer.freeze(self.freezer.find(plan.container))
            taken = time.monotonic_ns() - started
        with self._guard:
            self._early[plan.id] = taken
        return taken

    def carry_out(self, plan: Plan, alert: Alert | None = None, events: Sequence[AnyEvent] = ()) -> Outcome:
        """Carry out `plan`. `events`: what the container did in the 30 s before. One that was begun before is left to `resume`.

        A step that fails is journalled and told, and tried again by `resume`: MAX_TRIES times, but as long as it takes where only a disk is
        full. Later steps are still tried (a service is not left down for want of disk), except that nothing follows a failed freeze.
        *Raises*: nothing of ShipwallError; failures are in the outcome.
        """
        with self._guard:
            early_ns = self._early.pop(plan.id, None)
        if early_ns is None and not self._reserve(plan):
            step = StepResult(step="plan", status="skipped", detail="begun before, or its container is frozen by another plan")
            return Outcome(plan=plan, done=False, steps=(step,))
        try:
            work = Work(plan, alert, tuple(events))
            work.frozen_ns = early_ns or 0
            return self._run(work, is_new=early_ns is None)
        finally:
            with self._guard:
                self._active.discard(plan.id)

    # -- approval -------------------------------------------------------------------------------------------------------

    def propose(self, plan: Plan, alert: Alert | None = None) -> None:
        """Let `plan` wait for a person until it expires: journalled, so that it still waits after a crash. Nothing is touched.

        For the thread that must not wait, as `freeze_now`; `keep_events` should follow from another one.
        """
        with self._guard:
            if plan.id in self._known or plan.id in self._waiting:
                return
            self._waiting[plan.id] = Asked(plan, alert, "waiting")
        told = None if alert is None else msgspec.to_builtins(alert)
        detail = f"{', '.join(plan.steps)}; until {_utc(plan.expires_ns)}"
        try:
            self.journal.begin(plan.id, "approval", plan=msgspec.to_builtins(plan), alert=told)
        except StorageError as error:
            detail += f"; not journalled: {error.line()}"
        self._tell(plan, "approval", "waiting", detail)

    def keep_events(self, plan: Plan, alert: Alert | None, events: Sequence[AnyEvent]) -> None:
        """Keep what came before the alert for the evidence of a plan that waits. Raises ShipwallError."""
        self._steps.remember(Work(plan, alert, tuple(events)))

    def approve(self, plan_id: str, actor: str, reason: str) -> Outcome:
        """Carry out a plan that waited. *Raises*: InputError when none of that name waits, StorageError (then it still does)."""
        asked = self._asked(plan_id)
        self.journal.confirm(asked.plan.id, "approval", actor=actor, reason=reason)
        self._tell(asked.plan, "approval", "confirmed", f"approved by {actor}: {reason}")
        return self._begin_approved(asked)

    def reject(self, plan_id: str, actor: str, reason: str) -> str:
        """Never carry out a plan that waited; returns what was done. *Raises*: InputError when none of that name waits, StorageError."""
        asked = self._asked(plan_id)
        return self._end_waiting(asked.plan, f"rejected by {actor}: {reason}")

    def expire(self) -> list[Plan]:
        """Give up the plans that nobody approved in time; returns them."""
        now_ns = self._now_ns()
        over = [plan for plan in self.waiting() if plan.expires_ns <= now_ns]
        for plan in over:
            with suppress(StorageError):
                self._end_waiting(plan, "nobody approved it in time")
        return over

    def _asked(self, plan_id: str) -> Asked:
        with self._guard:
            asked = self._waiting.get(plan_id)
        if asked is None or asked.plan.expires_ns <= self._now_ns():
            why = "does not wait for approval" if asked is None else "waited too long: it expired"
            raise InputError(f"plan {plan_id[:40]!r}", why, "see `shipwall response list`")
        return asked

    def _begin_approved(self, asked: Asked) -> Outcome:
        try:
            outcome = self.carry_out(asked.plan, asked.alert)
        finally:
            with self._guard:
                self._waiting.pop(asked.plan.id, None)
        if (
            outcome.steps and outcome.steps[0].step == "plan"
        ):  # somebody else's plan has the container: never later, when it is thawed
            self._end_waiting(asked.plan, outcome.steps[0].detail)
        return outcome

    def _end_waiting(self, plan: Plan, why: str) -> str:
        with self._guard:
            self._waiting.pop(plan.id, None)
        self._tell(plan, "approval", "undone", why)
        self._steps.forget(plan.id)
        self.journal.undo(plan.id, "approval", why=why)
        return why

    # -- after a crash --------------------------------------------------------------------------------------------------

    def resume(self) -> list[Outcome]:
        """Finish what a crash or a failure left: plans begun and not done, thaws and destructions begun; and freeze again what should be
        frozen and is not. Call it at start, and now and then."""
        outcomes = []
        with self._guard:
            unwritten = dict(self._unwritten)
            self._unwritten.clear()
        for work in unwritten.values():
            self._begin_plan(work)
        for asked in read_approvals(self.journal):
            with self._guard:
                is_lost = asked.status == "approved" and asked.plan.id not in self._known and asked.plan.id not in self._waiting
            if is_lost:  # approved, and a crash came before its first step
                outcomes.append(self._begin_approved(asked))
        for plan, last in read_plans(self.journal):
            with self._guard:
                if plan.id in self._active or plan.id not in self._known:
                    continue
                self._active.add(plan.id)
            try:
                outcome = self._resume_one(unwritten.get(plan.id) or self._recall(plan, last), last)
            finally:
                with self._guard:
                    self._active.discard(plan.id)
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    def thaw(self, container: str, actor: str, reason: str) -> str:
        """Let a frozen container go on; returns what was done. It is joined to its networks again unless a replacement took its place.

        *Raises*: InputError when no plan froze it; RemoteError, KernelError.
        """
        with self._turn:
            plan = self._plan_of(container)
            self.journal.begin(plan.id, "thaw", actor=actor, reason=reason)
            return self._thaw(plan, {"actor": actor, "reason": reason})

    def destroy(self, container: str, actor: str, reason: str, *, without_evidence: bool = False) -> str:
        """Remove a frozen container; returns what was done. Its evidence must be sealed unless `without_evidence`.

        *Raises*: InputError when no plan froze it or its evidence is not sealed; RemoteError.
        """
        with self._turn:
            plan = self._plan_of(container)
            if not without_evidence and not self.store.path(plan.id).exists():
                raise InputError(f"container {plan.container_name}", "its evidence is not sealed", "capture it first, or insist")
            self.journal.begin(plan.id, "destroy", actor=actor, reason=reason)
            return self._destroy(plan, {"actor": actor, "reason": reason})

    def decide(self, command: Command) -> tuple[CommandResult, Outcome | None]:
        """Do what a person said about a plan that waits: approve or reject it. The outcome when it was carried out."""
        try:
            if command.action == "approve":
                outcome = self.approve(command.plan, command.actor, command.reason)
                detail = "; ".join(f"{step.step} {step.status}" for step in outcome.steps)
                return CommandResult(id=command.id, done=outcome.done, detail=detail), outcome
            detail = self.reject(command.plan, command.actor, command.reason)
        except ShipwallError as error:
            return CommandResult(id=command.id, done=False, detail=error.line()), None
        return CommandResult(id=command.id, done=True, detail=detail), None

    def command(self, command: Command, facts: ContainerFacts) -> CommandResult:
        """Do what a person asked: freeze, capture, thaw or destroy the container of `facts`."""
        try:
            if command.action == "thaw":
                detail = self.thaw(facts.id, command.actor, command.reason)
            elif command.action == "destroy":
                detail = self.destroy(facts.id, command.actor, command.reason)
            elif command.action == "capture":
                detail = self._capture_again(facts.id)
            elif command.action == "freeze":
                plan = plan_command(command.id, ("freeze",), facts, self.node, command.actor, command.reason, self._now_ns())
                outcome = self.carry_out(plan)
                detail = "; ".join(step.detail for step in outcome.steps if step.detail)
                return CommandResult(id=command.id, done=outcome.done, detail=detail)
            else:
                raise InputError(f"action {command.action[:40]!r}", "is none of freeze, capture, thaw, destroy")
        except ShipwallError as error:
            return CommandResult(id=command.id, done=False, detail=error.line())
        return CommandResult(id=command.id, done=True, detail=detail)

    # -- a plan ---------------------------------------------------------------------------------------------------------

    def _resume_one(self, work: Work, last: dict[str, Entry]) -> Outcome | None:
        plan = work.plan
        for act, finish in (("thaw", self._thaw), ("destroy", self._destroy)):
            if act in last and last[act].status == "begun":
                with suppress(ShipwallError), self._turn:  # the next call tries it again
                    finish(plan, last[act].facts)
                return None
        if last["plan"].status == "begun":
            if self._now_ns() < try_again_ns(self.journal, plan.id):
                with suppress(ShipwallError):
                    if stands_frozen(plan, last) and self._steps.find_status(plan.container) in {"running", "paused"}:
                        self._steps.freeze_again(plan)
                return None
            return self._run(work, is_new=False)
        if stands_frozen(plan, last):
            self._keep_frozen(plan)
        return None

    def _reserve(self, plan: Plan) -> bool:
        """Make `plan` the one under way for its container; False when it was begun before, or another plan has the container frozen."""
        with self._guard:
            if plan.id in self._known or self._frozen.get(plan.container, plan.id) != plan.id:
                return False
            self._active.add(plan.id)
            self._known[plan.id] = plan
            if plan.steps[:1] == ("freeze",):
                self._frozen[plan.container] = plan.id
            return True

    def _run(self, work: Work, *, is_new: bool) -> Outcome:
        plan = work.plan
        results: list[StepResult] = []
        last = {} if is_new else last_of(self.journal, plan.id)
        is_loose = is_down = False  # it runs on although it should not; it has ended by itself
        for number, step in enumerate(plan.steps):
            if is_loose and step in {"capture", "replace"}:
                results.append(StepResult(step=step, status="skipped", detail="not frozen yet"))
                continue
            result = self._step(work, step, last, is_first=number == 0, is_new=is_new)
            results.append(result)
            if step == "freeze" and result.status == "failed":
                is_down = self._steps.is_down(plan.container)
                is_loose = not is_down
        failed = [result.step for result in results if result.status == "failed" and not (is_down and result.step == "freeze")]
        done = not failed and not is_loose
        if done or all(count_failures(self.journal, plan.id, step) >= MAX_TRIES for step in failed):
            with suppress(StorageError):
                self.journal.confirm(plan.id, "plan", done=done)
        if is_down:
            with self._guard:
                self._frozen.pop(plan.container, None)
        return Outcome(
            plan=plan,
            done=done,
            steps=tuple(results),
            frozen_ns=work.frozen_ns,
            replacement=work.replacement,
            evidence=work.evidence,
            alert=work.alert,
        )

    def _step(self, work: Work, step: str, last: dict[str, Entry], *, is_first: bool, is_new: bool) -> StepResult:
        """Do one step, journalled around. The freeze is looked after even when it was confirmed: somebody may have thawed it."""
        plan = work.plan
        before = last.get(step)
        if before is not None and before.status == "confirmed" and step != "freeze":
            return StepResult(step=step, status="skipped", detail="done before")
        started = time.monotonic_ns()
        unwritten = ""
        try:
            if step == "freeze" and is_first:  # nothing may stand between the decision and this
                if is_new:
                    unwritten = self._begin_plan(work)
                with self._guard:
                    self._frozen[plan.container] = plan.id
                detail, facts = self._steps.do(step, work)
            else:
                with self._turn:
                    if is_first and is_new:
                        self._begin_plan(work)
                    self.journal.begin(plan.id, step)
                    self._tell(plan, step, "begun")
                    detail, facts = self._steps.do(step, work)
                    if (
                        step == "capture" and work.evidence is not None
                    ):  # before the journal says done: told twice, never not at all
                        self._tell_sealed(plan, work.evidence)
            if step == "freeze":
                for planned in plan.steps[1:] if before is None else ():
                    self._tell(plan, planned, "planned")
            duration = time.monotonic_ns() - started
            detail = "; ".join(part for part in (detail, unwritten) if part)
            try:
                self.journal.confirm(plan.id, step, duration_ns=duration, **facts)
            except StorageError as error:
                if step != "freeze":
                    raise
                detail = f"{detail}; not journalled: {error.line()}"
        except ShipwallError as error:
            duration = time.monotonic_ns() - started
            with suppress(StorageError):
                self.journal.fail(plan.id, step, why=error.line(), disk=isinstance(error, StorageError))
            self._tell(plan, step, "failed", error.line())
            return StepResult(step=step, status="failed", duration_ns=duration, detail=error.line())
        self._tell(plan, step, "confirmed", detail)
        return StepResult(step=step, status="confirmed", duration_ns=duration, detail=detail)

    def _begin_plan(self, work: Work) -> str:
        """Journal the plan; returns what is to be said when the disk did not take it."""
        alert = None if work.alert is None else msgspec.to_builtins(work.alert)
        try:
            self.journal.begin(work.plan.id, "plan", plan=msgspec.to_builtins(work.plan), alert=alert)
        except StorageError as error:
            with self._guard:
                self._unwritten[work.plan.id] = work
            return f"not journalled: {error.line()}"
        return ""

    def _keep_frozen(self, plan: Plan) -> None:
        """Freeze again a container that should be; let go of one that is no more."""
        try:
            status = self._steps.find_status(plan.container)
        except RemoteError:
            return
        if not status:
            self._forget(plan, "the container is gone")
        elif status in {"running", "paused"}:
            with suppress(ShipwallError):
                self._steps.freeze_again(plan)

    def _capture_again(self, container: str) -> str:
        """Seal a bundle of a container that is frozen already; one that exists is left as it is."""
        plan = self._plan_of(container)
        last = last_of(self.journal, plan.id)
        result = self._step(self._recall(plan, last), "capture", last, is_first=False, is_new=False)
        if result.status == "failed":
            raise StorageError(f"evidence of {plan.container_name}", result.detail, "mend that, then ask again")
        return f"evidence {plan.id}: {result.detail}"

    # -- afterwards -----------------------------------------------------------------------------------------------------

    def _thaw(self, plan: Plan, audit: Json) -> str:
        last = last_of(self.journal, plan.id)
        cut = last.get("cut")
        is_replaced = "replace" in last and last["replace"].status == "confirmed"
        is_cut = cut is not None and cut.status == "confirmed" and not is_replaced
        done, joined = self._steps.let_go(plan, tuple(cut.facts.get("networks", ())) if cut is not None and is_cut else ())
        detail = f"{done} by {audit.get('actor')}: {audit.get('reason')}" + (f"; joined {', '.join(joined)}" if joined else "")
        self._forget(plan, detail)
        self.journal.confirm(plan.id, "thaw")
        self._tell(plan, "thaw", "confirmed", detail)
        return detail

    def _destroy(self, plan: Plan, audit: Json) -> str:
        self._steps.remove(plan)
        detail = f"destroyed by {audit.get('actor')}: {audit.get('reason')}"
        self._forget(plan, detail)
        self.journal.confirm(plan.id, "destroy")
        self._tell(plan, "destroy", "confirmed", detail)
        return detail

    def _forget(self, plan: Plan, why: str) -> None:
        """The container is frozen no more."""
        self.journal.undo(plan.id, "freeze", why=why)
        last = last_of(self.journal, plan.id)
        if "plan" in last and last["plan"].status == "begun":
            self.journal.confirm(plan.id, "plan", done=False, why=why)
        with self._guard:
            if self._frozen.get(plan.container) == plan.id:
                del self._frozen[plan.container]
        self._steps.forget(plan.id)
        self._tell(plan, "freeze", "undone", why)

    def _plan_of(self, container: str) -> Plan:
        with self._guard:
            plan = self._known.get(self._frozen.get(container, ""))
        if plan is not None:
            return plan
        raise InputError(
            f"container {container[:12]}", "is not frozen by a plan of this node", "list them: shipwall container list"
        )

    def _recall(self, plan: Plan, last: dict[str, Entry]) -> Work:
        """A plan as it was before the crash."""
        told = last["plan"].facts.get("alert")
        alert = None if told is None else msgspec.convert(told, Alert)
        return Work(plan, alert, ())

    def _tell_sealed(self, plan: Plan, sealed: Sealed) -> None:
        self._report(
            EvidenceStored(
                node=plan.node,
                bundle=sealed.bundle,
                head=sealed.head,
                records=sealed.records,
                size_bytes=sealed.size_bytes,
                path=sealed.path,
                container=plan.container,
                alert=plan.alert,
                image_digest=plan.image_digest,
                time_ns=self._now_ns(),
            )
        )

    def _tell(self, plan: Plan, step: str, status: str, detail: str = "") -> None:
        self._report(told_step(plan, step, status, self._now_ns(), detail))


def _utc(time_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(time_ns // 1_000_000_000))
