"""A rule test: what there was, what happened, and which alerts are expected.

YAML, for people:

    shared:                        what the tests below begin with; a test's own values come over it
      containers: [...]            as in events, the wire form of `model`; so are `processes`, `packages` (path → `name version`),
      event: {cgroup_id: 7, ...}   `details` (by pid), `accounts` (by container), `names` (address → names); `event`: every event's header
    tests:
      - test: cat reads the password hashes
        rule: Sensitive file read               what is tested: a test without alert of it is its negative test
        events: [{kind: open, path: /etc/shadow, ...}]      seq and time_ns are counted up where they are not given
        alerts: [{rule: Sensitive file read, priority: Warning, fields: {fd.name: /etc/shadow}}]

`alerts` are all there must be, in order; without it they are only shown. JSON, for programs: one test or a list of such, with `expect`
(names of rules) in place of `alerts` where only those matter.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shipwall.lang.yaml_text import Node, parse_yaml
from shipwall.model.alert import Alert
from shipwall.model.container import Accounts, ContainerFacts, Process, ProcessDetails
from shipwall.model.digest import Digest
from shipwall.model.errors import InputError
from shipwall.model.event import AnyEvent
from shipwall.runtime.conditions import text_of
from shipwall.runtime.facts import Context
from shipwall.runtime.rules.rule_set import RuleSet
from shipwall.runtime.watch import Watch

MAX_BYTES = 64 * 1024 * 1024
BEGAN_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000_000

_SHARED = ("containers", "processes", "packages", "details", "accounts", "names")


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An alert that must come: its rule, and what of it matters. `fields`: values in its output."""

    rule: str
    priority: str = ""
    fields: dict[str, str | int | bool] = {}


class Scene(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test. `title` says what happens; `about` may explain it; `rule` is the rule it is about."""

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
    rule: str = ""
    alerts: tuple[Expected, ...] | None = None


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a scene. `missing` rules were expected and silent, `surplus` ones fired unexpectedly, `wrong`: what differs."""

    title: str
    alerts: tuple[Alert, ...]
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    rule: str = ""

    @property
    def failed(self) -> bool:
        """Whether anything is not as expected."""
        return bool(self.missing or self.surplus or self.wrong)


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
    """The tests in a text, JSON (it begins with a bracket or brace) or YAML. Total: raises InputError for anything else."""
    if len(data) > MAX_BYTES:
        raise InputError(name, f"is over the limit of {MAX_BYTES} bytes", "split it")
    head = data.lstrip()[:1]
    if head not in {b"[", b"{"}:
        return _parse_yaml_scenes(data, name)
    try:
        return _list_decoder.decode(data) if head == b"[" else [_decoder.decode(data)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(name, f"is not a rule test: {error}", "see `shipwall rule test --help`") from error


def _parse_yaml_scenes(data: bytes, name: str) -> list[Scene]:
    keys = parse_yaml(data, name).mapping({"shared", "tests"}, required=("tests",))
    shared = {} if "shared" not in keys else _plain(keys["shared"], {*_SHARED, "event"})
    header = shared.pop("event", None) or {}
    return [_scene(node, shared, header) for node in keys["tests"].sequence()]


def _scene(node: Node, shared: dict[str, Any], header: Any) -> Scene:
    values = shared | _plain(node, {*_SHARED, "event", "test", "about", "rule", "events", "alerts"})
    own = values.pop("event", None) or {}
    try:
        if "test" not in values or not isinstance(values.get("events"), list):
            raise node.error("a test needs `test` (its title) and `events`")
        values["title"] = values.pop("test")
        values["events"] = [
            {"seq": number, "time_ns": BEGAN_NS + number * STEP_NS} | header | own | event
            for number, event in enumerate(values["events"])
        ]
        return msgspec.convert(values, Scene, str_keys=True)
    except (msgspec.MsgspecError, TypeError) as error:
        raise node.error(f"is not a rule test: {error}", "see `shipwall rule test --help`") from error


def _plain(node: Node, known: set[str]) -> dict[str, Any]:
    return {key: value.plain() for key, value in node.mapping(known).items()}


def play_scene(rules: RuleSet, scene: Scene, *, first_match: bool = False) -> Played:
    """The alerts of a scene; the clock stands at each event's own time, so the same scene gives the same alerts."""
    watch = Watch(rules, "test", "test", first_match=first_match)
    watch.processes.load(scene.processes)
    stage = _Stage(scene)
    alerts = [alert for event in scene.events for alert in watch.handle(event, stage, event.time_ns)]
    fired = [alert.rule for alert in alerts]
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    expected = scene.expect if scene.alerts is None else tuple(alert.rule for alert in scene.alerts)
    if expected is not None:
        missing, surplus = _difference(list(expected), fired), _difference(fired, list(expected))
    return Played(
        title=scene.title, alerts=tuple(alerts), missing=missing, surplus=surplus, wrong=_wrong(scene, alerts), rule=scene.rule
    )


def _wrong(scene: Scene, alerts: list[Alert]) -> tuple[str, ...]:
    """What differs between expected alerts and those that came: of several of one rule the first fits the first."""
    left = list(alerts)
    wrong: list[str] = []
    for expected in scene.alerts or ():
        alert = next((alert for alert in left if alert.rule == expected.rule), None)
        if alert is None:
            continue  # told as missing
        left.remove(alert)
        if expected.priority and expected.priority.lower() != alert.priority.lower():
            wrong.append(f"{alert.rule}: priority is {alert.priority}, not {expected.priority}")
        for name, value in expected.fields.items():
            found = alert.output_fields.get(name)
            if found is None:
                wrong.append(f"{alert.rule}: its output has no %{name}")
            elif found != text_of(value):
                wrong.append(f"{alert.rule}: {name} is {found!r}, not {text_of(value)!r}")
    return tuple(wrong)


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
