"""`shipwall alert`: what the rules found, why, and silencing it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from shipwall.cli.answers import (
    LimitOption,
    Row,
    StateOption,
    ask,
    ask_rows,
    claimed_actor,
    local_time,
    print_facts,
    print_table,
    short,
)
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json

app = typer.Typer(help="What the rules found: list, explain, silence.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(help="id of the alert, or how it begins")]
_SPAN = re.compile(r"([1-9][0-9]{0,4})\s*(m|min|h|d)\Z")
_SPAN_NS = {"m": 60, "min": 60, "h": 3600, "d": 86400}


@app.command("list")
def list_alerts(
    rule: Annotated[str, typer.Option(help="of this rule only")] = "",
    container: Annotated[str, typer.Option(help="of the container with this name only")] = "",
    priority: Annotated[str, typer.Option(help="of this priority only")] = "",
    silenced: Annotated[bool, typer.Option("--silenced", help="silenced ones too")] = False,
    limit: LimitOption = 50,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """The newest alerts, oldest first.

    Examples:

      shipwall alert list

      shipwall alert list --container shop --priority critical --output json
    """
    where = {field: value for field, value in (("rule", rule), ("container_name", container), ("priority", priority)) if value}
    if not silenced:
        where["silenced_by"] = ""
    rows = ask_rows(state, "alerts", where, limit)
    if output is Output.JSON:
        print_json(rows)
        return
    print_table(
        ("TIME", "ID", "PRIORITY", "CONTAINER", "RULE", "STOPPED"),
        ((local_time(r["time_ns"]), r["id"], r["priority"], r["container_name"] or short(r["container"]), r["rule"], _stopped(r))
         for r in rows),
        "no alerts",
    )  # fmt: skip


@app.command()
def follow(
    falco: Annotated[bool, typer.Option("--falco", help="Falco's JSON, one line each: for programs made for it")] = False,
    since: Annotated[int, typer.Option("--since", help="begin after this position (`position` of an earlier line)")] = -1,
    silenced: Annotated[bool, typer.Option("--silenced", help="silenced ones too")] = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Alerts as they arrive, until Ctrl-C.

    Nothing is lost while the reader lives; after a restart, go on with --since and the last `position` seen.

    Examples:

      shipwall alert follow

      shipwall alert follow --falco | jq .output

      shipwall alert follow --output json --since 4711
    """
    import msgspec

    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.link import Link
    from shipwall.model.wire import AlertRaised, Follow
    from shipwall.runtime.alert_text import render_falco_line

    with Link(find_instance(state).link_socket, "cli", timeout_s=None) as link:
        link.send(Follow(after=since))
        while True:
            message = link.receive()
            if not isinstance(message, AlertRaised) or (message.alert.silenced_by and not silenced):
                continue
            alert = message.alert
            if falco:
                line = render_falco_line(alert).decode().rstrip("\n")
            elif output is Output.JSON:
                line = msgspec.json.encode({"position": message.number, "alert": alert}).decode()
            else:
                where = alert.container_name or short(alert.container) or "host"
                line = neutral(f"{local_time(alert.time_ns)}  {alert.priority}  {where}  {alert.rule}: {alert.output}")
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


@app.command()
def show(alert_id: IdArgument, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Everything known about one alert.

    Example: shipwall alert show 18f3a2
    """
    row = _find(state, alert_id)
    if output is Output.JSON:
        print_json(row)
        return
    print_facts((
        ("id", row["id"]), ("time", local_time(row["time_ns"])), ("rule", row["rule"]), ("priority", row["priority"]),
        ("what", row["output"]), ("container", f"{row['container_name']} {short(row['container'])}".strip() or "host"),
        ("image", f"{row['image_digest'] or 'unknown'} ({row['promotion']})"), ("package", row["package"] or "none owns the program"),
        ("node", row["node"]), ("raised after", f"{(row['raised_ns'] - row['time_ns']) / 1e6:.2f} ms"), ("stopped", _stopped(row)),
        ("acted", row.get("acted") or "-"), ("silenced by", row["silenced_by"] or "-"),
    ))  # fmt: skip
    for step in row.get("sequence") or ():
        console.print(neutral(f"{local_time(step['event']['time_ns'])}  {step['rule']}  {_summary(step['event'])}"), markup=False)
    _print_lineage(row)
    _print_why(row)


@app.command()
def why(alert_id: IdArgument, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Why the rule fired: each comparison, the value it saw, and its result.

    Example: shipwall alert why 18f3a2
    """
    row = _find(state, alert_id)
    if output is Output.JSON:
        print_json({"id": row["id"], "rule": row["rule"], "why": row["why"]})
        return
    console.print(neutral(row["rule"]), markup=False)
    _print_why(row)


@app.command()
def silence(
    rule: Annotated[str, typer.Argument(help="the rule, as alerts name it")],
    reason: Annotated[str, typer.Option(help="why, for whoever reads the audit")],
    span: Annotated[str, typer.Option("--for", help="how long: 30m, 8h, 7d (at most 90d)")] = "1h",
    container: Annotated[str, typer.Option(help="only in the container with this name")] = "",
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Silence a rule for a while: its alerts are recorded as silenced and answered by nothing.

    Examples:

      shipwall alert silence "Shell started by a web application" --container shop --for 2h --reason "load test, ticket 812"

      shipwall alert silences
    """
    import time

    from shipwall.model.alert import Silence
    from shipwall.model.wire import SilenceSet

    until_ns = time.time_ns() + parse_span(span)
    wanted = Silence(
        id="", rule=rule, container_name=container, reason=reason, actor=claimed_actor(), created_ns=0, until_ns=until_ns
    )
    _show_silence(ask(state, SilenceSet(number=1, silence=wanted)), "silenced", output)


@app.command()
def silences(everything: Annotated[bool, typer.Option("--all", help="ended ones too")] = False, limit: LimitOption = 200,
             state: StateOption = None, output: OutputOption = Output.TABLE) -> None:  # fmt: skip
    """What is silenced now, by whom, until when.

    Example: shipwall alert silences --all
    """
    import time

    rows = [row for row in ask_rows(state, "silences", limit=limit) if everything or row["until_ns"] > time.time_ns()]
    if output is Output.JSON:
        print_json(rows)
        return
    print_table(
        ("ID", "RULE", "CONTAINER", "UNTIL", "BY", "REASON"),
        ((r["id"], r["rule"], r["container_name"] or "all", local_time(r["until_ns"]), r["actor"], r["reason"]) for r in rows),
        "nothing is silenced",
    )


@app.command()
def unsilence(
    silence_id: Annotated[str, typer.Argument(help="id, from `shipwall alert silences`")],
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a silence now.

    Example: shipwall alert unsilence 4be01c77a90d1f22
    """
    from shipwall.model.alert import Silence
    from shipwall.model.wire import SilenceSet

    ended = Silence(id=silence_id, rule="", container_name="", reason="", actor=claimed_actor(), created_ns=0, until_ns=0)
    _show_silence(ask(state, SilenceSet(number=1, silence=ended)), "no longer silenced", output)


def parse_span(text: str) -> int:
    """The nanoseconds that `30m`, `8h` or `7d` means. Raises InputError."""
    from shipwall.model.errors import InputError

    match = _SPAN.match(text.strip())
    if match is None:
        raise InputError(f"--for {text[:40]!r}", "is not a length of time", "as in 30m, 8h or 7d")
    return int(match[1]) * _SPAN_NS[match[2]] * 1_000_000_000


def _find(state: Path | None, alert_id: str) -> Row:
    from shipwall.model.errors import InputError

    rows = ask_rows(state, "alerts", {"id": alert_id}, 1) or ask_rows(state, "alerts", {"id-prefix": alert_id}, 2)
    if len(rows) != 1:
        reason = "means several alerts" if rows else "is not known"
        raise InputError(f"alert {alert_id[:60]!r}", reason, "shipwall alert list --silenced")
    return rows[0]


def _summary(event: Row) -> str:
    """The act of a sequence in a few words."""
    what = event.get("path") or event.get("asked") or event.get("address") or event.get("act") or ""
    port = f":{event['port']}" if event.get("port") else ""
    return f"{event.get('syscall') or event.get('kind')} {what}{port} by {event.get('comm')} (pid {event.get('pid')})"


def _stopped(row: Row) -> str:
    return str(row["stopped"]) or ("refused by the system" if row["denied"] else str(row.get("acted") or "-"))


def _print_why(row: Row) -> None:
    print_table(
        ("CONDITION", "VALUE", "RESULT"),
        ((one["condition"], one["value"], "true" if one["result"] else "false") for one in row["why"]),
        "the rule gave no conditions",
    )


def _print_lineage(row: Row) -> None:
    for depth, process in enumerate(reversed(row["lineage"])):
        words = " ".join(process["argv"]) or process["path"] or process["comm"]
        branch = "  " * depth + ("└ " if depth else "")
        console.print(f"{branch}{neutral(words)} (pid {process['pid']}, uid {process['uid']})", markup=False)


def _show_silence(answer: object, what: str, output: Output) -> None:
    from shipwall.model.errors import RemoteError
    from shipwall.model.wire import SilenceSet

    if not isinstance(answer, SilenceSet):
        raise RemoteError("server", f"answered with {type(answer).__name__}", "install the same version of both")
    if output is Output.JSON:
        print_json(answer.silence)
        return
    where = f"in {answer.silence.container_name}" if answer.silence.container_name else "everywhere"
    until = local_time(answer.silence.until_ns)
    line = f"{what}: {neutral(answer.silence.rule)} {neutral(where)}, until {until} (id {answer.silence.id})"
    console.print(line, markup=False)
