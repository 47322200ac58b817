"""`shipwall db`: what is known of versions and advisories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.db_match import match
from shipwall.cli.output import Output, OutputOption
from shipwall.cli.sources import AdvisoryOptions, ArchiveOption, CacheOption, KeyringOption, OfflineOption, SuiteOption

if TYPE_CHECKING:
    from shipwall.journeys.advisories import Outcome
    from shipwall.supply.dsse import PublicKeys
    from shipwall.supply.versions import Order

app = typer.Typer(help="Versions and advisories: what the scanner judges packages by.", no_args_is_help=True)
app.command("match")(match)

StateOption = Annotated[Path | None, typer.Option("--state", help="state folder; default $SHIPWALL_STATE, else the system's")]
DatabaseOption = Annotated[Path | None, typer.Option("--db", help="database file; default: advisories/ in the state folder")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="feeds and mirrors (YAML); default advisories.yaml beside the database, if there is one"),
]

_MAX_SHOWN = 3


@app.command()
def compare(
    ecosystem: Annotated[str, typer.Argument(help="package URL type (deb, pypi) or OSV name (Debian:12, crates.io)")],
    left: Annotated[str, typer.Argument(help="a version")] = "",
    right: Annotated[str, typer.Argument(help="another version")] = "",
    stdin: Annotated[bool, typer.Option("--stdin", help="lines 'a b' from standard input, one answer a line")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Which of two versions is older: '<', '=', '>', or '?' with the reason why nobody can say.

    Exit codes: 0 answered (with --stdin: every line has its answer, also '?'), 2 unknown ecosystem or wrong arguments, 3 '?' for A B.
    JSON: one object a line: left, right, answer, reason.

    Examples:

      shipwall db compare deb 1.0~rc1 1.0

      shipwall db compare Maven 1.0-alpha-1 1.0 --output json

      printf '%s\\n' '1.0 1.0.post1' '1!0 2' | shipwall db compare pypi --stdin

      shipwall db compare pypi -- -dev 1.0
    """
    import sys

    import msgspec

    from shipwall.cli.output import neutral
    from shipwall.cli.pairs import read_pairs
    from shipwall.model.errors import InputError
    from shipwall.supply.versions import find_order

    if stdin == bool(left or right) or bool(left) != bool(right):
        raise typer.BadParameter("name two versions, or none and --stdin")
    try:
        order = find_order(ecosystem)
    except InputError as error:
        raise typer.BadParameter(error.line(), param_hint="ECOSYSTEM") from error
    given = (
        (left + "\n" + right).encode(errors="surrogateescape").decode(errors="replace").split("\n", 1)
    )  # arguments may be any bytes
    pairs = read_pairs(sys.stdin.buffer) if stdin else iter([(given[0], given[1], "")])
    for a, b, problem in pairs:
        answer, reason = ("?", problem) if problem else _answer(order, a, b)
        if output is Output.JSON:
            line = msgspec.json.encode({"left": a, "right": b, "answer": answer, "reason": reason}).decode()
        else:
            line = f"{answer} {neutral(reason)}" if reason else answer
        sys.stdout.write(line + "\n")
        if answer == "?" and not stdin:
            raise typer.Exit(InputError.exit_code)


def _answer(order: Order, left: str, right: str) -> tuple[str, str]:
    from shipwall.model.errors import InputError

    try:
        return "=><"[order.compare(left, right)], ""
    except InputError as error:
        return "?", error.line()


@app.command()
def update(
    feed: Annotated[list[str] | None, typer.Option("--feed", help="only this feed, repeatable")] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="where downloads are kept; default $SHIPWALL_CACHE")] = None,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Fetch what changed upstream. An interrupted download goes on next time; a feed that fails keeps its old data.

    Exit codes: 0 all feeds are current; 3 the configuration is wrong; else of the first feed that failed: 4 a digest does not match, 6 not
    reached; 8 disk. What was fetched of the other feeds is in force all the same.

    Examples:

      shipwall db update

      shipwall db update --feed debian --feed kev --feed epss

      shipwall db update --config mirrors.yaml --db /srv/advisories.sqlite
    """
    import time

    from shipwall.adapters.instance import find_cache
    from shipwall.cli.sources import progress
    from shipwall.journeys.advisories import load_sources, update_advisories

    path = _database(database, state)
    sources = load_sources(_config(config, path))
    with progress() as say:
        outcomes = update_advisories(
            path, sources, (cache or find_cache()) / "advisories", time.time_ns(), names=feed or (), say=say
        )
    _show_outcomes(outcomes, output)
    _judge_fleet(path, state, output)
    failed = [one for one in outcomes if one.outcome == "failed"]
    if failed:
        raise typer.Exit(failed[0].exit_code)


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(help="one signed database; with --format files and folders of a feed, or images for debian-archive"),
    ],
    kind: Annotated[str, typer.Option("--format", help="osv, debian-tracker, alpine-secdb, kev, epss, debian-archive")] = "",
    feed: Annotated[str, typer.Option("--feed", help="name of the feed; default: the file's name up to its first dot")] = "",
    key: Annotated[
        list[Path] | None, typer.Option("--key", help="public key that may have signed; default: trusted keys advisories*")
    ] = None,
    allow_older: Annotated[bool, typer.Option("--allow-older", help="also when the database in force is newer")] = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="database file to write; default: advisories/ in the state folder")
    ] = None,
    archive: ArchiveOption = "",
    suite: SuiteOption = None,
    keyring: KeyringOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take over a database that somebody exported and signed, or put files of a feed into the database.

    Files may be zip, JSON, JSON lines or folders of JSON, also gzip or zstd. A feed of the same name is replaced. A record that cannot be
    read is skipped, counted and shown; a file of which most are, or more than ten and a tenth of all, is refused.

    --format debian-archive takes images (as image scan names them) and asks their distribution's security archive, through apt's signed
    metadata, about their packages. The feed then judges these packages and speaks of no other; name all images it is for.

    Exit codes: 0 imported; 3 a file is not of the format; 4 signature, digest or age of a signed database is refused; 8 disk.

    Examples:

      shipwall db import advisories.swdb --key builder.pub

      shipwall db import --format osv all.zip --feed pypi --to advisories.sqlite

      shipwall db import --format epss epss.csv.gz --to advisories.sqlite

      shipwall db import --format debian-archive localhost:5000/prod/shop:1 shop.tar --to advisories.sqlite
    """
    import time

    from shipwall.adapters.advisory_db.bundle import import_bundle
    from shipwall.cli.output import console, neutral, print_json
    from shipwall.cli.sources import progress
    from shipwall.journeys.advisories import import_files

    path = to or _database(None, state)
    if kind == "debian-archive":
        options = AdvisoryOptions(archive, suite, keyring, cache, offline)
        _show_outcomes([_ask_archive(files, path, options, state)], output)
        _judge_fleet(path, state, output)
        return
    if kind:
        with progress() as say:
            outcomes = import_files(files, kind, path, time.time_ns(), feed=feed, say=say)
        _show_outcomes(outcomes, output)
        _judge_fleet(path, state, output)
        return
    if len(files) != 1:
        raise typer.BadParameter("name one signed database, or files and their --format")
    statement, signers = import_bundle(files[0], path, _advisory_keys(key, state), allow_older=allow_older)
    if output is Output.JSON:
        print_json({"database": str(path), "statement": statement, "signed_by": [one.key_id for one in signers]})
    else:
        console.print(
            f"imported into {neutral(str(path))}, signed by {', '.join(neutral(one.name) for one in signers)}", markup=False
        )
    _judge_fleet(path, state, output)


def _ask_archive(images: list[Path], database: Path, options: AdvisoryOptions, state: Path | None) -> Outcome:
    import time

    from shipwall.cli.sources import inventories_of, open_archive, progress
    from shipwall.journeys.archive_feed import import_archive
    from shipwall.journeys.scan import list_image

    with progress() as say, open_archive(options, say) as archive:
        listed = [list_image(str(one), inventories=inventories_of(state), say=say) for one in images]
        return import_archive(database, archive, listed, time.time_ns())


@app.command()
def export(
    to: Annotated[Path, typer.Option("--to", help="file to write")],
    key: Annotated[str, typer.Option("--key", help="own key that signs; made at first use")] = "advisories",
    database: DatabaseOption = None,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the whole database as one signed file for hosts without a network; they import it with the key's public half.

    Exit codes: 0 written; 3 there is no readable database; 8 disk.

    Examples:

      shipwall db export --to advisories.swdb && shipwall key export advisories > advisories.pub
    """
    import time

    from shipwall.adapters.advisory_db.bundle import export_bundle
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.cli.output import console, neutral, print_json

    signer = Keys(find_instance(state).keys).signer(key)
    statement = export_bundle(_database(database, state), to, signer, time.time_ns())
    if output is Output.JSON:
        print_json({"file": str(to), "statement": statement, "key_id": signer.public.key_id})
    else:
        console.print(
            f"{neutral(str(to))}: {statement.size} bytes, signed by {signer.public.name} {signer.public.key_id}", markup=False
        )


@app.command()
def status(
    database: DatabaseOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """What is in the database: feeds, how old they are, how many advisories speak of which ecosystem.

    Exit codes: 0 shown; 3 the file is no database; 8 there is none.

    Examples:

      shipwall db status

      shipwall db status --db advisories.sqlite --output json
    """
    import time

    from shipwall.cli.answers import local_time
    from shipwall.cli.output import console, neutral, print_json
    from shipwall.cli.sources import show_table
    from shipwall.journeys.advisories import describe_database, load_sources

    path = _database(database, state)
    found = describe_database(path, time.time_ns(), load_sources(_config(config, path)).max_age_days)
    if output is Output.JSON:
        print_json(found)
        return
    show_table(
        ("feed", "format", "advisories", "ranges", "signs", "skipped", "data of", "checked"),
        [
            (
                one.name, one.format, str(one.advisories), str(one.ranges), str(one.signs), str(one.skipped),
                local_time(one.time_ns), local_time(one.checked_ns),
            )
            for one in found.feeds
        ],
    )  # fmt: skip
    console.print()
    show_table(("ecosystem", "advisories"), [(scope, str(count)) for scope, count in found.scopes.items()])
    console.print(f"\n{neutral(found.path)}: {found.size_bytes} bytes", markup=False)
    for notice in found.notices:
        console.print(neutral(notice), markup=False)


def _judge_fleet(path: Path, state: Path | None, output: Output) -> None:
    """Judge the kept images anew, if there are any and `path` is the database in force; in JSON `fleet news` tells what changed."""
    import time

    from shipwall.adapters.instance import find_instance

    instance = find_instance(state)
    if path != instance.advisories or not instance.fleet.is_file() or not path.is_file():
        return
    from shipwall.cli.fleet import show_rejudged
    from shipwall.cli.sources import progress
    from shipwall.journeys.rejudge import judge_fleet

    with progress() as say:
        say("judging the kept images")
        result = judge_fleet(instance, path, time.time_ns())
    if output is Output.TABLE:
        show_rejudged(result, output)


def _database(database: Path | None, state: Path | None) -> Path:
    from shipwall.adapters.instance import find_instance

    return database or find_instance(state).advisories


def _config(config: Path | None, database: Path) -> Path | None:
    beside = database.parent / "advisories.yaml"
    return config or (beside if beside.is_file() else None)


def _advisory_keys(files: list[Path] | None, state: Path | None) -> PublicKeys:
    """The keys that may have signed a database: those of `files`, else the trusted ones called advisories or advisories-..."""
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys, load_public_key

    if files:
        return {key.key_id: key for key in (load_public_key(path, path.stem) for path in files)}
    known = Keys(find_instance(state).keys).public()
    return {key_id: key for key_id, key in known.items() if key.name == "advisories" or key.name.startswith("advisories-")}


def _show_outcomes(outcomes: list[Outcome], output: Output) -> None:
    from shipwall.cli.output import console, neutral, print_json, stderr
    from shipwall.cli.sources import show_table

    if output is Output.JSON:
        print_json(outcomes)
    else:
        show_table(
            ("feed", "outcome", "advisories", "ranges", "signs", "skipped"),
            [
                (
                    one.name,
                    one.outcome,
                    *(str(getattr(one.state, name, "")) for name in ("advisories", "ranges", "signs", "skipped")),
                )
                for one in outcomes
            ],
        )
        for one in outcomes:
            for missed in one.skipped[:_MAX_SHOWN]:
                console.print(f"skipped of {neutral(one.name)}: {neutral(missed.what)}: {neutral(missed.reason)}", markup=False)
            if one.state is not None and one.skipped and one.state.skipped > _MAX_SHOWN:
                console.print(f"skipped of {neutral(one.name)}: {one.state.skipped - _MAX_SHOWN} more", markup=False)
    for one in outcomes:
        if one.outcome == "failed":
            stderr.print(f"shipwall: feed {neutral(one.name)}: {neutral(one.reason)}", markup=False)
