"""What the link and the console both do: ask for rows, silence, command agents.

Everything people do is noted for the audit BEFORE it happens.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import msgspec

from shipwall.adapters.store import Store
from shipwall.model.alert import Silence
from shipwall.model.errors import InputError, RemoteError, ShipwallError
from shipwall.model.wire import Command, CommandResult, SilenceSet
from shipwall.server.agents import Agents
from shipwall.server.hub import Hub
from shipwall.server.log import log

ACTIONS = ("freeze", "thaw", "destroy", "capture")
DECISIONS = ("approve", "reject")
COMMAND_TIMEOUT_S = 60.0
MAX_ROWS = 10_000
MAX_SILENCE_NS = 90 * 24 * 3600 * 1_000_000_000
_MAX_REASON = 1000

P = ParamSpec("P")
T = TypeVar("T")


class Service:
    """One server's state: the store behind threads, the listeners, the agents. `trouble`: why rows cannot be kept now, if so."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hub = Hub()
        self.agents = Agents()
        self.trouble = ""
        self._pool = ThreadPoolExecutor(3, thread_name_prefix="store")

    def close(self) -> None:
        """End listeners and threads, let go of the store."""
        self.hub.close()
        self._pool.shutdown(wait=True)
        self.store.close()

    async def ask(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`method(...)` of the store, in a thread of its own, so that a slow disk stops nobody else."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: method(*args, **kwargs))

    async def rows(self, what: str, where: dict[str, str] | None = None, limit: int = 1000) -> list[dict[str, Any]]:
        """As `Store.rows`, at most MAX_ROWS; `nodes` also say whether their agent is `connected`."""
        rows = await self.ask(self.store.rows, what, where, min(limit, MAX_ROWS))
        if what == "nodes":
            connected = self.agents.nodes
            rows = [{**row, "connected": row["node"] in connected} for row in rows]
        return rows

    async def command(self, actor: str, action: str, target: str, reason: str) -> CommandResult:
        """What became of `action` on container `target`. Raises InputError (unknown action or container, no reason), RemoteError."""
        if action not in ACTIONS:
            raise InputError(f"action {action[:40]!r}", "is not known", "one of " + ", ".join(ACTIONS))
        reason = _reason(reason)
        node, container = await self.ask(self.store.find_container, target)
        command = Command(id=secrets.token_hex(16), action=action, target=container.id, actor=actor, reason=reason)
        return await self._send(command, node, f"{container.name} ({container.id[:12]})")

    async def decide(self, actor: str, action: str, plan: str, reason: str) -> CommandResult:
        """What became of approving or rejecting a plan that waits. Raises InputError (unknown word or plan, no reason), RemoteError."""
        if action not in DECISIONS:
            raise InputError(f"action {action[:40]!r}", "is not known", "one of " + ", ".join(DECISIONS))
        reason = _reason(reason)
        asked = await self.rows("responses", {"plan": plan, "step": "approval"}, 1)
        if not asked:
            raise InputError(f"plan {plan[:40]!r}", "does not wait for approval", "see `shipwall response list`")
        node, container = str(asked[0]["node"]), str(asked[0]["container"])
        command = Command(id=secrets.token_hex(16), action=action, target=container, actor=actor, reason=reason, plan=plan)
        return await self._send(command, node, f"plan {plan} for {container[:12]}")

    async def _send(self, command: Command, node: str, name: str) -> CommandResult:
        """The agent's answer to `command`, kept with who asked for it."""
        actor, action, reason = command.actor, command.action, command.reason
        await self.ask(self.store.begin_command, command, node, time.time_ns())
        await self.ask(self.store.note, actor, action, name, reason, time.time_ns())
        log("info", "command", actor=actor, action=action, container=command.target[:12], node=node)
        state, detail = "unanswered", "the server stopped"
        try:
            result = await self.agents.command(node, command, COMMAND_TIMEOUT_S)
            state, detail = ("done" if result.done else "failed"), result.detail
            return result
        except RemoteError as error:
            detail = error.line()
            raise
        finally:
            now_ns = time.time_ns()
            await self.ask(self.store.end_command, command.id, state, detail, now_ns)
            await self.ask(self.store.note, actor, f"{action}: {state}", name, detail, now_ns)
            log("info", "command-ended", action=action, container=command.target[:12], state=state)
            self.hub.publish({"commands", "audit"})

    async def silence(self, actor: str, rule: str, container_name: str, reason: str, until_ns: int) -> Silence:
        """A new silence, kept and told to every agent. Raises InputError when rule or reason lack or the end is not in the next 90 days."""
        now_ns = time.time_ns()
        if not rule.strip() or len(rule) > 500 or len(container_name) > 500:
            raise InputError("silence", "names no rule, or a name is too long", "name the rule as the alert does")
        if not now_ns < until_ns <= now_ns + MAX_SILENCE_NS:
            raise InputError("silence", "does not end within the next 90 days", "give it an end; it can be set again")
        silence = Silence(
            id=secrets.token_hex(8), rule=rule, container_name=container_name, reason=_reason(reason), actor=actor,
            created_ns=now_ns, until_ns=until_ns,
        )  # fmt: skip
        await self._set(silence, actor, "silence", f"until {_utc(until_ns)}: {silence.reason}")
        return silence

    async def end_silence(self, actor: str, silence_id: str) -> Silence:
        """The silence, which ends now. Raises InputError when it is not known."""
        rows = await self.ask(self.store.rows, "silences", {"id": silence_id}, 1)
        if not rows:
            raise InputError(f"silence {silence_id[:40]!r}", "is not known here", "shipwall alert silences")
        silence = msgspec.convert(rows[0], Silence)
        now_ns = time.time_ns()
        if silence.until_ns > now_ns:
            silence = msgspec.structs.replace(silence, until_ns=now_ns)
            await self._set(silence, actor, "end silence", silence.reason)
        return silence

    async def note(self, actor: str, action: str, target: str, detail: str = "") -> None:
        """Keep who did what, and tell listeners."""
        await self.ask(self.store.note, actor, action, target, detail, time.time_ns())
        self.hub.publish({"audit"})

    async def _set(self, silence: Silence, actor: str, action: str, detail: str) -> None:
        target = silence.rule + (f" in {silence.container_name}" if silence.container_name else " everywhere")
        await self.ask(self.store.note, actor, action, target, detail, time.time_ns())
        await self.ask(self.store.set_silence, silence)
        self.agents.broadcast(SilenceSet(silence=silence))
        log("info", action.replace(" ", "-"), actor=actor, rule=silence.rule)
        self.hub.publish({"silences", "audit"})


def problem(error: ShipwallError) -> dict[str, str]:
    """`error` as the API gives it."""
    return {"thing": error.thing, "reason": error.reason, "next_step": error.next_step, "line": error.line()}


def _reason(reason: str) -> str:
    reason = reason.strip()
    if not 3 <= len(reason) <= _MAX_REASON:
        raise InputError("reason", f"must have 3 to {_MAX_REASON} characters", "say why, for whoever reads the audit")
    return reason


def _utc(time_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(time_ns // 1_000_000_000))
