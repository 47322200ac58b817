"""An opened image: what every source of images gives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from shipwall.adapters.images.background import HashThread, ReadAhead
from shipwall.model.digest import Digest, ImageIdentity, digest_of
from shipwall.model.errors import TrustError
from shipwall.supply.manifest import Descriptor, ImageConfig, render_manifest
from shipwall.supply.streams import LayerStream

if TYPE_CHECKING:
    from shipwall.supply.layers import View

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


class RawStream(Protocol):
    """Stored bytes of a layer, to be closed."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True)
class LayerSource:
    """One layer. `diff_id` is empty for a root file system that is no image; `blob` is empty when the stored bytes have no known digest.

    `open` gives the bytes as stored (perhaps compressed), anew each time; whoever reads them all must compare the digests.
    """

    diff_id: Digest
    blob: Digest
    open: Callable[[], RawStream]
    name: str


@dataclass
class OpenImage:
    """`identity` is None for a root file system that is no image. `fill_view` reads the layers, where hard links need it twice, and
    checks their digests.

    `manifest` and `config_bytes` are the exact bytes the identity's digests are of; `media_type` is the manifest's.
    `is_remote`: the layers are fetched only when they are read.
    """

    source: str
    identity: ImageIdentity | None
    config: dict[str, Any]
    layers: tuple[LayerSource, ...]
    manifest: bytes = b""
    config_bytes: bytes = b""
    media_type: str = ""
    is_remote: bool = False
    folder_filler: Callable[[View], object] | None = None
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections."""
        self.closing.close()

    def fill_view(self, view: View, report: Callable[[str], None] = lambda _line: None) -> None:
        """Lay all layers into `view`, lowest first. Raises TrustError when a layer is not what the image says it is."""
        if self.folder_filler is not None:
            self.folder_filler(view)
        for number, layer in enumerate(self.layers, 1):
            report(f"reading layer {number} of {len(self.layers)}")
            if targets := self._lay(view, layer, None):
                self._lay(view, layer, targets)

    def _lay(self, view: View, layer: LayerSource, targets: frozenset[str] | None) -> frozenset[str]:
        """As `View.add_layer`, with the layer's digests checked each time: what lies in a file may change between two readings."""
        with contextlib.closing(layer.open()) as raw, HashThread() as hashes:
            stream = LayerStream(raw, layer.name, new_hash=hashes.sha256)
            if self.is_remote:  # a network may keep a thread waiting that is to end
                missed = view.add_layer(stream, layer.diff_id, layer.name, targets)
            else:
                with ReadAhead(stream) as ahead:
                    missed = view.add_layer(ahead, layer.diff_id, layer.name, targets)
                    ahead.drain()
            digests = stream.finish()
        if layer.blob and digests.blob != layer.blob:
            raise TrustError(
                layer.name, f"its bytes have the digest {digests.blob}", "fetch the image again", step="layer digest"
            )
        if layer.diff_id and digests.diff_id != layer.diff_id:
            raise TrustError(layer.name, f"its tar has the digest {digests.diff_id}", "fetch the image again", step="diff id")
        return missed


def make_identity(manifest: bytes, config_digest: Digest, config: ImageConfig) -> ImageIdentity:
    """The identity of an image by its manifest's exact bytes."""
    return ImageIdentity(manifest=digest_of(manifest), config=config_digest, diff_ids=config.diff_ids)


def manifest_of_parts(config_bytes: bytes, diff_ids: tuple[Digest, ...], sizes: tuple[int, ...]) -> bytes:
    """The manifest of an image that came without one; `sizes` are those of the plain tars."""
    config = Descriptor("", digest_of(config_bytes), len(config_bytes))
    return render_manifest(config, (Descriptor("", digest, size) for digest, size in zip(diff_ids, sizes, strict=True)))


def this_platform() -> str:
    """`linux/` and this machine's architecture as images name it."""
    name = os.uname().machine
    return f"linux/{_MACHINES.get(name, name)}"
