"""Images in files: `docker save` tars, OCI layouts (tar or folder), and tars of a root file system."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import msgspec

from shipwall.adapters.images.opened import LayerSource, OpenImage, RawStream, make_identity, manifest_of_parts, this_platform
from shipwall.model.digest import Digest, digest_of, parse_digest
from shipwall.model.errors import InputError, StorageError, TrustError
from shipwall.supply.manifest import (
    MAX_CONFIG_BYTES,
    MAX_MANIFEST_BYTES,
    OCI_MANIFEST,
    Descriptor,
    ImageManifest,
    choose_manifest,
    parse_config,
    parse_manifest_or_index,
)
from shipwall.supply.streams import LayerStream, inflate
from shipwall.supply.tar import TarWalk, clean_path

_CHUNK = 1 << 20
_MAX_SPOOLED_BYTES = 64 << 30
_MAX_MEMBERS = 2_000_000
_MAX_NESTED = 4
_REF_NAMES = ("org.opencontainers.image.ref.name", "io.containerd.image.name")


class _Slice:
    """`size` bytes of a file from `offset`, read with its own position."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._fd = file.fileno()
        self._at = offset
        self._end = offset + size

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""
        left = self._end - self._at
        data = os.pread(self._fd, min(left if size < 0 else size, left, _CHUNK), self._at)
        self._at += len(data)
        return data

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        if size > self._end - self._at:
            raise InputError("tar", "ends inside an entry", "fetch or save the image again")
        self._at += size

    def close(self) -> None:
        """Nothing: the file belongs to the image."""


class _Member(NamedTuple):
    """A file inside the outer tar, or (with `link`) another name of one."""

    offset: int
    size: int
    link: str = ""


class _Place:
    """Named files of an image: members of a tar, or files of a folder."""

    def __init__(self, thing: str, find: Callable[[str], Callable[[], RawStream] | None]) -> None:
        self.thing = thing
        self._find = find

    def opener(self, path: str) -> Callable[[], RawStream]:
        """How to open `path`. Raises InputError when it is not there."""
        found = self._find(path)
        if found is None:
            raise InputError(self.thing, f"{path[:200]} is missing", "fetch or save the image again")
        return found

    def has(self, path: str) -> bool:
        """Whether `path` is there."""
        return self._find(path) is not None

    def read(self, path: str, limit: int) -> bytes:
        """The bytes of `path`; raises InputError above `limit`."""
        with contextlib.closing(self.opener(path)()) as raw:
            data = b""
            while part := raw.read(_CHUNK):
                data += part
                if len(data) > limit:
                    raise InputError(self.thing, f"{path[:200]} has more than {limit} bytes", "do not trust this image")
        return data

    def blob(self, digest: Digest, limit: int) -> bytes:
        """The blob `digest`, verified."""
        data = self.read(_blob_path(digest), limit)
        if digest_of(data) != digest:
            raise TrustError(self.thing, f"blob {digest} has other bytes", "fetch or save the image again", step="blob digest")
        return data


def open_tar(path: Path, chosen: str, platform: str) -> OpenImage:
    """The image in the tar `path`; `chosen` names one of several."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(str(path), "is neither a file nor a folder", "give a tar file or a folder")
        file = path.open("rb")
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "make it readable") from error
    return _open_file(file, str(path), chosen, platform)


def open_standard_input(chosen: str, platform: str) -> OpenImage:
    """The image in the tar on standard input; `chosen` names one of several."""
    return _open_file(sys.stdin.buffer, "standard input", chosen, platform)


def open_stream(raw: RawStream, name: str, chosen: str = "", platform: str = "") -> OpenImage:
    """The image in a tar that can only be read once: it is kept in an unnamed temporary file."""
    return _open_spooled(_spool(raw, name), name, chosen, platform)


def open_layout_folder(path: Path, chosen: str, platform: str) -> OpenImage:
    """The image in the OCI layout `path`."""

    def find(name: str) -> Callable[[], RawStream] | None:
        clean = clean_path(name)
        # A link out of the folder would make a file of the host look like part of the image.
        if not clean or (path / clean).is_symlink() or not (path / clean).is_file():
            return None
        return lambda: cast("RawStream", (path / clean).open("rb"))

    return _open_layout(_Place(str(path), find), chosen, platform, contextlib.ExitStack())


def _open_file(file: BinaryIO, name: str, chosen: str, platform: str) -> OpenImage:
    with contextlib.ExitStack() as stack:
        if file is not sys.stdin.buffer:
            stack.enter_context(file)
        start = file.peek(6)[:6] if hasattr(file, "peek") else b""
        is_packed = start[:2] == b"\x1f\x8b" or start[:4] == b"\x28\xb5\x2f\xfd"
        if is_packed or not file.seekable():
            return _open_spooled(_spool(cast("RawStream", file), name), name, chosen, platform)
        opened = _open_spooled(file, name, chosen, platform)
        stack.pop_all()
        return opened


def _spool(raw: RawStream, name: str) -> BinaryIO:
    """`raw` unpacked into an unnamed temporary file, to be read at any place."""
    file = tempfile.TemporaryFile(prefix="shipwall-")  # noqa: SIM115  (its owner is the opened image)
    try:
        plain = inflate(raw, name)
        total = 0
        while part := plain.read(_CHUNK):
            total += len(part)
            if total > _MAX_SPOOLED_BYTES:
                raise InputError(name, f"unfolds to more than {_MAX_SPOOLED_BYTES} bytes", "do not trust this image")
            file.write(part)
        file.flush()
    except OSError as error:
        file.close()
        folder = tempfile.gettempdir()
        raise StorageError(
            f"temporary file in {folder}", error.strerror or str(error), "set TMPDIR to a larger folder"
        ) from error
    except BaseException:
        file.close()
        raise
    return cast("BinaryIO", file)


def _open_spooled(file: BinaryIO, name: str, chosen: str, platform: str) -> OpenImage:
    """The image in the plain tar `file`, which then belongs to it."""
    with contextlib.ExitStack() as closing:
        closing.enter_context(file)
        size = os.fstat(file.fileno()).st_size
        members = _read_members(_Slice(file, 0, size), name)

        def find(path: str) -> Callable[[], RawStream] | None:
            for _ in range(_MAX_NESTED):
                member = members.get(path)
                if member is None:
                    return None
                if not member.link:
                    return lambda: _Slice(file, member.offset, member.size)
                path = member.link
            return None

        place = _Place(name, find)
        if place.has("oci-layout") and place.has("index.json"):
            opened = _open_layout(place, chosen, platform, closing)
        elif place.has("manifest.json") and _looks_saved(place):
            opened = _open_saved(place, chosen, closing)
        else:
            if not members:
                raise InputError(name, "holds no file", "give a tar of an image or of a root file system")
            layer = LayerSource("", "", lambda: _Slice(file, 0, size), name)
            opened = OpenImage(source=name, identity=None, config={}, layers=(layer,), closing=closing)
        opened.closing = closing.pop_all()
        return opened


def _read_members(stream: _Slice, name: str) -> dict[str, _Member]:
    """Where each file of the outer tar lies. A later entry of the same name wins, as when unpacking."""
    members: dict[str, _Member] = {}
    for entry in TarWalk(stream, name):
        if entry.escapes or not entry.path:
            continue
        if entry.kind == "file":
            members[entry.path] = _Member(entry.offset, entry.size)
        elif entry.kind in {"symlink", "hardlink"}:
            # `docker save` writes a layer that occurs twice as a link to the first.
            base = "" if entry.kind == "hardlink" else entry.path.rpartition("/")[0] + "/"
            target = clean_path(base + entry.link) if not entry.link.startswith("/") else None
            if target:
                members[entry.path] = _Member(0, 0, target)
        if len(members) > _MAX_MEMBERS:
            raise InputError(name, f"holds more than {_MAX_MEMBERS} files", "give the tar of an image")
    return members


class _Saved(msgspec.Struct, frozen=True):
    """One image in the `manifest.json` of `docker save`."""

    Config: str
    Layers: list[str]
    RepoTags: list[str] | None = None


def _looks_saved(place: _Place) -> bool:
    """Whether `manifest.json` is `docker save`'s and not a file of that name in a root file system."""
    try:
        saved = msgspec.json.decode(place.read("manifest.json", MAX_MANIFEST_BYTES), type=list[_Saved])
    except (msgspec.MsgspecError, InputError, UnicodeDecodeError):
        return False
    return bool(saved) and all(place.has(image.Config) for image in saved)


def _open_saved(place: _Place, chosen: str, closing: contextlib.ExitStack) -> OpenImage:
    """An image of a `docker save` tar. It has no manifest of its own: see `supply.manifest.render_manifest`."""
    saved = msgspec.json.decode(place.read("manifest.json", MAX_MANIFEST_BYTES), type=list[_Saved])
    names = [tag for image in saved for tag in image.RepoTags or ()]
    if chosen:
        saved = [image for image in saved if chosen in (image.RepoTags or ()) or f"{chosen}:latest" in (image.RepoTags or ())]
    if len({image.Config for image in saved}) != 1:
        wrong = f"holds no image {chosen!r}" if chosen else "holds several images"
        raise InputError(place.thing, f"{wrong} (it has {', '.join(names[:8])})", "name one: add #NAME to the source")
    image = saved[0]
    config_bytes = place.read(image.Config, MAX_CONFIG_BYTES)
    config_digest = digest_of(config_bytes)
    named = image.Config.rpartition("/")[2].removesuffix(".json")
    if len(named) == 64 and f"sha256:{named}" != config_digest:
        raise TrustError(place.thing, f"configuration {named} has other bytes", "save the image again", step="config digest")
    config = parse_config(config_bytes, f"configuration in {place.thing}")
    if len(config.diff_ids) != len(image.Layers):
        raise InputError(
            place.thing, "its configuration names another number of layers than its manifest", "save the image again"
        )
    layers = tuple(
        LayerSource(diff_id, "", place.opener(clean_path(path) or path), f"layer {diff_id[7:19]}")
        for diff_id, path in zip(config.diff_ids, image.Layers, strict=True)
    )
    sizes = tuple(_plain_size(layer) for layer in layers)
    manifest = manifest_of_parts(config_bytes, config.diff_ids, sizes)
    return OpenImage(
        source=place.thing,
        identity=make_identity(manifest, config_digest, config),
        config=config.raw,
        layers=layers,
        manifest=manifest,
        config_bytes=config_bytes,
        media_type=OCI_MANIFEST,
        closing=closing,
    )


def _plain_size(layer: LayerSource) -> int:
    """Bytes of the layer's plain tar; a compressed one has to be unfolded to know."""
    with contextlib.closing(layer.open()) as raw:
        if isinstance(raw, _Slice):
            start, size = raw.read(4), raw._end - raw._at  # noqa: SLF001
            if start[:2] != b"\x1f\x8b" and start != b"\x28\xb5\x2f\xfd":
                return size + len(start)
    with contextlib.closing(layer.open()) as raw:
        return LayerStream(raw, layer.name).finish().diff_bytes


def _open_layout(place: _Place, chosen: str, platform: str, closing: contextlib.ExitStack) -> OpenImage:
    """An image of an OCI layout; indexes inside indexes are followed."""
    index_bytes = place.read("index.json", MAX_MANIFEST_BYTES)
    listed = parse_manifest_or_index(index_bytes, f"index.json of {place.thing}")
    if isinstance(listed, ImageManifest):
        raise InputError(place.thing, "its index.json is no index", "save the image again")
    if chosen:
        listed = _named(index_bytes, listed, chosen, place.thing)
    for _ in range(_MAX_NESTED):
        descriptor = choose_manifest(listed, platform or this_platform(), place.thing)
        manifest = place.blob(descriptor.digest, MAX_MANIFEST_BYTES)
        parsed = parse_manifest_or_index(manifest, f"manifest {descriptor.digest}")
        if isinstance(parsed, ImageManifest):
            return image_of_parts(
                place.thing,
                manifest,
                descriptor.media_type or OCI_MANIFEST,
                parsed,
                place.blob(parsed.config.digest, MAX_CONFIG_BYTES),
                lambda layer: place.opener(_blob_path(layer.digest)),
                closing,
            )
        listed = parsed
    raise InputError(place.thing, "its indexes are nested too deeply", "do not trust this image")


def image_of_parts(
    source: str,
    manifest: bytes,
    media_type: str,
    parsed: ImageManifest,
    config_bytes: bytes,
    opener: Callable[[Descriptor], Callable[[], RawStream]],
    closing: contextlib.ExitStack,
) -> OpenImage:
    """The image of a manifest whose digest has been checked, as its configuration's has."""
    config = parse_config(config_bytes, f"configuration of {source}")
    if len(config.diff_ids) != len(parsed.layers):
        raise InputError(source, "its configuration names another number of layers than its manifest", "do not trust this image")
    layers = tuple(
        LayerSource(diff_id, layer.digest, opener(layer), f"layer {layer.digest[7:19]}")
        for diff_id, layer in zip(config.diff_ids, parsed.layers, strict=True)
    )
    identity = make_identity(manifest, parsed.config.digest, config)
    return OpenImage(
        source=source,
        identity=identity,
        config=config.raw,
        layers=layers,
        manifest=manifest,
        config_bytes=config_bytes,
        media_type=media_type,
        closing=closing,
    )


def _named(index_bytes: bytes, listed: tuple[Descriptor, ...], chosen: str, thing: str) -> tuple[Descriptor, ...]:
    """The entries of the index that are called `chosen` (by annotation or digest)."""
    entries = msgspec.json.decode(index_bytes)["manifests"]
    found = []
    for descriptor, entry in zip(listed, entries, strict=False):
        annotations = entry.get("annotations")
        names = [annotations.get(key) for key in _REF_NAMES] if isinstance(annotations, dict) else []
        if chosen in {descriptor.digest, *(name for name in names if isinstance(name, str))}:
            found.append(descriptor)
    if not found:
        raise InputError(thing, f"holds no image {chosen!r}", "leave the #NAME out to see what it holds")
    return tuple(found)


def _blob_path(digest: Digest) -> str:
    return "blobs/sha256/" + parse_digest(digest).removeprefix("sha256:")
