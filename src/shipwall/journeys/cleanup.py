"""Clean-up: everything the journal says is standing is taken away, newest first; asking again is no error."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Entry, Journal
from shipwall.model.errors import ShipwallError

Undo = Callable[[Instance, Entry], list[str]]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """One act taken away: `what` says how, line by line (empty when nothing was left of it)."""

    key: str
    act: str
    what: tuple[str, ...]


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """One act still standing, and why."""

    key: str
    act: str
    why: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a clean-up did and could not do."""

    done: tuple[Done, ...]
    left: tuple[Left, ...]


def clean_up(instance: Instance, *, keep_data: bool = False) -> Report:
    """Take away what the journal of `instance` says is standing. One failure does not keep the rest from being taken away.

    Promotions that a crash interrupted are finished or undone first, while a registry of our own still runs: they are no traces, and stand.
    `keep_data`: images, containers and registry content of a private engine stay on disk.
    """
    journal = Journal(instance.state / "journal.jsonl")
    done: list[Done] = []
    left: list[Left] = []
    _recover_promotions(instance, done, left)
    for entry in journal.standing():
        if keep_data and entry.act in KEPT:
            continue
        undo = UNDO.get(entry.act)
        if undo is None:
            left.append(Left(key=entry.key, act=entry.act, why="this version does not know how to undo it"))
            continue
        try:
            what = undo(instance, entry)
            journal.undo(entry.key, entry.act)
        except (ShipwallError, OSError) as error:
            left.append(Left(key=entry.key, act=entry.act, why=str(error)))
        else:
            done.append(Done(key=entry.key, act=entry.act, what=tuple(what)))
    return Report(done=tuple(done), left=tuple(left))


def _recover_promotions(instance: Instance, done: list[Done], left: list[Left]) -> None:
    from shipwall.adapters.registry import Registry
    from shipwall.journeys.promote import ACT, promotions_journal, recover_promotions

    try:
        for one in recover_promotions(instance, Registry, time.time_ns()):
            said = f"{one.outcome} the interrupted promotion of {one.plan.manifest} to {one.plan.target}: {one.why}"
            done.append(Done(key=one.plan.manifest, act=ACT, what=(said,)))
    except ShipwallError as error:
        left += [Left(key=entry.key, act=ACT, why=error.line()) for entry in promotions_journal(instance).unfinished()]


def _undo_private_engine(instance: Instance, entry: Entry) -> list[str]:
    from shipwall.adapters.private_engine import PrivateEngine

    return PrivateEngine(instance).take_away(only=entry.key)


def _undo_private_engine_data(instance: Instance, entry: Entry) -> list[str]:
    from shipwall.adapters.private_engine import PrivateEngine

    return PrivateEngine(instance).remove_data(only=entry.key)


def _undo_serving(_instance: Instance, entry: Entry) -> list[str]:
    from shipwall.adapters.supervise import ProcessRecord, stop_process

    return [f"ended supervisor {entry.key}"] if stop_process(ProcessRecord(**entry.facts["supervisor"]), 15) else []


def _undo_enrolment(instance: Instance, entry: Entry) -> list[str]:
    from shipwall.journeys.enrol import undo_enrolment

    return undo_enrolment(instance, entry)


def _undo_network_guard(_instance: Instance, entry: Entry) -> list[str]:
    from shipwall.kernel.network_guard import take_away

    return take_away(Path(entry.key))


def _undo_file_guard(_instance: Instance, entry: Entry) -> list[str]:
    from shipwall.journeys.file_guard import take_away

    return take_away(Path(entry.key))


def _undo_selftest(_instance: Instance, entry: Entry) -> list[str]:
    from shipwall.journeys.selftest import undo_selftest

    return undo_selftest(entry)


# THE table: act of a journal entry → how its traces are taken away. An undo must be right for an act that was only half done and for
# one whose traces are gone already; it returns lines saying what it did, raises ShipwallError or OSError when something stays, and does
# not write the journal. Newest acts are undone first.
UNDO: dict[str, Undo] = {
    "start-private-engine": _undo_private_engine,
    "keep-private-engine-data": _undo_private_engine_data,
    "serve": _undo_serving,
    "enrol-engine": _undo_enrolment,
    "guard-network": _undo_network_guard,
    "guard-files": _undo_file_guard,
    "selftest": _undo_selftest,
}
KEPT = frozenset({"keep-private-engine-data"})
