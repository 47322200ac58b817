"""Building: a base image from the distribution's archive, and an application's image on it; the same input gives the same digest.

The engine builds; what it made is taken out, brought into its one form (`supply.normalise`), pushed, and pulled again by digest, so that
what runs is what was pushed. Layers are kept uncompressed: the manifest is then the one that Shipwall gives the same image in a
docker-save file, and no compressor's version changes a digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import posixpath
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import msgspec

from shipwall.adapters.base_system import find_pockets, make_base_system
from shipwall.adapters.engine import Engine
from shipwall.adapters.images.opened import make_identity, manifest_of_parts
from shipwall.adapters.instance import find_cache
from shipwall.adapters.registry import OCI_MANIFEST, Registry
from shipwall.adapters.report import no_report
from shipwall.adapters.streams import file_chunks
from shipwall.lang.rfc3339 import parse_rfc3339
from shipwall.model.digest import Digest, ImageIdentity, digest_of
from shipwall.model.errors import InputError, RemoteError, StorageError, TrustError
from shipwall.model.image import ImageRef, parse_image_ref
from shipwall.model.wire import ImageStep, Message
from shipwall.supply.manifest import MAX_CONFIG_BYTES, parse_config
from shipwall.supply.normalise import (
    ContextEntry,
    normalise_config,
    normalise_layer,
    parse_from,
    parse_ignore,
    parse_saved,
    render_config,
    render_time,
    write_context,
)

Log = Callable[[str], None]
_MAX_CONTEXT_ENTRIES = 200_000
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was built and pushed. `ref` names it by digest; `context` is the digest of the build context's one form.

    `base` is what it was built on (by digest where a registry says so), empty for a base image. `was_cached`: nothing had to be made.
    """

    identity: ImageIdentity
    ref: ImageRef
    base: str = ""
    context: Digest | None = None
    epoch_s: int = 0
    started_ns: int = 0
    finished_ns: int = 0
    was_cached: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_ns - self.started_ns) / 1e9


def build_base(
    engine: Engine | None,
    registry: Registry,
    repository: str,
    tag: str = "",
    *,
    security: bool = False,
    packages: tuple[str, ...] = (),
    log: Log = lambda _line: None,
    report: Callable[[Message], None] = no_report,
) -> Built:
    """A one-layer image of the host's distribution in `repository`: release pocket only, or with its security pocket; pulled into `engine`.

    The image's own sources.list names the same pockets. *Raises* RemoteError (archive, registry), UnsupportedError (no root, no apt).
    """
    started = time.time_ns()
    system = make_base_system(find_pockets(security=security), packages, log)
    pockets = " ".join(pocket.suite for pocket in system.pockets)
    like = {
        "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Cmd": ["/bin/bash"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
    }
    history = [{"created": render_time(system.epoch_s), "created_by": f"shipwall: mmdebstrap {pockets}"}]
    config = render_config(like, (system.diff_id,), history, system.epoch_s)
    if not registry.has_blob(repository, system.diff_id):
        with system.path.open("rb") as file:
            _push_layer(registry, repository, file, system.diff_id)
    identity = push_image(registry, repository, tag, config, (system.size,))
    ref = _pull(engine, registry, repository, tag, identity)
    built = Built(
        identity=identity,
        ref=ref,
        epoch_s=system.epoch_s,
        started_ns=started,
        finished_ns=time.time_ns(),
        was_cached=system.was_cached,
    )
    report(built_step(built, f"base of {pockets}"))
    return built


def build_image(
    context: Path,
    engine: Engine,
    registry: Registry,
    repository: str,
    tag: str = "",
    *,
    base: ImageRef | None = None,
    args: Mapping[str, str] | None = None,
    dockerfile: str = "Dockerfile",
    no_cache: bool = False,
    epoch_s: int | None = None,
    log: Log = lambda _line: None,
    report: Callable[[Message], None] = no_report,
) -> Built:
    """The image built from folder `context`, pushed to `repository` (and `tag`), pulled into `engine` by digest.

    `base` is handed to the Dockerfile as the build argument BASE, pinned to its digest now. `epoch_s`: no file is later than this; by
    default $SOURCE_DATE_EPOCH, else the time of the base. *Raises* InputError (context, Dockerfile), RemoteError (build, registry).
    """
    started = time.time_ns()
    given = dict(args or {})
    if base is not None:
        given["BASE"] = str(_pin(base, registry))
    with spool() as packed:
        context_digest = pack_context(context, packed, dockerfile)
        below = parse_from(_read_dockerfile(context / dockerfile), given)
        below_layers, below_steps, created = _look_below(engine, below)
        epoch = epoch_s if epoch_s is not None else int(os.environ.get("SOURCE_DATE_EPOCH") or created)
        packed.seek(0)
        image = engine.build(file_chunks(packed), dockerfile=dockerfile, args=given, no_cache=no_cache, log=log)
    try:
        with spool() as saved:
            for chunk in engine.save_image(image):
                saved.write(chunk)
            saved.seek(0)
            mount_below(registry, repository, below, below_layers)
            identity = _push_normalised(saved, registry, repository, tag, (below_layers, below_steps), epoch)
    finally:
        engine.remove_image(image)
    ref = _pull(engine, registry, repository, tag, identity)
    built = Built(
        identity=identity,
        ref=ref,
        base=below,
        context=context_digest,
        epoch_s=epoch,
        started_ns=started,
        finished_ns=time.time_ns(),
    )
    report(built_step(built, f"built on {below}"))
    return built


def pack_context(folder: Path, sink: BinaryIO, dockerfile: str = "Dockerfile") -> Digest:
    """Write the build context of `folder` to `sink` in its one form; returns its digest. Sockets, pipes and devices are refused."""
    if not folder.is_dir():
        raise InputError(f"build context {folder}", "is not a folder", "name the folder with the Dockerfile")
    ignore = folder / ".dockerignore"
    is_left_out = parse_ignore(ignore.read_text("utf-8", "replace")) if ignore.is_file() else lambda _path: False
    needed = {dockerfile, ".dockerignore"}
    entries = [entry for entry in _walk(folder) if entry.path in needed or not is_left_out(entry.path)]
    hashed = _HashedSink(sink)
    try:
        write_context(entries, lambda path: (folder / path).open("rb"), hashed)
    except OSError as error:
        raise StorageError(
            f"build context {folder}", f"{error.filename or ''} {error.strerror or error}", "mend it, then try again"
        ) from error
    return hashed.digest


def _walk(folder: Path) -> Iterator[ContextEntry]:
    count = 0
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(parent, name)
            shown = path.relative_to(folder).as_posix()
            status = path.lstat()
            count += 1
            if count > _MAX_CONTEXT_ENTRIES:
                raise InputError(
                    f"build context {folder}", f"has more than {_MAX_CONTEXT_ENTRIES} paths", "leave some out: .dockerignore"
                )
            if stat.S_ISLNK(status.st_mode):
                yield ContextEntry(shown, "link", target=str(path.readlink()))
            elif stat.S_ISDIR(status.st_mode):
                yield ContextEntry(shown, "folder")
            elif stat.S_ISREG(status.st_mode):
                yield ContextEntry(shown, "file", executable=bool(status.st_mode & 0o100), size=status.st_size)
            else:
                raise InputError(f"build context {path}", "is neither file, folder nor link", "leave it out")


def _read_dockerfile(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")[: 1 << 20]
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error), "name the Dockerfile in the context") from error


def _pin(ref: ImageRef, registry: Registry) -> ImageRef:
    """`ref` by digest, when it lies in `registry`; an image of the engine alone stays as it is named."""
    if ref.registry != registry.host or ref.digest is not None:
        return ref
    digest = registry.resolve(ref.repository, ref.tag or "latest")
    if digest is None:
        raise RemoteError(f"image {ref}", "is not there", "push it first", status=404)
    return ref.at(digest)


def _look_below(engine: Engine, name: str) -> tuple[tuple[Digest, ...], int, int]:
    """Layers, number of history steps and time (seconds) of the image named `name`, pulled if the engine does not have it."""
    if name == "scratch":
        return (), 0, 0
    try:
        image = engine.inspect_image(name)
    except RemoteError as error:
        if error.status != 404:
            raise
        ref = parse_image_ref(name)
        image = engine.pull(name if ref.tag or ref.digest else f"{name}:latest")
    steps = engine.request("GET", f"/images/{image['Id']}/history")
    seconds = parse_rfc3339(str(image.get("Created", ""))) // 1_000_000_000
    return tuple(image["RootFS"].get("Layers") or ()), len(steps or ()), seconds


def mount_below(registry: Registry, repository: str, below: str, layers: tuple[Digest, ...]) -> None:
    """Let `repository` have the base's layers without moving them, where the base lies in the same registry."""
    with contextlib.suppress(InputError):  # an image id is no reference, and in no registry
        ref = parse_image_ref(below)
        if ref.registry == registry.host and ref.repository != repository:
            for layer in layers:
                if not registry.has_blob(repository, layer) and registry.has_blob(ref.repository, layer):
                    registry.mount_blob(repository, layer, ref.repository)


def _push_normalised(
    saved: BinaryIO, registry: Registry, repository: str, tag: str, below: tuple[tuple[Digest, ...], int], epoch_s: int
) -> ImageIdentity:
    """Push the one image of the docker-save file: layers of the base as they are, further ones in their one form."""
    try:
        with tarfile.open(fileobj=saved, mode="r:") as archive:
            config_name, layer_names = parse_saved(_member(archive, "manifest.json").read(MAX_CONFIG_BYTES))
            config = parse_config(_member(archive, config_name).read(MAX_CONFIG_BYTES), "saved image")
            if config.diff_ids[: len(below[0])] != below[0] or len(layer_names) != len(config.diff_ids):
                raise RemoteError("engine", "built the image on another base than the Dockerfile names", "run the build again")
            diff_ids, sizes = [], []
            for index, name in enumerate(layer_names):
                layer = _member(archive, name)
                if index < len(below[0]):
                    diff_id = config.diff_ids[index]
                    size = layer.seek(0, io.SEEK_END)
                    layer.seek(0)
                    if not registry.has_blob(repository, diff_id):
                        _push_layer(registry, repository, layer, diff_id)
                else:
                    diff_id, size = push_fresh_layer(registry, repository, layer, epoch_s)
                diff_ids.append(diff_id)
                sizes.append(size)
    except (tarfile.TarError, KeyError) as error:
        raise RemoteError("engine", f"gave no whole image: {error}", "run the build again") from error
    made = normalise_config(config.raw, below[1], tuple(diff_ids), epoch_s)
    return push_image(registry, repository, tag, made, tuple(sizes))


def push_fresh_layer(registry: Registry, repository: str, layer: BinaryIO, epoch_s: int) -> tuple[Digest, int]:
    """Digest and size of the layer in `layer`, pushed in its one form."""
    with spool() as file:
        sink = _HashedSink(file)
        normalise_layer(layer, sink, epoch_s)
        file.seek(0)
        if not registry.has_blob(repository, sink.digest):
            _push_layer(registry, repository, file, sink.digest)
        return sink.digest, sink.size


def _push_layer(registry: Registry, repository: str, file: BinaryIO, diff_id: Digest) -> None:
    digest, _ = registry.put_blob_stream(repository, file_chunks(file))
    if digest != diff_id:
        raise TrustError(f"layer {diff_id}", f"its bytes have the digest {digest}", "build the image again", step="layer digest")


def push_image(registry: Registry, repository: str, tag: str, config: bytes, sizes: tuple[int, ...]) -> ImageIdentity:
    """Push configuration and manifest of an image whose layers are there."""
    parsed = parse_config(config, "image configuration")
    manifest = manifest_of_parts(config, parsed.diff_ids, sizes)
    registry.put_blob(repository, config)
    identity = make_identity(manifest, digest_of(config), parsed)
    if registry.put_manifest(repository, manifest, OCI_MANIFEST, tag) != identity.manifest:
        raise TrustError(f"{registry.host}/{repository}", "stored another manifest", step="manifest digest")
    return identity


def _pull(engine: Engine | None, registry: Registry, repository: str, tag: str, identity: ImageIdentity) -> ImageRef:
    ref = ImageRef(registry=registry.host, repository=repository, digest=identity.manifest)
    if engine is not None:
        image = engine.pull(str(ref))
        if image["Id"] != identity.config:
            raise TrustError(
                f"image {ref}", f"the engine has {image['Id']}", "is it the same registry?", step="configuration digest"
            )
        if tag:
            engine.tag(identity.config, ref.name, tag)
    return ref


def built_step(built: Built, summary: str) -> ImageStep:
    """What the console is told of it."""
    return ImageStep(
        digest=built.identity.manifest,
        image=built.ref.name,
        step="built",
        time_ns=built.finished_ns,
        duration_ns=built.finished_ns - built.started_ns,
        summary=summary,
        facts={"layers": str(len(built.identity.diff_ids))} | ({"context": built.context} if built.context else {}),
    )


def _member(archive: tarfile.TarFile, name: str) -> BinaryIO:
    """The content of a member; a layer that comes twice is a link to the first."""
    member = archive.getmember(name)
    for _ in range(4):
        if not member.issym():
            break
        member = archive.getmember(posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname)))
    content: IO[bytes] | None = archive.extractfile(member)
    if content is None:
        raise KeyError(name)
    return cast(BinaryIO, content)


def spool() -> Any:
    """A file without a name: gone with its descriptor, also after kill -9. In the cache, for layers are large."""
    folder = find_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise StorageError(
            str(folder), error.strerror or str(error), "free space, or name another with $SHIPWALL_CACHE"
        ) from error


class _HashedSink:
    """Passes bytes on, and knows their digest and number."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> Digest:
        return "sha256:" + self._hash.hexdigest()

    def write(self, data: bytes, /) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)
