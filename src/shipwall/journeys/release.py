"""Letting go of what was frozen, for the hour when Shipwall is taken away: afterwards nobody would be left to thaw it.

Order per container: 1 it is said aloud · 2 the engine that has it thaws or removes it (journalled as any thaw or destruction), or, where
none answers, the kernel thaws it alone. Admission has left the engines before, so they do what they are told.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from shipwall.adapters.alarm import actor_name, alarm
from shipwall.adapters.engine import Engine
from shipwall.adapters.evidence import EvidenceStore
from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Journal
from shipwall.adapters.link import node_name
from shipwall.adapters.report import no_report
from shipwall.journeys.enrol import ACT as ENROL_ACT
from shipwall.journeys.plan_journal import read_plans, stands_frozen
from shipwall.journeys.respond import Responder
from shipwall.journeys.serve import ACT as SERVE_ACT
from shipwall.kernel.freezer import Freezer
from shipwall.model.errors import KernelError, RemoteError, StorageError
from shipwall.response.plan import Plan


def list_frozen(instance: Instance) -> list[Plan]:
    """The plans of `instance` whose containers are meant to be frozen now, oldest first."""
    return [plan for plan, last in read_plans(_journal(instance)) if stands_frozen(plan, last)]


def release_frozen(instance: Instance, *, destroy: bool, reason: str) -> list[str]:
    """Thaw every frozen container of `instance`, or remove it with `destroy`; returns what was done, line by line.

    Raises RemoteError when one should be destroyed and its engine does not answer: it stays frozen, and so do those after it.
    """
    return [
        f"container {plan.container_name}: {_release(instance, plan, destroy=destroy, reason=reason)}"
        for plan in list_frozen(instance)
    ]


def _release(instance: Instance, plan: Plan, *, destroy: bool, reason: str) -> str:
    name = f"frozen container {plan.container_name} ({plan.container[:12]}; {plan.rule or plan.reason})"
    socket, silent = _find_engine(instance, plan.container)
    freezer, group = Freezer(), None
    with suppress(KernelError):
        group = freezer.find(plan.container)
    if socket is None and group is None:
        outcome = "is gone"
    elif socket is not None:
        alarm(f"RELEASE: {name} is {'destroyed' if destroy else 'thawed, and whatever is in it goes on'}")
        with Engine(socket, 30) as engine:
            responder = _responder(instance, engine)
            if destroy:
                return responder.destroy(plan.container, actor_name(), reason, without_evidence=True)
            return responder.thaw(plan.container, actor_name(), reason)
    elif destroy:
        raise RemoteError(name, f"is not destroyed: {silent or 'no engine has it'}", "start its engine, or have it thawed")
    elif group is not None:
        alarm(f"RELEASE: {name} is thawed, and whatever is in it goes on; its engine does not know")
        freezer.thaw(group)
        outcome = (
            f"thawed by the kernel alone; its engine takes it for paused until `docker unpause` ({silent or 'no engine has it'})"
        )
    _journal(instance).undo(plan.id, "freeze", why=f"{outcome}; {reason}")
    return outcome


def _find_engine(instance: Instance, container: str) -> tuple[Path | None, str]:
    """The socket of the engine that has the container; and why one could not be asked, empty when all could."""
    silent = ""
    for socket in _engines(instance):
        with Engine(socket, 10) as engine:
            try:
                engine.inspect_container(container)
            except RemoteError as error:
                silent = silent or ("" if error.status == 404 else error.line())
            else:
                return socket, ""
    return None, silent


def _engines(instance: Instance) -> list[Path]:
    """Sockets of the engines this installation watched or was put before, as its journal says, newest first."""
    found: dict[Path, None] = {}
    for entry in reversed(Journal(instance.state / "journal.jsonl").last().values()):
        named = str(entry.facts.get({SERVE_ACT: "engine", ENROL_ACT: "socket"}.get(entry.act, ""), ""))
        if named:
            found[Path(named)] = None
    return list(found)


def _responder(instance: Instance, engine: Engine) -> Responder:
    """One that only thaws and destroys."""

    def refuse(_statement: bytes) -> bytes:
        raise StorageError("evidence", "is not sealed while Shipwall is taken away")

    return Responder(
        engine=engine,
        journal=_journal(instance),
        store=EvidenceStore(instance.evidence),
        sign=refuse,
        report=no_report,
        folder=instance.agent,
        node=node_name(),
    )


def _journal(instance: Instance) -> Journal:
    return Journal(instance.agent / "journal.jsonl")
