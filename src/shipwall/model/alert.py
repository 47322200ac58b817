"""Alerts: a rule said yes to an event, with everything needed to understand why."""

from __future__ import annotations

import msgspec

from shipwall.model.container import Process
from shipwall.model.digest import Digest
from shipwall.model.event import AnyEvent

PRIORITIES = ("Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug")
"""Most urgent first."""


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison of the rule's condition: its source text, the value the field had, and its result."""

    condition: str
    value: str
    result: bool


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One act of a sequence: the rule it matched."""

    rule: str
    event: AnyEvent


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is unique (time and random). `action`: alert, deny, kill, stop, freeze; `acted`: what the agent did about that (`killed after
    the act`, `would have: kill`, `missed: the process is gone`), empty when nothing was asked for or the alert has just been raised.
    `sequence`: all acts of a rule that asks for several, the last of them `event`. `denied`: the act itself was refused by the system.

    `lineage`: the process and its ancestors, nearest first. `package`: `name version` of the package that owns the executable,
    empty when no package does. `silenced_by`: id of the silence that mutes it, empty otherwise. `stopped`: what ended the act
    (`refused by the system`, `killed before its first instruction`, `frozen`, ...), empty when nothing did. `suppressed`: how many alerts
    of this rule in this container its throttle kept back since the one before.
    """

    id: str
    node: str
    time_ns: int
    raised_ns: int
    rule: str
    priority: str
    output: str
    action: str
    event: AnyEvent
    container: str = ""
    container_name: str = ""
    image_digest: Digest | None = None
    promotion: str = "unknown"
    package: str = ""
    lineage: tuple[Process, ...] = ()
    why: tuple[Why, ...] = ()
    tags: tuple[str, ...] = ()
    denied: bool = False
    stopped: str = ""
    silenced_by: str = ""
    output_fields: dict[str, str] = {}
    suppressed: int = 0
    acted: str = ""
    sequence: tuple[Step, ...] = ()


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Mutes alerts of `rule` (in `container_name`, or everywhere when empty) until `until_ns`, for a written reason."""

    id: str
    rule: str
    container_name: str
    reason: str
    actor: str
    created_ns: int
    until_ns: int
