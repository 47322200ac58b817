"""The changelog inside a `.deb`. Source: deb(5), ar(5)."""

from __future__ import annotations

import zlib

from shipwall.model.errors import InputError
from shipwall.supply.streams import Stream, inflate
from shipwall.supply.tar import Entry, TarWalk

_MAX_CHANGELOG_BYTES = 8 << 20
_MAX_MEMBERS = 16
_CHUNK = 64 * 1024
# Best first. Without a Debian changelog of its own a package is native, and the plain one is Debian's.
_NAMES = ("changelog.Debian.gz", "changelog.Debian", "changelog.gz", "changelog")


class _Member:
    """The bytes of one member of an ar archive."""

    def __init__(self, raw: Stream, size: int) -> None:
        self._raw = raw
        self._left = size

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        data = self._raw.read(min(size, self._left))
        self._left -= len(data)
        return data


def read_changelog(raw: Stream, name: str) -> bytes | None:
    """The Debian changelog in the package `raw`, plain, its first 8 MiB; None when it carries none.

    Raises InputError (naming `name`) for bytes that are no Debian package.
    """
    tar = TarWalk(inflate(_find_data(raw, name), name, allow_xz=True), name)
    found: dict[str, bytes] = {}
    for entry in tar:
        base = entry.path.rpartition("/")[2]
        if base in _NAMES and _is_wanted(entry):
            found.setdefault(base, tar.read())
            if base == _NAMES[0]:
                break
    for base in _NAMES:
        if base in found:
            return _plain(found[base], name)
    return None


def _is_wanted(entry: Entry) -> bool:
    folder = entry.path.rpartition("/")[0]
    return (
        entry.kind == "file"
        and entry.size <= _MAX_CHANGELOG_BYTES
        and not entry.escapes
        and folder.startswith("usr/share/doc/")
        and folder.count("/") == 3
    )


def _plain(data: bytes, name: str) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return zlib.decompressobj(31).decompress(data, _MAX_CHANGELOG_BYTES)
    except zlib.error as error:
        raise InputError(name, f"its changelog is a damaged gzip stream: {error}", "fetch it again") from error


def _find_data(raw: Stream, name: str) -> _Member:
    """The member `data.tar.*`."""
    if _exactly(raw, 8) != b"!<arch>\n":
        raise InputError(name, "is not a Debian package", "fetch it again")
    for _ in range(_MAX_MEMBERS):
        header = _exactly(raw, 60)
        digits = header[48:58].strip(b" ")
        if len(header) < 60 or header[58:] != b"`\n" or not digits.isdigit():
            break
        size = int(digits)
        if header[:16].startswith(b"data.tar"):
            return _Member(raw, size)
        left = size + size % 2
        while left and (passed := len(raw.read(min(left, _CHUNK)))):
            left -= passed
    raise InputError(name, "has no data.tar", "fetch it again")


def _exactly(raw: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := raw.read(size - len(data))):
        data += more
    return data
