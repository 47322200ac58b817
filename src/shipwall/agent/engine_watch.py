"""Following the engine: what containers there are, asked once at start, then event by event, and whenever somebody wants to know."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from shipwall.adapters.engine import Engine
from shipwall.adapters.inventories import Inventories
from shipwall.agent.facts import facts_of
from shipwall.kernel.freezer import Freezer
from shipwall.kernel.rootfs import read_accounts
from shipwall.model.container import Accounts, ContainerFacts
from shipwall.model.digest import Digest
from shipwall.model.errors import ShipwallError
from shipwall.model.promotion import Promotion

RETRY_S = 1.0
_ACTIONS = frozenset({"create", "start", "die", "pause", "unpause", "rename", "destroy", "stop"})


class EngineWatch:
    """Two threads: one follows the engine's events, one asks about containers. `learned` is told what was found, off the event path."""

    def __init__(
        self,
        socket: Path,
        promotions: Callable[[], Mapping[Digest, Promotion]],
        inventories: Inventories,
        learned: Callable[[ContainerFacts, Accounts | None], None],
        say: Callable[[str], None],
    ) -> None:
        self._socket = socket
        self._promotions = promotions
        self._inventories = inventories
        self._learned = learned
        self._say = say
        self._wanted: queue.Queue[tuple[str, int] | None] = queue.Queue()
        self._freezer = Freezer()
        self._going = threading.Event()
        self._going.set()

    def start(self) -> None:
        """Begin to follow."""
        for name, target in (("engine-events", self._follow), ("engine-facts", self._answer)):
            threading.Thread(target=target, name=name, daemon=True).start()

    def stop(self) -> None:
        """Follow no longer (the threads end with the process; they hold nothing)."""
        self._going.clear()
        self._wanted.put(None)

    def look_up(self, container: str, cgroup_id: int) -> None:
        """Ask about a container soon."""
        self._wanted.put((container, cgroup_id))

    def list_containers(self) -> list[str]:
        """Ids of the running containers."""
        with Engine(self._socket, 10) as engine:
            return [str(found["Id"]) for found in engine.containers(every=False)]

    def find(self, container: str, cgroup_id: int = 0) -> ContainerFacts | None:
        """The facts about a container now; None when the engine has none of that id."""
        with Engine(self._socket, 10) as engine:
            try:
                record = engine.inspect_container(container)
            except ShipwallError:
                return None
        config = str(record.get("Image", ""))
        promotion = self._promotions().get(config)
        inventory = self._inventories.find_by_config(config)
        manifest = (
            promotion.image.manifest if promotion else (inventory.image.manifest if inventory and inventory.image else None)
        )
        pid = 0
        try:
            pids = self._freezer.pids(self._freezer.find(container))
            pid = min(pids, default=0)
        except (ShipwallError, OSError):
            pid = 0  # not running, or gone meanwhile: the record says so too
        return facts_of(
            record, image_digest=manifest, promotion="promoted" if promotion else "not-promoted", cgroup_id=cgroup_id, pid=pid
        )

    def _follow(self) -> None:
        was_there = True
        while self._going.is_set():
            try:
                with Engine(self._socket, 10) as engine:
                    was_there = True
                    for event in engine.events():
                        action = str(event.get("Action", "")).partition(":")[0]
                        container = str((event.get("Actor") or {}).get("ID", ""))
                        if event.get("Type") == "container" and action in _ACTIONS and container:
                            self.look_up(container, 0)
            except ShipwallError as error:
                if was_there:
                    self._say(f"the engine is away: {error.line()}")
                was_there = False
            threading.Event().wait(RETRY_S)

    def _answer(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            try:
                facts = self.find(*wanted)
            except (ShipwallError, OSError) as error:
                self._say(f"container {wanted[0][:12]}: {error}")
                continue
            if facts is not None:
                self._learned(facts, read_accounts(facts.pid) if facts.pid else None)
