"""The command `shipwall`: its nouns, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import copy
import errno
import importlib
import os
import sys
import traceback
from typing import Any

import typer

from shipwall import __version__
from shipwall.cli.output import neutral
from shipwall.model.errors import ShipwallError, StorageError

# Of the parser below typer, which names it nowhere else: an unknown option, a missing argument, a value of the wrong kind.
_UsageError: Any = typer.BadParameter.__mro__[1]

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# THE list of nouns: module of shipwall.cli → name of the command group (the module's own), or None for commands of their own, the
# first of them called as the module.
NOUNS: dict[str, str | None] = {
    "image": "image",
    "fleet": "fleet",
    "db": "db",
    "sbom": "sbom",
    "key": "key",
    "demo": None,
    "up": None,
    "doctor": None,
    "rule": "rule",
    "capture": None,
    "profile": "profile",
    "engine": "engine",
    "run": None,
    "cleanup": None,
    "evidence": "evidence",
    "alert": "alert",
    "sink": "sink",
    "container": "container",
    "response": "response",
    "console": "console",
    "node": "node",
}

_MODULES = {"profile": "profiles"}
"""Nouns whose module cannot be called as they are: the standard library has one of that name."""


def build_app(first_word: str = "", second_word: str = "") -> typer.Typer:
    """The command tree; when `first_word` of a command line is a noun, only that noun's part, because importing all costs 0.2 s.

    When `second_word` is one of the noun's commands, only that command: reading the signatures of the others costs more than it.
    """
    app = typer.Typer(
        name="shipwall",
        help="Container security from build to crash: scan, sign, promote, admit, observe, freeze, replace.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )

    @app.callback(invoke_without_command=True)
    def version(show: bool = typer.Option(False, "--version", help="print the version")) -> None:
        if show:
            typer.echo(f"shipwall {__version__}")
            raise typer.Exit

    wanted = {first_word: NOUNS[first_word]} if first_word in NOUNS else NOUNS
    for module_name, group in wanted.items():
        module = importlib.import_module(f"shipwall.cli.{_MODULES.get(module_name, module_name)}")
        if group is None:
            module.register(app)
        else:
            app.add_typer(_only(module.app, second_word), name=group)
    return app


def _only(group: typer.Typer, word: str) -> typer.Typer:
    """The command `word` of `group` alone; the whole group when it has no such command."""
    chosen = [
        one for one in group.registered_commands if word == (one.name or getattr(one.callback, "__name__", "").replace("_", "-"))
    ]
    if not chosen:
        return group
    alone = copy.copy(group)
    alone.registered_commands, alone.registered_groups = chosen, []
    return alone


def main() -> None:
    """Run the command line; ends the process with the documented exit code (docs/exit-codes.md)."""
    sys.exit(_run())


def _run() -> int:
    try:
        code = build_app(*sys.argv[1:3])(prog_name="shipwall", standalone_mode=False)
        sys.stdout.flush()
    except ShipwallError as error:
        _say(error.line())
        if (excerpt := getattr(error, "excerpt", "")).strip("^ \n"):  # a text of the user's, with a caret below the place
            sys.stderr.write("".join(f"  {neutral(line)}\n" for line in excerpt.split("\n")))
        return error.exit_code
    except _UsageError as error:
        path, message = error.ctx.command_path if error.ctx else "shipwall", error.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help that was asked for by saying nothing
            sys.stderr.write(message + "\n" if message else "")
        else:
            _say(
                f"{path.removeprefix('shipwall').strip() or 'command line'}: {' '.join(message.split()).rstrip('.')}; see {path} --help"
            )
        return int(error.exit_code)
    except typer.Abort:
        _say("nothing was done: no answer")
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        _drop_output()
        return 1
    except Exception as error:  # noqa: BLE001 - a defect must not look like a refusal (1), and its place is needed to mend it
        if isinstance(error, OSError) and error.errno in _DISK_FULL and error.filename is None:
            # Every file of ours has its own StorageError; what is left is what standard output was sent to.
            _say(f"output: {error.strerror}; free space or write to another place")
            _drop_output()
            return StorageError.exit_code
        traceback.print_exc()
        _say("a defect of Shipwall, see above; what was begun is in the journal: shipwall cleanup")
        return 70
    return code if isinstance(code, int) else 0


def _drop_output() -> None:
    """What waits to be written has nowhere to go; the interpreter's end would try again, and end with a code of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(line: str) -> None:
    sys.stderr.write(f"shipwall: {neutral(line)}\n")
