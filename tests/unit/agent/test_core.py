"""The agent's decisions without the agent: what happens, in which order, when facts come late."""

from __future__ import annotations

import msgspec

from shipwall.agent.core import RECORDED_NS, Act, Core, Enforce, LookUp, Send, file_owners
from shipwall.model.alert import Silence
from shipwall.model.container import ContainerFacts
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.event import AnyEvent, Cgroup, Exec, Namespace
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.model.wire import AlertRaised, ContainerSeen
from shipwall.response.act import RUNTIME, Order, Withheld
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.watch import Watch

RULE = """
- rule: Any program
  desc: every program that starts
  condition: evt.type = execve
  output: started %proc.exepath
  priority: WARNING
"""
ID = "ab" * 32
SECOND = 1_000_000_000
IMAGE = ImageIdentity(manifest=digest_of(b"m"), config=digest_of(b"c"), diff_ids=(digest_of(b"l"),))
TOOL = Package(ecosystem="deb", name="dash", version="0.5", files=("/bin/sh",))
INVENTORY = Inventory(image=IMAGE, distribution=Distribution(), packages=(TOOL,))
FACTS = ContainerFacts(
    id=ID, name="shop", image_ref="shop", image_config=IMAGE.config, image_digest=IMAGE.manifest, promotion="promoted"
)


def _core() -> Core:
    return Core("node", Watch(parse_rules(RULE, "rules.yaml"), "node"), {IMAGE.manifest: INVENTORY}.get)


def _header(time_ns: int) -> dict[str, object]:
    return {"seq": 1, "time_ns": time_ns, "pid": 10, "tid": 10, "ppid": 1, "ns_pid": 2, "uid": 0, "gid": 0, "comm": "sh"}


def _made(act: str = "made", path: str = f"/shipwall-x/{ID}", made_id: int = 7) -> AnyEvent:
    return Cgroup(**_header(0), cgroup_id=1, act=act, path=path, made_id=made_id)  # type: ignore[arg-type]


def _exec(time_ns: int = SECOND) -> AnyEvent:
    return Exec(**_header(time_ns), cgroup_id=7, path="/usr/bin/sh", argv=("sh",), syscall="execve")  # type: ignore[arg-type]


def test_a_new_cgroup_is_asked_about_once_and_its_first_event_carries_the_container() -> None:
    core = _core()
    assert core.handle_event(_made(), 0) == [LookUp(id=ID, cgroup_id=7)]
    assert core.handle_event(_made(path=f"/shipwall-x/{ID}/inner", made_id=8), 0) == []
    core.handle_event(_exec(), SECOND)
    assert [event.container for event in core.recorded(ID, SECOND)] == [ID]


def test_facts_that_come_late_are_attached_and_only_then_a_response_is_considered() -> None:
    core = _core()
    core.handle_event(_made(), 0)
    early = core.handle_event(_exec(), SECOND)
    assert not any(isinstance(effect, Act) for effect in early)
    (raised,) = [effect.message.alert for effect in early if isinstance(effect, Send) and isinstance(effect.message, AlertRaised)]
    assert raised.image_digest is None
    late = core.handle_container(FACTS, SECOND)
    (again,) = [effect.message.alert for effect in late if isinstance(effect, Send) and isinstance(effect.message, AlertRaised)]
    assert (again.id, again.image_digest, again.container_name, again.package) == (raised.id, IMAGE.manifest, "shop", "dash 0.5")
    assert [effect.alert.id for effect in late if isinstance(effect, Act)] == [raised.id]
    assert core.handle_container(FACTS, SECOND) == []


def test_a_silenced_alert_is_told_and_not_acted_upon() -> None:
    core = _core()
    core.handle_event(_made(), 0)
    core.handle_container(FACTS, 0)
    silence = Silence(
        id="s1", rule="Any program", container_name="shop", reason="known", actor="me", created_ns=0, until_ns=2 * SECOND
    )
    core.handle_silence(silence)
    effects = core.handle_event(_exec(), SECOND)
    assert [
        effect.message.alert.silenced_by
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, AlertRaised)
    ] == ["s1"]
    assert not any(isinstance(effect, Act) for effect in effects)
    assert any(isinstance(effect, Act) for effect in core.handle_event(_exec(3 * SECOND), 3 * SECOND))


def test_thirty_seconds_are_remembered_and_nothing_of_a_container_that_is_gone() -> None:
    core = _core()
    core.handle_event(_made(), 0)
    core.handle_container(FACTS, 0)
    core.handle_event(_exec(SECOND), SECOND)
    later = SECOND + RECORDED_NS + 1
    core.handle_event(_exec(later), later)
    assert [event.time_ns for event in core.recorded(ID, later)] == [later]
    effects = core.handle_event(_made(act="removed"), later)
    assert [
        effect.message.container.state
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, ContainerSeen)
    ] == ["exited"]
    assert core.recorded(ID, later) == ()


def test_a_file_is_found_under_both_names_of_a_merged_folder() -> None:
    assert file_owners(INVENTORY) == {"/bin/sh": "dash 0.5", "/usr/bin/sh": "dash 0.5"}


KILLING = RULE.replace("  priority: WARNING\n", "  priority: WARNING\n  action: kill\n")


def _acting_core(mode: str = "enforce", action: str = "kill", *, is_enforcing: bool = True) -> Core:
    rules = parse_rules(KILLING.replace("action: kill", f"action: {action}\n  mode: {mode}"), "rules.yaml")
    core = Core("node", Watch(rules, "node"), lambda _digest: None)
    core.modes_known({}, is_enforcing=is_enforcing)
    core.handle_event(_made(), 0)
    return core


def test_a_kill_comes_before_everything_else_and_waits_for_no_facts() -> None:
    first, second, *rest = _acting_core().handle_event(_exec(), SECOND)
    assert isinstance(first, Enforce)
    assert isinstance(first.decision, Order)
    assert (first.decision.action, first.decision.pid) == ("kill", 10)
    assert isinstance(second, Send)
    assert not any(isinstance(effect, Act) for effect in rest)


def test_a_freeze_waits_for_facts_and_says_then_that_it_was_ordered() -> None:
    core = _acting_core(action="freeze")
    assert not any(isinstance(effect, Enforce | Act) for effect in core.handle_event(_exec(), SECOND))
    assert [effect.is_ordered for effect in core.handle_container(FACTS, SECOND) if isinstance(effect, Act)] == [True]
    core.modes_known({"Any program": {"": "monitor"}}, is_enforcing=True)
    later = core.handle_event(_exec(2 * SECOND), 2 * SECOND)
    assert [effect.is_ordered for effect in later if isinstance(effect, Act)] == [False]


def test_the_node_decides_whether_a_rule_enforces() -> None:
    def acted(core: Core) -> str:
        effects = core.handle_event(_exec(), SECOND)
        (alert,) = [
            effect.message.alert for effect in effects if isinstance(effect, Send) and isinstance(effect.message, AlertRaised)
        ]
        return alert.acted

    assert acted(_acting_core("monitor")) == "would have: kill"
    assert acted(_acting_core(is_enforcing=False)) == "would have: kill"
    assert acted(_acting_core()) == ""
    raised = _acting_core("monitor")
    raised.modes_known({"Any program": {"": "enforce"}}, is_enforcing=True)
    assert acted(raised) == ""
    lowered = _acting_core()
    lowered.modes_known({"Any program": {"": "monitor"}}, is_enforcing=True)
    assert acted(lowered) == "would have: kill"


def test_modes_by_environment() -> None:
    core = _acting_core()
    core.modes_known({"Any program": {"production": "monitor", "staging": "enforce"}}, is_enforcing=True)
    core.handle_container(msgspec.structs.replace(FACTS, labels={"shipwall.environment": "production"}), 0)
    assert core.mode_of("Any program", ID) == "monitor"
    core.handle_container(msgspec.structs.replace(FACTS, labels={"shipwall.environment": "staging"}), 0)
    assert core.mode_of("Any program", ID) == "enforce"
    core.modes_known({"Any program": {"production": "enforce", "": "monitor"}}, is_enforcing=True)
    assert core.mode_of("Any program", ID) == "monitor"
    assert core.mode_of("A rule that is no more", ID) == "monitor"
    core.modes_known({}, is_enforcing=True)
    assert core.mode_of("Any program", ID) == "enforce"
    core.watch.rules = parse_rules(RULE, "rules.yaml")
    assert core.mode_of("Any program", ID) == "monitor", "other rules have other modes"


def test_the_engines_runtime_is_not_killed_before_it_has_become_the_container() -> None:
    """runc's own process inside a new container acts like an intruder; its exec of the container's program ends that."""
    rules = RULE.replace("evt.type = execve", "evt.type = unshare").replace(
        "WARNING\n", "WARNING\n  action: kill\n  mode: enforce\n"
    )
    core = Core("node", Watch(parse_rules(rules, "rules.yaml"), "node"), lambda _digest: None)
    core.modes_known({}, is_enforcing=True)
    core.handle_event(_made(), 0)

    def unshare(comm: str) -> Order | Withheld:
        event = Namespace(**{**_header(SECOND), "comm": comm}, cgroup_id=7, act="unshare", flags=1, syscall="unshare")  # type: ignore[arg-type]
        (decision,) = [effect.decision for effect in core.handle_event(event, SECOND) if isinstance(effect, Enforce)]
        return decision

    setting_up = unshare("runc:[2:INIT]")
    assert isinstance(setting_up, Withheld)
    assert setting_up.cause == RUNTIME
    core.handle_event(_exec(), SECOND)
    assert isinstance(unshare("runc:[2:INIT]"), Order), "a name alone protects nobody"
