"""`shipwall fleet` and `shipwall image find`: all kept images at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shipwall.cli.answers import local_time
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json
from shipwall.cli.sources import EngineOption, HttpOption, PlatformOption, StateOption, inventories_of, progress, show_table

if TYPE_CHECKING:
    from shipwall.adapters.fleet import FleetImage
    from shipwall.journeys.rejudge import Rejudged
    from shipwall.supply.fleet import Change

app = typer.Typer(help="All kept images at once: add, judge anew, what changed and why.", no_args_is_help=True)

DatabaseOption = Annotated[Path | None, typer.Option("--db", help="database of advisories; default: the one in the state folder")]
_MAX_SHOWN = 20


def register(images: typer.Typer) -> None:
    """Add `image find`."""
    images.command("find")(find)


@app.command()
def add(
    sources: Annotated[list[str], typer.Argument(help="images, as `image list` takes them; REGISTRY/REPOSITORY with --all-tags")],
    all_tags: Annotated[bool, typer.Option("--all-tags", help="every tag of the repositories named")] = False,
    engine: EngineOption = None,
    platform: PlatformOption = "",
    allow_http: HttpOption = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List images and keep what is in them, so that later advisories are matched without touching them again.

    One that cannot be listed is named and the rest goes on. Exit codes: 0 all kept; else that of the first that failed.

    Examples:

      shipwall fleet add localhost:5000/prod/shop:1 localhost:5000/prod/api:7

      shipwall fleet add localhost:5000/prod/shop --all-tags

      shipwall fleet add shop.tar
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.fleet import add_images, list_tags

    instance = find_instance(state)
    with progress() as say:
        names = [name for source in sources for name in list_tags(source, allow_http=allow_http)] if all_tags else sources
        added = add_images(
            instance.fleet, names, time.time_ns(), engine_socket=engine, allow_http=allow_http, platform=platform,
            inventories=inventories_of(instance.state), say=say,
        )  # fmt: skip
    if output is Output.JSON:
        print_json([{"source": one.source, "new": one.new, "error": one.error, "image": one.manifest} for one in added])
    else:
        for one in added:
            what = f"not kept: {one.error}" if one.error else "kept" if one.new else "known"
            console.print(f"{neutral(one.source)}: {neutral(what)}", markup=False)
    if failed := [one for one in added if one.error]:
        raise typer.Exit(failed[0].exit_code)


@app.command("list")
def list_images(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """The kept images, the latest listed first, with the findings of each as last judged; of packages not judged they are unknown.

    Example: shipwall fleet list
    """
    from shipwall.adapters.fleet import Fleet
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.fleet import count_findings

    with Fleet(find_instance(state).fleet) as fleet:
        images, judged = fleet.images(), fleet.judged()
        counts = count_findings(fleet, images)
    if output is Output.JSON:
        print_json(
            {"judged": None if judged is None else {"time_ns": judged[0], "database": judged[1]},
             "images": [_image(image) | counts[image.number]._asdict() for image in images]}
        )  # fmt: skip
        return
    rows = [
        (
            _name(image),
            image.identity.manifest[7:19],
            str(image.components),
            str(counts[image.number].findings),
            str(counts[image.number].unjudged),
            local_time(image.listed_ns),
        )
        for image in images
    ]
    show_table(("image", "digest", "packages", "findings", "not judged", "listed"), rows)
    console.print(
        f"\njudged {local_time(judged[0])} by {judged[1]}" if judged else "\nnever judged: shipwall fleet judge", markup=False
    )


@app.command()
def judge(database: DatabaseOption = None, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Judge all kept images by the database as it is now, and say what is new. Done by `db update` too; no image is opened.

    Exit codes: 0 judged, whatever was found; 3, 8 fleet or database cannot be read.

    Examples:

      shipwall fleet judge

      shipwall fleet judge --db advisories.sqlite --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.rejudge import judge_fleet

    instance = find_instance(state)
    with progress() as say:
        say("judging")
        result = judge_fleet(instance, database or instance.advisories, time.time_ns())
    show_rejudged(result, output)


@app.command()
def news(
    image: Annotated[str, typer.Option("--image", help="only of the image with this digest or name")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="newest changes")] = 100,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """What new advisories changed, newest first: which problem, in which package, in how many images, and why.

    Examples:

      shipwall fleet news

      shipwall fleet news --image localhost:5000/prod/shop:1 --output json
    """
    from shipwall.adapters.fleet import Fleet
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.fleet import find_image

    with Fleet(find_instance(state).fleet) as fleet:
        rows = fleet.news(limit, find_image(fleet, image).number if image else None)
    if output is Output.JSON:
        print_json(rows)
        return
    show_table(
        ("when", "change", "id", "package", "images", "why"),
        [
            (local_time(one.time_ns), one.kind, one.finding.id, f"{one.finding.package.name} {one.finding.package.version}",
             str(one.images), one.why)
            for one in rows
        ],
    )  # fmt: skip


@app.command()
def explain(
    image: Annotated[str, typer.Argument(help="a kept image: digest, or a name it was seen under")],
    before: Annotated[Path, typer.Option("--from", help="the older database of advisories")],
    after: Annotated[Path | None, typer.Option("--to", help="the newer one; default: the one in the state folder")] = None,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Why an image is judged otherwise by one database than by another: each difference and its reason.

    Examples:

      shipwall fleet explain localhost:5000/prod/shop:1 --from monday.sqlite

      shipwall fleet explain localhost:5000/prod/shop:1 --from monday.sqlite --to tuesday.sqlite --output json
    """
    from shipwall.adapters.advisory_db import AdvisoryDb
    from shipwall.adapters.fleet import Fleet
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.fleet import explain_image, find_image

    instance = find_instance(state)
    with Fleet(instance.fleet) as fleet, AdvisoryDb(before) as old, AdvisoryDb(after or instance.advisories) as new:
        changes = explain_image(fleet, find_image(fleet, image), old, new)
    if output is Output.JSON:
        print_json([_change(one) for one in changes])
        return
    _show_changes(changes)
    if not changes:
        console.print("both judge it the same")


def find(
    query: Annotated[str, typer.Argument(help="NAME, TYPE/NAME, or either with an operator and a version")],
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Which kept images have a package. The name may be the last part of a longer one: log4j-core.

    Exit codes: 0 found; 1 no image has it; 3 that is no query; 8 no image was kept yet; 9 none was found, but versions of packages of that
    name cannot be compared with the one asked for, so nobody can say.

    Examples:

      shipwall image find 'log4j-core < 2.17'

      shipwall image find 'npm/lodash <= 4.17.20' --output json

      shipwall image find openssl
    """
    from shipwall.adapters.fleet import Fleet
    from shipwall.adapters.instance import find_instance
    from shipwall.journeys.fleet import find_images
    from shipwall.model.errors import UndecidedError
    from shipwall.supply.fleet import parse_query

    parse_query(query)  # what is no query is said first, whatever is kept
    with Fleet(find_instance(state).fleet) as fleet:
        answer = find_images(fleet, query)
    if output is Output.JSON:
        found = [{"package": one.package, "images": [_image(image) for image in one.images]} for one in answer.found]
        print_json({"query": query, "found": found, "skipped": answer.skipped})
    else:
        rows = [
            (f"{one.package.ecosystem}/{one.package.name}", one.package.version, _name(image), image.identity.manifest[7:19])
            for one in answer.found
            for image in one.images
        ]
        if rows:
            show_table(("package", "version", "image", "digest"), rows)
        for missed in answer.skipped[:_MAX_SHOWN]:
            console.print(f"skipped: {neutral(missed.what)}: {neutral(missed.reason)}", markup=False)
        having = {image.number for one in answer.found for image in one.images}
        if having or not answer.skipped:
            console.print(f"\n{len(having)} images" if having else "no kept image has it", markup=False)
    if answer.found:
        return
    if answer.skipped:
        what = f"{len(answer.skipped)} versions" if len(answer.skipped) > 1 else answer.skipped[0].what
        raise UndecidedError(
            f"query {query[:80]!r}", f"{what} cannot be compared, and nothing else has it", "look at those named above"
        )
    raise typer.Exit(1)


def show_rejudged(result: Rejudged, output: Output) -> None:
    """What judging anew found."""
    if output is Output.JSON:
        print_json(
            {"judged": result.components, "images": len(result.touched.images),
             "changes": [_change(change) | {"images": images} for change, images in result.changes], "skipped": result.skipped}
        )  # fmt: skip
        return
    _show_changes([change for change, _images in result.changes])
    console.print(
        f"{result.components} packages judged anew; {len(result.changes)} changes in {len(result.touched.images)} images; "
        f"skipped: {len(result.skipped)}",
        markup=False,
    )


def _show_changes(changes: list[Change]) -> None:
    if changes:
        rows = [
            (one.kind, one.finding.id, f"{one.finding.package.name} {one.finding.package.version}", one.why)
            for one in changes[:_MAX_SHOWN]
        ]
        show_table(("change", "id", "package", "why"), rows)
    if len(changes) > _MAX_SHOWN:
        console.print(f"{len(changes) - _MAX_SHOWN} more; --output json shows all")


def _change(change: Change) -> dict[str, Any]:
    return {"kind": change.kind, "finding": change.finding, "why": change.why}


def _image(image: FleetImage) -> dict[str, Any]:
    return {
        "digest": image.identity.manifest,
        "config": image.identity.config,
        "names": image.names,
        "distribution": image.distribution,
        "created": image.created,
        "listed_ns": image.listed_ns,
        "packages": image.components,
    }


def _name(image: FleetImage) -> str:
    return image.names[-1] if image.names else image.identity.manifest
