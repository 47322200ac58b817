"""What the agent's journal says about response plans: which there are, how far each came, which container is meant to be frozen."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import NamedTuple

import msgspec

from shipwall.adapters.journal import Entry, Journal
from shipwall.model.alert import Alert
from shipwall.response.plan import Plan


def read_plans(journal: Journal) -> list[tuple[Plan, dict[str, Entry]]]:
    """Every plan in the journal with the newest entry of each of its acts, oldest first. Entries of others are left alone."""
    by_key: dict[str, dict[str, Entry]] = {}
    for (key, act), entry in journal.last().items():
        by_key.setdefault(key, {})[act] = entry
    found = []
    for last in by_key.values():
        if "plan" in last and "plan" in last["plan"].facts:
            with suppress(msgspec.ValidationError):
                found.append((msgspec.convert(last["plan"].facts["plan"], Plan), last))
    return found


FIRST_WAIT_NS = 5 * 1_000_000_000
LONGEST_WAIT_NS = 600 * 1_000_000_000


class Asked(NamedTuple):
    """A plan that waits, or waited, for a person. `status`: waiting, approved (and perhaps not begun), over."""

    plan: Plan
    alert: Alert | None
    status: str


def read_approvals(journal: Journal) -> list[Asked]:
    """Every plan that was to be approved, oldest first."""
    found = []
    last = journal.last()
    for (key, act), entry in last.items():
        if act != "approval" or "plan" not in entry.facts:
            continue
        status = {"begun": "waiting", "confirmed": "approved"}.get(entry.status, "over")
        if status == "approved" and (key, "plan") in last:
            status = "over"
        with suppress(msgspec.ValidationError):
            told = entry.facts.get("alert")
            alert = None if told is None else msgspec.convert(told, Alert)
            found.append(Asked(msgspec.convert(entry.facts["plan"], Plan), alert, status))
    return found


def last_of(journal: Journal, plan: str) -> dict[str, Entry]:
    """The newest entry of each act of `plan`."""
    return {act: entry for (key, act), entry in journal.last().items() if key == plan}


def receipts_of(journal: Journal, plan: str) -> tuple[Entry, ...]:
    """Every entry about the steps of `plan`, oldest first: what its evidence says was done."""
    return tuple(entry for entry in journal.read() if entry.key == plan and entry.act != "plan")


def count_failures(journal: Journal, plan: str, step: str) -> int:
    """How often `step` of `plan` failed for another reason than a full disk: that one is mended some day, so it does not count."""
    return sum(_is_failure(entry, plan) and entry.act == step and not entry.facts.get("disk") for entry in journal.read())


def try_again_ns(journal: Journal, plan: str) -> int:
    """When a plan that failed is to be tried again: at once after the first failure, then later and later, ten minutes apart at most."""
    failed = [entry for entry in journal.read() if _is_failure(entry, plan)]
    if not failed:
        return 0
    most = max(Counter(entry.act for entry in failed).values())
    wait_ns = 0 if most == 1 else min(FIRST_WAIT_NS << min(most - 2, 10), LONGEST_WAIT_NS)
    return max(entry.time_ns for entry in failed) + wait_ns


def _is_failure(entry: Entry, plan: str) -> bool:
    return entry.key == plan and entry.status == "failed"


def stands_frozen(plan: Plan, last: dict[str, Entry]) -> bool:
    """Whether the plan's container is meant to be frozen now: begun counts, a failed freeze of a finished plan does not."""
    if "freeze" not in plan.steps:
        return False
    freeze = last.get("freeze")
    if freeze is None:
        return last["plan"].status == "begun"
    return freeze.status == "confirmed" or (freeze.status in {"begun", "failed"} and last["plan"].status == "begun")
