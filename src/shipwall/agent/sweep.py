"""What runs although it would not be admitted: started while nobody was asked (agent away, engine not enrolled, mode observe).

Told once per container and mode: always as an admission verdict, in mode enforce also as an alert, so that a response policy can name
the rule. Stopped only in mode enforce and with `stop_unadmitted: true` in the admission policy: what serves people is not ended because
Shipwall was started. *On failure*: open, and said; the door itself is closed by the plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from shipwall.access.policy import AdmissionPolicy
from shipwall.access.world import ContainerRecord
from shipwall.adapters.engine import Engine
from shipwall.adapters.engine_transport import API_VERSION
from shipwall.agent.acts import Acts
from shipwall.agent.plugin import AdmissionPlugin
from shipwall.kernel.freezer import Freezer
from shipwall.lang.rfc3339 import parse_rfc3339
from shipwall.model.alert import Alert
from shipwall.model.errors import KernelError, RemoteError
from shipwall.model.event import Exec
from shipwall.model.verdict import Reason, Verdict
from shipwall.model.wire import Admission

RULE = "Container not admitted"
STOP_S = 10


class Sweep:
    """Judges the running containers of `engine` as `plugin` judges new ones. `tell` hears verdicts; must not block."""

    def __init__(
        self,
        plugin: AdmissionPlugin,
        engine: Engine,
        acts: Acts,
        policy: Callable[[], AdmissionPolicy],
        tell: Callable[[Admission], None],
        node: str,
    ) -> None:
        self._plugin = plugin
        self._engine = engine
        self._acts = acts
        self._policy = policy
        self._tell = tell
        self._node = node
        self._freezer = Freezer()
        self._told: set[tuple[str, str]] = set()

    def __call__(self, mode: str, now_ns: int) -> list[Alert]:
        """Alerts about containers not told before in `mode` (admission's: observe, enforce).

        Raises RemoteError, and InputError or StorageError for an admission policy that cannot be read.
        """
        alerts = []
        for record, verdict in self._plugin.sweep():
            found = self._running(record.id)
            if found is None or (record.id, mode) in self._told:
                continue
            pid = self._first_pid(record.id)
            stopped = mode == "enforce" and self._policy().stop_unadmitted and found["State"]["Status"] == "running"
            if stopped:
                headers = self._acts.headers("POST", f"/{API_VERSION}/containers/{record.id}/stop")
                self._engine.stop(record.id, STOP_S, headers=headers)
            self._told.add((record.id, mode))
            self._tell(self._verdict(record, verdict, now_ns, stopped=stopped))
            if mode == "enforce":
                alerts.append(alert_of(record, found, verdict, pid, self._node, now_ns, stopped=stopped))
        return alerts

    def _running(self, container: str) -> dict[str, Any] | None:
        """The engine's record of it; None when it is gone or does not run: then it is judged when somebody starts it."""
        try:
            found = self._engine.inspect_container(container)
        except RemoteError as error:
            if error.status == 404:
                return None
            raise
        return found if (found.get("State") or {}).get("Status") in {"running", "paused", "restarting"} else None

    def _first_pid(self, container: str) -> int:
        """Its first process as this host counts, 0 when none is found: the engine may count in a namespace of its own."""
        with suppress(KernelError):
            return min(self._freezer.pids(self._freezer.find(container)), default=0)
        return 0

    def _verdict(self, record: ContainerRecord, verdict: Verdict, now_ns: int, *, stopped: bool) -> Admission:
        what = "it was stopped" if stopped else "it goes on"
        first = Reason(code="found-running", message=f"it was started without being asked about; {what}")
        return Admission(
            node=self._node,
            time_ns=now_ns,
            method="SWEEP",
            uri="",
            subject=record.name[:300],
            verdict=msgspec.structs.replace(verdict, reasons=(first, *verdict.reasons)),
        )


def alert_of(
    record: ContainerRecord, found: dict[str, Any], verdict: Verdict, pid: int, node: str, now_ns: int, *, stopped: bool
) -> Alert:
    """The alert about a container that would not be admitted.

    Its event is the start as the engine recorded it; what only a sensor could know (`seq`, users) is 0. `pid` as the host counts.
    """
    started_ns = parse_rfc3339(str((found.get("State") or {}).get("StartedAt", ""))) or now_ns
    path = str(found.get("Path", ""))
    argv = tuple(str(word) for word in (path, *(found.get("Args") or ())))
    event = Exec(
        seq=0, time_ns=started_ns, cgroup_id=0, pid=pid, tid=pid, ppid=0, ns_pid=0, uid=0, gid=0, comm=path.rpartition("/")[2][:15],
        container=record.id, path=path, asked=path, argv=argv,
    )  # fmt: skip
    reasons = "; ".join(f"[{reason.code}] {reason.message}" for reason in verdict.reasons[:5])
    return Alert(
        id=f"{now_ns:016x}-sweep-{record.id[:12]}",
        node=node,
        time_ns=started_ns,
        raised_ns=now_ns,
        rule=RULE,
        priority="Warning",
        output=f"container {record.name} runs and would not be admitted: {reasons}",
        action="alert",
        event=event,
        container=record.id,
        container_name=record.name,
        stopped="container stopped" if stopped else "",
        tags=("admission",),
    )
