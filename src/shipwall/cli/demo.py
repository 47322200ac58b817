"""`shipwall demo`: one image through its whole life on this machine, told as a story."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json, stderr

DEMO_STATE = Path("/var/lib/shipwall-demo")
USER_STATE = ".local/state/shipwall-demo"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("demo")(demo)


def demo(
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            help=f"folder of the demo; what an earlier telling left there is removed; default {DEMO_STATE}, without root ~/{USER_STATE}",
        ),
    ] = None,
    keep: Annotated[
        bool | None, typer.Option("--keep/--no-keep", help="keep the console running (default: on a terminal)")
    ] = None,
    shuffle: Annotated[int | None, typer.Option(help="seed for other names, ports, files and another order of attacks")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """One image from build to crash, on a private engine that leaves the host's alone: built, scanned, refused, rebuilt, signed, promoted,
    admitted, observed, attacked, frozen, replaced, with the evidence kept.

    Without root, or where the kernel takes no BPF programs, each step that cannot run says why, and the others run.

    Examples:

      shipwall demo

      shipwall demo --no-keep --output json

      shipwall demo --shuffle 7
    """
    import secrets

    from shipwall.adapters.instance import Instance
    from shipwall.demo.journey import Journey
    from shipwall.demo.means import find_means
    from shipwall.demo.plan import plan_story
    from shipwall.demo.scenario import make_scenario
    from shipwall.demo.story import Story
    from shipwall.journeys.serve import run_until

    keep = sys.stderr.isatty() and sys.stdout.isatty() if keep is None else keep
    story = Story(lambda line: stderr.print(neutral_lines(line), markup=False))
    scenario = make_scenario(secrets.token_hex(16), shuffle)
    plan = plan_story(find_means(), scenario.development, scenario.production)
    folder = state or (DEMO_STATE if os.geteuid() == 0 else Path.home() / USER_STATE)
    going = [True]

    def end(_number: int, _frame: FrameType | None) -> None:
        going[0] = False
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    journey = Journey(Instance(folder.absolute()), scenario, story, plan)
    try:
        journey.run()
        if output is Output.JSON:
            print_json({"steps": story.results, "table": journey.table})
        elif journey.table:
            _show_table(journey.table)
        if keep and journey.node is not None:
            console.print(f"\nconsole   {journey.node.console}")
            console.print(f"log in    {journey.node.login_link()}    (once; Ctrl-C ends everything)")
            run_until(journey.node, lambda: going[0], lambda line: stderr.print(f"demo: {line}"))
    except KeyboardInterrupt:
        if not keep:
            raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        journey.close()


def neutral_lines(text: str) -> str:
    """`text` with every line made harmless for a terminal."""
    return "\n".join(neutral(line) for line in text.split("\n"))


def _show_table(rows: list[dict[str, str]]) -> None:
    from rich.table import Table

    table = Table(title="What was attempted, what stopped it", title_justify="left", box=None, header_style="bold")
    for heading in ("attempted", "stopped by", "how"):
        table.add_column(heading)
    table.add_column("ms", justify="right")
    for row in rows:
        table.add_row(*(neutral(row[key]) for key in ("attempted", "stopped_by", "how", "milliseconds")))
    console.print(table)
