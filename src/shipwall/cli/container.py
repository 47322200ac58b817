"""`shipwall container`: containers as the server knows them, and what can be done to one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shipwall.cli.answers import LimitOption, StateOption, ask_rows, local_time, order, print_table, short
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json

app = typer.Typer(help="Containers: list, freeze, thaw, destroy.", no_args_is_help=True)

Target = Annotated[str, typer.Argument(help="name, id, or how the id begins")]
Reason = Annotated[str, typer.Option(help="why, for whoever reads the audit")]


@app.command("list")
def list_containers(
    everything: Annotated[bool, typer.Option("--all", "-a", help="ended ones too")] = False,
    limit: LimitOption = 1000,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Containers with image, promotion and state.

    Examples:

      shipwall container list

      shipwall container list --all --output json
    """
    rows = ask_rows(state, "containers", limit=limit)
    if not everything:
        rows = [row for row in rows if row["state"] not in {"exited", "gone"}]
    if output is Output.JSON:
        print_json(rows)
        return
    print_table(
        ("ID", "NAME", "STATE", "IMAGE", "DIGEST", "PROMOTION", "PORTS", "CREATED"),
        (
            (short(r["id"]), r["name"], r["state"], r["image_ref"], short(r["image_digest"]) or "unknown", r["promotion"],
             " ".join(r["ports"]), local_time(r["created_ns"]))
            for r in rows
        ),
        "no containers",
    )  # fmt: skip


@app.command()
def freeze(target: Target, reason: Reason, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Stop all processes of a container where they are; memory and connections stay for evidence.

    Example: shipwall container freeze shop --reason "odd traffic, ticket 813"
    """
    _act("freeze", target, reason, state, output)


@app.command()
def thaw(target: Target, reason: Reason, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Let a frozen container go on, an intruder in it too.

    Example: shipwall container thaw shop --reason "false alarm, ticket 813"
    """
    _act("thaw", target, reason, state, output)


@app.command()
def destroy(
    target: Target,
    reason: Reason,
    state: StateOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove a container with everything in it that evidence does not hold.

    Example: shipwall container destroy shop --reason "evidence is sealed, ticket 813" --yes
    """
    if not yes and not typer.confirm(f"Destroy {neutral(target)}? This cannot be undone."):
        raise typer.Exit(1)
    _act("destroy", target, reason, state, output)


def _act(action: str, target: str, reason: str, state: Path | None, output: Output) -> None:
    """Exit code 1 when the agent tried and could not."""
    result = order(state, action, reason, target=target)
    if output is Output.JSON:
        print_json({"action": action, "target": target, "done": result.done, "detail": result.detail})
    else:
        console.print(
            f"{action} {neutral(target)}: {neutral(result.detail) or ('done' if result.done else 'failed')}", markup=False
        )
    if not result.done:
        raise typer.Exit(1)
