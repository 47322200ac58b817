"""How commands speak: tables and colour on a terminal, plain text in a pipe, JSON where asked, errors in one line."""

from __future__ import annotations

import functools
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import typer

from shipwall.lang.neutral import neutral

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Output", "OutputOption", "ToOption", "console", "is_terminal", "neutral", "print_json", "put_out", "stderr", "warn"]


class Output(StrEnum):
    """The forms of an answer."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="table for people, json for programs")]

ToOption = Annotated[Path | None, typer.Option("--to", help="write to this file, whole or not at all")]


class _Later:
    """A console that is made when it is first asked for anything: JSON in a pipe needs none, and rich is a quarter of a start."""

    def __init__(self, *, to_stderr: bool) -> None:
        self._to_stderr = to_stderr

    @functools.cached_property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(stderr=self._to_stderr, highlight=False, soft_wrap=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._console, name)


console = cast("Console", _Later(to_stderr=False))
stderr = cast("Console", _Later(to_stderr=True))


def print_json(value: Any) -> None:
    """`value` (structs, lists, dicts) as indented JSON on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def put_out(data: bytes, to: Path | None) -> None:
    """`data` in the file `to`, whole or not at all, or on standard output. Raises StorageError."""
    if to is not None:
        from shipwall.adapters.files import write_whole

        write_whole(to, data)
        return
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def warn(line: str) -> None:
    """One line on standard error that is no failure."""
    sys.stderr.write(f"shipwall: {neutral(line)}\n")


def is_terminal() -> bool:
    """Whether progress and colour are wanted."""
    return sys.stderr.isatty()
