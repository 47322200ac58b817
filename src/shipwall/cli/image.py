"""`shipwall image`: what is in an image, and what is wrong with it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated

import typer

from shipwall.cli import fleet, image_build, image_diff, image_layers, promotion, rebuild
from shipwall.cli.inventory_output import ListOutput, ListOutputOption, render_inventory, show_inventory
from shipwall.cli.judgements import (
    FailOnOption,
    IgnoreOption,
    ObservedOption,
    VexOption,
    finish,
    load_judgements,
    mark_observed,
    parse_conditions,
)
from shipwall.cli.output import ToOption, put_out, warn
from shipwall.cli.scan_output import ScanOutput, ScanOutputOption, put_report, report_of
from shipwall.cli.sources import (
    AdvisoryOptions,
    ArchiveOption,
    CacheOption,
    DatabaseOption,
    EngineOption,
    HttpOption,
    KeyringOption,
    OfflineOption,
    PlatformOption,
    RehashOption,
    SourceArgument,
    SuiteOption,
    fleet_of,
    inventories_of,
    open_archive,
    progress,
)

app = typer.Typer(help="List, scan, gate, sign, promote and rebuild images.", no_args_is_help=True)

StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="keep the inventory in this state folder; default: the system's, else your cache"),
]


@app.command()
def scan(
    source: SourceArgument,
    output: ScanOutputOption = ScanOutput.TABLE,
    to: ToOption = None,
    fail_on: FailOnOption = None,
    vex: VexOption = None,
    ignore: IgnoreOption = None,
    observed: ObservedOption = False,
    archive: ArchiveOption = "",
    suite: SuiteOption = None,
    keyring: KeyringOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    database: DatabaseOption = None,
    engine: EngineOption = None,
    platform: PlatformOption = "",
    allow_http: HttpOption = False,
    state: StateOption = None,
    rehash: RehashOption = False,
) -> None:
    """Which known problems the packages of an image have, and which of them have a fix.

    Judges every package by the advisories in the database (`shipwall db update`), if there is one; and every installed Debian package by
    the distribution's security archive (found through the host's apt configuration, checked by its signature), whose changelogs name the
    CVE ids. Without a database problems that have no fix are not seen. With --db only that database judges. Needs neither root nor an
    engine, a server or configuration.

    --fail-on takes a condition in CEL over `finding` or `scan`; docs/formats/conditions.md lists their fields. --vex reads OpenVEX and
    CycloneDX; a statement that matches nothing is said with the nearest package. --ignore reads docs/formats/ignore.md; no such file is
    read unless it is named.

    Exit codes: 0 scanned, with or without findings; 1 a --fail-on condition is true; 3 SOURCE is no readable image or SBOM, or a
    condition, VEX or ignore file is not what it should be; 4 a signature or digest does not match; 6 the archive or registry was not
    reached (findings unknown, packages are listed); 7 no security archive is known for the distribution (the same); 8 disk. A list that
    cannot be kept for the next time is one line on standard error, and no failure.

    Examples:

      shipwall image scan shop.tar

      docker save shop | shipwall image scan - --output json

      shipwall image scan localhost:5000/dev/shop:1 --fail-on 'finding.severity >= HIGH && finding.fixed' --fail-on finding.kev

      shipwall image scan shop.tar --vex vendor.openvex.json --ignore accepted.yaml --output html --to shop.html

      shipwall image scan shop.tar --db advisories.sqlite --output json

      shipwall image scan localhost:5000/prod/shop:1 --observed --fail-on 'finding.in_use && finding.fixed'

      shipwall image scan rootfs/ --archive file:/srv/archive --suite stable-security --keyring keys.gpg
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.report import find_reporter
    from shipwall.journeys.scan import find_database, scan_image

    if to is not None and output is ScanOutput.TABLE:
        raise typer.BadParameter("a table goes to the terminal; choose another --output for a file", param_hint="--to")
    now_ns = time.time_ns()
    conditions = parse_conditions(fail_on)
    refine = load_judgements(source, vex, ignore, now_ns)
    if observed:
        refine = mark_observed(refine, find_instance(state).observed)
    options = AdvisoryOptions(archive, suite, keyring, cache, offline)
    with progress() as say, contextlib.nullcontext() if database else open_archive(options, say) as advisories:
        scanned = scan_image(
            source,
            advisories,
            now_ns,
            database=find_database(database, find_instance(state).advisories),
            engine_socket=engine,
            allow_http=allow_http,
            platform=platform,
            inventories=inventories_of(state),
            fleet=fleet_of(state),
            rehash=rehash,
            say=say,
            warn=warn,
            report=find_reporter(find_instance(state).link_socket),
            refine=refine,
        )
    put_report(report_of(scanned), output, to, now_ns)
    finish(scanned, conditions)


@app.command("list")
def list_packages(
    source: SourceArgument,
    output: ListOutputOption = ListOutput.TABLE,
    to: ToOption = None,
    files: Annotated[bool, typer.Option("--files", help="with the files each package owns")] = False,
    engine: EngineOption = None,
    platform: PlatformOption = "",
    allow_http: HttpOption = False,
    state: StateOption = None,
    rehash: RehashOption = False,
) -> None:
    """The packages in an image: its bill of materials.

    Exit codes: 0 listed; 3 SOURCE is no readable image or SBOM; 4 a digest does not match; 6 registry or engine not reached; 8 disk. A
    list that cannot be kept for the next time is one line on standard error, and no failure.

    Examples:

      shipwall image list shop.tar

      shipwall image list shop.tar --files | grep /usr/sbin/nginx

      shipwall image list localhost:5000/dev/shop:1 --output cyclonedx --to shop.cdx.json
    """
    from shipwall.journeys.scan import list_image

    with progress() as say:
        inventory = list_image(
            source,
            engine_socket=engine,
            allow_http=allow_http,
            platform=platform,
            inventories=inventories_of(state),
            fleet=fleet_of(state),
            rehash=rehash,
            say=say,
            warn=warn,
        )
    if output is ListOutput.TABLE:
        if to is not None:
            raise typer.BadParameter("--to needs --output json, cyclonedx or spdx", param_hint="--to")
        show_inventory(inventory, with_files=files)
    else:
        put_out(render_inventory(inventory, output, time.time_ns(), with_files=files), to)


image_diff.register(app)
image_layers.register(app)
promotion.register(app)
rebuild.register(app)
image_build.register(app)
fleet.register(app)
