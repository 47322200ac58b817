"""The agent with profiles: learnt and kept, followed, compared, told as alerts."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from tests.profiles import FIRST, IMAGE, OTHER, SECOND, SECOND_NS, T0, execute, facts, fork, read

from shipwall.adapters.profiles import ProfileStore
from shipwall.agent.core import Core, LookUp, Send
from shipwall.agent.profiles import ProfileKeeper
from shipwall.model.alert import Alert
from shipwall.model.digest import ImageIdentity
from shipwall.model.event import Cgroup
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.model.wire import AlertRaised
from shipwall.runtime.profile.learn import Learner, begin, believed
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.watch import Watch

LAYER = "sha256:" + "d" * 64
INVENTORY = Inventory(
    image=ImageIdentity(manifest=IMAGE, config="sha256:" + "c" * 64, diff_ids=(LAYER,)),
    distribution=Distribution(),
    packages=(Package(ecosystem="deb", name="netcat", version="1.2", layer=LAYER, files=("/usr/bin/nc",)),),
)


class Node:
    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.core = Core("n", Watch(parse_rules("", "none"), "n"), {IMAGE: INVENTORY}.get)
        self.store = ProfileStore(folder)
        self.keeper = ProfileKeeper(self.store, self.core, threading.RLock(), ("/etc/",), ("openat",), self.said.append)

    def meet(self, container: str, cgroup_id: int) -> None:
        made = Cgroup(seq=1, time_ns=T0, cgroup_id=1, pid=1, tid=1, ppid=0, ns_pid=1, uid=0, gid=0, comm="runc", act="made",
                      path=f"/docker/{container}", made_id=cgroup_id)  # fmt: skip
        assert self.core.handle_event(made, T0) == [LookUp(id=container, cgroup_id=cgroup_id)]

    def alerts(self, *events: object) -> list[Alert]:
        effects = [effect for event in events for effect in self.core.handle_event(event, T0)]  # type: ignore[arg-type]
        return [one.message.alert for one in effects if isinstance(one, Send) and isinstance(one.message, AlertRaised)]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "profiles")


def test_without_profiles_nothing_is_compared_or_told(node: Node) -> None:
    node.keeper.follow()
    node.keeper.keep()
    assert node.keeper.told() == {}
    node.meet(FIRST, 7)
    assert node.alerts(execute(1, "/usr/bin/nc")) == []
    assert not node.store.path.exists()


def test_from_learning_to_an_alert_that_explains_itself(node: Node) -> None:
    node.store.put(begin(IMAGE, LAYER, ()))
    node.keeper.follow()
    node.meet(FIRST, 7)
    # before the engine said what the container is: these wait for it
    start = [execute(1, "/usr/bin/shop", pid=10), fork(2, 20, pid=10), execute(3, "/usr/bin/worker", ppid=10)]
    assert node.alerts(*start) == []
    node.core.handle_container(facts(), T0)
    node.alerts(read(4, "/etc/shop.conf", ppid=10), read(24, "/etc/shop.conf", ppid=10))
    node.core.handle_counted({7: ["openat", "futex", "pivot_root"], 8: ["bpf"]}, T0 + 5 * SECOND_NS)
    node.keeper.keep()
    learnt = node.store.get(IMAGE)
    assert learnt is not None
    assert {f"{act.kind} {act.what}" for act in believed(learnt)} == {
        "program /usr/bin/shop", "program /usr/bin/worker", "child /usr/bin/shop → /usr/bin/worker", "read /etc/shop.conf",
        "call execve", "call openat", "call futex",
    }  # fmt: skip
    assert learnt.prefixes == ("/etc/",)
    assert node.keeper.told() == {"anomalies": "1 learn"}

    node.store.put(Learner(learnt).finish((), T0))
    node.keeper.follow()
    assert node.keeper.told() == {"anomalies": "1 monitor"}
    assert node.alerts(read(30, "/etc/shop.conf", ppid=10), read(31, "/srv/unseen", ppid=10)) == []
    (alert, child) = node.alerts(fork(32, 30, ppid=10), execute(33, "/usr/bin/nc", pid=30, ppid=20))
    assert (alert.rule, alert.priority, alert.action) == ("Anomaly: new program", "Warning", "alert")
    assert (alert.package, alert.image_digest, alert.container_name) == ("netcat 1.2", IMAGE, "shop")
    assert f"owned by netcat 1.2, layer {LAYER[:19]}" in alert.output
    assert [one.path for one in alert.lineage] == ["/usr/bin/nc", "/usr/bin/worker", "/usr/bin/shop"]
    assert alert.why[0].value == "/usr/bin/nc"
    assert child.rule == "Anomaly: program started by another than before"
    effects = node.core.handle_counted({7: ["openat", "ptrace"]}, T0)
    told = [one.message.alert for one in effects if isinstance(one, Send) and isinstance(one.message, AlertRaised)]
    assert [one.output_fields["shipwall.anomaly.what"] for one in told] == ["ptrace"]


def test_what_the_engine_does_in_the_container_is_not_the_containers(node: Node) -> None:
    node.store.put(Learner(begin(IMAGE, LAYER, ("/",))).finish((), T0))
    node.keeper.follow()
    node.meet(SECOND, 8)
    node.core.handle_container(facts(SECOND), T0)
    assert node.alerts(read(1, "/etc/passwd", SECOND, pid=50, tid=50, cgroup_id=8, comm="runc:[2:INIT]")) == []


def test_a_persons_change_wins_over_what_is_learnt_and_costs_the_others_nothing(node: Node) -> None:
    node.store.put(begin(IMAGE, LAYER, ("/",)))
    node.store.put(begin(OTHER, LAYER, ("/",)))
    node.keeper.follow()
    for container, cgroup_id, image in ((FIRST, 7, IMAGE), (SECOND, 8, OTHER)):
        node.meet(container, cgroup_id)
        node.core.handle_container(facts(container, image), T0)
    node.alerts(execute(1, "/usr/bin/shop"), execute(1, "/usr/bin/else", SECOND, cgroup_id=8, pid=60, tid=60))
    node.store.put(msgspec.structs.replace(begin(IMAGE, LAYER, ("/",)), mode="monitor"))
    node.keeper.keep()  # reads first, writes nothing
    monitored = node.store.get(IMAGE)
    assert monitored is not None
    assert (monitored.mode, monitored.acts) == ("monitor", ())
    node.keeper.follow()
    node.keeper.keep()
    other = node.store.get(OTHER)
    assert other is not None
    assert "/usr/bin/else" in {one.what for one in other.acts}
    assert node.alerts(execute(2, "/usr/bin/shop"))[0].rule == "Anomaly: new program"


def test_a_profile_that_was_edited_is_refused_and_told_once(node: Node) -> None:
    node.store.put(begin(IMAGE, LAYER, ("/",)))
    place = node.store.path / f"{IMAGE[7:]}.json"
    place.write_bytes(
        place.read_bytes().replace(b'"learn"', b'"lEarn"') if b'"learn"' in place.read_bytes() else place.read_bytes()[:-9]
    )
    for _ in range(2):
        node.keeper.follow()
    assert [line for line in node.said if line.startswith("profile refused")] == node.said[:1]
    assert node.keeper.told() == {"anomalies": "1 refused"}
