"""Which files of which image the sensor saw executed or mapped: what is in use, told apart from what only lies there."""

from __future__ import annotations

from shipwall.model.digest import Digest
from shipwall.model.event import Call

MAPPING_CALL = "mmap"
"""The call that loads libraries. Hot, so it is read only because somebody asks: executable mappings alone are told (`abi.calls`)."""

_PROT_EXEC, _MAP_ANONYMOUS = 0x4, 0x20

MAX_PATHS = 20_000
MAX_CONTAINERS = 1_000
MAX_WAITING = 200


def mapped_path(event: Call) -> str:
    """The file that `event` mapped executable, as the kernel calls it; empty when it did not.

    The dynamic loader itself is mapped by the kernel during exec, so it is not told; it comes with the C library, which is.
    """
    if event.syscall != MAPPING_CALL or -4096 < event.ret < 0 or not event.descriptors:
        return ""
    if not event.raw[2] & _PROT_EXEC or event.raw[3] & _MAP_ANONYMOUS:
        return ""
    file = event.descriptors[0]
    # A file in memory has no place in an image; its name may be any.
    return file.path if file.type == "file" and not file.path.startswith("/memfd:") else ""


class SeenInUse:
    """Paths by image digest; those of a container whose image is not known yet wait for it, bounded. One caller at a time."""

    def __init__(self) -> None:
        self.dropped = 0
        self._known: dict[Digest, set[str]] = {}
        self._changed: set[Digest] = set()
        self._waiting: dict[str, set[str]] = {}

    def note(self, container: str, image: Digest | None, path: str) -> None:
        """`path` was executed or mapped in `container`, which is of `image` (None: not known yet)."""
        if not path.startswith("/"):
            return
        if image is None:
            if len(self._waiting) >= MAX_CONTAINERS and container not in self._waiting:
                self.dropped += 1
                return
            self._put(self._waiting.setdefault(container, set()), path, MAX_WAITING)
            return
        paths = self._known.setdefault(image, set())
        if path not in paths and self._put(paths, path, MAX_PATHS):
            self._changed.add(image)

    def identified(self, container: str, image: Digest | None) -> None:
        """The image of `container` is known now; None: it never will be."""
        for path in self._waiting.pop(container, ()):
            if image is not None:
                self.note(container, image, path)

    def take_changed(self) -> dict[Digest, frozenset[str]]:
        """The images of which more was seen since the last call, with all that was seen of each."""
        changed = {image: frozenset(self._known[image]) for image in self._changed}
        self._changed.clear()
        return changed

    def _put(self, paths: set[str], path: str, limit: int) -> bool:
        if len(paths) >= limit:
            self.dropped += 1
            return False
        paths.add(path)
        return True
