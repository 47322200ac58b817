"""Files of a feed → its documents: a zip, a folder, JSON lines, one JSON or a list of them, each also gzip or zstd. Bounded everywhere.

Of a format whose files are documents themselves (Debian's tracker, secdb, KEV, EPSS) the whole file is the document.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from shipwall.model.errors import InputError, ShipwallError, StorageError
from shipwall.model.package import Skipped
from shipwall.supply.advisories import Format, Item
from shipwall.supply.advisories.records import refuse_bad
from shipwall.supply.streams import inflate

_CHUNK = 1 << 20
_MAX_DOCUMENT_BYTES = 512 << 20
_MAX_RECORD_BYTES = 64 << 20
_MAX_RECORDS = 5_000_000
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_ZIP = b"PK\x03\x04"


def read_items(path: Path, kind: Format, feed: str) -> Iterator[Item]:
    """What the file or folder `path` says, in the format `kind`. A record that cannot be read is a Skipped.

    *Raises* InputError when the file as a whole is not of the format, and at the end when too many records are not; StorageError when it
    cannot be read.
    """
    return refuse_bad(_items(path, kind, feed), feed)


def _items(path: Path, kind: Format, feed: str) -> Iterator[Item]:
    if not kind.by_record:
        yield from kind.parse(_whole(path), feed)
        return
    for name, data in _records(path):
        try:
            yield from kind.parse(data, feed)
        except ShipwallError as error:
            yield Skipped(what=name, reason=error.line())


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hex; for a folder of the names and sizes in it."""
    try:
        if path.is_dir():
            listing = "\n".join(f"{one.relative_to(path)} {one.stat().st_size}" for one in sorted(path.rglob("*.json")))
            return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(str(path), error.strerror or str(error), "name a readable file")


def _whole(path: Path) -> bytes:
    data = bytearray()
    for chunk in _plain(path):
        data += chunk
        if len(data) > _MAX_DOCUMENT_BYTES:
            raise InputError(str(path), f"unfolds to more than {_MAX_DOCUMENT_BYTES} bytes", "name another file")
    return bytes(data)


def _records(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name for messages, bytes) of each record."""
    try:
        if path.is_dir():
            yield from _folder(path)
            return
        with path.open("rb") as file:
            head = file.read(4)
            if head == _ZIP:
                file.seek(0)
                yield from _zip(file, path)
                return
    except OSError as error:
        raise _unreadable(path, error) from error
    yield from _lines(path)


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for place in sorted(path.rglob("*.json")):
        if place.is_symlink() or not place.is_file():
            continue
        name = str(place.relative_to(path))
        with place.open("rb") as file:
            data = file.read(_MAX_RECORD_BYTES + 1)
        if len(data) > _MAX_RECORD_BYTES:
            data = b""  # the parser refuses an empty one, by name
        yield name, data


def _zip(file: BinaryIO, path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [one for one in archive.infolist() if one.filename.endswith(".json")]
            if len(members) > _MAX_RECORDS:
                raise InputError(str(path), f"has more than {_MAX_RECORDS} records", "name another file")
            for member in members:
                with archive.open(member) as opened:  # the size in its directory is a claim: read is what bounds
                    data = opened.read(_MAX_RECORD_BYTES + 1)
                yield member.filename, data if len(data) <= _MAX_RECORD_BYTES else b""
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(str(path), f"is a damaged zip: {error}", "fetch it again") from error


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """JSON lines; or one JSON object or list of objects, told by a first line that does not end an object."""
    number = 0
    held = b""
    for chunk in _plain(path):
        held += chunk
        if number == 0 and _is_one_document(held):
            continue
        *lines, held = held.split(b"\n")
        for line in lines:
            number += 1
            if line.strip():
                yield f"{path.name}:{number}", line
        if len(held) > _MAX_RECORD_BYTES:
            raise InputError(str(path), f"has a record of more than {_MAX_RECORD_BYTES} bytes", "name another file")
    if number == 0 and held.lstrip().startswith(b"["):
        yield from _listed(held, path.name)
    elif held.strip():
        yield (f"{path.name}:{number + 1}" if number else path.name), held


def _listed(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """The items of a JSON list."""
    try:
        items = _list_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(name, f"is no JSON list: {str(error)[:200]}") from error
    for number, item in enumerate(items, 1):
        yield f"{name}:[{number}]", bytes(item)


def _is_one_document(held: bytes) -> bool:
    """Whether the bytes so far are the beginning of a JSON value spread over lines, or of a list."""
    first = held.split(b"\n", 1)[0].rstrip()
    return len(held) <= _MAX_RECORD_BYTES and not first.endswith(b"}")


def _plain(path: Path) -> Iterator[bytes]:
    """The bytes of `path`, unfolded where it is gzip, zstd or xz."""
    try:
        with path.open("rb") as file:
            plain = inflate(file, str(path), allow_xz=True)
            yield from iter(lambda: plain.read(_CHUNK), b"")
    except InputError as error:
        raise InputError(str(path), error.reason, "fetch it again") from error
    except OSError as error:
        raise _unreadable(path, error) from error
