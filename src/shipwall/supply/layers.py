"""Layers laid over one another: the merged view of an image's files, as a container would see them.

Only what somebody asked for is kept: the small files that globs name, what file readers found in the files they read, every folder's
path and every symbolic link (to know what a packaged path really is). Everything else streams past. Merging follows overlayfs, into
which engines unpack each layer by itself.
Source: OCI image spec, layer.md ("Whiteouts", "Opaque Whiteout"); kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from shipwall.model.digest import Digest
from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply.pieces import Piece
from shipwall.supply.streams import Stream
from shipwall.supply.tar import Entries, Entry, TarWalk, clean_path
from shipwall.supply.wanted import NOTHING, Choice, FileReader, Wanted, begun_by, compile_glob

__all__ = ["FileReader", "KeptFile", "View", "follow_links"]

_ParsePieces = Callable[[str, int, Iterator[Piece]], tuple[list[Package], list[Skipped]]]
_MAX_FILE_BYTES = 32 << 20
_MAX_KEPT_BYTES = 256 << 20
_MAX_HELD_BYTES = 64 << 20  # of files that hard links in one layer lead to
_MAX_SKIPPED = 1000
_MAX_PARSED = 300_000  # packages and skipped parts out of single files, in the whole image
_MAX_PATHS = 2_000_000  # folders, links and kept files together: about 500 MB, far above any real image
_MAX_PATH = 4096  # the kernel's PATH_MAX; nothing longer can be unpacked
_MAX_REPLACED_FOLDERS = 1000
_MAX_NAME = 256  # above the kernel's NAME_MAX
_MAX_REMEMBERED = 100_000
_NO_NAMES = frozenset({"", ".", ".."})
_FILE_OR_FOLDER = frozenset({"file", "folder"})
_DOT_OR_NOTHING = frozenset({".", ""})
_MAX_LINKS = 40  # as the kernel (MAXSYMLINKS)
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."


class KeptFile(NamedTuple):
    """A file's content and the layer (diff id) it came from."""

    data: bytes
    layer: Digest


class _Parsed(NamedTuple):
    """What readers found in the file at `path`."""

    path: str
    packages: list[Package]
    skipped: list[Skipped]


class _Found(NamedTuple):
    """A file that was read: `data` when a glob names it, `parsed` when a reader read it."""

    layer: Digest
    data: bytes | None
    parsed: _Parsed | None


class _Content:
    """The content of one file, read again for each of its names."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Entry]:
        return iter(())

    def peek(self, size: int) -> bytes:
        return self._data[:size]

    def read(self) -> bytes:
        return self._data

    def pieces(self) -> Iterator[Piece]:
        yield Piece(self._data, 0, len(self._data))


class View:
    """The merged files. Add layers lowest first, then `read` and `parsed`."""

    def __init__(self, globs: Iterable[str], readers: Iterable[FileReader] = ()) -> None:
        """`globs` are relative paths; `*` stands for anything but a slash, `**/` for any folders or none."""
        self._wanted = Wanted(globs, tuple(readers))
        self._found: dict[str, _Found] = {}
        self._kept_bytes = 0
        self._parsed_count = 0
        self._dropped = 0
        self._real_folders: dict[str, str] = {}
        self.folders: set[str] = set()
        self.links: dict[str, str] = {}
        self.skipped: list[Skipped] = []
        self.entries = 0

    def add_layer(self, stream: Stream, layer: Digest, name: str, targets: frozenset[str] | None = frozenset()) -> frozenset[str]:
        """Lay the tar in `stream` over what is there. Raises InputError as `TarWalk`; read the stream's digests afterwards.

        A hard link's content lies at its target, which has streamed past when the link comes. With `targets` None and links that
        somebody wants to targets that nobody wanted, nothing is laid and the targets are given: add the layer again with them.
        """
        return self.add_entries(TarWalk(stream, name), layer, targets)

    def add_entries(self, entries: Entries, layer: Digest, targets: frozenset[str] | None = frozenset()) -> frozenset[str]:
        """Lay `entries` of one layer over what is there; `targets` as for `add_layer`."""
        over = _Layer(targets)
        before = (self.entries, self._kept_bytes, self._parsed_count, self._dropped, list(self.skipped))
        wanted = self._wanted
        basenames, suffixes, has_executables = wanted.basenames, wanted.suffixes, wanted.has_executables
        has_below = bool(self.folders or self.links or self._found)
        plain: str | None = (
            None  # the folder of the last file, or the last folder, when files land in it as they are named and nobody wants all of it
        )
        for entry in entries:
            self.entries += 1
            path, kind, _size, _offset, _link, _device, _opaque, escapes, is_executable = entry
            folder, _, base = path.rpartition("/")
            if (
                folder == plain
                and kind == "file"
                and base not in basenames
                and not base.endswith(suffixes)
                and not (is_executable and has_executables)
                and base[:1] not in _DOT_OR_NOTHING
                and len(base) < _MAX_NAME
                and path not in over.links
                and path not in over.folders
                and path not in over.found
                and path not in over.targets
                and not (has_below and (path in self.folders or path in self.links or path in self._found))
                and not escapes
            ):
                continue  # nearly every file: nothing wants it and it changes nothing that is kept
            if escapes:
                self.note_skipped(path, "its path leads out of the image")
            elif len(path) > _MAX_PATH or len(entry.link) > _MAX_PATH:
                self.note_skipped(path[:200], "its path or link is longer than 4096 characters")
            else:
                self._take_in(entry, over, layer, entries)
                if over.count() + len(self.folders) + len(self.links) > _MAX_PATHS:
                    raise InputError("layer", f"has more than {_MAX_PATHS} folders and links", "do not trust it")
                place = path if kind == "folder" else folder
                is_plain = kind in _FILE_OR_FOLDER and len(place) + _MAX_NAME < _MAX_PATH and over.place(place) == place
                is_plain = is_plain and not base.startswith(_WHITEOUT)  # a whiteout makes no folder
                plain = place if is_plain and place not in wanted.folders else None
        self._real_folders.clear()
        if over.missed:
            self.entries, self._kept_bytes, self._parsed_count, self._dropped, self.skipped = before
            return frozenset(over.missed)
        self._keep_bringers(over)
        self._hide(over)
        self.folders |= over.folders
        self.links.update(over.links)
        self._found.update(over.found)
        self._kept_bytes = sum(len(file.data) for file in self._found.values() if file.data is not None)
        return frozenset()

    def _keep_bringers(self, over: _Layer) -> None:
        """A package that a rewritten file still tells of keeps the layer that brought it: a database is rewritten by every install."""
        for path, file in over.found.items():
            before = self._found.get(path)
            if file.parsed is None or before is None or before.parsed is None:
                continue
            brought = {(one.ecosystem, one.name, one.version, one.arch): one.layer for one in before.parsed.packages}
            packages = [
                msgspec.structs.replace(one, layer=brought.get((one.ecosystem, one.name, one.version, one.arch), one.layer))
                for one in file.parsed.packages
            ]
            over.found[path] = file._replace(parsed=file.parsed._replace(packages=packages))

    def _take_in(self, entry: Entry, over: _Layer, layer: Digest, entries: Entries) -> None:
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
        if entry.kind == "file":
            if path in over.targets:
                entries = over.hold(path, entry, entries)
            found = self._read_file(path, entry, layer, entries)
            if found is not None:
                over.found[path] = found
        else:
            self._take_other(path, entry, over, layer)

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

    def _read_file(self, path: str, entry: Entry, layer: Digest, entries: Entries) -> _Found | None:
        """What is kept of the regular file at `path`, whose content is next in `entries`."""
        choice = self._wanted.choose(path, is_executable=entry.is_executable)
        if not choice.keep and not choice.readers:
            return None
        keep, readers, size = choice.keep, choice.readers, entry.size
        if magic_bytes := choice.magic_bytes:
            readers = begun_by(readers, entries.peek(magic_bytes))
            if not keep and not readers:
                return None
        if keep and (size > _MAX_FILE_BYTES or self._kept_bytes + size > _MAX_KEPT_BYTES):
            self.note_skipped(path, f"{size} bytes are more than is read from one image")
            keep = False
        for reader in readers:
            if size > reader.max_bytes:
                self.note_skipped(path, f"{size} bytes are more than the {reader.name} reader takes ({reader.max_bytes})")
        readers = tuple(reader for reader in readers if size <= reader.max_bytes)
        if not keep and len(readers) == 1 and readers[0].parse_pieces is not None:
            said = self._parse_pieces(path, readers[0].parse_pieces, size, layer, entries.pieces())
            return None if not said.packages and not said.skipped and choice.is_by_magic else _Found(layer, None, said)
        data = entries.read() if keep or readers else None
        if data is None:
            return None
        if keep:
            self._kept_bytes += size
        parsed = self._parse(path, readers, data, layer) if readers else None
        if not keep and parsed is not None and not parsed.packages and not parsed.skipped and choice.is_by_magic:
            return (
                None  # one of thousands of programs that say nothing; a name that is wanted is remembered even so, for its links
            )
        return _Found(layer, data if keep else None, parsed)

    def _parse_pieces(self, path: str, parse: _ParsePieces, size: int, layer: Digest, pieces: Iterator[Piece]) -> _Parsed:
        try:
            found, skipped = parse(path, size, pieces)
        except InputError as error:
            found, skipped = [], [Skipped(what=f"/{path}", reason=error.line())]
        for _rest in pieces:
            pass
        return self._bounded(path, [msgspec.structs.replace(package, layer=layer) for package in found], skipped)

    def _parse(self, path: str, readers: tuple[FileReader, ...], data: bytes, layer: Digest) -> _Parsed:
        packages: list[Package] = []
        skipped: list[Skipped] = []
        for reader in readers:
            try:
                found, missed = reader.parse(path, data)
            except InputError as error:
                found, missed = [], [Skipped(what=f"/{path}", reason=error.line())]
            packages += [msgspec.structs.replace(package, layer=layer) for package in found]
            skipped += missed
        return self._bounded(path, packages, skipped)

    def _bounded(self, path: str, packages: list[Package], skipped: list[Skipped]) -> _Parsed:
        count = len(packages) + len(skipped)
        if self._parsed_count + count > _MAX_PARSED:
            self.note_skipped(path, f"more than {_MAX_PARSED} packages were found in single files")
            return _Parsed(path, [], [])
        self._parsed_count += count
        return _Parsed(path, packages, skipped)

    def _take_other(self, path: str, entry: Entry, over: _Layer, layer: Digest) -> None:
        """Something that is no regular file: a hard link shares what its target gave; other kinds under a wanted name are told."""
        if entry.kind == "hardlink":
            self._take_hard_link(path, entry, over, layer)
        elif self._wanted.choose(path, is_executable=False) is not NOTHING:
            self.note_skipped(path, f"is of kind {entry.kind}, which is not read")

    def _take_hard_link(self, path: str, entry: Entry, over: _Layer, layer: Digest) -> None:
        place = over.place_of(clean_path(entry.link))
        if (link := self._symlink_at(place, over)) is not None:
            over.add_link(path, link)  # a hard link does not follow: it is the symbolic link, under another name
            return
        target = over.found.get(place) or over.shared.get(place)
        if target is None and not over.is_gone(place):
            target = self._found.get(place)
        choice = self._wanted.choose(path, is_executable=False)
        if target is not None:
            data = target.data if choice.keep else None
            if data is not None or target.parsed is not None:
                over.found[path] = target._replace(data=data)
            if self._answers(target, choice):
                return
        if choice is NOTHING:
            return
        if (held := over.held.get(place)) is not None:
            as_file = entry._replace(kind="file", size=len(held), is_executable=False)
            found = self._read_file(path, as_file, layer, _Content(held))
            if found is not None:
                over.found[path] = found
                over.shared.setdefault(place, found)
        elif not over.wants_again(place):
            self.note_skipped(path, "is a hard link to a file that is not read")

    def _symlink_at(self, place: str, over: _Layer) -> str | None:
        if place in over.links:
            return over.links[place]
        return None if place in over.folders or over.is_gone(place) else self.links.get(place)

    def _answers(self, target: _Found, choice: Choice) -> bool:
        """Whether what was read of `target` under its own name is all that `choice` wants of the same content under another."""
        if choice.keep and target.data is None:
            return False
        asked = self._wanted.choose(target.parsed.path, is_executable=False).readers if target.parsed is not None else ()
        return set(choice.readers) <= set(asked)

    def _hide_below(self, path: str, over: _Layer) -> None:
        # Only what there is below is noted, so that a layer of millions of files costs no memory.
        if path in self.folders or path in self.links or path in self._found:
            over.hidden.add(path)

    def _hide(self, over: _Layer) -> None:
        """Remove from below what `over` whites out or replaces."""
        is_gone = over.is_gone
        if over.hidden or over.opaque:
            self.folders = {path for path in self.folders if not is_gone(path)}
        self.links = {path: link for path, link in self.links.items() if path not in over.folders and not is_gone(path)}
        self._found = {path: file for path, file in self._found.items() if path not in over.folders and not is_gone(path)}

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
        folder, _, base = path.rpartition("/")
        real = self._real_folder(folder)
        if base in _NO_NAMES or len(real) > _MAX_PATH:
            return follow_links(self.links, path)
        whole = f"{real}/{base}" if real else base
        return follow_links(self.links, path) if whole in self.links else whole

    def _real_folder(self, folder: str) -> str:
        real = self._real_folders.get(folder)
        if real is None:
            if len(self._real_folders) >= _MAX_REMEMBERED:
                self._real_folders.clear()
            real = self._real_folders[folder] = follow_links(self.links, folder)
        return real

    def read(self, path: str) -> KeptFile | None:
        """The file at `path` (symbolic links followed), if it exists and a glob names it."""
        found = self._found.get(self.resolve(path))
        return None if found is None or found.data is None else KeptFile(found.data, found.layer)

    def matching(self, glob: str) -> list[tuple[str, KeptFile]]:
        """The kept files whose path matches `glob`, by path."""
        pattern = compile_glob(glob)
        return sorted(
            (path, KeptFile(file.data, file.layer))
            for path, file in self._found.items()
            if file.data is not None and pattern.fullmatch(path)
        )

    def parsed(self) -> Iterator[tuple[str, Digest, list[Package], list[Skipped]]]:
        """What file readers found: path, layer, packages (their `layer` filled in), skipped parts; of files still there, by path.

        A file with several names (hard links) comes once, under the first of them.
        """
        seen: set[int] = set()
        for path, found in sorted(self._found.items()):
            parsed = found.parsed
            if parsed is None or id(parsed) in seen:
                continue
            seen.add(id(parsed))
            if parsed.path == path:
                yield path, found.layer, parsed.packages, parsed.skipped
            else:
                renamed = [
                    msgspec.structs.replace(package, evidence=_renamed(package.evidence, parsed.path, path))
                    for package in parsed.packages
                ]
                yield path, found.layer, renamed, parsed.skipped


def _renamed(evidence: str, old: str, new: str) -> str:
    return f"/{new}{evidence[len(old) + 1 :]}" if evidence.startswith(f"/{old}") else evidence


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

    __slots__ = (
        "_held_bytes", "_is_first", "_placed", "_replaced", "folders", "found", "held", "hidden", "links", "missed", "opaque",
        "shared", "targets",
    )  # fmt: skip

    def __init__(self, targets: frozenset[str] | None) -> None:
        """`targets` as for `View.add_layer`."""
        self.targets = targets or frozenset()
        self._is_first = targets is None
        self.missed: set[str] = set()
        self.held: dict[str, bytes] = {}
        self._held_bytes = 0
        self.shared: dict[str, _Found] = {}
        self.found: dict[str, _Found] = {}
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

    def place_of(self, path: str | None) -> str:
        """Where a hard link's target `path` lies (None: nowhere, as the root, which is no file)."""
        folder, _, base = (path or "").rpartition("/")
        folder = self.place(folder)
        return f"{folder}/{base}" if folder else base

    def add_parents(self, folder: str) -> None:
        while folder and folder not in self.folders:
            self.folders.add(folder)
            folder = folder.rpartition("/")[0]

    def count(self) -> int:
        return len(self.folders) + len(self.links) + len(self.found)

    def hold(self, path: str, entry: Entry, entries: Entries) -> Entries:
        """Keep the content of the file at `path` for hard links to it, if there is room; gives what it is now to be read from."""
        if entry.size > _MAX_FILE_BYTES or self._held_bytes + entry.size > _MAX_HELD_BYTES:
            return entries
        data = entries.read() or b""
        self.held[path] = data
        self._held_bytes += len(data)
        return _Content(data)

    def wants_again(self, place: str) -> bool:
        """Whether the layer can be read again for what lies at `place`."""
        if self._is_first and len(self.missed) < _MAX_REMEMBERED:
            self.missed.add(place)
            return True
        return False

    def is_gone(self, path: str) -> bool:
        """Whether this layer hides what lies at `path` below it."""
        if path in self.hidden or "" in self.opaque:
            return True
        at = path.rfind("/")
        while at > 0:
            ancestor = path[:at]
            if ancestor in self.hidden or ancestor in self.opaque:
                return True
            at = path.rfind("/", 0, at)
        return False

    def add_folder(self, path: str) -> None:
        self.found.pop(path, None)
        if self.links.pop(path, None) is not None:
            self._placed = {"": ""}
        self.folders.add(path)

    def add_link(self, path: str, link: str) -> None:
        self.links[path] = link
        if path in self._placed:
            self._placed = {"": ""}

    def remove(self, path: str) -> None:
        """Forget what this layer had at `path`, with everything under it if it was a folder."""
        self.found.pop(path, None)
        self.links.pop(path, None)
        self.held.pop(path, None)
        self.shared.pop(path, None)
        if path in self.folders:
            self._replaced += 1
            if self._replaced > _MAX_REPLACED_FOLDERS:
                raise InputError("layer", f"replaces more than {_MAX_REPLACED_FOLDERS} of its own folders", "do not trust it")
            under = path + "/"
            self.folders = {folder for folder in self.folders if folder != path and not folder.startswith(under)}
            self.links = {name: link for name, link in self.links.items() if not name.startswith(under)}
            self.found = {name: file for name, file in self.found.items() if not name.startswith(under)}
