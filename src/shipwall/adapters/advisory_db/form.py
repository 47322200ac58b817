"""How advisories lie in the database file: tables, and the compact form of entries.

One row for each (scope, package name, feed) holds all that the feed says of the package, so that a question is one walk down a B-tree and a
range costs its version text and a few bytes. Advisories themselves lie 64 in a compressed block; an advisory's number is its block's
times 64 plus its place. A feed is replaced as a whole. Numbers are those of this file only.

Beside the entries of a row stand their marks in the same order, whatever numbers they have in this file: 4 bytes that name the advisory
(a hash of its feed and id), 6 that hash what it says. So two databases are compared without reading the entries of either.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import NamedTuple, Self

import msgspec

from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.errors import StorageError
from shipwall.model.finding import FixState, Severity
from shipwall.supply.ecosystems import is_by_source
from shipwall.supply.match_advisories import Entry

SCHEMA = 2
APPLICATION_ID = 0x53_41_44_42  # "SADB"
BLOCK = 64
MARK_ID_BYTES, MARK_BYTES = 4, 10
_MAX_BODY_BYTES = 256 << 20

TABLES = """
CREATE TABLE feeds (
    feed INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, format TEXT NOT NULL, url TEXT NOT NULL, etag TEXT NOT NULL,
    modified TEXT NOT NULL, digest TEXT NOT NULL, time_ns INTEGER NOT NULL, checked_ns INTEGER NOT NULL,
    first_block INTEGER NOT NULL, last_block INTEGER NOT NULL, advisories INTEGER NOT NULL, affected INTEGER NOT NULL,
    ranges INTEGER NOT NULL, versions INTEGER NOT NULL, signs INTEGER NOT NULL, skipped INTEGER NOT NULL, vectors_mark BLOB NOT NULL
);
CREATE TABLE scopes (scope INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE held (
    scope INTEGER NOT NULL, feed INTEGER NOT NULL, advisories INTEGER NOT NULL, affected INTEGER NOT NULL, PRIMARY KEY (scope, feed)
) WITHOUT ROWID;
CREATE TABLE affected (
    scope INTEGER NOT NULL, name TEXT NOT NULL, feed INTEGER NOT NULL, part INTEGER NOT NULL, marks BLOB NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (scope, name, feed, part)
) WITHOUT ROWID;
CREATE TABLE blocks (block INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE vectors (cve INTEGER NOT NULL, feed INTEGER NOT NULL, vector TEXT NOT NULL, PRIMARY KEY (cve, feed)) WITHOUT ROWID;
CREATE TABLE epss (
    cve INTEGER NOT NULL, feed INTEGER NOT NULL, score INTEGER NOT NULL, percentile INTEGER, PRIMARY KEY (cve, feed)
) WITHOUT ROWID;
CREATE TABLE kev (cve INTEGER NOT NULL, feed INTEGER NOT NULL, due TEXT NOT NULL, PRIMARY KEY (cve, feed)) WITHOUT ROWID;
"""

SHARE = 1_000_000  # EPSS probabilities are kept in millionths: more digits than the feed has

_SEVERITIES = tuple(Severity)
_STATES = tuple(FixState)
_SEVERITY_PLACE = {one: place for place, one in enumerate(_SEVERITIES)}
_STATE_PLACE = {one: place * 8 for place, one in enumerate(_STATES)}
_OTHER_WAY = 64  # `by_source` is not what the scope's ecosystem says
_COMPRESSED, _PLAIN = b"z", b"p"
_WORTH_COMPRESSING = 200


class _Stored(msgspec.Struct, array_like=True, gc=False):
    """An entry as it lies in a body. Trailing defaults are left out."""

    number: int
    flags: int
    ranges: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()
    module: str = ""
    arches: tuple[str, ...] = ()
    reason: str = ""


_encoder = msgspec.msgpack.Encoder()
_stored_decoder = msgspec.msgpack.Decoder(list[_Stored])
_block_decoder = msgspec.msgpack.Decoder(list[Advisory])


class Packed(NamedTuple):
    """An entry's compact form, and its mark."""

    entry: bytes
    mark: bytes


def pack_head(advisory: Advisory) -> bytes:
    """The compact form of an advisory without what it says of packages."""
    return _encoder.encode(msgspec.structs.replace(advisory, affected=()))


def hash_id(statement: str) -> bytes:
    """The beginning of every mark of the advisory `feed:id`. Two may share it: who asks by it gets at least what he asked for."""
    return zlib.crc32(statement.encode("utf-8", "surrogatepass")).to_bytes(MARK_ID_BYTES, "big")


class Head(NamedTuple):
    """What the marks of an advisory's entries have in common: its name, and all of it that findings are made of (dates are not)."""

    name: bytes
    said: bytes

    @classmethod
    def of(cls, one: Advisory) -> Self:
        """The head of an advisory."""
        said = (one.feed, one.id, one.aliases, one.fixes, one.summary, one.severity, one.cvss, one.withdrawn, one.urls)
        return cls(hash_id(f"{one.feed}:{one.id}"), _encoder.encode(said))

    def mark(self, entry: bytes) -> bytes:
        """The mark of one of its entries."""
        return self.name + hashlib.blake2b(self.said + entry, digest_size=MARK_BYTES - MARK_ID_BYTES).digest()


def pack_entry(number: int, affected: Affected, head: Head) -> Packed:
    """An entry of the advisory that `head` is of."""
    flags = _SEVERITY_PLACE[affected.severity] + _STATE_PLACE[affected.state]
    if affected.by_source != is_by_source(affected.scope):
        flags += _OTHER_WAY
    ranges = [
        (one.introduced, one.fixed, one.last_affected) if one.last_affected else (one.introduced, one.fixed)
        for one in affected.ranges
    ]
    rest: tuple[object, ...] = (affected.versions, affected.module, affected.arches, affected.reason)
    while rest and not rest[-1]:
        rest = rest[:-1]
    plain = _encoder.encode((0, flags, ranges, *rest))
    return Packed(plain[:1] + _encoder.encode(number) + plain[2:], head.mark(plain))


def split_marks(marks: bytes) -> list[bytes]:
    """The marks that lie one after another in `marks`."""
    return [marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES)]


def _pack_list(items: Sequence[bytes]) -> bytes:
    """MessagePack's array of these encoded items."""
    count = len(items)
    return (bytes((0x90 + count,)) if count < 16 else b"\xdd" + count.to_bytes(4, "big")) + b"".join(items)


def pack_body(entries: Sequence[bytes]) -> bytes:
    """A row's body: packed entries as one list, compressed where that pays."""
    plain = _pack_list(entries)
    if len(plain) >= _WORTH_COMPRESSING:
        pressed = zlib.compress(plain, 6 if len(plain) < 65536 else 3)
        if len(pressed) < len(plain):
            return _COMPRESSED + pressed
    return _PLAIN + plain


def unpack_body(body: bytes, scope: str, name: str) -> list[Entry]:
    """The entries of a row. *Raises* StorageError when the row is damaged."""
    default = is_by_source(scope)
    try:
        return [
            Entry(
                one.number,
                Affected(
                    scope=scope,
                    name=name,
                    ranges=one.ranges,
                    versions=one.versions,
                    by_source=default != (one.flags >= _OTHER_WAY),
                    module=one.module,
                    arches=one.arches,
                    severity=_SEVERITIES[one.flags % 8],
                    state=_STATES[one.flags % _OTHER_WAY // 8],
                    reason=one.reason,
                ),
            )
            for one in _stored_decoder.decode(_inflated(body))
        ]
    except (msgspec.MsgspecError, zlib.error, IndexError, UnicodeDecodeError) as error:
        raise damaged(f"entries of {name} in {scope}", error) from error


def pack_block(heads: Sequence[bytes]) -> bytes:
    """Up to BLOCK advisories, each packed by `pack_head`."""
    return zlib.compress(_pack_list(heads), 3)


def unpack_block(body: bytes) -> list[Advisory]:
    """The advisories of a block. *Raises* StorageError when it is damaged."""
    try:
        return _block_decoder.decode(_inflate(body))
    except (msgspec.MsgspecError, zlib.error, UnicodeDecodeError) as error:
        raise damaged("a block of advisories", error) from error


def damaged(what: str, error: Exception) -> StorageError:
    """The error for a database that does not hold what it should."""
    return StorageError("advisory database", f"{what} cannot be read: {str(error)[:120]}", "make it anew: shipwall db update")


def _inflated(body: bytes) -> bytes:
    return _inflate(body[1:]) if body[:1] == _COMPRESSED else body[1:]


def _inflate(data: bytes) -> bytes:
    unfolder = zlib.decompressobj()
    plain = unfolder.decompress(data, _MAX_BODY_BYTES)
    if unfolder.unconsumed_tail or not unfolder.eof:
        raise zlib.error("it is cut off, or unfolds to too much")
    return plain
