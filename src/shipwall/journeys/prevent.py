"""Prevention as the agent uses it: refusals put in force when a container is met, changed with the rules, taken off at its end.

Guards come when the first container needs them, and are found again by the next agent: what an earlier one put in force stays in force
until `keep_only` says which containers there still are. *On failure*: open for that container and that guard, and `NotInForce` says so;
nothing is counted as refused that is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Journal
from shipwall.journeys.file_guard import FileGuard, GuardEndedError
from shipwall.kernel.cgroups import find_path, unified_mount
from shipwall.kernel.network_guard import NetworkGuard
from shipwall.model.container import ContainerFacts
from shipwall.model.errors import ShipwallError
from shipwall.runtime.prevention import Prevention

NETWORK_ACT, FILES_ACT = "guard-network", "guard-files"


class NotInForce(NamedTuple):
    """What is not refused in `container` although its rules say so: `what` network, files or the path of a mount."""

    container: str
    what: str
    reason: str


class Refused(NamedTuple):
    """An act that was refused (`denied`), or would have been by rules in mode monitor. `call`: connect, bind, sendmsg or open.

    `what`: `protocol address port`, or a path. `tid`: the thread, as the host counts. `container`: its id, empty when it is gone.
    """

    container: str
    call: str
    what: str
    tid: int
    denied: bool
    rules: tuple[str, ...]


class Preventer:
    """The guards of an installation. Close it, or leave `with`: what is in force stays in force."""

    def __init__(self, instance: Instance) -> None:
        """Guards that an earlier agent left are found at once. Raises KernelError when they cannot be taken over."""
        self._instance = instance
        self._journal = Journal(instance.state / "journal.jsonl")
        self._network: NetworkGuard | None = None
        self._files: FileGuard | None = None
        self._cgroups: dict[str, int] = {}
        self.untold = 0
        """Refused opens that nobody could be told about."""
        self.files_lost = ""
        """Why the file guard has gone, and with it what it refused in every container. Whoever puts all in force again empties it."""
        if instance.network_guard.exists():
            self._need_network()
        if (instance.file_guard / "process.json").exists():
            self._need_files()

    def put(self, container: ContainerFacts, wanted: Prevention) -> list[NotInForce]:
        """Put `wanted` in force for a running container, in the place of what was; what of it is not."""
        found: list[NotInForce] = []
        folder = find_path(container.cgroup_id) if container.cgroup_id else None
        if folder is None or not container.pid:
            return [NotInForce(container.id, "all", "it does not run")] if wanted else []
        self._cgroups[container.id] = container.cgroup_id
        try:
            if wanted.network or self._network is not None:
                self._need_network().apply(folder, wanted.network)
        except ShipwallError as error:
            found.append(NotInForce(container.id, "network", error.line()))
        try:
            if wanted.files or self._files is not None:
                path = f"/{folder.relative_to(unified_mount())}"
                state = self._need_files().guard(container.id, container.pid, path, wanted.files)
                found += [NotInForce(container.id, unmarked.mount, unmarked.reason) for unmarked in state.unmarked]
        except ShipwallError as error:
            self._let_go_of_files(error)
            found.append(NotInForce(container.id, "files", error.line()))
        return found

    def take_off(self, container: str) -> None:
        """Refuse nothing of the container any more; it may be gone."""
        cgroup_id = self._cgroups.pop(container, 0)
        if self._network is not None and cgroup_id:
            self._network.release(cgroup_id)
        if self._files is not None:
            try:
                self._files.release(container)
            except ShipwallError as error:
                self._let_go_of_files(error)

    def keep_only(self, running: Mapping[str, int]) -> None:
        """Take off everything that is in force for others than these (container id → cgroup id): put there by an earlier agent."""
        self._cgroups |= running
        if self._network is not None:
            for cgroup_id in set(self._network.in_force()) - set(running.values()):
                self._network.release(cgroup_id)
        if self._files is not None:
            for state in self._files.states():
                if state.container not in running:
                    self._files.release(state.container)

    def refused(self) -> Iterator[Refused]:
        """The acts that were refused since the last call."""
        by_cgroup = {cgroup_id: container for container, cgroup_id in self._cgroups.items()}
        if self._network is not None:
            for act in self._network.decisions():
                what = f"{act.protocol} {act.address} {act.port}"
                yield Refused(by_cgroup.get(act.cgroup_id, ""), act.hook, what, act.tid, act.denied, act.rules)
        if self._files is not None:
            try:
                opens, untold = self._files.take()
            except ShipwallError as error:
                self._let_go_of_files(error)
                return
            self.untold += untold
            for one in opens:
                yield Refused(one.container, "open", one.path, one.tid, one.denied, one.rules)

    def _need_network(self) -> NetworkGuard:
        if self._network is None:
            with _Journalled(self._journal, NETWORK_ACT, self._instance.network_guard):
                self._network = NetworkGuard(self._instance.network_guard)
        return self._network

    def _need_files(self) -> FileGuard:
        if self._files is None:
            with _Journalled(self._journal, FILES_ACT, self._instance.file_guard):
                self._files = FileGuard(self._instance.file_guard)
        return self._files

    def _let_go_of_files(self, error: ShipwallError | None = None) -> None:
        """After it failed: the next container starts another guard."""
        if isinstance(error, GuardEndedError):
            self.files_lost = error.reason
        if self._files is not None:
            self._files.close()
            self._files = None

    def close(self) -> None:
        """Let go; what is in force stays in force."""
        if self._network is not None:
            self._network.close()
            self._network = None
        self._let_go_of_files()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Journalled:
    """Begun before, confirmed after, once for each installation: both guards stand until they are taken away."""

    def __init__(self, journal: Journal, act: str, folder: Path) -> None:
        self._journal, self._act, self._key = journal, act, str(folder)
        self._stands = any((entry.key, entry.act) == (self._key, act) for entry in journal.standing())

    def __enter__(self) -> None:
        if not self._stands:
            self._journal.begin(self._key, self._act)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and not self._stands:
            self._journal.confirm(self._key, self._act)
