"""Declared attacks: read, multiplied into cases, turned into a plan for the actor (`actor.c`) and the files it needs.

A runner of our own for the declarations of Falco's event generator; what each key means is told in that project's documentation.
"""

from __future__ import annotations

import itertools
import os
import platform
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

SEPARATOR = "\x1f"
TOOLS = "/tmp/eg-tools"
MAIN = "eg_main"
_TEMPLATE = re.compile(r"%\{\s*item\.(\w+)\s*\}")
_BARE = re.compile(r":\s+(%\{[^}]*\})\s*$", re.MULTILINE)
_FLAGS = re.compile(r"[A-Z_]+(?:\|[A-Z_]+)*\Z")
_AT_FDCWD = -100

# Number of the call on x86-64, and where its declared arguments go; a number stands for itself.
CALLS: dict[str, tuple[int, tuple[str | int, ...]]] = {
    "open": (2, ("pathname", "flags", "mode")),
    "openat": (257, (_AT_FDCWD, "pathname", "flags", "mode")),
    "openat2": (437, (_AT_FDCWD, "pathname", "how", 24)),
    "dup": (32, ("oldFd",)),
    "dup2": (33, ("oldFd", "newFd")),
    "dup3": (292, ("oldFd", "newFd", "flags")),
    "link": (86, ("oldPath", "newPath")),
    "linkat": (265, (_AT_FDCWD, "oldPath", _AT_FDCWD, "newPath", 0)),
    "symlink": (88, ("target", "linkPath")),
    "symlinkat": (266, ("target", _AT_FDCWD, "linkPath")),
}


class Attack(NamedTuple):
    """One declared test: its name, the rule that must fire, and its cases, each with all templates replaced."""

    name: str
    rule: str
    cases: tuple[dict[str, Any], ...]


class Plan(NamedTuple):
    """What one case takes: shell commands that prepare the folders, the actor's directives, users it needs, how its process is called."""

    setup: str
    directives: str
    users: tuple[str, ...]
    leaf: str
    in_container: bool


def read_attacks(folder: Path) -> list[Attack]:
    """Every attack declared in the *.yaml of `folder`."""
    found = []
    for file in sorted(folder.glob("*.yaml")):
        text = _BARE.sub(lambda match: f": '{match[1]}'", file.read_text())
        found += [Attack(one["name"], one["rule"], tuple(_cases(one))) for one in yaml.safe_load(text)["tests"]]
    return found


def _cases(test: dict[str, Any]) -> Iterator[dict[str, Any]]:
    groups = test.get("cases") or [{"strategy": "matrix", "values": {}}]
    for group in groups:
        assert group["strategy"] == "matrix", group
        names = list(group["values"])
        for values in itertools.product(*group["values"].values()):
            case = _filled({key: value for key, value in test.items() if key != "cases"}, dict(zip(names, values, strict=True)))
            if _applies(case.get("runIf")):
                yield case


def _filled(value: Any, item: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, item) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, item) for inner in value]
    if not isinstance(value, str):
        return value
    if (whole := _TEMPLATE.fullmatch(value.strip())) is not None:
        return item[whole[1]]
    return _TEMPLATE.sub(lambda match: str(item[match[1]]), value)


def _applies(condition: dict[str, Any] | None) -> bool:
    if not condition:
        return True
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    wanted = condition["arch"]
    return (arch == wanted["val"]) == (wanted["op"] == "eq")


def plan_of(case: dict[str, Any]) -> Plan:
    """How to act out one case."""
    context = case.get("context") or {}
    processes = list(context.get("processes") or [])
    setup = [str(case["before"])] if case.get("before") else []
    directives: list[list[str]] = []
    users: list[str] = []
    names = [f"{index}/{process['name']}" for index, process in enumerate(processes)]
    setup += [f"mkdir -p {TOOLS}/{name.partition('/')[0]} && ln {TOOLS}/actor {shlex.quote(f'{TOOLS}/{name}')}" for name in names]
    for process, name in zip(processes, names, strict=True):
        if process.get("user") and process["user"] != "root":
            users.append(process["user"])
            directives.append(["user", f"@{process['user']}", f"@{process['user']}"])
        exe = str(process.get("exe") or process["name"])
        directives.append(["spawn", f"{TOOLS}/{name}", exe, *str(process.get("args") or "").split()])
    leaf = processes[-1]["name"] if processes else MAIN
    for resource in case.get("resources") or []:
        if resource["type"] == "process":
            assert resource.get("fileLess"), resource
            directives.append(["memfd", resource["name"]])
            leaf = resource["name"]
        elif resource["type"] == "clientServer":
            family, port = resource["l4Proto"][-1], resource["address"].rpartition(":")[2]
            directives.append(["serve", family, port])
        else:
            setup.append(_file(resource))
    waits = ["wait"]
    at = next((index for index, words in enumerate(directives) if words[0] == "serve"), len(directives))
    directives.insert(at, waits)
    directives += [_call(step) for step in case.get("steps") or []]
    return Plan(
        "\n".join(setup), "\n".join(SEPARATOR.join(words) for words in directives), tuple(users), leaf, "container" in context
    )


def _file(resource: dict[str, Any]) -> str:
    assert resource["type"] == "fd", resource
    if resource["subtype"] == "directory":
        return f"mkdir -p {shlex.quote(resource['dirPath'])}"
    path = shlex.quote(resource["filePath"])
    return f"mkdir -p $(dirname {path}) && touch {path}"


def _call(step: dict[str, Any]) -> list[str]:
    assert step["type"] == "syscall", step
    number, places = CALLS[step["syscall"]]
    given = step["args"]
    words = []
    for place in places:
        value = place if isinstance(place, int) else given.get(place, 0)
        if isinstance(value, dict):  # struct open_how: flags, mode, resolve
            parts = [_number(value.get(key, 0)).to_bytes(8, "little") for key in ("flags", "mode", "resolve")]
            value = "h:" + b"".join(parts).hex()
        elif isinstance(value, str) and value.startswith("${"):
            value = "$client"
        elif isinstance(value, str) and not _FLAGS.match(value):
            value = f"s:{value}"
        else:
            value = str(_number(value))
        words.append(value)
    return ["call", str(number), *words]


def _number(value: Any) -> int:
    """A number, or the names of flags of open(2)."""
    if isinstance(value, int):
        return value
    flags = 0
    for name in str(value).split("|"):
        flags |= getattr(os, name)
    return flags
