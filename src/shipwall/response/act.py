"""Decides what is done at once about an alert whose rule names an action: to the process that acted, or to its container."""

from __future__ import annotations

import errno

import msgspec

from shipwall.model.alert import Alert
from shipwall.model.event import Cgroup, Exec, Lost

GONE = "the process is gone"
OTHER = "its number belongs to another process now"
RUNTIME = "it is the engine's runtime"
OUTSIDE = "it is in no container"
NO_PROCESS = "no process did it"
NO_HOOK = "nothing here can refuse it"
PROTECTED = "it is never stopped: the engine, the agent or the host's first process"
NOT_ALLOWED = "the kernel does not allow it"
NO_ENGINE = "no engine is watched"
FAILED = "it failed"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Do `action`: kill or stop process `pid`, which was there at `time_ns`; or freeze the container of the alert."""

    action: str
    alert: Alert
    pid: int
    time_ns: int


class Withheld(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing is done. `cause` empty: the rule or the node only monitors; else why what should be enforced is not, to be counted."""

    action: str
    cause: str = ""

    @property
    def text(self) -> str:
        """What the alert says about it."""
        return f"missed: {self.cause}" if self.cause else f"would have: {self.action}"


def decide_act(alert: Alert, mode: str, *, is_runtime: bool) -> Order | Withheld | None:
    """What the action of the alert's rule leads to; None when there is nothing to do: no action, silenced, or stopped by the kernel.

    `mode`: of the rule on this node, monitor or enforce. `is_runtime`: the process still runs the engine's runtime, and is not yet the
    container's. *On failure*: withheld; the alert was raised in any case.
    """
    action = alert.action
    if action == "alert" or alert.silenced_by:
        return None
    if action in {"kill", "stop"} and isinstance(alert.event, Exec) and alert.event.killed:
        return None
    if mode != "enforce":
        return Withheld(action=action)
    cause = ""
    if not alert.container:
        cause = OUTSIDE
    elif action == "deny":
        if alert.event.ret == -errno.EPERM:  # a hook refused it: nothing is left to do
            return None
        cause = NO_HOOK
    elif action in {"kill", "stop"} and isinstance(alert.event, Lost | Cgroup):
        cause = NO_PROCESS
    elif action in {"kill", "stop"} and is_runtime:
        cause = RUNTIME
    if cause:
        return Withheld(action=action, cause=cause)
    return Order(action=action, alert=alert, pid=alert.event.pid, time_ns=alert.event.time_ns)
