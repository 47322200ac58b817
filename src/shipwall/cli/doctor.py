"""`shipwall doctor`: what this host can do, what is missing, and what that costs."""

from __future__ import annotations

import email.utils
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json

if TYPE_CHECKING:
    from shipwall.kernel.features import Feature, Host

_USUAL_ENGINE = Path("/run/docker.sock")
_MARKS = {True: "[green]yes[/]", False: "[yellow]no[/]", None: "?"}


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """`engine_socket` empty: none found. `advisories_age_s` None: nothing cached. `missing`: one line each, what it costs included."""

    host: Host
    root: bool
    engine_socket: str
    engine: str
    advisories: str
    advisories_age_s: int | None
    missing: tuple[str, ...]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("doctor")(doctor)


def doctor(
    state: Annotated[Path | None, typer.Option("--state", help="folder of this installation")] = None,
    engine: Annotated[Path | None, typer.Option(help="socket of the engine to ask")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell what this host can do: kernel features by loading real programs, cgroups, engine, age of the advisories.

    Ends with 0 also when something is missing; it says so. Without root the kernel features cannot be probed. Changes nothing.

    Examples:

      shipwall doctor

      shipwall doctor --engine /run/docker.sock --output json
    """
    diagnosis = _diagnose(state, engine)
    if output is Output.JSON:
        print_json(diagnosis)
    else:
        _show(diagnosis)


def _diagnose(state: Path | None, engine: Path | None) -> Diagnosis:
    from shipwall.kernel.features import probe_host

    host = probe_host()
    socket, version = _ask_engine(state, engine)
    advisories, age_s = _advisories()
    missing = [f"{feature.name}: {feature.cost} ({feature.detail})" for feature in host.features if feature.present is False]
    if not version:
        missing.append(
            f"engine: no container is admitted, met or replaced ({f'{socket} does not answer' if socket else 'no socket found'})"
        )
    if age_s is None:
        missing.append("advisories: the first scan will fetch them and needs the archive")
    return Diagnosis(
        host=host,
        root=os.geteuid() == 0,
        engine_socket=str(socket or ""),
        engine=version,
        advisories=advisories,
        advisories_age_s=age_s,
        missing=tuple(missing),
    )


def _ask_engine(state: Path | None, named: Path | None) -> tuple[Path | None, str]:
    """The engine's socket, and its version; empty when there is none or it does not answer."""
    from shipwall.adapters.engine import Engine
    from shipwall.adapters.instance import find_instance
    from shipwall.model.errors import ShipwallError

    silent: Path | None = named
    candidates = [named] if named else [find_instance(state).engine / "engine.sock", _USUAL_ENGINE]
    for socket in candidates:
        try:
            if not (named or socket.is_socket()):
                continue
            silent = socket
            with Engine(socket, timeout_s=5) as asked:
                version = asked.version()
        except (ShipwallError, OSError):
            continue
        return socket, f"{version.get('Version', 'unknown')} (API {version.get('ApiVersion', 'unknown')})"
    return silent, ""


def _advisories() -> tuple[str, int | None]:
    """The newest signed date among the cached suites as text, and its age in seconds. Read for display only: nothing is decided by it."""
    from shipwall.adapters.instance import find_cache

    dates = []
    try:
        for release in (find_cache() / "archive" / "suites").glob("*/InRelease"):
            for line in release.read_text(errors="replace")[:8192].splitlines():
                if line.startswith("Date: "):
                    dates.append(email.utils.parsedate_to_datetime(line.removeprefix("Date: ")))
                    break
    except (OSError, ValueError):
        dates = dates or []
    if not dates:
        return "none cached", None
    newest = max(dates, key=lambda date: date.timestamp())
    return newest.strftime("%Y-%m-%d %H:%M UTC"), max(0, int(time.time() - newest.timestamp()))


def _show(diagnosis: Diagnosis) -> None:
    from rich.table import Table

    host = diagnosis.host
    console.print(
        f"Linux {host.kernel} {host.machine}, cgroups {host.cgroup_mode}, lockdown {host.lockdown}, libbpf {host.libbpf}"
    )
    table = Table(box=None, pad_edge=False)
    for column in ("feature", "present", "detail"):
        table.add_column(column)
    for feature in host.features:
        table.add_row(feature.name, _MARKS[feature.present], neutral(_detail(feature)))
    console.print(table)
    console.print(f"engine: {neutral(diagnosis.engine) or 'not found or not answering'} {neutral(diagnosis.engine_socket)}")
    age = "" if diagnosis.advisories_age_s is None else f", {diagnosis.advisories_age_s // 3600} h old"
    console.print(f"advisories: {neutral(diagnosis.advisories)}{age}")
    if not diagnosis.root:
        console.print("not root: kernel features were not all probed; run it with sudo to know")
    if diagnosis.missing:
        console.print("missing, and what that costs:")
        for line in diagnosis.missing:
            console.print(f"  {neutral(line)}", markup=False)
    unusable = [feature.name for feature in host.features if feature.needed and feature.present is False]
    if unusable:
        console.print(f"this host cannot be observed: {', '.join(unusable)}")


def _detail(feature: Feature) -> str:
    return feature.detail + (" (needed)" if feature.needed and not feature.present else "")
