"""`pip install shipwall`: a wheel with the compiled BPF objects inside, started in an empty environment without a compiler."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(folder.glob("shipwall-*.whl"))


def test_the_wheel_holds_every_object_and_no_source_of_the_kernel_part(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {f"shipwall/kernel/objects/{path.name[:-2]}.o" for path in (ROOT / "bpf").glob("*.bpf.c")}
    assert wanted
    assert wanted <= set(names)
    assert [name for name in names if name.endswith((".c", ".h"))] == []


@pytest.mark.archive
def test_it_starts_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    # A release of every dependency is chosen as the lock file says, so that the test does not change with the day.
    lock = (ROOT / "requirements.lock").read_text()
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join(re.findall(r"^[a-z0-9].*?==[^ \\;]+", lock, re.MULTILINE)) + "\n")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", str(constraints), str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    environment = {
        "PATH": f"{python.parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(tmp_path),
        "SHIPWALL_STATE": str(tmp_path / "s"),
    }
    shipwall = str(python.parent / "shipwall")
    done = subprocess.run([shipwall, "--version"], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("shipwall ")
    done = subprocess.run([shipwall, "doctor", "--output", "json"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    if os.geteuid() == 0:
        program = "from shipwall.kernel.sensor import Sensor\nwith Sensor() as sensor:\n    print(sensor.self_check(lambda event: None))"
        done = subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout == "True\n"
