"""A Dockerfile as a recipe: the part of Docker's build language whose result is known without running anything in a container.

Debian packages through apt, files copied beside them, and settings. Whatever else stands in a Dockerfile needs an engine, and is refused.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from shipwall.model.errors import InputError, UnsupportedError

_LINE_JOIN = re.compile(r"\\[ \t]*\r?\n")
_ARGUMENT = re.compile(r"\$\{(\w+)\}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,127}\Z")
_CLEAN_UP = ["rm", "-rf", "/var/lib/apt/lists/*"]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """`packages` by apt without recommended ones, `copies` path in the context → path in the image, `settings` of the configuration."""

    packages: tuple[str, ...]
    copies: dict[str, str]
    settings: dict[str, Any]


def parse_recipe(dockerfile: str, args: Mapping[str, str]) -> Recipe:
    """The recipe in `dockerfile`, with `args` filled in. *Raises* UnsupportedError for what only an engine can build, InputError."""
    known: dict[str, str] = {}
    packages: list[str] = []
    copies: dict[str, str] = {}
    settings: dict[str, Any] = {}
    for line in _LINE_JOIN.sub(" ", dockerfile).splitlines():
        head, _, rest = line.strip().partition(" ")
        rest = _ARGUMENT.sub(lambda match: known.get(match.group(1), ""), rest.strip())
        match head.upper():
            case "" | "FROM":  # the base is given
                pass
            case comment if comment.startswith("#"):
                pass
            case "ARG":
                name, _, default = rest.partition("=")
                known[name] = args.get(name, default)
            case "RUN":
                packages += _installed(rest)
            case "COPY":
                copies |= _copied(rest)
            case "LABEL":
                settings.setdefault("Labels", {}).update(_pairs(rest))
            case "EXPOSE":
                settings.setdefault("ExposedPorts", {}).update({_port(word): {} for word in rest.split()})
            case "CMD":
                settings["Cmd"] = _words(rest)
            case _:
                raise _needs_engine(line)
    return Recipe(packages=tuple(sorted(set(packages))), copies=copies, settings=settings)


def _installed(command: str) -> list[str]:
    """The packages of `apt-get update && apt-get install -y --no-install-recommends … && rm -rf /var/lib/apt/lists/*`."""
    steps = [_split(part) for part in command.split("&&")]
    if len(steps) == 3 and steps[0] == ["apt-get", "update"] and steps[2] == _CLEAN_UP:
        head, names = steps[1][:4], steps[1][4:]
        if head == ["apt-get", "install", "-y", "--no-install-recommends"] and all(map(_PACKAGE.match, names)):
            return names
    raise _needs_engine(f"RUN {command}")


def _copied(text: str) -> dict[str, str]:
    *sources, folder = _split(text) or [""]
    plain = [path for path in sources if not re.search(r"[*?\[]|^-|^/|(^|/)\.\.(/|$)", path) and posixpath.normpath(path) != "."]
    if not sources or plain != sources or not folder.startswith("/") or not folder.endswith("/"):
        raise _needs_engine(f"COPY {text}")
    return {path: f"{folder.strip('/')}/{posixpath.basename(path)}".lstrip("/") for path in sources}


def _pairs(text: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in _split(text)]
    if not all(name and equals for name, equals, _ in pairs):
        raise InputError("Dockerfile", f"{text[:100]!r} is not NAME=VALUE ...")
    return {name: value for name, _, value in pairs}


def _port(text: str) -> str:
    if not re.fullmatch(r"\d{1,5}(/(tcp|udp))?", text):
        raise InputError("Dockerfile", f"{text[:100]!r} is not a port")
    return text if "/" in text else f"{text}/tcp"


def _words(text: str) -> list[str]:
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _needs_engine(f"CMD {text}")
    return words


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError("Dockerfile", f"{text.strip()[:100]!r}: {error}") from error


def _needs_engine(line: str) -> UnsupportedError:
    return UnsupportedError("Dockerfile", f"{line.strip()[:100]!r} cannot be built without an engine", "run it as root")
