"""Images in registries and engines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from shipwall.adapters.engine import Engine
from shipwall.adapters.images.files import image_of_parts, open_stream
from shipwall.adapters.images.opened import OpenImage, RawStream, this_platform
from shipwall.adapters.registry import Registry
from shipwall.adapters.streams import ChunkFile
from shipwall.model.digest import Digest, parse_digest
from shipwall.model.errors import InputError
from shipwall.model.image import parse_image_ref
from shipwall.supply.manifest import MAX_CONFIG_BYTES, Descriptor, ImageManifest, choose_manifest, parse_manifest_or_index

_MAX_NESTED = 4


def open_registry_image(source: str, *, allow_http: bool, platform: str) -> OpenImage:
    """The image `registry/repository:tag` or `@digest`; layers are fetched when they are read."""
    ref = parse_image_ref(source)
    reference = ref.digest or ref.tag or "latest"
    with contextlib.ExitStack() as closing:
        registry = closing.enter_context(Registry(ref.registry, allow_http=allow_http))

        def opener(layer: Descriptor) -> Callable[[], RawStream]:
            return lambda: cast("RawStream", ChunkFile(registry.blob(ref.repository, layer.digest, layer.size)))

        for _ in range(_MAX_NESTED):
            manifest = registry.manifest(ref.repository, reference)
            parsed = parse_manifest_or_index(manifest.body, f"manifest {manifest.digest}")
            if isinstance(parsed, ImageManifest):
                config = registry.blob_bytes(ref.repository, parsed.config.digest, MAX_CONFIG_BYTES)
                opened = image_of_parts(source, manifest.body, manifest.media_type, parsed, config, opener, closing)
                opened.is_remote = True
                opened.closing = closing.pop_all()
                return opened
            reference = choose_manifest(parsed, platform or this_platform(), source).digest
    raise InputError(source, "its indexes are nested too deeply", "do not trust this image")


def engine_image_id(ref: str, socket: Path) -> Digest:
    """What the engine behind `socket` calls `ref` now: the digest of its configuration (or manifest, as it stores images)."""
    with Engine(socket) as engine:
        return parse_digest(str(engine.inspect_image(ref).get("Id", "")))


def open_engine_image(ref: str, socket: Path) -> OpenImage:
    """The image `ref` of the engine behind `socket`, saved by it into an unnamed temporary file."""
    with Engine(socket) as engine:
        return open_stream(cast("RawStream", ChunkFile(engine.save_image(ref))), f"image {ref}")
