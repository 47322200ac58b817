"""`shipwall image build` and `shipwall image base`: images whose digest depends on nothing but what went in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json, stderr
from shipwall.model.errors import InputError

if TYPE_CHECKING:
    from shipwall.adapters.engine import Engine
    from shipwall.adapters.registry import Registry
    from shipwall.journeys.build import Built

StateOption = Annotated[Path | None, typer.Option("--state", help="state folder; default $SHIPWALL_STATE, else the system's")]
EngineOption = Annotated[
    Path | None, typer.Option("--engine", help="socket of an existing engine; default is the private engine (`engine start`)")
]
ToOption = Annotated[str, typer.Option("--to", help="where to push: REGISTRY/REPOSITORY[:TAG]")]


def register(app: typer.Typer) -> None:
    """Add the commands to the group `app`."""
    app.command("build")(build)
    app.command("base")(base)


def build(
    context: Annotated[Path, typer.Argument(help="folder with the Dockerfile")],
    to: ToOption,
    base_image: Annotated[str, typer.Option("--base", help="image given to the Dockerfile as BASE, pinned to its digest")] = "",
    build_arg: Annotated[list[str] | None, typer.Option("--build-arg", help="NAME=VALUE; repeatable")] = None,
    file: Annotated[str, typer.Option("--file", help="Dockerfile, relative to the context")] = "Dockerfile",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="build every step anew")] = False,
    engine: EngineOption = None,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Build an image, bring it into its one form, push it. The same input gives the same digest, whoever builds it, when and where.

    Examples:

      shipwall image build ./shop --to 127.0.0.1:5000/dev/shop:1 --base 127.0.0.1:5000/base/debian:bookworm

      SOURCE_DATE_EPOCH=1700000000 shipwall image build . --to registry.example/dev/shop --no-cache --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.report import Reporter
    from shipwall.journeys.build import build_image
    from shipwall.model.image import parse_image_ref

    args = dict(_argument(text) for text in build_arg or [])
    target = parse_image_ref(to)
    with _hands(to, engine, state) as (client, registry):
        built = build_image(
            context, client, registry, target.repository, target.tag,
            base=parse_image_ref(base_image) if base_image else None, args=args, dockerfile=file, no_cache=no_cache,
            log=lambda line: stderr.print(neutral(line), markup=False), report=Reporter(find_instance(state).link_socket),
        )  # fmt: skip
    _show(built, output)


def base(
    to: ToOption,
    security: Annotated[
        bool, typer.Option("--security", help="with the security pocket; otherwise the release pocket only")
    ] = False,
    package: Annotated[
        list[str] | None, typer.Option("--package", help="package beside apt and the essential ones; repeatable")
    ] = None,
    engine: EngineOption = None,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a one-layer base image of this host's distribution and push it. Kept in the cache until the archive changes.

    Examples:

      shipwall image base --to 127.0.0.1:5000/base/debian:bookworm

      shipwall image base --to 127.0.0.1:5000/base/debian:bookworm --security --package ca-certificates
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.report import Reporter
    from shipwall.journeys.build import build_base
    from shipwall.model.image import parse_image_ref

    target = parse_image_ref(to)
    with _hands(to, engine, state) as (client, registry):
        built = build_base(
            client, registry, target.repository, target.tag, security=security, packages=tuple(package or ()),
            log=lambda line: stderr.print(neutral(line), markup=False), report=Reporter(find_instance(state).link_socket),
        )  # fmt: skip
    _show(built, output)


@contextmanager
def _hands(to: str, engine: Path | None, state: Path | None) -> Iterator[tuple[Engine, Registry]]:
    from shipwall.adapters.engine import Engine
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.private_engine import PrivateEngine
    from shipwall.adapters.registry import Registry
    from shipwall.model.image import parse_image_ref

    target = parse_image_ref(to)
    if not target.registry or target.digest:
        raise InputError(
            f"--to {to[:200]!r}", "is not REGISTRY/REPOSITORY[:TAG]", "name the registry, like 127.0.0.1:5000/dev/shop"
        )
    socket = engine
    if socket is None:
        private = PrivateEngine(find_instance(state))
        _ = private.running  # says how to start it when it does not run
        socket = private.socket
    with Engine(socket) as client, Registry(target.registry) as registry:
        yield client, registry


def _argument(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InputError(f"--build-arg {text[:100]!r}", "is not NAME=VALUE")
    return name, value


def _show(built: Built, output: Output) -> None:
    facts = {
        "image": str(built.ref),
        "config": built.identity.config,
        "layers": list(built.identity.diff_ids),
        "base": built.base,
        "context": built.context or "",
        "epoch_s": built.epoch_s,
        "started_ns": built.started_ns,
        "finished_ns": built.finished_ns,
        "seconds": round(built.seconds, 3),
    }
    if output is Output.JSON:
        print_json(facts)
    else:
        console.print(neutral(str(built.ref)), markup=False)
