"""The whole journey with shuffled names, ports, files and order of attacks; then nothing of it is left running."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipwall.adapters.instance import Instance
from shipwall.adapters.keys import Keys
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.demo.attacks import RULES
from shipwall.journeys.collect import KEY_NAME, verify_evidence
from shipwall.journeys.uninstall import uninstall
from shipwall.model.errors import TrustError
from shipwall.response.evidence import read_bundle

pytestmark = [pytest.mark.engine, pytest.mark.bpf, pytest.mark.archive]


@pytest.fixture
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    found = Instance(tmp_path_factory.mktemp("journey") / "s")
    try:
        yield found
    finally:
        uninstall(found)


def _marked(state: Path) -> list[str]:
    """Command lines of live processes that name the state folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(state) in words:
                found.append(words)
    return found


@pytest.mark.timeout(900)
def test_the_journey_holds_whatever_its_names(instance: Instance) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    command = [sys.executable, "-m", "shipwall", "demo", "--no-keep", "--state", str(instance.state)]
    command += ["--shuffle", str(secrets.randbelow(2**31)), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert [step["outcome"] for step in told["steps"]] == ["done"] * 11

    # The table names every attack's rule, and what stopped it.
    stopped = {row["stopped_by"]: row for row in told["table"]}
    assert set(RULES.values()) <= set(stopped)
    assert stopped[RULES["dropped-file"]]["how"] == "killed before its first instruction"
    assert stopped[RULES["shadow"]]["how"] == "refused by the system"

    # The evidence outlives the processes, and cannot be changed, cut or swapped.
    bundle = next(instance.evidence.glob("*.evidence"))
    keys = Keys(instance.keys).public(KEY_NAME)
    head = verify_evidence(bundle, keys).seal.head
    data = bundle.read_bytes()
    broken = instance.state / "cut.evidence"
    broken.write_bytes(data[: len(data) * 9 // 10])
    with pytest.raises(TrustError):
        verify_evidence(broken, keys, {"head": head})
    with pytest.raises(TrustError):
        verify_evidence(bundle, keys, {"head": "sha256:" + "0" * 64})

    # It holds what only the memory of a process held: the random secret, three times in a row, stands on the service's heap alone.
    on_heap = (_secret(instance) * 3).encode()
    content = _content(bundle)
    assert [name for name, data in content.items() if on_heap in data and name.startswith("memory/")]
    assert not [name for name, data in content.items() if on_heap in data and not name.startswith("memory/")]

    # Nothing is left behind.
    assert PrivateEngine(instance).status() is None
    assert _marked(instance.state) == []
    assert Path("/proc/self/mounts").read_text() == mounts
    assert not [path for path in Path("/sys/fs/cgroup").glob("*/shipwall-*") if any(path.iterdir()) and _of(instance, path.name)]


def _secret(instance: Instance) -> str:
    """The random secret the container was started with, from the engine's own record of it."""
    found = {
        word.partition("=")[2]
        for path in instance.engine.glob("data/containers/*/config.v2.json")
        for word in json.loads(path.read_bytes())["Config"]["Env"]
        if word.startswith("SHOP_TOKEN=")
    }
    assert len(found) == 1, "one secret, the frozen container's and its replacement's"
    (secret,) = found
    assert len(secret) == 32
    return secret


def _content(bundle: Path) -> dict[str, bytes]:
    """Every record of the bundle, by name."""
    found: dict[str, bytearray] = {}
    with bundle.open("rb") as file:
        for item in read_bundle(file):
            if not isinstance(item, bytes):
                found.setdefault(item[0].name, bytearray()).extend(item[1])
    return {name: bytes(data) for name, data in found.items()}


def _of(instance: Instance, name: str) -> bool:
    return name.removeprefix("shipwall-") in (instance.state / "journal.jsonl").read_text()
