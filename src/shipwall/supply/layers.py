"""Layers laid over one another: the merged view of an image's files, as a container would see them.

Only what somebody asked for is kept: the small files that globs name, every folder's path and every symbolic link (to know what a
packaged path really is). Everything else streams past. Merging follows overlayfs, into which engines unpack each layer by itself.
Source: OCI image spec, layer.md ("Whiteouts", "Opaque Whiteout"); kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from shipwall.model.digest import Digest
from shipwall.model.errors import InputError
from shipwall.model.package import Skipped
from shipwall.supply.streams import Stream
from shipwall.supply.tar import Entry, clean_path, walk_tar

_MAX_FILE_BYTES = 32 << 20
_MAX_KEPT_BYTES = 256 << 20
_MAX_SKIPPED = 1000
_MAX_PATHS = 2_000_000  # folders, links and kept files together: about 500 MB, far above any real image
_MAX_PATH = 4096  # the kernel's PATH_MAX; nothing longer can be unpacked
_MAX_REPLACED_FOLDERS = 1000
_MAX_LINKS = 40  # as the kernel (MAXSYMLINKS)
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."


class KeptFile(NamedTuple):
    """A file's content and the layer (diff id) it came from."""

    data: bytes
    layer: Digest


class View:
    """The merged files. Add layers lowest first, then `read`."""

    def __init__(self, globs: Iterable[str]) -> None:
        """`globs` are relative paths; `*` stands for anything but a slash."""
        patterns = [".*".join(re.escape(part) for part in glob.split("*")).replace(".*", "[^/]*") for glob in globs]
        self._wanted = re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)")
        self._files: dict[str, KeptFile] = {}
        self._kept_bytes = 0
        self._dropped = 0
        self.folders: set[str] = set()
        self.links: dict[str, str] = {}
        self.skipped: list[Skipped] = []
        self.entries = 0

    def add_layer(self, stream: Stream, layer: Digest, name: str) -> None:
        """Lay the tar in `stream` over what is there. Raises InputError as `walk_tar`; read the stream's digests afterwards."""
        self.add_entries(walk_tar(stream, name, self.wants), layer)

    def wants(self, path: str, size: int) -> bool:
        """Whether the content of `path` is to be kept; too large ones are recorded as skipped."""
        if not self._wanted.fullmatch(path):
            return False
        if size > _MAX_FILE_BYTES or self._kept_bytes + size > _MAX_KEPT_BYTES:
            self.note_skipped(path, f"{size} bytes are more than is read from one image")
            return False
        self._kept_bytes += size
        return True

    def add_entries(self, entries: Iterable[Entry], layer: Digest) -> None:
        """Lay `entries` of one layer over what is there; `wants` has decided which bring their content."""
        over = _Layer()
        for entry in entries:
            self.entries += 1
            if entry.escapes:
                self.note_skipped(entry.path, "its path leads out of the image")
            elif len(entry.path) > _MAX_PATH or len(entry.link) > _MAX_PATH:
                self.note_skipped(entry.path[:200], "its path or link is longer than 4096 characters")
            else:
                self._take_in(entry, over, layer)
                if over.count() + len(self.folders) + len(self.links) > _MAX_PATHS:
                    raise InputError("layer", f"has more than {_MAX_PATHS} folders and links", "do not trust it")
        self._hide(over)
        self.folders |= over.folders
        self.links.update(over.links)
        self._files.update(over.files)
        self._kept_bytes = sum(len(file.data) for file in self._files.values())

    def _take_in(self, entry: Entry, over: _Layer, layer: Digest) -> None:
        if not entry.path:
            if entry.opaque:
                over.opaque.add("")
            return
        parent, _, base = entry.path.rpartition("/")
        parent = over.place(parent)
        path = f"{parent}/{base}" if parent else base
        if base.startswith(_WHITEOUT) or (entry.kind == "char" and entry.device == (0, 0)):
            self._take_whiteout(path, over)
            return
        over.add_parents(parent)
        if entry.kind == "folder":
            over.add_folder(path)
            if entry.opaque:
                over.opaque.add(path)
            return
        over.remove(path)
        self._hide_below(path, over)
        if entry.kind == "symlink":
            over.add_link(path, entry.link)
            return
        if self._wanted.fullmatch(path):
            self._take_file(path, entry, over, layer)

    def _take_whiteout(self, path: str, over: _Layer) -> None:
        parent, _, base = path.rpartition("/")
        if not base.startswith(_WHITEOUT):
            # A character device 0:0: unpacked as it is, this node IS a whiteout to overlayfs.
            over.remove(path)
            self._hide_below(path, over)
        elif base == _OPAQUE:
            over.opaque.add(parent)
        elif not base.startswith(_AUFS) and len(base) > len(_WHITEOUT):
            hidden = base[len(_WHITEOUT) :]
            self._hide_below(f"{parent}/{hidden}" if parent else hidden, over)

    def _take_file(self, path: str, entry: Entry, over: _Layer, layer: Digest) -> None:
        if entry.kind == "file" and entry.data is not None:
            over.files[path] = KeptFile(entry.data, layer)
        elif entry.kind == "hardlink":
            target = clean_path(entry.link)
            if target is not None and target in over.files:
                over.files[path] = over.files[target]
            else:
                self.note_skipped(path, "is a hard link to a file that is not read")
        elif entry.kind != "file":
            self.note_skipped(path, f"is of kind {entry.kind}, which is not read")
        elif entry.path != path:
            self.note_skipped(path, "was written through a symbolic link of its own layer")

    def _hide_below(self, path: str, over: _Layer) -> None:
        # Only what there is below is noted, so that a layer of millions of files costs no memory.
        if path in self.folders or path in self.links or path in self._files:
            over.hidden.add(path)

    def _hide(self, over: _Layer) -> None:
        """Remove from below what `over` whites out or replaces."""

        def is_gone(path: str) -> bool:
            if path in over.hidden or "" in over.opaque:
                return True
            at = path.rfind("/")
            while at > 0:
                ancestor = path[:at]
                if ancestor in over.hidden or ancestor in over.opaque:
                    return True
                at = path.rfind("/", 0, at)
            return False

        if over.hidden or over.opaque:
            self.folders = {path for path in self.folders if not is_gone(path)}
        self.links = {path: link for path, link in self.links.items() if path not in over.folders and not is_gone(path)}
        self._files = {path: file for path, file in self._files.items() if path not in over.folders and not is_gone(path)}

    def note_skipped(self, what: str, reason: str) -> None:
        """Remember that `what` could not be read; above a thousand they are only counted."""
        if len(self.skipped) < _MAX_SKIPPED:
            self.skipped.append(Skipped(what="/" + what.lstrip("/"), reason=reason))
        else:
            self._dropped += 1
            more = Skipped(what=f"{self._dropped} more entries", reason="skipped for reasons as above")
            self.skipped[_MAX_SKIPPED:] = [more]

    def resolve(self, path: str) -> str:
        """Where `path` really lies: symbolic links of its folders and of itself followed, never out of the root.

        A loop ends after 40 links, at the path then reached.
        """
        return follow_links(self.links, path)

    def resolve_parent(self, path: str) -> str:
        """As `resolve`, but a symbolic link at the very end stays."""
        folder, _, base = path.rpartition("/")
        folder = follow_links(self.links, folder)
        return f"{folder}/{base}" if folder else base

    def read(self, path: str) -> KeptFile | None:
        """The file at `path` (symbolic links followed), if it exists and was wanted."""
        return self._files.get(self.resolve(path))

    def matching(self, glob: str) -> list[tuple[str, KeptFile]]:
        """The kept files whose path matches `glob`, by path."""
        pattern = re.compile("[^/]*".join(re.escape(part) for part in glob.split("*")))
        return sorted((path, file) for path, file in self._files.items() if pattern.fullmatch(path))


def follow_links(links: dict[str, str], path: str) -> str:
    """Where `path` lies when symbolic `links` (path → target) are followed as in a chroot: `..` stops at the root."""
    todo = _parts(path)
    done = ""
    budget = _MAX_LINKS
    while todo and len(done) <= _MAX_PATH:
        part = todo.pop()
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        before, done = done, f"{done}/{part}" if done else part
        link = links.get(done)
        if link is not None and budget:
            budget -= 1
            done = "" if link.startswith("/") else before
            todo += _parts(link)
    return done


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


class _Layer:
    """What one layer adds and hides."""

    __slots__ = ("_placed", "_replaced", "files", "folders", "hidden", "links", "opaque")

    def __init__(self) -> None:
        self.files: dict[str, KeptFile] = {}
        self.folders: set[str] = set()
        self.links: dict[str, str] = {}
        self.hidden: set[str] = set()
        self.opaque: set[str] = set()
        self._placed: dict[str, str] = {"": ""}
        self._replaced = 0

    def place(self, folder: str) -> str:
        """Where an entry in `folder` lands: links of this same layer are followed while it is unpacked, those below are not."""
        placed = self._placed.get(folder)
        if placed is None:
            placed = self._placed[folder] = follow_links(self.links, folder) if self.links else folder
        return placed

    def add_parents(self, folder: str) -> None:
        while folder and folder not in self.folders:
            self.folders.add(folder)
            folder = folder.rpartition("/")[0]

    def count(self) -> int:
        return len(self.folders) + len(self.links) + len(self.files)

    def add_folder(self, path: str) -> None:
        self.files.pop(path, None)
        if self.links.pop(path, None) is not None:
            self._placed = {"": ""}
        self.folders.add(path)

    def add_link(self, path: str, link: str) -> None:
        self.links[path] = link
        if path in self._placed:
            self._placed = {"": ""}

    def remove(self, path: str) -> None:
        """Forget what this layer had at `path`, with everything under it if it was a folder."""
        self.files.pop(path, None)
        self.links.pop(path, None)
        if path in self.folders:
            self._replaced += 1
            if self._replaced > _MAX_REPLACED_FOLDERS:
                raise InputError("layer", f"replaces more than {_MAX_REPLACED_FOLDERS} of its own folders", "do not trust it")
            under = path + "/"
            self.folders = {folder for folder in self.folders if folder != path and not folder.startswith(under)}
            self.links = {name: link for name, link in self.links.items() if not name.startswith(under)}
            self.files = {name: file for name, file in self.files.items() if not name.startswith(under)}
