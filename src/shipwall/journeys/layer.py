"""Building without an engine: the packages of a recipe make a file system, what it has more than its base is a layer, files go on top.

Slower than an engine's cache and narrower (`supply.recipe`), but it needs neither root nor containers, and the result is an image like any:
its layers begin with the base's, and the same input gives the same digest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from shipwall.adapters.base_system import BaseSystem, find_pockets, make_base_system
from shipwall.adapters.registry import Registry
from shipwall.adapters.report import no_report
from shipwall.journeys.build import Built, Log, built_step, mount_below, pack_context, push_fresh_layer, push_image, spool
from shipwall.model.digest import Digest, ImageIdentity, parse_digest
from shipwall.model.errors import InputError, StorageError
from shipwall.model.image import ImageRef
from shipwall.model.wire import Message
from shipwall.supply.manifest import ImageConfig, parse_config
from shipwall.supply.normalise import render_config, render_time
from shipwall.supply.recipe import Recipe, parse_recipe
from shipwall.supply.subtract import CopiedFile, subtract_layer

_MAX_FILE_BYTES = 64 << 20


def layer_image(
    context: Path,
    registry: Registry,
    repository: str,
    tag: str = "",
    *,
    base: ImageRef,
    security: bool = False,
    args: Mapping[str, str] | None = None,
    log: Log = lambda _line: None,
    report: Callable[[Message], None] = no_report,
) -> Built:
    """The image of the Dockerfile in `context` on `base`, which `build_base` made of the same pockets and which lies in `registry`.

    *Raises* InputError (another base, context), UnsupportedError (a Dockerfile that needs an engine), RemoteError (archive, registry).
    """
    started = time.time_ns()
    recipe = parse_recipe(_read(context / "Dockerfile").decode("utf-8", "replace"), args or {})
    pockets = find_pockets(security=security)
    below, whole = (make_base_system(pockets, packages, log) for packages in ((), recipe.packages))
    config = _config_of(registry, base)
    if config.diff_ids != (below.diff_id,):
        raise InputError(f"base {base}", "is not the archive's present file system", "build the base again")
    with spool() as packed:
        context_digest = pack_context(context, packed)
    diff_id, size = _push_difference(registry, repository, below, whole, _copied(context, recipe), base)
    step = {
        "created": render_time(whole.epoch_s),
        "created_by": f"shipwall: {' '.join(recipe.packages)}; {len(recipe.copies)} files",
    }
    like = config.raw | {"config": {**(config.raw.get("config") or {}), **recipe.settings}}
    made = render_config(like, (*config.diff_ids, diff_id), [*(config.raw.get("history") or []), step], whole.epoch_s)
    identity: ImageIdentity = push_image(registry, repository, tag, made, (below.size, size))
    built = Built(
        identity=identity,
        ref=ImageRef(registry=registry.host, repository=repository, digest=identity.manifest),
        base=str(base),
        context=context_digest,
        epoch_s=whole.epoch_s,
        started_ns=started,
        finished_ns=time.time_ns(),
    )
    report(built_step(built, f"layered on {base}"))
    return built


def _config_of(registry: Registry, base: ImageRef) -> ImageConfig:
    """The configuration of the image `base` names by digest."""
    manifest = registry.manifest(base.repository, base.digest or base.tag or "latest").parse()
    digest = parse_digest(str((manifest.get("config") or {}).get("digest", "")))
    return parse_config(registry.blob_bytes(base.repository, digest), f"base {base}")


def _push_difference(
    registry: Registry, repository: str, below: BaseSystem, whole: BaseSystem, copied: tuple[CopiedFile, ...], base: ImageRef
) -> tuple[Digest, int]:
    mount_below(registry, repository, str(base), (below.diff_id,))
    with spool() as layer:
        with below.path.open("rb") as old, whole.path.open("rb") as new:
            subtract_layer(old, new, layer, copied)
        layer.seek(0)
        return push_fresh_layer(registry, repository, layer, whole.epoch_s)


def _copied(context: Path, recipe: Recipe) -> tuple[CopiedFile, ...]:
    return tuple(
        CopiedFile(path, _read(context / source), bool((context / source).stat().st_mode & 0o100))
        for source, path in sorted(recipe.copies.items())
    )


def _read(path: Path) -> bytes:
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(
                f"build context {path}", f"is a link, or larger than {_MAX_FILE_BYTES} bytes", "build it with an engine"
            )
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"build context {path}", error.strerror or str(error), "mend it, then try again") from error
