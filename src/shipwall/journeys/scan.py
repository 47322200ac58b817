"""List and scan: an image's packages, and what advisories say of them: the database's, and those of Debian's security archive."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.inventories import Inventories, listing_version
from shipwall.adapters.report import no_report
from shipwall.adapters.sbom_file import load_sbom
from shipwall.model.errors import RemoteError, ShipwallError, StorageError, UnsupportedError
from shipwall.model.finding import ScanResult
from shipwall.model.package import Inventory, Skipped
from shipwall.supply.distributions import end_of_life_notice
from shipwall.supply.feeds import find_old
from shipwall.supply.join import join_findings
from shipwall.supply.match_advisories import is_judgeable, match_advisories

if TYPE_CHECKING:
    from shipwall.adapters.debian_archive import Advisories as ArchiveAdvisories
    from shipwall.adapters.debian_archive import DebianArchive
    from shipwall.model.wire import Message
    from shipwall.supply.archive_index import ArchivePackage
    from shipwall.supply.match import Update

Say = Callable[[str], None]
Refine = Callable[[Inventory, ScanResult], ScanResult]
"""What is done to a result before anybody hears of it: VEX statements, ignore files."""


class ScanReport(msgspec.Struct, frozen=True, kw_only=True):
    """A scan with what it was made from. `unjudged` is why no finding could be looked for (exit code and line), None when it could.

    `listed_ns` and `matched_ns` are the durations of the two halves.
    """

    source: str
    inventory: Inventory
    result: ScanResult
    unjudged: tuple[int, str] | None = None
    listed_ns: int = 0
    matched_ns: int = 0


def silent(_line: str) -> None:
    """Say nothing."""


def as_found(_inventory: Inventory, result: ScanResult) -> ScanResult:
    """Leave a result as it is."""
    return result


def list_image(
    source: str,
    *,
    engine_socket: Path | None = None,
    allow_http: bool = False,
    platform: str = "",
    inventories: Inventories | None = None,
    fleet: Path | None = None,
    rehash: bool = False,
    say: Say = silent,
    warn: Say | None = None,
) -> Inventory:
    """The inventory of the image `source` (as `open_image` takes it), or the one in the SBOM file `source`.

    With `inventories` the result is kept there, and an image that is there already is not read again, wherever it lies: its manifest
    (checked against its digest) names every layer by digest, so the inventory is that of this digest even if a layer's file has been
    changed or lost since. An engine's image is known by the id the engine gives it. `rehash` reads and checks every byte all the same.
    With `fleet` the image is kept in the fleet there too. With `warn` a list that cannot be kept (disk full) is said there and is no
    failure. *Raises* what `open_image` raises, and TrustError; without `warn` StorageError.
    """
    if engine_socket is None and (stated := load_sbom(source)) is not None:
        return stated  # not kept: only a list made from the image itself is this installation's
    inventory, is_known = _list_opened(
        source, engine_socket, inventories, say, allow_http=allow_http, platform=platform, rehash=rehash
    )
    if inventories is not None and inventory.image is not None and not is_known:
        with _told(warn):
            inventories.put(inventory, listing_version())
    if fleet is not None:
        from shipwall.journeys.keep import keep_image

        with _told(warn):
            keep_image(fleet, inventory, source, time.time_ns())
    return inventory


@contextlib.contextmanager
def _told(warn: Say | None) -> Iterator[None]:
    """Keeping a list is secondary where there is somebody to tell that it failed."""
    try:
        yield
    except StorageError as error:
        if warn is None:
            raise
        warn(f"the image's list was not kept: {error.line()}")


def _list_opened(
    source: str, engine_socket: Path | None, inventories: Inventories | None, say: Say, *, allow_http: bool, platform: str,
    rehash: bool,
) -> tuple[Inventory, bool]:  # fmt: skip
    """The inventory, and whether it was kept already."""
    from shipwall.adapters.images import (
        open_image,  # here and below: imported only by who comes so far, which costs a third of a scan
    )

    trusted = None if rehash else inventories
    if engine_socket is not None and trusted is not None and not platform:
        from shipwall.adapters.images.remote import engine_image_id

        # An engine hands out an image only whole, so it is asked first what it calls it.
        identifier = engine_image_id(source, engine_socket)
        known = trusted.find_by_config(identifier, listing_version()) or trusted.get(identifier, listing_version())
        if known is not None:
            say("listed before")
            return known, True
    with open_image(source, engine_socket=engine_socket, allow_http=allow_http, platform=platform) as image:
        if trusted is not None and image.identity is not None:
            known = trusted.get(image.identity.manifest, listing_version())
            if known is not None:
                say("listed before")
                return known, True
        from shipwall.supply.catalog import list_packages, make_view

        view = make_view()
        image.fill_view(view, say)
        return list_packages(view, image.identity, image.config), False


def scan_inventory(inventory: Inventory, archive: DebianArchive | None, now_ns: int, database: Path | None = None) -> ScanResult:
    """The findings of `inventory` by what `archive` has now and by the advisories in `database`; either may be None.

    *On failure*: an unknown distribution, or an archive that cannot be reached and is not cached, is a Skipped for all packages, with
    `advisories` empty where there is no database: unknown, not clean. *Raises* TrustError when anything from the archive does not verify,
    StorageError and InputError for a database that is not there or cannot be read.
    """
    return _judge(inventory, archive, now_ns, database)[0]


def scan_image(
    source: str,
    archive: DebianArchive | None,
    now_ns: int,
    *,
    database: Path | None = None,
    engine_socket: Path | None = None,
    allow_http: bool = False,
    platform: str = "",
    inventories: Inventories | None = None,
    fleet: Path | None = None,
    rehash: bool = False,
    say: Say = silent,
    warn: Say | None = None,
    report: Callable[[Message], None] = no_report,
    refine: Refine = as_found,
) -> ScanReport:
    """List `source`, then judge the list, then `refine` what was found. *Raises* as `list_image` and `scan_inventory`."""
    started = time.monotonic_ns()
    inventory = list_image(
        source,
        engine_socket=engine_socket,
        allow_http=allow_http,
        platform=platform,
        inventories=inventories,
        fleet=fleet,
        rehash=rehash,
        say=say,
        warn=warn,
    )
    listed = time.monotonic_ns()
    result, failure = _judge(inventory, archive, now_ns, database)
    result = refine(inventory, result)
    matched = time.monotonic_ns()
    if inventory.image is not None and report is not no_report:
        _tell(report, inventory, result, source, now_ns, (listed - started, matched - listed))
    return ScanReport(
        source=source,
        inventory=inventory,
        result=result,
        unjudged=(failure.exit_code, failure.line()) if failure else None,
        listed_ns=listed - started,
        matched_ns=matched - listed,
    )


def find_database(named: Path | None, configured: Path) -> Path | None:
    """The database to judge by: the one that was named, else the configured one where it exists. *Raises* StorageError."""
    if named is not None and not named.is_file():
        raise StorageError(f"advisory database {named}", "is not there", "make it: shipwall db update, or db import")
    return named or (configured if configured.is_file() else None)


def _judge(
    inventory: Inventory, archive: DebianArchive | None, now_ns: int, database: Path | None
) -> tuple[ScanResult, ShipwallError | None]:
    """The findings, with a notice when the distribution's release gets no updates any more: silence then means nothing."""
    result, failure = _judge_by_all(inventory, archive, now_ns, database)
    notice = end_of_life_notice(inventory.distribution, now_ns)
    return (msgspec.structs.replace(result, notices=(notice, *result.notices)) if notice else result), failure


def _judge_by_all(
    inventory: Inventory, archive: DebianArchive | None, now_ns: int, database: Path | None
) -> tuple[ScanResult, ShipwallError | None]:
    """By both sources; one that fails is no failure as long as the other judges."""
    by_database, nothing_held = None, None
    if database is not None:
        with AdvisoryDb(database) as opened:
            by_database = _judge_by_database(inventory, opened, now_ns)
            if not is_judgeable(inventory, opened):
                name = " ".join(filter(None, (inventory.distribution.id, inventory.distribution.version_id)))
                reason = "the database has advisories for none of its packages"
                nothing_held = UnsupportedError(name or "the image", reason, "fetch them: shipwall db update")
    if by_database is not None and (archive is None or not any(one.ecosystem == "deb" for one in inventory.packages)):
        return by_database, nothing_held
    if archive is None:
        raise StorageError("advisories", "neither a database nor an archive was named", "name one: --db FILE")
    by_archive, failure = _judge_by_archive(inventory, archive, now_ns)
    if by_database is None:
        return by_archive, failure
    if nothing_held is not None and failure is not None:
        return by_archive, failure
    # What the archive does not judge (packages of other kinds), the database does, or says why not.
    told = set(by_database.skipped)
    skipped = [one for one in by_archive.skipped if one not in told and not one.reason.startswith("no advisories for ")]
    times = [time_ns for time_ns in (by_database.advisories_time_ns, by_archive.advisories_time_ns) if time_ns]
    return (
        ScanResult(
            findings=tuple(join_findings(by_database.findings, by_archive.findings)),
            skipped=(*_counted_once(by_database.skipped, failure), *(replace(one, packages=0) for one in skipped)),
            advisories=", ".join(filter(None, (by_database.advisories, by_archive.advisories))),
            advisories_time_ns=min(times, default=0),
            notices=by_database.notices,
        ),
        None,
    )


def _counted_once(skipped: Iterable[Skipped], failure: ShipwallError | None) -> list[Skipped]:
    """What the database could not judge; its Debian packages are not counted as not judged where the archive has judged them."""
    if failure is not None:
        return list(skipped)
    return [replace(one, packages=0) if one.what.endswith(" deb packages") else one for one in skipped]


def _judge_by_database(inventory: Inventory, database: AdvisoryDb, now_ns: int) -> ScanResult:
    feeds = database.feeds()
    findings, skipped = match_advisories(inventory, database)
    return ScanResult(
        findings=tuple(findings),
        skipped=tuple(skipped),
        advisories=f"{sum(one.advisories for one in feeds)} advisories of {', '.join(one.name for one in feeds)}",
        advisories_time_ns=min((max(one.time_ns, one.checked_ns) for one in feeds), default=0),
        notices=tuple(find_old(feeds, now_ns)),
    )


class ArchiveWord(NamedTuple):
    """What an archive says of an inventory's packages: `advisories` as it gave them, `updates` of what is behind, and their changelogs.

    `skipped`: packages whose versions could not be compared.
    """

    advisories: ArchiveAdvisories
    updates: list[Update]
    changelogs: dict[tuple[str, str], tuple[ArchivePackage, bytes] | Skipped]
    skipped: list[Skipped]


def ask_archive(inventory: Inventory, archive: DebianArchive, now_ns: int) -> ArchiveWord:
    """What `archive` says of the Debian packages of `inventory`. *Raises* as `DebianArchive.load_advisories`."""
    from shipwall.supply.match import find_updates

    packages = [package for package in inventory.packages if package.ecosystem == "deb"]
    # An image of `all` packages alone still needs some index: every architecture's repeats them.
    architectures = {package.arch for package in packages} - {"all", ""} or {"amd64"}
    names, sources = {package.name for package in packages}, {package.source for package in packages}
    advisories = archive.load_advisories(inventory.distribution, architectures, names, sources, now_ns)
    updates, skipped = find_updates(inventory, advisories.packages)
    return ArchiveWord(advisories, updates, archive.load_changelogs(_carriers(updates, advisories.packages)), skipped)


def _judge_by_archive(inventory: Inventory, archive: DebianArchive, now_ns: int) -> tuple[ScanResult, ShipwallError | None]:
    from shipwall.supply.match import render_findings

    try:
        advisories, updates, changelogs, skipped_packages = ask_archive(inventory, archive, now_ns)
    except (UnsupportedError, RemoteError) as error:
        count = sum(package.ecosystem == "deb" for package in inventory.packages)
        skipped = Skipped(what=f"findings of {count} packages", reason=error.line(), packages=count)
        return ScanResult(findings=(), skipped=(skipped,)), error
    findings, skipped_changelogs = render_findings(updates, changelogs, inventory.distribution)
    return (
        ScanResult(
            findings=tuple(findings),
            skipped=(*advisories.warnings, *skipped_packages, *skipped_changelogs),
            advisories=advisories.description,
            advisories_time_ns=advisories.time_ns,
        ),
        None,
    )


def _carriers(updates: list[Update], archive: list[ArchivePackage]) -> dict[tuple[str, str], list[ArchivePackage]]:
    """For each source behind, the `.deb` files to look for its changelog in."""
    from shipwall.supply.match import rank_carriers

    by_source: dict[tuple[str, str], list[ArchivePackage]] = {}
    for package in archive:
        by_source.setdefault((package.source, package.source_version), []).append(package)
    return {update.source_key: rank_carriers(update, by_source[update.source_key]) for update in updates}


def _tell(
    report: Callable[[Message], None],
    inventory: Inventory,
    result: ScanResult,
    source: str,
    now_ns: int,
    took_ns: tuple[int, int],
) -> None:
    from shipwall.model.wire import ImageStep

    assert inventory.image is not None
    digest = inventory.image.manifest
    count = len(inventory.packages)
    facts = {"packages": str(count), "skipped": str(len(inventory.skipped))}
    summary = f"{count} packages of {inventory.distribution.id} {inventory.distribution.version_id}".rstrip()
    report(
        ImageStep(
            digest=digest, image=source, step="listed", time_ns=now_ns, duration_ns=took_ns[0], summary=summary, facts=facts
        )
    )
    facts = {"findings": str(len(result.findings)), "skipped": str(len(result.skipped)), "advisories": result.advisories}
    summary = f"{len(result.findings)} findings" if result.advisories else "findings unknown"
    report(
        ImageStep(
            digest=digest, image=source, step="scanned", time_ns=now_ns, duration_ns=took_ns[1], summary=summary, facts=facts
        )
    )
