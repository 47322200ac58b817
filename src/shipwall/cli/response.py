"""`shipwall response`: the response policy, its dry run, and the plans that wait for a person."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.answers import LimitOption, Row, StateOption, ask_rows, local_time, order, print_table, short
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json
from shipwall.cli.rule import pointing

if TYPE_CHECKING:
    from shipwall.response.policy import ResponsePolicy
    from shipwall.response.rehearse import Rehearsal

app = typer.Typer(help="Which alert leads to which plan: set, check, dry run; approve plans that wait.", no_args_is_help=True)

Reason = Annotated[str, typer.Option(help="why, for whoever reads the audit")]
PlanArgument = Annotated[str, typer.Argument(help="id of the plan, from `shipwall response list`")]
REHEARSED = 10_000


@app.command("set")
def set_policy(
    file: Annotated[Path, typer.Argument(help="the policy (YAML)")],
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a response policy in force, after checking it. The running agent follows within two seconds.

    Plans are only told, and nothing is done, before `shipwall function set response enforce`.

    Examples:

      shipwall response set response.yaml
    """
    from shipwall.adapters.functions import keep_response_policy, read_functions
    from shipwall.adapters.instance import find_instance

    instance = find_instance(state)
    text, policy = read_policy(file)
    keep_response_policy(instance, text)
    mode = read_functions(instance)["response"]
    if output is Output.JSON:
        print_json({"entries": len(policy.entries), "response": mode})
    else:
        more = "" if mode == "enforce" else ": plans are only told, until `shipwall function set response enforce`"
        console.print(f"{len(policy.entries)} entries in force, function response is {mode}{more}", markup=False)


@app.command("show")
def show(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Show the response policy that was set: its own text, or with --output json what it means with every limit.

    Examples:

      shipwall response show

      shipwall response show --output json
    """
    text, policy = read_policy(_kept(state))
    if output is Output.JSON:
        print_json(policy)
    else:
        for line in text.decode().splitlines():
            console.print(neutral(line), markup=False)


@app.command("check")
def check(
    file: Annotated[Path | None, typer.Argument(help="the policy (YAML); the one that was set when none is given")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="play it against the alerts the server has, and print what would have been done")
    ] = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check a response policy; errors show line, column and the likely meaning. With --dry-run: its effects on the alerts of the past.

    A dry run names each container that would be frozen, cut, captured or replaced, which alerts nothing would be done about and why,
    and the budget that is left. It changes nothing.

    Examples:

      shipwall response check response.yaml

      shipwall response check response.yaml --dry-run
    """
    _, policy = read_policy(file or _kept(state))
    rehearsal = _rehearse(policy, state) if dry_run else None
    if output is Output.JSON:
        print_json({"entries": len(policy.entries), "policy": policy, "rehearsal": rehearsal})
        return
    console.print(f"{len(policy.entries)} entries, no mistake", markup=False)
    if rehearsal is not None:
        _show(rehearsal, policy)


@app.command("list")
def list_plans(
    waiting: Annotated[bool, typer.Option("--waiting", help="only those that wait for a person")] = False,
    limit: LimitOption = 50,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """The newest response plans with the state of each step, oldest first; those that wait for approval say until when.

    Examples:

      shipwall response list

      shipwall response list --waiting --output json
    """
    plans = _plans(ask_rows(state, "responses", limit=10_000))
    plans = [plan for plan in plans if plan["waiting"] or not waiting][-limit:]
    if output is Output.JSON:
        print_json(plans)
        return
    names = {row["id"]: row["name"] for row in ask_rows(state, "containers", limit=10_000)}
    print_table(
        ("TIME", "PLAN", "CONTAINER", "STEPS", "DETAIL"),
        (
            (local_time(plan["time_ns"]), plan["plan"], names.get(plan["container"]) or short(plan["container"]),
             ", ".join(f"{step} {status}" for step, status in plan["steps"].items()), plan["detail"])
            for plan in plans
        ),
        "no plan waits" if waiting else "no plans",
    )  # fmt: skip


@app.command()
def approve(plan: PlanArgument, reason: Reason, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Carry out a plan that waits for a person, now.

    Example: shipwall response approve 4be01c77a90d --reason "confirmed with the shop's team, ticket 813"
    """
    _decide("approve", plan, reason, state, output)


@app.command()
def reject(plan: PlanArgument, reason: Reason, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Give up a plan that waits for a person: nothing is done to the container.

    Example: shipwall response reject 4be01c77a90d --reason "a planned backup, ticket 813"
    """
    _decide("reject", plan, reason, state, output)


def _decide(action: str, plan: str, reason: str, state: Path | None, output: Output) -> None:
    """Exit code 1 when the agent tried and could not."""
    result = order(state, action, reason, plan=plan)
    if output is Output.JSON:
        print_json({"action": action, "plan": plan, "done": result.done, "detail": result.detail})
    else:
        console.print(f"{action} {neutral(plan)}: {neutral(result.detail)}", markup=False)
    if not result.done:
        raise typer.Exit(1)


def _kept(state: Path | None) -> Path:
    from shipwall.adapters.functions import response_policy_path
    from shipwall.adapters.instance import find_instance
    from shipwall.model.errors import InputError

    path = response_policy_path(find_instance(state))
    if not path.exists():
        raise InputError("response policy", "none is set", "shipwall response set FILE")
    return path


def read_policy(path: Path) -> tuple[bytes, ResponsePolicy]:
    """Text and meaning of a policy; a mistake in it ends the command with its place."""
    from shipwall.model.errors import InputError
    from shipwall.response.policy import parse_response_policy

    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error), "name a policy that can be read") from error
    with pointing():
        return text, parse_response_policy(text, str(path))


def _rehearse(policy: ResponsePolicy, state: Path | None) -> Rehearsal:
    import msgspec

    from shipwall.model.alert import Alert
    from shipwall.model.container import ContainerFacts
    from shipwall.response.rehearse import rehearse

    alerts = [msgspec.convert(row, Alert) for row in ask_rows(state, "alerts", limit=REHEARSED)]
    facts = [msgspec.convert(row, ContainerFacts) for row in ask_rows(state, "containers", limit=REHEARSED)]
    return rehearse(policy, alerts, {one.id: one for one in facts}, time.time_ns())


def _show(rehearsal: Rehearsal, policy: ResponsePolicy) -> None:
    from shipwall.response.plan import render_plan

    console.print(
        f"dry run over the newest {rehearsal.alerts} alerts: {len(rehearsal.plans)} plans, nothing is done", markup=False
    )
    for plan in rehearsal.plans:
        console.print(
            neutral(f"{local_time(plan.created_ns)} {plan.rule}, by line {plan.entry_line} of the policy:"), markup=False
        )
        for line in render_plan(plan).split("\n"):
            console.print(neutral(f"  {line}"), markup=False)
    for code, count in sorted(rehearsal.declined.items()):
        console.print(neutral(f"nothing for {count} alerts ({code}), as: {rehearsal.examples[code]}"), markup=False)
    left = rehearsal.left
    for service, count in sorted(left.services.items()):
        console.print(neutral(f"budget left: {count} of {policy.frozen_per_service} containers of {service}"), markup=False)
    console.print(
        f"budget left: {left.node} of {policy.frozen_per_node} containers of a node, {left.plans} of {policy.plans} plans in "
        f"{policy.plans_per_ns / 1e9:.0f} s",
        markup=False,
    )


def _plans(rows: list[Row]) -> list[Row]:
    """Plans, oldest first, each with the last status of each step."""
    found: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: int(row["time_ns"])):
        plan = found.setdefault(
            row["plan"],
            {"plan": row["plan"], "time_ns": row["time_ns"], "node": row["node"], "container": row["container"],
             "alert": row["alert"], "steps": {}, "detail": "", "waiting": False},
        )  # fmt: skip
        plan["steps"][row["step"]] = row["status"]
        plan["detail"] = row["detail"] or plan["detail"]
        plan["waiting"] = plan["steps"].get("approval") == "waiting"
    return list(found.values())
