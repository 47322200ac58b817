"""Making and starting a container with the default profile, through admission like anybody else."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from shipwall.access.hardening import RunOptions, check_options, parse_declared, render_create
from shipwall.access.world import ImageFacts, parse_image
from shipwall.adapters.engine import Engine
from shipwall.adapters.engine_transport import Headers
from shipwall.model.digest import Digest, parse_digest
from shipwall.model.errors import InputError, RemoteError
from shipwall.model.image import parse_image_ref


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """A started container. `image` is what it was made from: by digest, or by id for an image that is in no registry.

    `ports`: `80/tcp` → `0.0.0.0:8080`, as the engine published them.
    """

    id: str
    name: str
    image: str
    manifest: Digest | None
    config: Digest
    user: str
    ports: dict[str, tuple[str, ...]] = {}


def run_container(engine: Engine, image: str, options: RunOptions, name: str = "", headers: Headers = None) -> Ran:
    """The container of `image` that was made and started with the profile; `headers` go with making and starting it.

    An image that is not in the engine is pulled. Raises InputError; RemoteError with status 403 and the reason when admission refuses (then
    no container is left), and whatever else the engine says.
    """
    check_options(options, name)
    facts = _find(engine, image)
    by_digest = digest_reference(facts, image)
    body = render_create(by_digest, facts.user, parse_declared(facts.labels), options)
    container = engine.create(name, body, headers=headers)
    try:
        engine.start(container, headers=headers)
    except BaseException:
        with contextlib.suppress(RemoteError):
            engine.remove(container, force=True)
        raise
    record = engine.inspect_container(container)
    return Ran(
        id=container,
        name=str(record.get("Name", "")).removeprefix("/"),
        image=by_digest,
        manifest=by_digest.partition("@")[2] or None,
        config=facts.id,
        user=str(body["User"]),
        ports=_ports(record),
    )


def digest_reference(facts: ImageFacts, asked: str) -> str:
    """How to name exactly the image of `facts`: `NAME@sha256:...` of the repository that was asked for, else of another, else its id."""
    known = []
    for text in facts.repo_digests:
        with contextlib.suppress(InputError):
            reference = parse_image_ref(text)
            if reference.digest is not None:
                known.append(reference)
    with contextlib.suppress(InputError):
        wanted = parse_image_ref(asked)
        for reference in known:
            if reference.name == wanted.name and wanted.digest in (None, reference.digest):
                return str(reference)
    return str(known[0]) if known else facts.id


def _find(engine: Engine, image: str) -> ImageFacts:
    with contextlib.suppress(InputError):
        parse_digest(image)
        return parse_image(engine.inspect_image(image))
    reference = parse_image_ref(image)
    try:
        return parse_image(engine.inspect_image(str(reference)))
    except RemoteError as error:
        if error.status != 404:
            raise
    named = reference if reference.tag or reference.digest else msgspec.structs.replace(reference, tag="latest")
    return parse_image(engine.pull(str(named)))


def _ports(record: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    ports = (record.get("NetworkSettings") or {}).get("Ports") or {}
    return {
        str(port): tuple(f"{bound.get('HostIp') or '0.0.0.0'}:{bound.get('HostPort')}" for bound in found)  # noqa: S104 - shown, not bound
        for port, found in ports.items()
        if found
    }
