"""What is known around one event, and who is asked for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from shipwall.model.container import Accounts, ContainerFacts, Process, ProcessDetails
from shipwall.model.digest import Digest
from shipwall.model.event import Event
from shipwall.runtime.conditions import Found
from shipwall.runtime.processes import LEARNT, TOLD, ProcessTable


class Context(Protocol):
    """What the rules may ask beyond the events; answers at once, None or empty while it does not know.

    Whoever implements it inherits from it and answers what it can.
    """

    def container(self, container_id: str) -> ContainerFacts | None:
        """Facts about a container."""
        ...

    def package_of(self, image_digest: Digest | None, path: str) -> str:
        """`name version` of the package that owns `path` in the image, empty when none does."""
        ...

    def details(self, process: Process) -> ProcessDetails | None:  # noqa: ARG002  for those who know
        """What the system says about a living process; None when it has ended or nobody can look."""
        return None

    def accounts(self, container_id: str) -> Accounts | None:  # noqa: ARG002  for those who know
        """Users and groups of a container, of the host for an empty id."""
        return None

    def names_of(self, address: str) -> tuple[str, ...]:  # noqa: ARG002  for those who know
        """The names of hosts, among those that rules name, that stand for `address`."""
        return ()


ASKED_PROCESS, ASKED_LINEAGE, ASKED_MORE = 1, 2, 4
"""What was asked beyond event and container: who acted (its ids too), its ancestors, anything that may change without notice (time)."""


class Facts:
    """One event and what is known around it; ancestors and container are looked up when a rule first asks.

    `asked` grows by what is asked for (ASKED_*): a verdict for which little was asked holds for other events too (`runtime.quiet`).
    """

    __slots__ = ("_accounts", "_container", "_context", "_lineage", "_table", "asked", "event", "node")

    def __init__(self, event: Event, table: ProcessTable, context: Context, node: str) -> None:
        self.event = event
        self.node = node
        self.asked = 0
        self._table = table
        self._context = context
        self._lineage: tuple[Process, ...] | None = None
        self._container: tuple[ContainerFacts | None] | None = None
        self._accounts: tuple[Accounts | None] | None = None

    @property
    def process(self) -> Process | None:
        """The process that acts."""
        self.asked |= ASKED_PROCESS
        return self._table.get(self.event.pid)

    @property
    def is_runtime(self) -> bool:
        """Whether the engine's runtime acts while it sets up the container."""
        self.asked |= ASKED_PROCESS
        return self._table.is_runtime(self.event.pid)

    @property
    def table(self) -> ProcessTable:
        """All processes."""
        self.asked |= ASKED_MORE
        return self._table

    @property
    def context(self) -> Context:
        """Who knows the rest."""
        self.asked |= ASKED_MORE
        return self._context

    @property
    def lineage(self) -> tuple[Process, ...]:
        """The process and its ancestors, nearest first."""
        self.asked |= ASKED_LINEAGE
        if self._lineage is None:
            self._lineage = self._table.lineage(self.event.pid)
        return self._lineage

    @property
    def container(self) -> ContainerFacts | None:
        """The container the event happened in, None when there is none or it is not known yet."""
        if self._container is None:
            found = self._context.container(self.event.container) if self.event.container else None
            self._container = (found,)
        return self._container[0]

    def ancestor(self, distance: int) -> Process | None:
        """The process (0), its parent (1), and so on."""
        lineage = self.lineage
        return lineage[distance] if distance < len(lineage) else None

    def detail(self, name: str) -> Any:
        """One of the process's details, None when it cannot be known. What its exec did not tell is looked up once for each program."""
        self.asked |= ASKED_PROCESS
        details, knowledge = self._table.details(self.event.pid)
        if knowledge == TOLD and (value := getattr(details, name)) is not None:
            return value
        if knowledge != LEARNT and (process := self.process) is not None:
            details = _completed(details, self._context.details(process), is_told=knowledge == TOLD)
            self._table.learn(self.event.pid, details)
        return None if details is None else getattr(details, name)

    @property
    def accounts(self) -> Accounts | None:
        """Users and groups where the event happened."""
        if self._accounts is None:
            self._accounts = (self._context.accounts(self.event.container),)
        return self._accounts[0]


def _completed(known: ProcessDetails | None, found: ProcessDetails | None, *, is_told: bool) -> ProcessDetails | None:
    """What was `found`, below what the exec told itself; `known` alone when nothing was found."""
    if known is None or found is None or not is_told:
        return found or known
    told = {name: value for name in known.__struct_fields__ if (value := getattr(known, name)) is not None}
    return msgspec.structs.replace(found, **told)


class Meaning(NamedTuple):
    """What a field means. `kinds`: the events it has a value for (None: all). `argument`: none, optional (an index) or required.

    `asks` (ASKED_*): what its value depends on that `Facts` does not notice, because it is taken from the event's header.
    """

    help: str
    kind: str
    get: Callable[[Facts], Found]
    kinds: frozenset[str] | None = None
    many: bool = False
    argument: str = "none"
    get_with: Callable[[Facts, str], Found] | None = None
    asks: int = 0
