"""What the commands about images share: how an image is named, where inventories are kept, progress and tables."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from shipwall.cli.output import console, is_terminal, neutral, stderr
from shipwall.model.errors import InputError, RemoteError

if TYPE_CHECKING:
    from shipwall.adapters.debian_archive import DebianArchive
    from shipwall.adapters.inventories import Inventories
    from shipwall.adapters.registry import Registry
    from shipwall.journeys.scan import ScanReport
    from shipwall.model.digest import Digest

SourceArgument = Annotated[
    str,
    typer.Argument(
        help="tar (docker save, OCI layout, root file system), folder, SBOM file, '-', REGISTRY/REPOSITORY[:TAG|@DIGEST]"
    ),
]
EngineOption = Annotated[Path | None, typer.Option("--engine", help="socket of an engine; SOURCE is then a reference it knows")]
PlatformOption = Annotated[str, typer.Option("--platform", help="choose from a multi-platform image, e.g. linux/arm64")]
HttpOption = Annotated[bool, typer.Option("--allow-http", help="speak plain HTTP with the registry (loopback may always)")]
ArchiveOption = Annotated[str, typer.Option("--archive", help="address of the security archive (http:, https:, file:)")]
SuiteOption = Annotated[list[str] | None, typer.Option("--suite", help="suite of it, repeatable; default CODENAME-security")]
KeyringOption = Annotated[Path | None, typer.Option("--keyring", help="keys its signature must come from")]
CacheOption = Annotated[Path | None, typer.Option("--cache", help="where downloads are kept; default $SHIPWALL_CACHE")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="use only what is cached")]
RehashOption = Annotated[bool, typer.Option("--rehash", help="read every byte, even of an image that was listed before")]
DatabaseOption = Annotated[Path | None, typer.Option("--db", help="judge only by this database of advisories")]
ImageArgument = Annotated[str, typer.Argument(help="REGISTRY/REPOSITORY[:TAG|@DIGEST]")]
StateOption = Annotated[Path | None, typer.Option("--state", help="state folder; default $SHIPWALL_STATE, else the system's")]


class AdvisoryOptions(NamedTuple):
    """The options that say with which advisories to judge."""

    archive: str
    suite: list[str] | None
    keyring: Path | None
    cache: Path | None
    offline: bool


class Place(NamedTuple):
    """An image in a registry: what its name stood for when the command began."""

    registry: Registry
    repository: str
    tag: str
    manifest: Digest

    @property
    def source(self) -> str:
        return f"{self.registry.host}/{self.repository}@{self.manifest}"


def inventories_of(state: Path | None) -> Inventories:
    """Where inventories are kept: in the state folder that was named or is already, else in this user's cache."""
    import os

    from shipwall.adapters.instance import find_cache, find_instance
    from shipwall.adapters.inventories import Inventories, InventoryCache

    instance = find_instance(state)
    if state is None and not os.access(instance.state, os.W_OK):
        return InventoryCache(find_cache() / "inventories")
    return Inventories(instance.state / "inventories")


def fleet_of(state: Path | None) -> Path | None:
    """Where listed images are kept together: only in a state folder that was named or is already."""
    import os

    from shipwall.adapters.instance import find_instance

    instance = find_instance(state)
    return instance.fleet if state is not None or os.access(instance.state, os.W_OK) else None


@contextlib.contextmanager
def open_place(image: str, allow_http: bool) -> Iterator[Place]:
    """The registry of `image` and the manifest it names now: everything after is done by digest."""
    from shipwall.adapters.registry import Registry
    from shipwall.model.image import parse_image_ref

    ref = parse_image_ref(image)
    if not ref.registry:
        raise InputError(f"image {image[:200]!r}", "names no registry", "name it like 127.0.0.1:5000/dev/shop:1")
    with Registry(ref.registry, allow_http=allow_http) as registry:
        manifest = ref.digest or registry.resolve(ref.repository, ref.tag or "latest")
        if manifest is None:
            raise RemoteError(f"image {image[:200]}", "is not there", "look at its name and tag", status=404)
        yield Place(registry, ref.repository, ref.tag, manifest)


def open_archive(options: AdvisoryOptions, say: Callable[[str], None]) -> DebianArchive:
    """The security archive that the options name. Close it, or use it as a context manager."""
    from shipwall.adapters.debian_archive import DebianArchive

    archive, suite, keyring, cache, offline = options
    return DebianArchive(url=archive, suites=suite or (), keyring=keyring, cache=cache, offline=offline, report=say)


def examine_source(
    source: str,
    options: AdvisoryOptions,
    allow_http: bool,
    state: Path | None,
    engine: Path | None = None,
    *,
    observed: bool = False,
    database: Path | None = None,
    platform: str = "",
) -> ScanReport:
    """The image of `source`, listed and scanned as the options of a command say; marked by what was seen in use where `observed`.

    A `database` that is named judges alone.
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.cli.judgements import mark_observed
    from shipwall.journeys.scan import as_found, find_database, scan_image

    instance = find_instance(state)
    with progress() as say, contextlib.nullcontext() if database else open_archive(options, say) as advisories:
        return scan_image(
            source,
            advisories,
            time.time_ns(),
            database=find_database(database, instance.advisories),
            engine_socket=engine,
            allow_http=allow_http,
            platform=platform,
            inventories=inventories_of(state),
            fleet=fleet_of(state),
            say=say,
            refine=mark_observed(as_found, instance.observed) if observed else as_found,
        )


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Hears lines of progress: one changing line on a terminal, silence in a pipe."""
    if not is_terminal():
        yield lambda _line: None
        return
    with stderr.status("starting") as status:
        yield lambda line: status.update(neutral(line).replace("[", "\\["))


def show_table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], words: Mapping[str, str] | None = None) -> None:
    """Rows under heads: a table on a terminal, columns two blanks apart elsewhere. `words` have a style of their own on a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not console.is_terminal:  # for programs and files: no wrapping, columns apart by two blanks
        cells = [heads, *(tuple(neutral(cell) for cell in row) for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
        for row in cells:
            console.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        cells_shown = [Text(neutral(cell)) for cell in row]
        for word, style in (words or {}).items():
            for cell in cells_shown:
                cell.highlight_words([word], style)
        table.add_row(*cells_shown)
    Console(highlight=False).print(table)
