"""What was seen in use, by image: one file each, written whole by the agent, read by scans. Losing it costs only knowledge."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shipwall.adapters.files import write_whole
from shipwall.model.digest import Digest, parse_digest
from shipwall.model.errors import StorageError


class InUse(msgspec.Struct, frozen=True, kw_only=True):
    """The absolute `paths` of image `image` that were executed or mapped executable between `since_ns` and `until_ns` on this host."""

    image: Digest
    since_ns: int
    until_ns: int
    paths: tuple[str, ...]


class Observed:
    """The files in the folder `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, image: Digest, paths: frozenset[str], now_ns: int) -> None:
        """Add `paths` to what is known of `image`. *Raises* StorageError."""
        known = self.get(image)
        since_ns, before = (known.since_ns, set(known.paths)) if known is not None else (now_ns, set())
        merged = InUse(image=image, since_ns=since_ns, until_ns=now_ns, paths=tuple(sorted(before | paths)))
        write_whole(self._of(image), msgspec.json.encode(merged))

    def get(self, image: Digest) -> InUse | None:
        """What is known of `image`, None when it was never seen running. *Raises* StorageError when the file is damaged."""
        place = self._of(image)
        try:
            found = msgspec.json.decode(place.read_bytes(), type=InUse)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(str(place), error.strerror or str(error), "make it readable") from error
        except msgspec.MsgspecError as error:
            raise StorageError(str(place), f"damaged: {error}", "remove it") from error
        return found

    def _of(self, image: Digest) -> Path:
        return self.path / f"{parse_digest(image).removeprefix('sha256:')}.json"
