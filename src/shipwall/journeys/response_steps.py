"""The four steps of a response on the engine and in the kernel: freeze, cut, capture, replace; and what takes them back.

Each looks at what is there and does what is missing, so it is right to do again after a crash at any instant. Order, journal and threads
are `respond`'s: nothing here remembers anything but the context of a plan, which must survive a crash and is too big for the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from shipwall.adapters.engine import Engine
from shipwall.adapters.engine_transport import API_VERSION
from shipwall.adapters.evidence import EvidenceStore
from shipwall.adapters.files import write_whole
from shipwall.adapters.journal import Entry
from shipwall.journeys.collect import Scene, Sealed, Sign, collect, describe_bundle
from shipwall.kernel.capture import listening_ports
from shipwall.kernel.freezer import Freezer, Group
from shipwall.model.alert import Alert
from shipwall.model.digest import ImageIdentity
from shipwall.model.errors import KernelError, RemoteError, ShipwallError, StorageError, TrustError, UnsupportedError
from shipwall.model.event import AnyEvent
from shipwall.model.package import Skipped
from shipwall.response.plan import Plan, frozen_name
from shipwall.response.replace import PLAN, REPLACES, derive_replacement

Json = dict[str, Any]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What must survive a crash and is too big for the journal: events before the alert, the container as it was before the cut."""

    events: tuple[AnyEvent, ...]
    record: Json
    image: Json
    skipped: tuple[Skipped, ...] = ()


class Work:
    """One plan being carried out."""

    def __init__(self, plan: Plan, alert: Alert | None, events: tuple[AnyEvent, ...], skipped: tuple[Skipped, ...] = ()) -> None:
        self.plan = plan
        self.alert = alert
        self.events = events
        self.skipped = skipped
        self.context: Context | None = None
        self.frozen_ns = 0
        self.replacement = ""
        self.evidence: Sealed | None = None


class Steps:
    """The hands of a responder; its own arguments are explained there. `folder`: where contexts are kept.

    A step returns what a person is told, and the facts its journal entry keeps.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        freezer: Freezer,
        store: EvidenceStore,
        sign: Sign,
        folder: Path,
        act_headers: Callable[[str, str], dict[str, str]],
        is_reachable: Callable[[str, int], bool] | None,
        identify: Callable[[Json], ImageIdentity | None],
        receipts: Callable[[str], tuple[Entry, ...]],
        now_ns: Callable[[], int],
        ready_s: float,
    ) -> None:
        self.engine = engine
        self.freezer = freezer
        self.store = store
        self._sign = sign
        self._folder = folder
        self._act_headers = act_headers
        self._is_reachable = is_reachable
        self._identify = identify
        self._receipts = receipts
        self._now_ns = now_ns
        self._ready_s = ready_s

    def do(self, step: str, work: Work) -> tuple[str, Json]:
        """Do one step of a plan. Raises ShipwallError; then it may be done again."""
        return self._steps[step](self, work)

    # -- freeze ---------------------------------------------------------------------------------------------------------

    def _freeze(self, work: Work) -> tuple[str, Json]:
        started = time.monotonic_ns()
        group = self.freezer.find(work.plan.container)
        self.freezer.freeze(group)
        work.frozen_ns = work.frozen_ns or time.monotonic_ns() - started
        with suppress(StorageError):  # kept in memory too; without it a crash costs the events, not the freeze
            self.remember(work)
        self._hand_over(group, work.plan.container)
        detail = f"{len(self.freezer.pids(group))} processes, {work.frozen_ns / 1e6:.1f} ms to frozen"
        return detail, {"frozen_ns": work.frozen_ns, "cgroup": str(group.path)}

    def _hand_over(self, group: Group, container: str) -> None:
        """Bring the engine to know that the frozen container is paused, so that it refuses `exec` by itself."""
        if self._status(container) != "paused":
            self.freezer.hold(group)
            try:
                self._act("POST", f"/containers/{container}/pause")
            except RemoteError:
                self.freezer.freeze(group)  # better frozen behind the engine's back than not at all
                self.freezer.release(group)
                raise
        elif not self.freezer.is_held(group):
            return
        self.freezer.release(group)
        self.freezer.freeze(group)

    def freeze_again(self, plan: Plan) -> None:
        """Freeze a container that should be frozen, and bring the engine to know it. Raises ShipwallError."""
        group = self.freezer.find(plan.container)
        self.freezer.freeze(group)
        self._hand_over(group, plan.container)

    # -- cut ------------------------------------------------------------------------------------------------------------

    def _cut(self, work: Work) -> tuple[str, Json]:
        container = work.plan.container
        self.remember(work)
        record = self.engine.inspect_container(container)
        mode = str(record["HostConfig"].get("NetworkMode", ""))
        if mode == "host" or mode.startswith("container:"):
            raise UnsupportedError(
                f"cut of {work.plan.container_name}", f"it shares the network of {mode}", "cut that one off by hand"
            )
        names = [name for name in record["NetworkSettings"].get("Networks") or {} if name != "none"]
        for name in names:
            self._act("POST", f"/networks/{quote(name, safe='')}/disconnect", {"Container": container, "Force": True})
        before = self._context(work).record["NetworkSettings"].get("Networks") or {}
        return f"disconnected from {', '.join(before) or 'no network'}", {"networks": sorted(before)}

    # -- capture --------------------------------------------------------------------------------------------------------

    def _capture(self, work: Work) -> tuple[str, Json]:
        plan = work.plan
        sealed = None
        if self.store.path(plan.id).exists():  # a crash came between the seal and the journal
            with suppress(TrustError, StorageError):
                sealed = describe_bundle(self.store.path(plan.id))
        if sealed is None:
            self.store.sweep(plan.id)
            context = self._context(work)
            pids: list[int] = []
            with suppress(KernelError):
                pids = self.freezer.pids(self.freezer.find(plan.container))
            skipped = list(work.skipped + context.skipped)
            changes: list[Json] = []
            try:
                changes = self.engine.changes(plan.container)
            except RemoteError as error:
                skipped.append(Skipped(what="list of changed files", reason=error.line()))
            scene = Scene(
                plan=plan,
                alert=work.alert,
                events=work.events or context.events,
                container=context.record,
                image=context.image,
                identity=self._identify(context.image),
                changes=tuple(changes),
                receipts=self._receipts(plan.id),
                skipped=tuple(skipped),
            )
            sealed = collect(scene, pids, self.store, self._sign, self._now_ns)
        work.evidence = sealed
        detail = f"{sealed.records} records, {sealed.size_bytes} bytes, {sealed.skipped} skipped"
        return detail, {"head": sealed.head, "path": sealed.path}

    # -- replace --------------------------------------------------------------------------------------------------------

    def _replace(self, work: Work) -> tuple[str, Json]:
        plan = work.plan
        context = self._context(work)
        body, networks = derive_replacement(context.record, plan.image, plan.id)
        aside = frozen_name(plan)
        if self._name(plan.container) != aside:
            self._act("POST", f"/containers/{plan.container}/rename?name={aside}")
        found = self.engine.containers(filters={"label": [f"{REPLACES}={plan.container}", f"{PLAN}={plan.id}"]})
        if found:
            fresh = str(found[0]["Id"])
        else:
            fresh = str(self._act("POST", f"/containers/create?name={plan.container_name}", body)["Id"])
        try:
            state = self.engine.inspect_container(fresh)
            for name, endpoint in networks.items():
                if name not in (state["NetworkSettings"].get("Networks") or {}):
                    self._act(
                        "POST", f"/networks/{quote(name, safe='')}/connect", {"Container": fresh, "EndpointConfig": endpoint}
                    )
            if not state["State"].get("Running"):
                self._act("POST", f"/containers/{fresh}/start")
            self._wait_ready(fresh, body)
        except ShipwallError:  # leave the name to the one that has data in it, and the next try a clean start
            with suppress(RemoteError):
                self._act("DELETE", f"/containers/{fresh}?force=1&v=1")
                self._act("POST", f"/containers/{plan.container}/rename?name={plan.container_name}")
            raise
        work.replacement = fresh
        return f"{plan.container_name} is {fresh[:12]} from {plan.image}", {"replacement": fresh, "aside": aside}

    def _wait_ready(self, container: str, body: Json) -> None:
        """Wait until the replacement is healthy, by its own check if it has one, else until somebody listens on each published port."""
        bindings = body["HostConfig"].get("PortBindings") or {}
        inside = {int(port.partition("/")[0]) for port in bindings if port.endswith("/tcp")}
        outside = [
            (one["HostIp"], int(one["HostPort"]))
            for port, ones in bindings.items()
            if port.endswith("/tcp")
            for one in ones
            if one["HostPort"].isdecimal()
        ]
        deadline = time.monotonic() + self._ready_s
        missing = "is not ready"
        while time.monotonic() < deadline:
            state = self.engine.inspect_container(container)["State"]
            if not state.get("Running"):
                words = self.engine.logs(container, 4096).decode("utf-8", "backslashreplace").strip().splitlines()[-1:]
                why = f"ended at once with code {state.get('ExitCode')} {' '.join(words)[:200]}".strip()
                raise RemoteError(f"replacement {container[:12]}", why, "look at the image, then resume")
            health = (state.get("Health") or {}).get("Status", "")
            if health == "unhealthy":
                raise RemoteError(f"replacement {container[:12]}", "its own health check says unhealthy", "look at its log")
            missing = "its health check has not passed yet" if health not in {"", "healthy", "none"} else ""
            if not missing and inside:
                pids: list[int] = []
                with suppress(KernelError):
                    pids = self.freezer.pids(self.freezer.find(container))
                silent = inside - (listening_ports(pids[0]) if pids else set())
                missing = f"nobody listens on {', '.join(map(str, sorted(silent)))}" if silent else ""
            if not missing and self._is_reachable is not None:
                closed = [str(port) for address, port in outside if not self._is_reachable(address, port)]
                missing = f"published port {', '.join(closed)} does not answer" if closed else ""
            if not missing:
                return
            time.sleep(0.02)
        raise RemoteError(
            f"replacement {container[:12]}", f"{missing} after {self._ready_s:.0f} s", "look at its log, then resume"
        )

    # -- afterwards -----------------------------------------------------------------------------------------------------

    def let_go(self, plan: Plan, networks: tuple[str, ...]) -> tuple[str, list[str]]:
        """Thaw the container and join it to those of `networks` it is not in; returns what was done, and the networks joined."""
        status = self.find_status(plan.container)
        if status not in {"running", "paused"}:
            return "the container has ended", []
        group = self.freezer.find(plan.container)
        if status == "paused":
            self.freezer.freeze(group)  # the engine unpauses only what is frozen
            self._act("POST", f"/containers/{plan.container}/unpause")
        self.freezer.thaw(group)
        joined = []
        now = self.engine.inspect_container(plan.container)["NetworkSettings"].get("Networks") or {}
        for name in networks:
            if name not in now:
                self._act("POST", f"/networks/{quote(name, safe='')}/connect", {"Container": plan.container})
                joined.append(name)
        return "thawed", joined

    def remove(self, plan: Plan) -> None:
        """Remove the container, frozen or not."""
        if self.find_status(plan.container):
            with suppress(KernelError):
                self.freezer.release(self.freezer.find(plan.container))
            self._act("DELETE", f"/containers/{plan.container}?force=1&v=1")

    # -- the context ----------------------------------------------------------------------------------------------------

    def forget(self, plan: str) -> None:
        """Remove the context of a plan that is over."""
        self._context_path(plan).unlink(missing_ok=True)

    def _context_path(self, plan: str) -> Path:
        return self._folder / f"plan-{plan}.msgpack"

    def remember(self, work: Work) -> None:
        """Keep the context on disk, once, before anything changes what the engine says about the container."""
        if work.context is not None and self._context_path(work.plan.id).exists():
            return
        context = self._context(work)
        write_whole(self._context_path(work.plan.id), msgspec.msgpack.encode(context), 0o600)

    def _context(self, work: Work) -> Context:
        """The context: of this process, of the one before the crash, or made now."""
        if work.context is None:
            with suppress(FileNotFoundError, msgspec.MsgspecError):
                work.context = msgspec.msgpack.decode(self._context_path(work.plan.id).read_bytes(), type=Context)
        if work.context is None:
            record = self.engine.inspect_container(work.plan.container)
            skipped: tuple[Skipped, ...] = ()
            image: Json = {}
            try:
                image = self.engine.inspect_image(str(record["Image"]))
            except RemoteError as error:
                skipped += (Skipped(what="image record", reason=error.line()),)
            if not work.events and work.alert is not None:
                skipped += (Skipped(what="events before the alert", reason="none were handed over, or a crash took them"),)
            work.context = Context(events=work.events, record=record, image=image, skipped=skipped)
        return work.context

    # -- the engine -----------------------------------------------------------------------------------------------------

    def _act(self, method: str, path: str, body: Json | None = None) -> Any:
        """An act of our own on the engine, with what admits it."""
        return self.engine.request(method, path, body, headers=self._act_headers(method, f"/{API_VERSION}{path}"))

    def _status(self, container: str) -> str:
        return str(self.engine.inspect_container(container)["State"]["Status"])

    def _name(self, container: str) -> str:
        return str(self.engine.inspect_container(container)["Name"]).removeprefix("/")

    def find_status(self, container: str) -> str:
        """Its status, empty when the engine does not know it."""
        try:
            return self._status(container)
        except RemoteError as error:
            if error.status == 404:
                return ""
            raise

    def is_down(self, container: str) -> bool:
        """Whether the engine says that no process of it is left. Not when the engine does not answer."""
        try:
            return self.find_status(container) not in {"running", "paused", "restarting"}
        except RemoteError:
            return False

    # THE table of steps.
    _steps: ClassVar[dict[str, Callable[[Steps, Work], tuple[str, Json]]]] = {
        "freeze": _freeze,
        "cut": _cut,
        "capture": _capture,
        "replace": _replace,
    }
