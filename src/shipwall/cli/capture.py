"""`shipwall capture` and `shipwall replay`: record what containers do, judge it again by other rules."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json, stderr

if TYPE_CHECKING:
    from shipwall.journeys.capture import Wanted
    from shipwall.model.alert import Alert
    from shipwall.runtime.rules import RuleSet

_DURATION = re.compile(r"([0-9]{1,6})(s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def capture(
    to: Annotated[Path, typer.Option("--to", help="a new file")],
    container: Annotated[str, typer.Argument(help="name or id of a container, or /path of a control group")] = "",
    everything: Annotated[bool, typer.Option("--all", help="every container, those made meanwhile too")] = False,
    duration: Annotated[str, typer.Option("--for", help="30s, 10m, 1h")] = "30s",
    max_mib: Annotated[int, typer.Option("--max-size", help="MiB of the file at most", min=1)] = 256,
    engine: Annotated[Path, typer.Option("--engine", help="socket of the engine")] = Path("/var/run/docker.sock"),
    output: OutputOption = Output.TABLE,
) -> None:
    """Record the decoded calls of a container to a file, with what is known about it. Needs root. Ends earlier on Ctrl-C.

    The file holds command lines and environments, so secrets: only its owner can read it. Killed, it holds what happened until then.

    Examples:

      shipwall capture shop --for 30s --to shop.capture

      shipwall capture --all --for 10m --to node.capture
    """
    from shipwall.adapters.captures import CaptureFile
    from shipwall.journeys.capture import record_capture
    from shipwall.model.errors import InputError

    found = _DURATION.fullmatch(duration)
    if found is None:
        raise InputError(f"--for {duration}", "is not a duration", "write it as 30s, 10m or 1h")
    if bool(container) == everything:
        raise InputError("capture", "name one container, or say --all")
    wanted = _wanted(container, everything, int(found[1]) * _SECONDS[found[2]], engine)
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _frame: stopping.append(got))
    with CaptureFile(to, max_mib << 20) as file:
        stderr.print(f"recording for {duration} to {neutral(str(to))}", markup=False)
        end = record_capture(wanted, file, lambda: bool(stopping))
    if output is Output.JSON:
        print_json({"file": str(to), "bytes": file.size_bytes, "events": end.events, "lost": end.lost, "reason": end.reason})
        return
    lost = f", {sum(end.lost.values())} lost" if end.lost else ", none lost"
    console.print(f"{end.events} events{lost}, {file.size_bytes} bytes in {neutral(str(to))}; {end.reason}", markup=False)


def _wanted(container: str, everything: bool, seconds: int, socket: Path) -> Wanted:
    """What to record, found out now."""
    from shipwall.adapters.engine import Engine
    from shipwall.adapters.link import node_name
    from shipwall.agent.facts import facts_of
    from shipwall.journeys.capture import Wanted
    from shipwall.kernel.cgroups import find_container, read_pids, unified_mount
    from shipwall.model.container import ContainerFacts
    from shipwall.model.errors import InputError

    def facts(name: str) -> ContainerFacts | None:
        with Engine(socket, 10) as engine:
            record = engine.inspect_container(name)
        folder = find_container(unified_mount(), str(record["Id"]))
        pids = read_pids(folder) if folder is not None else []
        return facts_of(record, image_digest=None, promotion="unknown", pid=min(pids, default=0))

    wanted = Wanted(node=node_name(), seconds=seconds, everything=everything, facts_of=facts)
    if container.startswith("/"):
        folder = unified_mount() / container.strip("/")
        if not folder.is_dir():
            raise InputError(f"control group {container}", "does not exist below the v2 mount")
        wanted.folders[folder] = ""
        return wanted
    with Engine(socket, 10) as engine:
        ids = (
            [str(one["Id"]) for one in engine.containers(every=False)]
            if everything
            else [str(engine.inspect_container(container)["Id"])]
        )
    for one in ids:
        found = find_container(unified_mount(), one)
        if found is not None:
            wanted.folders[found] = one
    if container and not wanted.folders:
        raise InputError(f"container {container!r}", "is not running", "start it, or capture --all")
    return wanted


def replay(
    file: Annotated[Path, typer.Argument(help="a capture")],
    rules: Annotated[
        list[Path] | None, typer.Option("--rules", help="rule file or folder after the shipped ones; repeatable")
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="leave the shipped rules out")] = False,
    first_match: Annotated[bool, typer.Option("--first-match", help="only the first matching rule speaks for an event")] = False,
    diff: Annotated[
        tuple[Path, Path] | None, typer.Option("--diff", help="OLD and NEW rules: which alerts the change adds and removes")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Judge a capture by rules, offline and without root: the alerts that the agent would raise. With --diff, what a change of rules does.

    Examples:

      shipwall replay shop.capture --rules my-rules.yaml

      shipwall replay shop.capture --alone --diff old-rules.yaml new-rules.yaml --output json
    """
    from shipwall.adapters.captures import read_capture
    from shipwall.adapters.rule_files import load_rules
    from shipwall.cli.rule import pointing
    from shipwall.model.errors import InputError
    from shipwall.runtime.capture import Replay

    if diff is not None and rules:
        raise InputError("replay", "--diff names both rule sets, so --rules has no place", "drop --rules")
    with pointing():
        sets: list[RuleSet] = [
            load_rules(*paths, shipped=not alone) for paths in ([[one] for one in diff] if diff else [rules or []])
        ]
    reader = read_capture(file)
    judges = [Replay(found, reader.header.node, first_match=first_match) for found in sets]
    alerts: list[list[Alert]] = [[] for _ in judges]
    for record in reader:
        for judge, found in zip(judges, alerts, strict=True):
            found.extend(judge.take(record))
    facts = {
        "node": reader.header.node,
        "events": judges[0].events,
        "lost": reader.end.lost if reader.end else {},
        "cut": reader.cut,
    }
    if diff is None:
        _show(alerts[0], facts, output)
    else:
        _show_difference(alerts[0], alerts[1], facts, output)


def _show(alerts: list[Alert], facts: dict[str, object], output: Output) -> None:
    from shipwall.runtime.alert_text import render_falco

    if output is Output.JSON:
        print_json({**facts, "alerts": [render_falco(alert) for alert in alerts]})
        return
    for alert in alerts:
        console.print(neutral(f"{alert.priority}: {alert.rule}: {alert.output}"), markup=False)
    _show_facts(facts, f"{len(alerts)} alerts")


def _show_difference(old: list[Alert], new: list[Alert], facts: dict[str, object], output: Output) -> None:
    from shipwall.runtime.alert_difference import difference_of_alerts

    changes = difference_of_alerts(old, new)
    if output is Output.JSON:
        print_json({**facts, "old": len(old), "new": len(new), "rules": changes})
        return
    for change in changes:
        counts = f"{change.kept} kept, {change.added} added, {change.removed} removed, {change.changed} changed"
        console.print(neutral(f"{change.rule}: {counts}"), markup=False)
        for sign, examples in (("+", change.added_examples), ("-", change.removed_examples)):
            for text in examples:
                console.print(neutral(f"  {sign} {text}"), markup=False)
    _show_facts(facts, f"{len(old)} alerts before, {len(new)} after")


def _show_facts(facts: dict[str, object], counted: str) -> None:
    console.print(f"{counted} in {facts['events']} events of {neutral(str(facts['node']))}", markup=False)
    if facts["lost"]:
        console.print(f"the sensor lost events while it was recorded: {facts['lost']}", markup=False)
    if facts["cut"]:
        console.print(f"the capture ends early: {neutral(str(facts['cut']))}", markup=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(capture)
    app.command()(replay)
