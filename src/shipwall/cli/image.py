"""`shipwall image`: what is in an image, and what is wrong with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shipwall.cli import image_build, promotion, rebuild
from shipwall.cli.inventory_output import ListOutput, ListOutputOption, name_of, render_inventory, show_inventory, show_skipped
from shipwall.cli.output import Output, OutputOption, ToOption, console, neutral, print_json, put_out, stderr
from shipwall.cli.sources import (
    ArchiveOption,
    CacheOption,
    EngineOption,
    HttpOption,
    KeyringOption,
    OfflineOption,
    PlatformOption,
    SourceArgument,
    SuiteOption,
    inventories_of,
    progress,
    show_table,
)

if TYPE_CHECKING:
    from shipwall.journeys.scan import ScanReport
    from shipwall.model.finding import Finding

app = typer.Typer(help="List, scan, gate, sign, promote and rebuild images.", no_args_is_help=True)

_MAX_SHOWN_IDS = 3

StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="keep the inventory in this state folder; default: in the system's, if there is one"),
]


@app.command()
def scan(
    source: SourceArgument,
    output: OutputOption = Output.TABLE,
    fail_on_fix: Annotated[bool, typer.Option("--fail-on-fix", help="exit 1 when a finding has a fix")] = False,
    archive: ArchiveOption = "",
    suite: SuiteOption = None,
    keyring: KeyringOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    engine: EngineOption = None,
    platform: PlatformOption = "",
    allow_http: HttpOption = False,
    state: StateOption = None,
) -> None:
    """Which packages of an image have a security fix waiting, and which CVEs it names.

    Compares every installed Debian package with the distribution's security archive (found through the host's apt configuration, checked
    by its signature) and reads the CVE ids in the changelog of the fixed package. Not seen: problems without a fix. Needs neither root nor
    an engine, a server or configuration.

    Exit codes: 0 scanned, with or without findings; 1 --fail-on-fix and a fix waits; 3 SOURCE is no readable image; 4 a signature or
    digest does not match; 6 the archive or registry was not reached (findings unknown, packages are listed); 7 no security archive is known
    for the distribution (the same); 8 disk.

    Examples:

      shipwall image scan shop.tar

      docker save shop | shipwall image scan - --output json

      shipwall image scan localhost:5000/dev/shop:1 --fail-on-fix

      shipwall image scan rootfs/ --archive file:/srv/archive --suite stable-security --keyring keys.gpg
    """
    from shipwall.adapters.debian_archive import DebianArchive
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.report import Reporter
    from shipwall.journeys.scan import scan_image

    with (
        progress() as say,
        DebianArchive(url=archive, suites=suite or (), keyring=keyring, cache=cache, offline=offline, report=say) as advisories,
    ):
        report = scan_image(
            source,
            advisories,
            time.time_ns(),
            engine_socket=engine,
            allow_http=allow_http,
            platform=platform,
            inventories=inventories_of(state),
            say=say,
            report=Reporter(find_instance(state).link_socket),
        )
    if output is Output.JSON:
        print_json(render_report(report))
    else:
        _show_report(report)
    if report.unjudged is not None:
        stderr.print(f"shipwall: findings unknown: {neutral(report.unjudged[1])}", markup=False)
        raise typer.Exit(report.unjudged[0])
    if fail_on_fix and any(finding.fixed_version for finding in report.result.findings):
        raise typer.Exit(1)


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
) -> None:
    """The packages in an image: its bill of materials.

    Exit codes: 0 listed; 3 SOURCE is no readable image or SBOM; 4 a digest does not match; 6 registry or engine not reached; 8 disk.

    Examples:

      shipwall image list shop.tar

      shipwall image list shop.tar --files | grep /usr/sbin/nginx

      shipwall image list localhost:5000/dev/shop:1 --output cyclonedx --to shop.cdx.json
    """
    from shipwall.journeys.scan import list_image

    with progress() as say:
        inventory = list_image(
            source, engine_socket=engine, allow_http=allow_http, platform=platform, inventories=inventories_of(state), say=say
        )
    if output is ListOutput.TABLE:
        if to is not None:
            raise typer.BadParameter("--to needs --output json, cyclonedx or spdx", param_hint="--to")
        show_inventory(inventory, with_files=files)
    else:
        put_out(render_inventory(inventory, output, time.time_ns(), with_files=files), to)


def render_report(report: ScanReport) -> dict[str, Any]:
    """The JSON form of a scan. Durations are left out, so that equal scans are equal texts."""
    inventory, result = report.inventory, report.result
    unknown = sum(finding.severity.value == "unknown" for finding in result.findings)
    return {
        "source": report.source,
        "image": inventory.image,
        "distribution": inventory.distribution,
        "advisories": result.advisories,
        "advisories_time_ns": result.advisories_time_ns,
        "summary": {
            "packages": len(inventory.packages),
            "findings": len(result.findings),
            "with_fix": sum(bool(finding.fixed_version) for finding in result.findings),
            "severity_unknown": unknown,
            "skipped": len(inventory.skipped) + len(result.skipped),
            "judged": report.unjudged is None,
        },
        "findings": result.findings,
        "skipped": [*inventory.skipped, *result.skipped],
    }


def _show_report(report: ScanReport) -> None:
    inventory, result = report.inventory, report.result
    rows = [
        (
            ", ".join(names),
            installed,
            fixed,
            ", ".join(ids[:_MAX_SHOWN_IDS]) + (f" and {len(ids) - _MAX_SHOWN_IDS} more" if len(ids) > _MAX_SHOWN_IDS else ""),
            evidence,
        )
        for (installed, fixed, ids, evidence), names in _grouped(result.findings).items()
    ]
    if rows:
        show_table(("package", "installed", "fixed in", "ids", "evidence"), rows)
    elif report.unjudged is None:
        console.print("no package has a fix waiting")
    show_skipped([*inventory.skipped, *result.skipped])
    affected = len({(finding.package.name, finding.package.arch) for finding in result.findings})
    unknown = sum(finding.severity.value == "unknown" for finding in result.findings)
    found = f"{len(result.findings)} findings in {affected}" if report.unjudged is None else "findings unknown for all"
    skipped = len(inventory.skipped) + len(result.skipped)
    console.print(
        f"\n{found} of {len(inventory.packages)} packages; severity unknown: {unknown}; skipped: {skipped}", markup=False
    )
    console.print(f"image: {neutral(name_of(inventory))}", markup=False)
    if result.advisories:
        console.print(f"advisories: {neutral(result.advisories)}", markup=False)


def _grouped(findings: tuple[Finding, ...]) -> dict[tuple[str, str, tuple[str, ...], str], list[str]]:
    """Packages that share versions, ids and evidence, as binaries of one source do, in one row."""
    by_package: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        by_package.setdefault((finding.package.name, finding.package.arch), []).append(finding)
    rows: dict[tuple[str, str, tuple[str, ...], str], list[str]] = {}
    for (name, _arch), own in by_package.items():
        ids = tuple(sorted({finding.id for finding in own}))
        proof = next((one for one in own[0].evidence if one.kind == "statement"), own[0].evidence[-1])
        names = rows.setdefault((own[0].package.version, own[0].fixed_version, ids, proof.ref.rpartition("/")[2]), [])
        if name not in names:
            names.append(name)
    return rows


promotion.register(app)
rebuild.register(app)
image_build.register(app)
