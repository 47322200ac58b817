"""From rules to refused acts: put in force for a container, kept by a killed agent, taken off with its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.test_file_guard import Container

from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Journal
from shipwall.journeys.cleanup import clean_up
from shipwall.journeys.prevent import NotInForce, Preventer, Refused
from shipwall.kernel.cgroups import read_id
from shipwall.lang.condition import parse_condition
from shipwall.model.container import ContainerFacts
from shipwall.runtime.prevention import Prevention, Wanted, plan_prevention

pytestmark = [pytest.mark.root, pytest.mark.bpf]
NET = "container.id != host and evt.type = connect and fd.sport = 9 and fd.net in (127.0.0.0/8)"
FILE = "evt.type in (open, openat, openat2) and fd.name = /etc/secret and fd.num >= 0"
CONNECT = "socket.socket().connect_ex(('127.0.0.1', 9))"


@pytest.fixture
def instance() -> Iterator[Instance]:
    """An installation whose guards are gone at the end."""
    with tempfile.TemporaryDirectory() as state:
        yield Instance(Path(state))
        assert clean_up(Instance(Path(state))).left == ()


@pytest.fixture
def container(tmp_path: Path, folder: Path, objects: Path) -> Iterator[Container]:
    """A container."""
    made = Container(tmp_path / "c", folder)
    yield made
    made.end()


def facts(container: Container, folder: Path) -> ContainerFacts:
    """What the engine would say of it."""
    return ContainerFacts(
        id="c" * 64,
        name="c",
        image_ref="i",
        image_config="sha256:" + "0" * 64,
        cgroup_id=read_id(folder),
        pid=container.process.pid,
    )


def plan(known: ContainerFacts, *conditions: str) -> Prevention:
    """What refuses these."""
    return plan_prevention([Wanted(f"rule {n}", parse_condition(text)) for n, text in enumerate(conditions)], known)


def test_rules_become_refused_acts_and_end_with_the_container(instance: Instance, container: Container, folder: Path) -> None:
    known = facts(container, folder)
    with Preventer(instance) as preventer:
        assert preventer.put(known, plan(known)) == []
        assert not instance.network_guard.exists()  # containers without such rules cost nothing
        assert preventer.put(known, plan(known, NET, FILE)) == [NotInForce(known.id, "/proc", "proc is not asked about")]
        assert (container.ask(CONNECT), container.ask("attempt('/etc/secret')")) == (1, "EPERM")
        pid = container.process.pid
        assert list(preventer.refused()) == [
            Refused(known.id, "connect", "tcp 127.0.0.1 9", pid, True, ("rule 0",)),
            Refused(known.id, "open", "/etc/secret", pid, True, ("rule 1",)),
        ]
        preventer.put(known, plan(known, NET))  # a rule less
        assert (container.ask(CONNECT), container.ask("attempt('/etc/secret')")) == (1, "done")
        preventer.take_off(known.id)
        assert container.ask(CONNECT) != 1
    assert {entry.act for entry in Journal(instance.state / "journal.jsonl").standing()} == {"guard-network", "guard-files"}


def test_a_killed_agent_leaves_it_in_force_and_the_next_sorts_out_who_still_runs(
    instance: Instance, container: Container, folder: Path
) -> None:
    code = f"""
import os, signal
from pathlib import Path
from shipwall.adapters.instance import Instance
from shipwall.journeys.prevent import Preventer
from shipwall.lang.condition import parse_condition
from shipwall.model.container import ContainerFacts
from shipwall.runtime.prevention import Wanted, plan_prevention
known = ContainerFacts(id="c" * 64, name="c", image_ref="i", image_config="sha256:" + "0" * 64, cgroup_id={read_id(folder)},
                       pid={container.process.pid})
Preventer(Instance(Path({str(instance.state)!r}))).put(known, plan_prevention(
    [Wanted("n", parse_condition({NET!r})), Wanted("f", parse_condition({FILE!r}))], known))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert (container.ask(CONNECT), container.ask("attempt('/etc/secret')")) == (1, "EPERM")
    known = facts(container, folder)
    with Preventer(instance) as second:
        second.keep_only({known.id: known.cgroup_id})
        assert [(one.container, one.rules) for one in second.refused()] == [(known.id, ("n",)), (known.id, ("f",))]
        assert (container.ask(CONNECT), container.ask("attempt('/etc/secret')")) == (1, "EPERM")
        second.keep_only({})
        assert container.ask("attempt('/etc/secret')") == "done"
        assert container.ask(CONNECT) != 1


def test_a_guard_that_died_is_replaced_for_the_next_container(instance: Instance, container: Container, folder: Path) -> None:
    known = facts(container, folder)
    with Preventer(instance) as preventer:
        preventer.put(known, plan(known, FILE))
        pid = int((instance.file_guard / "process.json").read_text().partition(":")[2].partition(",")[0])
        subprocess.run(["kill", "-9", str(pid)], check=True)
        container.ask("attempt('/etc/secret')")
        first = preventer.put(known, plan(known, FILE))
        assert any(one.what == "files" for one in first), first
        assert all(one.what == "/proc" for one in preventer.put(known, plan(known, FILE)))
        assert container.ask("attempt('/etc/secret')") == "EPERM"
    gone = ContainerFacts(id="d" * 64, name="d", image_ref="i", image_config="sha256:" + "0" * 64)
    with Preventer(instance) as preventer:
        assert preventer.put(gone, plan(gone, FILE)) == [NotInForce(gone.id, "all", "it does not run")]
