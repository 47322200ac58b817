"""A rule test: what there was, what happened, and which alerts are expected.

JSON with `containers`, `processes` (there before), `packages` (path → `name version`), `events`, and `expect`: the names of the rules that
must fire, in order. All but `events` may be left out; without `expect` the alerts are only shown.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shipwall.model.alert import Alert
from shipwall.model.container import Accounts, ContainerFacts, Process, ProcessDetails
from shipwall.model.digest import Digest
from shipwall.model.errors import InputError
from shipwall.model.event import AnyEvent
from shipwall.runtime.facts import Context
from shipwall.runtime.rules.rule_set import RuleSet
from shipwall.runtime.watch import Watch

MAX_BYTES = 64 * 1024 * 1024


class Scene(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test. `title` says what happens; `about` may explain it."""

    events: tuple[AnyEvent, ...]
    title: str = ""
    about: str = ""
    containers: tuple[ContainerFacts, ...] = ()
    processes: tuple[Process, ...] = ()
    packages: dict[str, str] = {}
    details: dict[int, ProcessDetails] = {}
    accounts: dict[str, Accounts] = {}
    names: dict[str, tuple[str, ...]] = {}
    expect: tuple[str, ...] | None = None


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a scene. `missing` rules were expected and silent, `surplus` ones fired unexpectedly."""

    title: str
    alerts: tuple[Alert, ...]
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()


class _Stage(Context):
    """The Context of a scene."""

    def __init__(self, scene: Scene) -> None:
        self._containers = {facts.id: facts for facts in scene.containers}
        self._scene = scene

    def container(self, container_id: str) -> ContainerFacts | None:
        return self._containers.get(container_id)

    def package_of(self, image_digest: Digest | None, path: str) -> str:
        return self._scene.packages.get(path, "") if image_digest is not None else ""

    def details(self, process: Process) -> ProcessDetails | None:
        return self._scene.details.get(process.pid)

    def accounts(self, container_id: str) -> Accounts | None:
        return self._scene.accounts.get(container_id)

    def names_of(self, address: str) -> tuple[str, ...]:
        return self._scene.names.get(address, ())


_decoder = msgspec.json.Decoder(Scene)
_list_decoder = msgspec.json.Decoder(list[Scene])


def parse_scenes(data: bytes, name: str) -> list[Scene]:
    """The scenes in a JSON text: one object or a list of them. Total: raises InputError for anything else."""
    if len(data) > MAX_BYTES:
        raise InputError(name, f"is over the limit of {MAX_BYTES} bytes", "split it")
    try:
        if data.lstrip()[:1] == b"[":
            return _list_decoder.decode(data)
        return [_decoder.decode(data)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(name, f"is not a rule test: {error}", "see `shipwall rule test --help`") from error


def play_scene(rules: RuleSet, scene: Scene) -> Played:
    """The alerts of a scene; the clock stands at each event's own time, so the same scene gives the same alerts."""
    watch = Watch(rules, "test", "test")
    watch.processes.load(scene.processes)
    stage = _Stage(scene)
    alerts = [alert for event in scene.events for alert in watch.handle(event, stage, event.time_ns)]
    fired = [alert.rule for alert in alerts]
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    if scene.expect is not None:
        missing, surplus = _difference(list(scene.expect), fired), _difference(fired, list(scene.expect))
    return Played(title=scene.title, alerts=tuple(alerts), missing=missing, surplus=surplus)


def _difference(names: list[str], others: list[str]) -> tuple[str, ...]:
    """`names` without one occurrence for each of `others`."""
    left = list(others)
    found: list[str] = []
    for name in names:
        if name in left:
            left.remove(name)
        else:
            found.append(name)
    return tuple(found)


def summary_of(alert: Alert) -> dict[str, Any]:
    """What a person reads of an alert, without ids and times."""
    return {
        "rule": alert.rule,
        "priority": alert.priority,
        "action": alert.action,
        "output": alert.output,
        "denied": alert.denied,
        "stopped": alert.stopped,
        "package": alert.package,
        "lineage": [process.comm for process in alert.lineage],
        "why": [f"{'+' if why.result else '-'} {why.condition} [{why.value}]" for why in alert.why],
    }
