"""The attacks that Falco's own rules must see: really performed, seen by the real sensor, judged by its unmodified rule file.

Each case runs in namespaces of its own (an overlay over the host's files with its upper layer in memory; own loopback), in a control group
that the sensor watches; where the declaration says `container`, that group stands for a container of which the facts are given.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.falco.attacks import MAIN, TOOLS, Attack, Plan, plan_of, read_attacks
from tests.kernel.conftest import empty

from shipwall.agent.asking import ask_kernel
from shipwall.journeys.capture import Recorder, Wanted
from shipwall.kernel.cgroups import join, read_id, unified_mount
from shipwall.kernel.rootfs import read_accounts
from shipwall.kernel.sensor import EVENTS, Sensor
from shipwall.model.alert import Alert
from shipwall.model.container import ContainerFacts
from shipwall.model.event import AnyEvent, Exec, Exit
from shipwall.runtime.capture import Known, Replay
from shipwall.runtime.rules import RuleSet, parse_rules

FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "falco"
CONTAINER = "fa1c0" * 12 + "fa1c"
TIMEOUT_S = 20

# What cannot be raised yet, and why. Strict: whoever makes one work takes it out here.
KNOWN: dict[str, str] = {}

pytestmark = [
    pytest.mark.root,
    pytest.mark.bpf,
    pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler for the program that acts"),
]

ATTACKS = read_attacks(FOLDER / "attacks") if FOLDER.exists() else []


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("actor") / "actor"
    source = Path(__file__).with_name("falco") / "actor.c"
    subprocess.run(["cc", "-static", "-Os", "-o", str(made), str(source)], check=True, timeout=120)
    return made


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return parse_rules((FOLDER / "falco_rules.yaml").read_bytes(), "falco_rules.yaml")


@pytest.fixture(scope="module")
def stage(actor: Path, rules: RuleSet) -> Iterator[Stage]:
    folder = unified_mount() / f"shipwall-attacks-{os.getpid()}"
    folder.mkdir()
    try:
        with Sensor() as sensor:
            ask_kernel(sensor, rules)
            sensor.set_flags(read_id(folder), EVENTS)
            yield Stage(sensor, folder, actor, rules)
    finally:
        empty(folder)


class Stage:
    """Where cases are acted out."""

    def __init__(self, sensor: Sensor, folder: Path, actor: Path, rules: RuleSet) -> None:
        self.sensor = sensor
        self.folder = folder
        self.actor = actor
        self.rules = rules

    def act(self, plan: Plan) -> list[Alert]:
        """The alerts of one case. The actor waits until its own exec was judged, so that what is asked about it is still there."""
        alerts: list[Alert] = []
        ended: set[int] = set()
        ready: list[int] = []
        judge = Replay(self.rules, "node")
        recorder = Recorder(
            Wanted(node="node", seconds=0, folders={self.folder: ""}),
            lambda record: alerts.extend(judge.take(record)),
            lambda _id, _container: None,
        )

        def take(event: AnyEvent) -> None:
            recorder.take(event)
            if isinstance(event, Exit):
                ended.add(event.pid)
            elif isinstance(event, Exec) and event.argv and event.argv[0].rpartition("/")[2] == plan.leaf:
                ready.append(event.pid)

        container = CONTAINER if plan.in_container else ""
        if container:
            judge.take(
                Known(container=ContainerFacts(id=CONTAINER, name="box", image_ref="x:1", image_config="sha256:" + "0" * 64))
            )
        with self._started(plan) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            accounts = read_accounts(child.pid)
            recorder.begin([], {read_id(self.folder): container}, set())
            judge.take(Known(container_id=container, accounts=accounts))  # after the host's own
            join(self.folder, child.pid)
            assert child.stdin is not None
            child.stdin.write(b"go\n")
            child.stdin.flush()
            deadline = time.monotonic() + TIMEOUT_S
            while not ready:
                assert time.monotonic() < deadline, "the actor was not seen"
                self.sensor.poll(20, take)
            child.stdin.write(b"x")
            child.stdin.close()
            while child.pid not in ended:
                assert time.monotonic() < deadline, "the end was not seen"
                self.sensor.poll(20, take)
            assert child.wait(TIMEOUT_S) == 0, plan
        return alerts

    def _started(self, plan: Plan) -> subprocess.Popen[bytes]:
        """A process in fresh namespaces, everything prepared, waiting for a line."""
        numbers = {name: 900 + at for at, name in enumerate(sorted(set(plan.users)))}
        for name in numbers:
            try:
                numbers[name] = pwd.getpwnam(name).pw_uid
            except KeyError:
                continue  # a user this system does not have gets a number of its own
        passwd = "root:x:0:0::/root:/bin/sh\\n" + "".join(
            f"{name}:x:{uid}:{uid}::/:/bin/false\\n" for name, uid in numbers.items()
        )
        directives = plan.directives
        for name, uid in numbers.items():
            directives = directives.replace(f"@{name}", str(uid))
        inside = f"""set -e
cat <&3 > {TOOLS}/actor; chmod 755 {TOOLS}/actor; exec 3<&-
ln {TOOLS}/actor {TOOLS}/main/{MAIN}
printf '{passwd}' > /etc/passwd
{plan.setup}
echo ready
read line
exec {TOOLS}/main/{MAIN}
"""
        setup = f"""set -e
exec 3< {self.actor}
mount -t tmpfs none /tmp
mkdir /tmp/upper /tmp/work /tmp/root
mount -t overlay none -o lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work /tmp/root
mount --rbind /proc /tmp/root/proc
mkdir -p /tmp/root{TOOLS}/main
cd /tmp/root; mkdir old; pivot_root . old; umount -l /old
exec /bin/sh -c {shlex.quote(inside)}
"""
        command = ["unshare", "--mount", "--net", "--propagation", "private", "/bin/sh", "-c", setup]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"], "PLAN": directives}
        )


def _wrong(case: dict[str, object], rule: str, alerts: list[Alert]) -> str:
    """Why no alert is the expected one; empty when one is."""
    expected = case["expectedOutcome"]
    assert isinstance(expected, dict)
    assert expected["source"] == "syscall"
    mine = [alert for alert in alerts if alert.rule == rule]
    if not mine:
        return f"silent; raised: {sorted({alert.rule for alert in alerts})}"
    whys = []
    for alert in mine:
        differences = [
            f"{name} is {alert.output_fields.get(name)!r}, not {str(value)!r}"
            for name, value in expected["outputFields"].items()
            if alert.output_fields.get(name) != str(value)
        ]
        if alert.priority.lower() != expected["priority"]:
            differences.append(f"priority is {alert.priority}")
        if not differences:
            return ""
        whys.append("; ".join(differences))
    return " | ".join(whys)


def _parameters() -> list[object]:
    return [
        pytest.param(
            attack,
            id=attack.name,
            marks=[pytest.mark.xfail(strict=True, reason=KNOWN[attack.name])] if attack.name in KNOWN else [],
        )
        for attack in ATTACKS
    ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("attack", _parameters())
def test_attack(attack: Attack, stage: Stage) -> None:
    assert attack.cases
    wrong = {}
    for case in attack.cases:
        alerts = stage.act(plan_of(case))
        if why := _wrong(case, attack.rule, alerts):
            wrong[str(case["expectedOutcome"])] = why
    assert wrong == {}


def test_known_gaps_are_those_of_declared_attacks() -> None:
    assert set(KNOWN) <= {attack.name for attack in ATTACKS}
