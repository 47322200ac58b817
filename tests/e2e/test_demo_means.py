"""The demo where something is missing: each step runs or says why it cannot, and nothing of it is left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from shipwall.adapters.base_system import BaseSystem, find_pockets, make_base_system
from shipwall.adapters.instance import Instance, find_cache
from shipwall.adapters.tools import unpack_package
from shipwall.journeys.uninstall import uninstall
from shipwall.supply.recipe import parse_recipe

pytestmark = [pytest.mark.root, pytest.mark.archive]
NOBODY = 65534
IMAGES = ["done"] * 6

# As root in a mount namespace of its own: the code made reachable, /etc/subuid with or without a range, then nobody for good.
_AS_NOBODY = """
import os, subprocess, sys
from pathlib import Path
from shipwall.adapters.unprivileged import _python_paths, open_way
home, ids, *argv = sys.argv[1:]
open_way([*_python_paths(), Path(home)])
for name in ("subuid", "subgid"):
    subprocess.run(["mount", "--bind", ids, f"/etc/{name}"], check=True)
os.chdir(home)
environment = {"HOME": home, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
os.execvpe("setpriv", ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", *argv], environment)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        path = Path(folder)
        path.chmod(0o755)
        tools = path / "home/.cache/shipwall/engine-tools"
        tools.mkdir(parents=True)
        shutil.copytree(unpack_package("docker-registry"), tools / "docker-registry", symlinks=True)
        give(path / "home")
        yield path / "home"


def give(folder: Path) -> None:
    for parent, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            os.chown(Path(parent, name), NOBODY, NOBODY, follow_symlinks=False)


def tell_as_nobody(home: Path, ids: str) -> dict[str, Any]:
    """What the demo tells an unprivileged user; `ids`: lines of /etc/subuid and /etc/subgid."""
    given = home.parent / "subid"
    given.write_text(ids)
    command = ["unshare", "--mount", "--propagation", "private", "--", sys.executable, "-c", _AS_NOBODY, str(home), str(given)]
    command += [sys.executable, "-m", "shipwall", "demo", "--no-keep", "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(done.stdout)
    assert len(told["steps"]) == 11
    assert all(bool(step["why"]) == (step["outcome"] == "skipped") for step in told["steps"])
    return told


def outcomes(told: dict[str, Any]) -> list[str]:
    return [step["outcome"] for step in told["steps"]]


def processes_of(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def lend(system: BaseSystem, cache: Path) -> None:
    """Put a file system that root made into nobody's cache."""
    folder = cache / "bases"
    folder.mkdir(exist_ok=True)
    (source,) = (path for path in (find_cache() / "bases").glob("*.json") if path.with_suffix(".tar") == system.path)
    shutil.copy(source, folder)
    shutil.copy(system.path, folder)


def test_without_root_and_without_ids_every_step_says_why(home: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    told = tell_as_nobody(home, "")
    assert outcomes(told) == ["done", *["skipped"] * 9, "done"]
    assert "range of ids" in told["steps"][1]["why"]
    assert all("step 2" in step["why"] for step in told["steps"][2:6])
    assert all("not root" in step["why"] for step in told["steps"][6:10])
    assert processes_of(home) == []
    assert Path("/proc/self/mounts").read_text() == mounts


@pytest.mark.skipif(not shutil.which("newuidmap"), reason="needs Debian's uidmap")
@pytest.mark.timeout(900)
def test_without_root_images_are_made_and_promoted(home: Path) -> None:
    """One file system is really made by the user, and has the digest that root's has; the other three are lent, for time's sake."""
    cache = home / ".cache/shipwall"
    dockerfile = (resources.files("shipwall.demo") / "assets/shop/Dockerfile").read_text()
    careless = parse_recipe(dockerfile, {}).packages
    mended = tuple(name for name in careless if name != "tcpdump")
    for security, packages in ((False, careless), (True, ()), (True, mended)):
        lend(make_base_system(find_pockets(security=security), packages), cache)
    give(home)
    told = tell_as_nobody(home, "nobody:200000:65536\n")
    assert outcomes(told) == [*IMAGES, *["skipped"] * 4, "done"]
    assert {"stopped_by": "gate"}.items() <= told["table"][0].items()  # out of the server's store
    made = {path.stem for path in (cache / "bases").glob("*.json") if path.stat().st_uid == NOBODY}
    by_root = make_base_system(find_pockets(security=False), ())
    assert by_root.path.stem in made
    own = json.loads((cache / "bases" / f"{by_root.path.stem}.json").read_bytes())
    assert own["diff_id"] == by_root.diff_id
    facts = [fact for step in told["steps"] for fact in step["facts"]]
    assert any(fact.startswith("package-denied: package tcpdump") for fact in facts)
    assert "signed: sbom, scan, provenance" in facts
    promotions = list((home / ".local/state/shipwall-demo/promotions").glob("*.json"))
    assert len(promotions) == 1
    assert processes_of(home) == []


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_without_bpf_all_runs_but_what_needs_eyes() -> None:
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        instance = Instance(Path(folder) / "s")
        hidden = 'mount -t tmpfs tmpfs /sys/kernel/btf && exec "$@"'
        command = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", hidden, "sh"]
        command += [sys.executable, "-m", "shipwall", "demo", "--no-keep", "--state", str(instance.state), "--output", "json"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
            assert done.returncode == 0, done.stderr[-4000:]
            told = json.loads(done.stdout)
            assert outcomes(told) == [*["done"] * 7, *["skipped"] * 3, "done"]
            assert all("btf" in step["why"] for step in told["steps"][7:10])
            assert "enforced: admission" in told["steps"][6]["facts"]
            refused = {row["how"] for row in told["table"] if row["stopped_by"] == "admission"}
            assert {"not-promoted", "privileged", "host-path", "host-pid"} <= refused
            assert processes_of(instance.state) == []
        finally:
            uninstall(instance)
