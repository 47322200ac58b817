"""Images, wherever they lie: a file, a folder, a registry, an engine. `open_image` is the one door.

Every source becomes the same thing: an identity, a configuration, and layers whose bytes are checked against their digests.
"""

from __future__ import annotations

from pathlib import Path

from shipwall.adapters.images.opened import LayerSource, OpenImage
from shipwall.model.errors import InputError, StorageError

_PLATFORM = ("os", "architecture", "variant")

__all__ = ["LayerSource", "OpenImage", "open_image"]


def open_image(source: str, *, engine_socket: Path | None = None, allow_http: bool = False, platform: str = "") -> OpenImage:
    """The image that `source` names. Close it, or use it as a context manager.

    *Shape* of `source`: with `engine_socket`, a reference or id the engine knows; else the path of a tar (`docker save`, OCI layout,
    root file system; gzip and zstd too), `-` for such a tar on standard input, the path of a folder (OCI layout, root file system), or
    `registry/repository:tag` or `@sha256:…`. `FILE.tar#REF` chooses one of several images. `platform` (`linux/amd64`) chooses from an
    index, by default this machine's or the only one; an image of another platform than was named is refused. *Raises* InputError,
    TrustError (a digest does not match), RemoteError, StorageError.
    """
    opened = _open(source, engine_socket, platform, allow_http=allow_http)
    if platform and opened.identity is not None and not _fits(opened, platform):
        opened.close()
        has = "/".join(part for part in (opened.config.get(key) for key in _PLATFORM) if isinstance(part, str))
        raise InputError(
            source, f"is for {has or 'no known platform'}, not for {platform[:80]}", "leave --platform out, or name another"
        )
    return opened


def _fits(image: OpenImage, platform: str) -> bool:
    """Whether the configuration says so; the variant (`arm/v7`) counts only when both name one."""
    asked = platform.split("/")
    said = [image.config.get(key) for key in _PLATFORM]
    return all(not have or have == want for want, have in zip(asked[2:], said[2:], strict=False)) and asked[:2] == said[:2]


def _is_layout(folder: Path) -> bool:
    try:
        return (folder / "oci-layout").is_file()
    except OSError as error:
        raise StorageError(str(folder), error.strerror or str(error), "make it readable") from error


def _open(source: str, engine_socket: Path | None, platform: str, *, allow_http: bool) -> OpenImage:
    if engine_socket is not None:
        from shipwall.adapters.images.remote import open_engine_image

        return open_engine_image(source, engine_socket)
    path_text, hash_sign, chosen = source.partition("#")
    if not path_text:  # pathlib would read it as this folder; a script's empty variable means none
        raise InputError("image ''", "is no name", "give a tar file, a folder or REGISTRY/REPOSITORY:TAG")
    if path_text == "-":
        from shipwall.adapters.images.files import open_standard_input

        return open_standard_input(chosen, platform)
    path = Path(path_text)
    try:
        is_folder, is_file = path.is_dir(), path.exists()
    except (OSError, ValueError):  # too long, or a zero byte: no path
        is_folder = is_file = False
    if is_folder:
        if _is_layout(path):
            from shipwall.adapters.images.files import open_layout_folder

            return open_layout_folder(path, chosen, platform)
        from shipwall.adapters.images.folder import open_root_folder

        return open_root_folder(path)
    if is_file:
        from shipwall.adapters.images.files import open_tar

        return open_tar(path, chosen, platform)
    first = source.partition("/")[0]
    if (
        not hash_sign
        and "/" in source
        and not source.startswith((".", "/"))
        and ("." in first or ":" in first or first == "localhost")
    ):
        from shipwall.adapters.images.remote import open_registry_image

        return open_registry_image(source, allow_http=allow_http, platform=platform)
    raise InputError(
        f"image {source[:200]!r}",
        "is no file or folder here, and names no registry",
        "give a tar file, a folder, REGISTRY/REPOSITORY:TAG, or --engine SOCKET with an image of that engine",
    )
