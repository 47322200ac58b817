"""A promotion ended by SIGKILL between two acts is finished by whoever starts next: the agent, or a clean-up. Never left half done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.test_promotion import SCAN, World, make_world, sign
from tests.registries import RunningRegistry, run_registry

from shipwall.adapters.instance import Instance
from shipwall.adapters.registry import Registry
from shipwall.adapters.supervise import wait_until
from shipwall.journeys.promote import promote_image, promotions_folder, promotions_journal
from shipwall.journeys.uninstall import uninstall
from shipwall.supply.policy import parse_policy

ROOT = Path(__file__).resolve().parents[2]
POLICY = parse_policy(b"version: 1\nroutes:\n  - {from: dev/*, to: prod/*}\n", "policy.yaml")


class KilledRegistry(Registry):
    """Ends this process by SIGKILL before its Nth write to the registry."""

    dies_at = 0
    writes = 0

    def _open(self, method: str, path: str, *rest: Any, **more: Any) -> AbstractContextManager[httpx.Response]:
        if method not in {"GET", "HEAD"}:
            self.writes += 1
            if self.writes == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return super()._open(method, path, *rest, **more)


def promote_and_die(address: str, state: str, dies_at: str) -> None:
    """What the process that is killed does; prints the image and its target first."""
    with KilledRegistry(address) as registry:
        world: World = make_world(registry, Path(state).parent)
        sign(registry, world)
        sys.stdout.write(json.dumps([world.manifest, world.source, world.target]) + "\n")
        sys.stdout.flush()
        registry.writes, registry.dies_at = 0, int(dies_at)
        promote_image(
            registry, world.source, POLICY, world.keys, Instance(Path(state)), world.inventory, SCAN, time.time_ns(), tag="1"
        )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_registry(tmp_path_factory.mktemp("registry")) as running:
        assert isinstance(running, RunningRegistry)
        yield running.address


@pytest.fixture
def instance() -> Iterator[Instance]:
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        found = Instance(Path(folder) / "state")
        try:
            yield found
        finally:
            uninstall(found)


def kill_a_promotion(address: str, instance: Instance, dies_at: int) -> tuple[str, str]:
    """(manifest, target) of a promotion that was killed before its write number `dies_at`."""
    program = "import sys\nfrom tests.e2e.test_promotion_killed import promote_and_die\npromote_and_die(*sys.argv[1:])\n"
    command = [sys.executable, "-c", program, address, str(instance.state), str(dies_at)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    manifest, _, target = json.loads(done.stdout)
    assert len(promotions_journal(instance).unfinished()) == 1
    with Registry(address) as registry:
        assert registry.resolve(target, "1") is None
    return manifest, target


def assert_finished(address: str, instance: Instance, manifest: str, target: str) -> None:
    assert promotions_journal(instance).unfinished() == []
    with Registry(address) as registry:
        assert registry.resolve(target, "1") == manifest
    assert (promotions_folder(instance) / f"{manifest.removeprefix('sha256:')}.json").exists()


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("dies_at", [1, 4])
def test_the_agent_finishes_it_when_it_starts(address: str, instance: Instance, dies_at: int) -> None:
    manifest, target = kill_a_promotion(address, instance, dies_at)
    command = [sys.executable, "-m", "shipwall", "up", "--state", str(instance.state), "--engine", "none"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        assert "watching" in process.stdout.readline()
        assert wait_until(lambda: not promotions_journal(instance).unfinished(), 20)
        assert_finished(address, instance, manifest, target)
        assert f"finished the promotion of {manifest} to {target}" in (instance.state / "agent.log").read_text()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout is not None
        process.stdout.close()


def test_a_clean_up_finishes_it(address: str, instance: Instance) -> None:
    manifest, target = kill_a_promotion(address, instance, 4)
    command = [sys.executable, "-m", "shipwall", "cleanup", "--state", str(instance.state), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert [one["act"] for one in json.loads(done.stdout)["done"]] == ["promote"]
    assert_finished(address, instance, manifest, target)


def test_a_registry_that_is_gone_is_told_and_does_not_hold_up_an_uninstall(tmp_path: Path, instance: Instance) -> None:
    with run_registry(tmp_path) as running:
        kill_a_promotion(running.address, instance, 4)
    command = [sys.executable, "-m", "shipwall", "cleanup", "--state", str(instance.state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "STILL THERE promote" in done.stdout
    assert len(promotions_journal(instance).unfinished()) == 1
    assert any(line.startswith("left in the registry: ") for line in uninstall(instance))
    assert not instance.state.exists()
