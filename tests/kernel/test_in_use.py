"""What is in use, from the kernel's own word to a marked finding: programs that start, libraries that are mapped, what ran before."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.kernel.conftest import Box

from shipwall.adapters.observed import Observed
from shipwall.agent.core import Core
from shipwall.kernel.processes import read_mapped
from shipwall.kernel.sensor import DEFAULT_CALLS
from shipwall.model.container import ContainerFacts
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.event import Call, Exit
from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.runtime.observed import MAPPING_CALL
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.watch import Watch
from shipwall.supply.in_use import mark_in_use

pytestmark = [pytest.mark.root, pytest.mark.bpf]
CONTAINER = "c" * 64
SHOP = digest_of(b"shop")


def library(folder: Path, name: str) -> str:
    """A real library under a name of its own."""
    found = next(path for path in Path("/usr/lib").glob("*/libz.so.1*") if not path.is_symlink())
    shutil.copyfile(found, folder / name)
    return str((folder / name).resolve())


def test_a_mapped_library_and_an_executed_program_are_in_use(box: Box, tmp_path: Path) -> None:
    loaded, idle = library(tmp_path, "libloaded.so.1"), library(tmp_path, "libidle.so.1")
    program = str((tmp_path / "bin").resolve() / "true")
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/true", program)
    box.sensor.set_calls({*DEFAULT_CALLS, MAPPING_CALL})
    try:
        child = box.run(
            f"ctypes.CDLL({loaded!r}); open({idle!r}, 'rb').read()\n"
            f"if (pid := os.fork()) == 0: os.execv({program!r}, ['true'])\n"
            "os.waitpid(pid, 0)\n"
        )
    finally:
        box.sensor.set_calls(DEFAULT_CALLS)
    core = Core("node", Watch(parse_rules(b"[]", "rules.yaml"), "node"), lambda _digest: None)
    core.cgroup_known(box.id, CONTAINER)
    for event in box.events:
        core.handle_event(event, time.time_ns())
    recorded = core.recorded(CONTAINER, time.time_ns())
    assert any(isinstance(event, Exit) and event.pid == child for event in recorded)
    assert not any(isinstance(event, Call) and event.syscall == MAPPING_CALL for event in recorded), "noted, and nothing else"
    core.handle_container(ContainerFacts(id=CONTAINER, name="shop", image_ref="shop", image_config=SHOP, image_digest=SHOP), 1)

    kept = Observed(tmp_path / "observed")
    for image, paths in core.in_use.take_changed().items():
        kept.add(image, paths, 1)
    found = kept.get(SHOP)
    assert found is not None
    packages = tuple(
        Package(ecosystem="deb", name=name, version="1", files=(path,), evidence="/var/lib/dpkg/status")
        for name, path in (("libloaded", loaded), ("libidle", idle), ("program", program))
    )
    identity = ImageIdentity(manifest=SHOP, config=SHOP, diff_ids=())
    inventory = Inventory(image=identity, distribution=Distribution(), packages=packages)
    scan = ScanResult(findings=tuple(Finding(id="CVE-1", package=one) for one in packages))
    marked = {one.package.name: one.in_use for one in mark_in_use(scan, inventory, found.paths).findings}
    assert marked == {"libloaded": True, "libidle": False, "program": True}


def test_what_runs_already_tells_what_it_has_mapped(tmp_path: Path) -> None:
    loaded = library(tmp_path, "libearlier.so.1")
    code = f"import ctypes, sys; ctypes.CDLL({loaded!r}); print('loaded', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "loaded\n"
        mapped = read_mapped(child.pid)
        assert loaded in mapped
        assert str(Path(f"/proc/{child.pid}/exe").resolve()) in mapped
        assert not any(path.endswith("/locale-archive") for path in mapped), "read is not mapped for execution"
        assert child.stdin is not None
        child.stdin.close()
    assert read_mapped(child.pid) == frozenset()
