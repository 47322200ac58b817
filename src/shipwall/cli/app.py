"""The command `shipwall`: its nouns, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import importlib
import sys

import typer

from shipwall import __version__
from shipwall.model.errors import ShipwallError

# THE list of nouns: module of shipwall.cli → name of the command group, or None for commands of their own.
NOUNS: dict[str, str | None] = {
    "image": "image",
    "fleet": "fleet",
    "db": "db",
    "key": "key",
    "demo": None,
    "up": None,
    "doctor": None,
    "rule": "rule",
    "engine": "engine",
    "run": None,
    "cleanup": None,
    "evidence": "evidence",
    "alert": "alert",
    "sink": "sink",
    "container": "container",
    "console": "console",
}


def build_app() -> typer.Typer:
    """The whole command tree."""
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

    for module_name, group in NOUNS.items():
        module = importlib.import_module(f"shipwall.cli.{module_name}")
        if group is None:
            module.register(app)
        else:
            app.add_typer(module.app, name=group)
    return app


def main() -> None:
    """Run the command line; ends the process with the documented exit code."""
    try:
        build_app()()
    except ShipwallError as error:
        from shipwall.cli.output import neutral

        sys.stderr.write(f"shipwall: {neutral(error.line())}\n")
        if excerpt := getattr(error, "excerpt", ""):  # a text of the user's, with a caret below the place
            sys.stderr.write("".join(f"  {neutral(line)}\n" for line in excerpt.split("\n")))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("shipwall: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
