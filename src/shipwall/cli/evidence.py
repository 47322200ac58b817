"""`shipwall evidence`: list, look into, verify and unpack sealed bundles. Works on any copy of a bundle, without agent or server."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json, stderr

if TYPE_CHECKING:
    from shipwall.response.evidence import Record
    from shipwall.supply.dsse import PublicKeys

app = typer.Typer(no_args_is_help=True, help="Sealed evidence bundles.")

StateOption = Annotated[Path | None, typer.Option("--state", help="folder of this installation")]
BundleArgument = Annotated[str, typer.Argument(metavar="BUNDLE", help="file, or id of a bundle of this installation")]
KeyOption = Annotated[
    Path | None, typer.Option("--key", help="public key (PEM) from outside the bundle; default: this installation's own")
]
ExpectOption = Annotated[str, typer.Option("--expect", help="head (sha256:...) that was reported when the bundle was sealed")]

_SHOWN = frozenset({"alert", "plan", "processes", "sockets", "files", "skipped"})


@app.command("list")
def list_bundles(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """List the bundles of this installation.

    Example: shipwall evidence list --output json
    """
    from shipwall.adapters.evidence import EvidenceStore
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.collect import describe_bundle
    from shipwall.model.errors import TrustError

    rows: list[dict[str, Any]] = []
    for path in EvidenceStore(find_instance(state).evidence).paths():
        row = {"bundle": path.stem, "path": str(path), "head": "", "records": 0, "size_bytes": path.stat().st_size, "broken": ""}
        try:
            found = describe_bundle(path)
            row |= {"head": found.head, "records": found.records}
        except TrustError as error:
            row["broken"] = error.line()
        rows.append(row)
    if output is Output.JSON:
        print_json(rows)
        return
    for row in rows:
        console.print(
            f"{row['bundle']}  {row['records']:>6} records  {row['size_bytes']:>12} bytes  {row['head'] or neutral(str(row['broken']))}",
            markup=False,
        )
    if not rows:
        stderr.print("no evidence bundles")


@app.command()
def verify(
    bundle: BundleArgument,
    key: KeyOption = None,
    expect: ExpectOption = "",
    container: Annotated[str, typer.Option(help="id of the container it must be about")] = "",
    alert: Annotated[str, typer.Option(help="id of the alert it must be about")] = "",
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a bundle: every byte, its end, its signature, and that it is the one you mean. Exit 4 when anything is wrong.

    Examples:

      shipwall evidence verify 3f0c9a1b2c4d --expect sha256:...

      shipwall evidence verify copy.evidence --key evidence.pub --container 4be1...
    """
    from shipwall.journeys.collect import verify_evidence

    expected = {name: value for name, value in (("head", expect), ("container", container), ("alert", alert)) if value}
    report = verify_evidence(_find(bundle, state), _keys(key, state), expected)
    if output is Output.JSON:
        print_json(report)
        return
    for step in report.steps:
        console.print(f"{step.number} {step.name:<10} {step.result:<9} {neutral(step.detail)}", markup=False)
    seal = report.seal
    console.print(
        f"sound: bundle {neutral(seal.bundle)} of container {neutral(seal.container)}, image {seal.image_digest or 'unknown'}, "
        f"alert {neutral(seal.alert) or 'none'}, sealed by node {neutral(seal.node)}",
        markup=False,
    )


@app.command()
def show(
    bundle: BundleArgument,
    records: Annotated[bool, typer.Option("--records", help="list every record instead")] = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a bundle holds, with secrets redacted. Who signed it is not checked here: `verify` does that.

    Examples:

      shipwall evidence show 3f0c9a1b2c4d

      shipwall evidence show copy.evidence --records
    """
    from shipwall.model.errors import InputError

    path = _find(bundle, state)
    if records:
        rows = [
            {"seq": one.seq, "kind": one.kind, "name": one.name, "size": one.size, "sha256": one.sha256}
            for one, _ in _records(path)
        ]
        if output is Output.JSON:
            print_json(rows)
        else:
            for row in rows:
                line = f"{row['seq']:>6}  {neutral(str(row['kind'])):<12}{row['size']:>12}  {row['sha256']}  {neutral(str(row['name']))}"
                console.print(line, markup=False)
        return
    found = _redacted(_shown(path))
    if output is Output.JSON:
        print_json(found)
        return
    try:
        lines = list(_describe(found))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(str(path), "holds items that are not what their kind says", "verify it first") from error
    for line in lines:
        console.print(neutral(line), markup=False)


@app.command()
def extract(
    bundle: BundleArgument,
    to: Annotated[Path, typer.Option("--to", help="new or empty folder to unpack into")],
    record: Annotated[
        str, typer.Option("--record", help="only records whose name matches, like 'memory/*' or 'files/tmp/*'")
    ] = "*",
    key: KeyOption = None,
    expect: ExpectOption = "",
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a bundle, then unpack it: everything as it was, secrets and malware included.

    Example: shipwall evidence extract 3f0c9a1b2c4d --to /root/case-12 --record 'files/*'
    """
    from shipwall.journeys.collect import verify_evidence
    from shipwall.model.errors import InputError, StorageError

    path = _find(bundle, state)
    verify_evidence(path, _keys(key, state), {"head": expect} if expect else None)
    try:
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(to.iterdir()):
            raise InputError(f"folder {to}", "is not empty", "name a new one")
        count = 0
        for one, data in _records(path):
            if not fnmatch.fnmatchcase(one.name, record):
                continue
            target = _target(to, one.name)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with target.open("xb" if one.offset == 0 else "r+b") as file:
                file.seek(one.offset)
                file.write(data)
            target.chmod(0o600)
            count += one.offset == 0
    except OSError as error:
        raise StorageError(str(to), error.strerror or str(error), "free space or name another folder") from error
    if output is Output.JSON:
        print_json({"folder": str(to), "items": count})
    else:
        stderr.print(f"{count} items unpacked into {to}", markup=False)


def _find(bundle: str, state: Path | None) -> Path:
    from shipwall.adapters.evidence import EvidenceStore
    from shipwall.adapters.instance import find_instance

    if "/" in bundle or Path(bundle).is_file():
        return Path(bundle)
    return EvidenceStore(find_instance(state).evidence).path(bundle)


def _keys(key: Path | None, state: Path | None) -> PublicKeys:
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys, load_public_key
    from shipwall.journeys.collect import KEY_NAME
    from shipwall.model.errors import InputError

    if key is not None:
        found = load_public_key(key, key.stem)
        return {found.key_id: found}
    keys = Keys(find_instance(state).keys).public(KEY_NAME)
    if not keys:
        raise InputError("evidence key", "is not here", "name the public key of the node that sealed it: --key FILE")
    return keys


def _records(path: Path) -> Iterator[tuple[Record, bytes]]:
    from shipwall.model.errors import StorageError
    from shipwall.response.evidence import read_bundle

    try:
        with path.open("rb") as file:
            for item in read_bundle(file):
                if not isinstance(item, bytes):
                    yield item
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "name a bundle: shipwall evidence list") from error


def _shown(path: Path) -> dict[str, Any]:
    """The JSON items a person wants to see, by kind."""
    import msgspec

    from shipwall.model.errors import InputError

    parts: dict[str, bytearray] = {}
    counts: dict[str, int] = {}
    for one, data in _records(path):
        counts[one.kind] = counts.get(one.kind, 0) + len(data)
        if one.kind in _SHOWN:
            parts.setdefault(one.kind, bytearray()).extend(data)
    try:
        found: dict[str, Any] = {kind: msgspec.json.decode(data) for kind, data in parts.items()}
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InputError(str(path), f"holds an item that is not JSON: {error}", "verify it first") from error
    return found | {"bytes": counts}


def _redacted(found: dict[str, Any]) -> dict[str, Any]:
    from shipwall.response.redact import redact_argv, redact_environment

    def visit(value: Any) -> Any:
        if isinstance(value, list):
            return [visit(item) for item in value]
        if isinstance(value, dict):
            shown = {key: visit(item) for key, item in value.items()}
            if isinstance(value.get("argv"), list):
                shown["argv"] = redact_argv([str(item) for item in value["argv"]])
            if isinstance(value.get("environment"), list):
                shown["environment"] = redact_environment([str(item) for item in value["environment"]])
            return shown
        return value

    return {key: visit(value) for key, value in found.items()}


def _describe(found: dict[str, Any]) -> Iterator[str]:
    plan, alert = found.get("plan") or {}, found.get("alert") or {}
    yield f"plan {plan.get('id')} for {plan.get('container_name')} ({str(plan.get('container'))[:12]}), image {plan.get('image')}"
    if alert:
        yield f"alert {alert.get('id')}: {alert.get('rule')}: {alert.get('output')}"
    yield "processes:"
    processes = found.get("processes") or []
    known = {process["pid"] for process in processes}
    waiting = [(process, 1) for process in processes if process["ppid"] not in known]
    seen: set[int] = set()
    while waiting:
        process, depth = waiting.pop(0)
        if process["pid"] in seen:
            continue
        seen.add(process["pid"])
        yield f"{'  ' * min(depth, 20)}{process['pid']} {' '.join(process['argv']) or process['comm']}  [{process['exe']}]"
        yield from (f"{'  ' * min(depth, 20)}    {variable}" for variable in process["environment"])
        waiting[:0] = [(child, depth + 1) for child in processes if child["ppid"] == process["pid"]]
    yield "sockets:"
    for one in found.get("sockets") or []:
        if one["holders"] and one["protocol"] != "unix":
            yield f"  {one['protocol']} {one['local']} -> {one['remote']} {one['state']} held by {', '.join(one['holders'])}"
    yield "changed files:"
    for one in found.get("files") or []:
        if one["kind"] not in {"folder", "device"}:
            yield f"  {one['change']:<8} {one['path']} {one['size']} {one['sha256'] or one['kind']}"
    yield "not in the bundle:"
    for one in found.get("skipped") or []:
        yield f"  {one['what']}: {one['reason']}"
    yield "bytes: " + ", ".join(f"{kind} {count}" for kind, count in sorted(found["bytes"].items()))


def _target(folder: Path, name: str) -> Path:
    """Where the item `name` goes: below `folder` whatever the name says, with characters that terminals or shells mind written out."""
    import hashlib
    from urllib.parse import quote

    parts = []
    for part in name.split("/"):
        safe = quote(part, safe=" -_.+@~,=[]").replace("..", "%2E%2E") if part not in {"", "."} else ""
        if len(safe) > 200:
            safe = safe[:180] + "~" + hashlib.sha256(part.encode("utf-8", "backslashreplace")).hexdigest()[:16]
        if safe:
            parts.append(safe)
    return folder.joinpath(*parts) if parts else folder / "unnamed"
