"""The agents that are connected now, by node, and the commands they have not answered yet."""

from __future__ import annotations

import asyncio
from typing import Protocol

from shipwall.model.errors import RemoteError
from shipwall.model.wire import Command, CommandResult, Message


class Agent(Protocol):
    """An agent's end of the link."""

    def push(self, message: Message) -> None:
        """Hand over `message` without waiting; an agent that does not read is disconnected."""
        ...


class Agents:
    """One agent per node; a newer connection takes the place of an older one."""

    def __init__(self) -> None:
        self._by_node: dict[str, Agent] = {}
        self._waiting: dict[str, tuple[str, asyncio.Future[CommandResult]]] = {}

    @property
    def nodes(self) -> set[str]:
        """Nodes whose agent is connected."""
        return set(self._by_node)

    def join(self, node: str, agent: Agent) -> None:
        """`agent` speaks for `node` from now on."""
        self._by_node[node] = agent

    def leave(self, node: str, agent: Agent) -> None:
        """`agent` is gone: what it had not answered stays unanswered."""
        if self._by_node.get(node) is not agent:
            return
        del self._by_node[node]
        for waiting_node, future in self._waiting.values():
            if waiting_node == node and not future.done():
                future.set_exception(
                    RemoteError(
                        f"agent of {node}", "went away before it answered", "look at the container's state, then ask again"
                    )
                )

    def broadcast(self, message: Message) -> None:
        """Hand `message` to every agent."""
        for agent in list(self._by_node.values()):
            agent.push(message)

    async def command(self, node: str, command: Command, timeout_s: float) -> CommandResult:
        """What the agent of `node` answers to `command`. Raises RemoteError when it is not there, goes away or stays silent."""
        agent = self._by_node.get(node)
        if agent is None:
            raise RemoteError(f"agent of {node}", "is not connected", "start it: shipwall up")
        future: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        self._waiting[command.id] = node, future
        try:
            agent.push(command)
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            raise RemoteError(
                f"agent of {node}",
                f"has not answered within {timeout_s:.0f} s",
                "it may still act; look at the container's state",
            ) from error
        finally:
            del self._waiting[command.id]

    def answered(self, node: str, result: CommandResult) -> None:
        """The agent of `node` answered. Answers nobody waits for, or of another node's command, are left alone."""
        waiting = self._waiting.get(result.id)
        if waiting is not None and waiting[0] == node and not waiting[1].done():
            waiting[1].set_result(result)
