"""Image manifests, indexes and configurations as values; and THE manifest of an image that has none.

Source: OCI image spec 1.1, manifest.md, image-index.md, config.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from shipwall.model.digest import Digest, parse_digest
from shipwall.model.errors import InputError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
MAX_MANIFEST_BYTES = 4 << 20
MAX_CONFIG_BYTES = 8 << 20
_MAX_LAYERS = 4096


class Descriptor(NamedTuple):
    """`size` in bytes; `platform` is `os/architecture[/variant]`, empty when not said."""

    media_type: str
    digest: Digest
    size: int
    platform: str = ""


class ImageManifest(NamedTuple):
    """One image: its configuration and its layers, lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


class ImageConfig(NamedTuple):
    """`raw` is the whole configuration as parsed JSON; `platform` as in Descriptor."""

    diff_ids: tuple[Digest, ...]
    platform: str
    raw: dict[str, Any]


def parse_manifest_or_index(body: bytes, thing: str) -> ImageManifest | tuple[Descriptor, ...]:
    """The image in `body`, or the manifests that an index lists. Total: raises InputError naming `thing` for other bytes."""
    if len(body) > MAX_MANIFEST_BYTES:
        raise InputError(thing, f"has more than {MAX_MANIFEST_BYTES} bytes")
    value = _parse_object(body, thing)
    if isinstance(value.get("manifests"), list):
        if "layers" in value or "config" in value:  # CVE-2021-41190: one document must not be read in two ways
            raise InputError(thing, "is a manifest and an index at once", "do not trust this image")
        return tuple(_descriptor(item, thing) for item in value["manifests"][:_MAX_LAYERS])
    layers = value.get("layers")
    if not isinstance(layers, list) or len(layers) > _MAX_LAYERS:
        raise InputError(thing, "has no list of layers")
    return ImageManifest(_descriptor(value.get("config"), thing), tuple(_descriptor(layer, thing) for layer in layers))


def parse_config(body: bytes, thing: str) -> ImageConfig:
    """The image configuration in `body`. Total: raises InputError naming `thing` for other bytes."""
    if len(body) > MAX_CONFIG_BYTES:
        raise InputError(thing, f"has more than {MAX_CONFIG_BYTES} bytes")
    value = _parse_object(body, thing)
    rootfs = value.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) > _MAX_LAYERS or not all(isinstance(item, str) for item in diff_ids):
        raise InputError(thing, "has no rootfs.diff_ids: it is no image configuration")
    return ImageConfig(tuple(parse_digest(item) for item in diff_ids), _platform(value), value)


def render_manifest(config: Descriptor, layers: Iterable[Descriptor]) -> bytes:
    """The manifest Shipwall gives an image that comes without one, and would push it under: its digest is the image's identity.

    *Shape*: an OCI manifest of the configuration's exact bytes and the layers as UNCOMPRESSED tars (their digests are the diff ids), as
    JSON with sorted keys and no white space. So it depends on nothing but the image: no compressor, no tag, no time.
    """
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": OCI_LAYER, "digest": layer.digest, "size": layer.size} for layer in layers],
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def choose_manifest(index: Iterable[Descriptor], platform: str, thing: str) -> Descriptor:
    """The image of `index` for `platform` (`linux/amd64`), or its only one. Raises InputError when none or several fit.

    Entries whose platform is `unknown/unknown` are attestations of builders, not images.
    """
    images = [entry for entry in index if entry.platform != "unknown/unknown"]
    fitting = [entry for entry in images if entry.platform == platform or entry.platform.startswith(platform + "/")]
    chosen = fitting or images
    if len({entry.digest for entry in chosen}) != 1:
        offered = ", ".join(sorted({entry.platform or entry.digest for entry in images})[:8])
        raise InputError(thing, f"holds several images ({offered})" if images else "holds no image", "name one by its digest")
    return chosen[0]


def _parse_object(body: bytes, thing: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(thing, f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(thing, "is not a JSON object")
    return value


def _descriptor(value: object, thing: str) -> Descriptor:
    if not isinstance(value, dict):
        raise InputError(thing, "has a descriptor that is no object")
    digest, size, media_type = value.get("digest"), value.get("size"), value.get("mediaType", "")
    if not isinstance(digest, str) or not isinstance(size, int) or isinstance(size, bool) or not isinstance(media_type, str):
        raise InputError(thing, "has a descriptor without digest or size")
    if not 0 <= size < 1 << 62:
        raise InputError(thing, "has a descriptor with an absurd size")
    platform = value.get("platform")
    return Descriptor(media_type, parse_digest(digest), size, _platform(platform) if isinstance(platform, dict) else "")


def _platform(value: dict[str, Any]) -> str:
    parts = [value.get(key) for key in ("os", "architecture", "variant")]
    return "/".join(part for part in parts if isinstance(part, str) and part)
