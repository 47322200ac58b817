"""`shipwall node`: this host as a node that guards containers."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.answers import StateOption, print_table
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json

if TYPE_CHECKING:
    from shipwall.model.selftest import Leak

app = typer.Typer(help="This node: what its guards really stop.", no_args_is_help=True)


@app.callback()
def node() -> None:
    """Keep the noun in front of its only command."""


@app.command()
def selftest(
    attempts: Annotated[int, typer.Option(min=1, max=1_000_000, help="how often each act is tried")] = 200,
    action: Annotated[list[str] | None, typer.Option("--action", help="only this act; may be given several times")] = None,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Attack a throw-away container with harmless acts and tell how many had their effect nevertheless.

    Each act is first tried without any guard, so that a zero means something. Needs root; nothing of it stays. Exit code 1 when a
    promise is not kept.

    Examples:

      sudo shipwall node selftest

      sudo shipwall node selftest --attempts 10000 --action connect --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.selftest import PROMISES, run_selftest
    from shipwall.lang.diagnostic import did_you_mean
    from shipwall.model.errors import InputError

    for name in action or ():
        if name not in PROMISES:
            raise InputError(f"action {name}", "is none", did_you_mean(name, PROMISES) or f"known: {', '.join(PROMISES)}")
    found = run_selftest(find_instance(state), platform.node(), attempts, tuple(action or ()))
    if output is Output.JSON:
        print_json(found)
    else:
        print_table(
            ("ACTION", "COMPLETED", "CLAIM", "HOOK", "WITHOUT GUARD"),
            ((leak.action, _figure(leak), leak.claim, leak.hook, leak.without_guard) for leak in found.leaks),
            "nothing was tried",
        )
        for leak in found.leaks:
            if leak.unmeasured:
                console.print(neutral(f"{leak.action}: {leak.unmeasured}"), markup=False)
        console.print("every promise is kept" if found.kept else "A PROMISE IS NOT KEPT")
    if not found.kept:
        raise typer.Exit(1)


def _figure(leak: Leak) -> str:
    return "not measured" if leak.unmeasured else f"{leak.completed} of {leak.attempts:,} ({leak.completed / leak.attempts:.2%})"
