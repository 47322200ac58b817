"""Rule files from disk and from the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from shipwall.lang.yaml_text import MAX_CHARS
from shipwall.model.errors import InputError, StorageError
from shipwall.runtime.rules import RuleSet, parse_rule_files
from shipwall.runtime.scene import MAX_BYTES, Scene, parse_scenes

RuleFile = tuple[str, bytes]


def read_shipped_rules() -> list[RuleFile]:
    """Name and bytes of each shipped rule file, sorted by name."""
    folder = resources.files("shipwall.runtime.rules")
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name)
    return [(entry.name, entry.read_bytes()) for entry in files]


def read_rule_file(path: Path) -> RuleFile:
    """Name and bytes of a rule file. Raises StorageError when it cannot be read, InputError when it is too long."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CHARS + 1)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "check the path") from error
    if len(data) > MAX_CHARS:
        raise InputError(str(path), f"is over the limit of {MAX_CHARS} bytes", "split it")
    return str(path), data


def load_rules(*paths: Path, shipped: bool = True) -> RuleSet:
    """The shipped rules (unless told otherwise) and then those of `paths`, which may change them; a folder means its *.yaml, sorted."""
    files = read_shipped_rules() if shipped else []
    for path in paths:
        inside = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
        files += [read_rule_file(file) for file in inside]
    return parse_rule_files(files)


@contextmanager
def shipped_tests() -> Iterator[Path]:
    """The folder with the tests of the shipped rules."""
    with resources.as_file(resources.files("shipwall.runtime.rules") / "tests") as folder:
        yield folder


def read_tests(*paths: Path) -> list[Scene]:
    """The rule tests in files, and in the *.yaml, *.yml and *.json of folders, sorted. Raises StorageError and InputError."""
    found: list[Scene] = []
    for path in paths:
        inside = sorted(one for one in path.iterdir() if one.suffix in {".yaml", ".yml", ".json"}) if path.is_dir() else [path]
        for file in inside:
            try:
                with file.open("rb") as opened:
                    data = opened.read(MAX_BYTES + 1)
            except OSError as error:
                raise StorageError(str(file), error.strerror or str(error), "check the path") from error
            found += parse_scenes(data, str(file))
    return found
