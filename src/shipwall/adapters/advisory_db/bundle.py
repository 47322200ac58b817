"""The whole database as one signed file, for hosts without a network.

Form: a line that names it; 4 bytes of length (big-endian) and a DSSE envelope over a small statement; then the database, compressed.
Checked when read: 1 form · 2 signature by a trusted key · 3 size and digest of what follows, also of what it unfolds to · 4 it is a
database of this form · 5 it is not older than the one in force. Only then it takes the place of the old one.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from shipwall.adapters.advisory_db.form import SCHEMA
from shipwall.adapters.advisory_db.reader import AdvisoryDb
from shipwall.adapters.advisory_db.writer import is_to_take_over, publish
from shipwall.adapters.files import locked
from shipwall.model.errors import InputError, ShipwallError, StorageError, TrustError
from shipwall.supply.dsse import PublicKey, PublicKeys, Signer, sign_envelope, verify_envelope

PAYLOAD_TYPE = "application/vnd.shipwall.advisories+json"
_HEAD = b"shipwall advisories 1\n"
_MAX_ENVELOPE_BYTES = 1 << 20
_CHUNK = 1 << 20


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed: the database that follows, by digest and size, compressed and unfolded; when it was made; its form."""

    schema: int
    sha256: str
    size: int
    plain_size: int
    time_ns: int


def export_bundle(database: Path, to: Path, signer: Signer, now_ns: int) -> Statement:
    """Write the database at `database` as a signed file. *Raises* StorageError, InputError."""
    import zstandard

    AdvisoryDb(database).close()  # only what can be read is given away
    try:
        with _fresh(to) as target, tempfile.TemporaryFile(dir=to.parent) as body:
            digest = hashlib.sha256()
            plain = 0
            packer = zstandard.ZstdCompressor(level=10, write_checksum=True).compressobj()
            with database.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    plain += len(chunk)
                    _put(body, digest, packer.compress(chunk))
            _put(body, digest, packer.flush())
            size = body.tell()
            statement = Statement(schema=SCHEMA, sha256=digest.hexdigest(), size=size, plain_size=plain, time_ns=now_ns)
            envelope = sign_envelope(PAYLOAD_TYPE, msgspec.json.encode(statement), signer)
            with target.open("wb") as out:
                out.write(_HEAD + struct.pack(">I", len(envelope)) + envelope)
                body.seek(0)
                while chunk := body.read(_CHUNK):
                    out.write(chunk)
            publish(target, to)
    except OSError as error:
        raise StorageError(str(to), error.strerror or str(error), "free space or name another file") from error
    return statement


def import_bundle(
    file: Path, database: Path, keys: PublicKeys, *, allow_older: bool = False
) -> tuple[Statement, tuple[PublicKey, ...]]:
    """Put the database of the signed `file` in the place of the one at `database`; what was signed, and by whom.

    *Raises* TrustError naming the step, InputError, StorageError. *On failure*: closed, the old database stays in force.
    """
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as source, locked(database.with_name(f".{database.name}.lock")):
            statement, signers = _read_statement(source, keys, str(file))
            if is_to_take_over(database) and not allow_older:
                _refuse_older(statement, database, str(file))
            fresh = database.with_name(f".{database.name}.new")
            try:
                _unfold(source, fresh, statement, str(file))
                try:
                    AdvisoryDb(fresh).close()
                except ShipwallError as error:
                    raise TrustError(str(file), error.line(), "have it exported again", step="4 database") from error
                publish(fresh, database)
            finally:
                fresh.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(str(file), error.strerror or str(error), "look at the file and the folder of the database") from error
    return statement, signers


def is_bundle(path: Path) -> bool:
    """Whether the file begins like a signed database."""
    try:
        with path.open("rb") as file:
            return file.read(len(_HEAD)) == _HEAD
    except OSError:
        return False


@contextlib.contextmanager
def _fresh(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    try:
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)


def _put(body: BinaryIO, digest: hashlib._Hash, data: bytes) -> None:
    digest.update(data)
    body.write(data)


def _read_statement(source: BinaryIO, keys: PublicKeys, thing: str) -> tuple[Statement, tuple[PublicKey, ...]]:
    # 1 form
    if source.read(len(_HEAD)) != _HEAD:
        raise InputError(thing, "is no signed database of advisories", "make one: shipwall db export --to FILE")
    (length,) = struct.unpack(">I", source.read(4).ljust(4, b"\0"))
    if not 0 < length <= _MAX_ENVELOPE_BYTES:
        raise TrustError(thing, "its envelope has an impossible length", "fetch it again", step="1 form")
    # 2 signature
    verified = verify_envelope(source.read(length), keys, PAYLOAD_TYPE)
    try:
        statement = msgspec.json.decode(verified.payload, type=Statement)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TrustError(thing, f"its statement cannot be read: {error}", "have it exported again", step="1 form") from error
    if statement.schema != SCHEMA:
        raise InputError(thing, f"has form {statement.schema}, not {SCHEMA}", "export it with this version of Shipwall")
    return statement, verified.signers


def _refuse_older(statement: Statement, database: Path, thing: str) -> None:
    # 5 a signed file of last month must not quietly take back this week's fixes
    try:
        with AdvisoryDb(database) as held:
            newest = max((max(one.time_ns, one.checked_ns) for one in held.feeds()), default=0)
    except StorageError:
        return  # a damaged one is what an import mends
    if statement.time_ns < newest:
        raise TrustError(thing, "is older than the database in force", "take it all the same: --allow-older", step="5 age")


class _Measured:
    """A stream that keeps count and digest of what was read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        self.size += len(data)
        return data


def _unfold(source: BinaryIO, fresh: Path, statement: Statement, thing: str) -> None:
    # 3 size and digest; unfolded in bounded pieces, because nothing is known of these bytes before the end
    import zstandard

    measured = _Measured(source)
    written = 0
    with fresh.open("wb") as out:
        try:
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
                cast(BinaryIO, measured), read_across_frames=True
            ) as reader:
                while written <= statement.plain_size and (plain := reader.read(_CHUNK)):
                    written += len(plain)
                    out.write(plain)
        except zstandard.ZstdError as error:
            raise TrustError(thing, f"is damaged: {error}", "fetch it again", step="3 digest") from error
    while written <= statement.plain_size and measured.read(_CHUNK):
        pass
    if (measured.size, measured.digest.hexdigest(), written) != (statement.size, statement.sha256, statement.plain_size):
        raise TrustError(thing, "what follows the signature is not what was signed", "fetch it again", step="3 digest")
