"""`shipwall image rebuild`: building an image again because its base was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.image_diff import render_changes, show_changes
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json, stderr
from shipwall.cli.sources import (
    AdvisoryOptions,
    ArchiveOption,
    CacheOption,
    HttpOption,
    ImageArgument,
    KeyringOption,
    OfflineOption,
    StateOption,
    SuiteOption,
    examine_source,
    open_place,
)
from shipwall.model.errors import InputError

if TYPE_CHECKING:
    from shipwall.adapters.engine import Engine
    from shipwall.journeys.rebuild import Examined
    from shipwall.model.digest import ImageIdentity


def register(app: typer.Typer) -> None:
    """Add the command to the group `app`."""
    app.command("rebuild")(rebuild)


def rebuild(
    image: ImageArgument,
    context: Annotated[Path, typer.Argument(help="folder with the Dockerfile, whose FROM is the build argument BASE")],
    old_base: Annotated[str, typer.Option("--old-base", help="the base IMAGE lies on: REGISTRY/REPOSITORY[:TAG|@DIGEST]")],
    new_base: Annotated[str, typer.Option("--new-base", help="the rebuilt base")],
    file: Annotated[str, typer.Option("--file", help="Dockerfile, relative to the context")] = "Dockerfile",
    build_arg: Annotated[list[str] | None, typer.Option("--build-arg", help="NAME=VALUE; repeatable")] = None,
    key: Annotated[str, typer.Option("--sign", help="sign SBOM, scan and provenance of the result with this key")] = "",
    output: OutputOption = Output.TABLE,
    archive: ArchiveOption = "",
    suite: SuiteOption = None,
    keyring: KeyringOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    engine: Annotated[
        Path | None, typer.Option("--engine", help="socket of an existing engine; default is the private engine (`engine start`)")
    ] = None,
    allow_http: HttpOption = False,
    state: StateOption = None,
) -> None:
    """Build an image again because its base was rebuilt: IMAGE must lie on the old base (told by its layers), the result must lie on the
    new one. The result is pushed under the tag of IMAGE, listed, scanned and compared.

    Exit codes: 0 rebuilt; 3 IMAGE does not lie on the old base, or the Dockerfile did not use the new one; 6 engine, registry or archive.

    Examples:

      shipwall image rebuild 127.0.0.1:5000/dev/shop:1 ./shop --old-base 127.0.0.1:5000/base/debian:1 --new-base 127.0.0.1:5000/base:2

      shipwall image rebuild 127.0.0.1:5000/dev/shop:1 ./shop --old-base ... --new-base ... --sign build --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.adapters.report import Reporter
    from shipwall.journeys.build import Built, build_image
    from shipwall.journeys.rebuild import Examined, rebuild_children, render_summary
    from shipwall.journeys.sign import facts_of_build, load_identity, sign_image
    from shipwall.model.image import ImageRef, parse_image_ref
    from shipwall.supply.lineage import RebuildStep

    instance = find_instance(state)
    report = Reporter(instance.link_socket)
    options = AdvisoryOptions(archive, suite, keyring, cache, offline)
    arguments = dict(_argument(text) for text in build_arg or ())
    base_ref = parse_image_ref(new_base)
    made: list[Built] = []
    with (
        open_place(image, allow_http) as place,
        open_place(old_base, allow_http) as old_place,
        open_place(new_base, allow_http) as new_place,
        _engine(engine, state) as client,
    ):
        _, target = load_identity(place.registry, place.repository, place.manifest)
        _, old = load_identity(old_place.registry, old_place.repository, old_place.manifest)
        _, new = load_identity(new_place.registry, new_place.repository, new_place.manifest)
        if not target.is_child_of(old):
            raise InputError(f"image {place.source}", f"does not lie on {old_place.source}", "name the base it was built on")

        def build(_step: RebuildStep, parent: ImageIdentity) -> ImageIdentity:
            base = ImageRef(registry=base_ref.registry, repository=base_ref.repository, digest=parent.manifest)
            made.append(
                build_image(
                    context,
                    client,
                    place.registry,
                    place.repository,
                    place.tag,
                    base=base,
                    args=arguments,
                    dockerfile=file,
                    log=lambda line: stderr.print(neutral(line), markup=False),
                    report=report,
                )
            )
            return made[-1].identity

        def examine(one: ImageIdentity) -> Examined:
            source = f"{place.registry.host}/{place.repository}@{one.manifest}"
            scanned = examine_source(source, options, allow_http, state)
            if scanned.unjudged is not None:
                stderr.print(f"shipwall: findings unknown: {neutral(scanned.unjudged[1])}", markup=False)
            return Examined(inventory=scanned.inventory, scan=scanned.result)

        _plan, done = rebuild_children(
            old, new, [old, target], build, examine, lambda _one: f"{place.registry.host}/{place.repository}", report
        )
        if not done:
            raise InputError(f"image {place.source}", "lies on the new base already", "there is nothing to rebuild")
        (one,) = done
        if key:
            facts = facts_of_build(made[0], arguments)
            signer = Keys(instance.keys).signer(key)
            now_ns = time.time_ns()
            sign_image(place.registry, place.repository, one.after.inventory, one.after.scan, facts, signer, now_ns, report)
    if output is Output.JSON:
        answer = {"instead_of": target.manifest, "image": one.image, "parent": new.manifest}
        print_json(answer | render_changes(one.packages.packages, one.findings.findings if one.findings else None))
    else:
        show_changes(one.packages.packages, one.findings.findings if one.findings else None)
        console.print(f"\n{render_summary(one.packages, one.findings)}", markup=False)
        console.print(f"rebuilt: {neutral(str(made[0].ref))} (instead of {target.manifest})", markup=False)


@contextlib.contextmanager
def _engine(engine: Path | None, state: Path | None) -> Iterator[Engine]:
    from shipwall.adapters.engine import Engine
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.private_engine import PrivateEngine

    if engine is None:
        private = PrivateEngine(find_instance(state))
        _ = private.running  # says how to start it when it does not run
        engine = private.socket
    with Engine(engine) as client:
        yield client


def _argument(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InputError(f"--build-arg {text[:100]!r}", "is not NAME=VALUE")
    return name, value
