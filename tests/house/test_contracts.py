"""The rules of the house that a machine can check: import floors, rooms without effects, doorplates, no foreign hosts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "shipwall"
PURE = ["model", "abi", "lang", "supply", "runtime", "response", "access"]


def _pure_files() -> list[Path]:
    return [path for room in PURE for path in sorted((SOURCE / room).rglob("*.py"))] + [SOURCE / "agent" / "core.py"]


def _effects(path: Path) -> list[str]:
    """Calls in `path` that read a clock, a file, the network or the environment."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"open", "print", "input"} or re.search(
                r"(\bPath\b.*|_path|path)\.(read_bytes|read_text|write_bytes|write_text|open)$|\.(now|today|utcnow)$", called
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {called}()")
            continue
        else:
            continue
        effects = [name for name in names if re.match(r"urllib\.request|os$|os\.|random|secrets", name)]
        found += [f"{path.relative_to(ROOT)}:{node.lineno} {name}" for name in effects]
    return found


def test_import_floors_hold() -> None:
    result = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_rooms_read_no_clock_and_no_file() -> None:
    assert [effect for path in _pure_files() for effect in _effects(path)] == []


def test_the_effect_finder_finds(tmp_path: Path) -> None:
    bad = ROOT / "src" / "shipwall" / "model" / "errors.py"
    assert _effects(bad) == []
    tree = "import os\nfrom datetime import datetime\nx = datetime.now()\nopen('y')\n"
    sample = SOURCE / "model" / "_sample_for_the_house_test.py"
    try:
        sample.write_text(tree)
        assert len(_effects(sample)) == 3
    finally:
        sample.unlink()


@pytest.mark.parametrize("room", [path.parent for path in sorted(SOURCE.glob("*/__init__.py"))], ids=lambda path: path.name)
def test_every_room_has_a_doorplate(room: Path) -> None:
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    assert all(word in docstring for word in ("Takes:", "Gives:", "Never:")), f"{room.name}: say Takes, Gives, Never"


def test_every_module_and_public_function_says_what_it_is() -> None:
    bare = []
    for path in sorted(SOURCE.rglob("*.py")):
        if path.is_relative_to(SOURCE / "demo" / "assets"):  # runs inside the demo's image
            continue
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree) and path.stat().st_size:
            bare.append(str(path.relative_to(ROOT)))
        bare += [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert bare == []


def test_no_name_that_says_nothing() -> None:
    empty = {"utils", "helpers", "common", "base", "manager", "data", "info", "misc"}
    found = [
        str(path.relative_to(ROOT)) for path in SOURCE.rglob("*.py") if path.stem in empty or path.stem in sys.stdlib_module_names
    ]
    assert [name for name in found if not name.endswith(("/__init__.py", "/__main__.py"))] == []


def test_lock_file_names_no_host() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--hash=sha256:" in lock
