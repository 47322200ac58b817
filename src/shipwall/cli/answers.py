"""What alert, container and console commands share: asking the server over its link, and tables of hostile text."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shipwall.cli.output import console, neutral

if TYPE_CHECKING:
    from shipwall.model.wire import AnyMessage, CommandResult, Message

StateOption = Annotated[Path | None, typer.Option("--state", help="state folder; default $SHIPWALL_STATE, else the system's")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="newest rows")]
Row = dict[str, Any]
COMMAND_TIMEOUT_S = 75.0  # the server gives up after 60


def ask(state: Path | None, message: Message, timeout_s: float = 15.0) -> AnyMessage:
    """The server's answer. Raises RemoteError, in the server's words when it refused."""
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.link import Link
    from shipwall.model.errors import RemoteError
    from shipwall.model.wire import Answer

    with Link(find_instance(state).link_socket, "cli", timeout_s=timeout_s) as link:
        answer = link.ask(message)
    if isinstance(answer, Answer) and answer.error:
        thing, _colon, rest = answer.error.partition(": ")
        raise RemoteError(thing, rest or "refused")
    return answer


def order(state: Path | None, action: str, reason: str, *, target: str = "", plan: str = "") -> CommandResult:
    """What the agent did about a container (`target`) or a plan that waits, in the name of whoever calls. Raises RemoteError."""
    from shipwall.model.errors import RemoteError
    from shipwall.model.wire import Command, CommandResult

    command = Command(id=secrets.token_hex(8), action=action, target=target, actor=claimed_actor(), reason=reason, plan=plan)
    result = ask(state, command, COMMAND_TIMEOUT_S)
    if not isinstance(result, CommandResult):
        raise RemoteError("server", f"answered with {type(result).__name__}", "install the same version of both")
    return result


def ask_rows(state: Path | None, what: str, where: dict[str, str] | None = None, limit: int = 1000) -> list[Row]:
    """Rows of `what` that match, oldest first."""
    from shipwall.model.errors import RemoteError
    from shipwall.model.wire import Answer, Query

    answer = ask(state, Query(what=what, where=where or {}, limit=limit))
    if not isinstance(answer, Answer):
        raise RemoteError("server", f"answered with {type(answer).__name__}", "install the same version of both")
    return list(answer.rows)


def claimed_actor() -> str:
    """Who says they are behind root: sudo's word, kept as a claim beside the kernel's."""
    return os.environ.get("SUDO_USER", "")


def local_time(time_ns: object) -> str:
    """A time for people, in the local zone."""
    ns = int(str(time_ns))
    try:
        return datetime.fromtimestamp(ns // 1_000_000_000).astimezone().strftime("%Y-%m-%d %H:%M:%S") if ns else "-"
    except (ValueError, OverflowError, OSError):
        return "-"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table whose cells are shown as text, whatever they hold; `empty` when there are no rows."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(neutral(str(cell))) for cell in row))
    if table.row_count:
        console.print(table)
    else:
        console.print(empty)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; values shown as text."""
    for name, value in facts:
        console.print(f"{name + ':':14}", end=" ", markup=False)
        console.print(neutral(str(value)), markup=False)


def short(digest: object) -> str:
    """The first 12 digits of a digest or id."""
    return str(digest or "").removeprefix("sha256:")[:12]
