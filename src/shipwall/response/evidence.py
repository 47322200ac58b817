"""The evidence bundle: one file of hash-chained records, closed by a signed seal.

Form, in order: MAGIC · records · seal · nothing. A record is `REC0`, the length of its header (4 bytes, big-endian), the header (JSON in
exactly the form `Record` encodes to) and `stored` bytes of zstd. The header holds the SHA-256 of the content, of the stored bytes
and of the header before it, so that no byte can be changed, moved or left out unnoticed. The seal is `SEAL`, a length, and an envelope
around a statement that names the head (SHA-256 of the last header) and the number of records. Content of any size is cut into parts of
at most PART_BYTES, so writing and verifying need bounded memory.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec
import zstandard

from shipwall.model.digest import Digest
from shipwall.model.errors import InputError, TrustError

MAGIC = b"SHIPWALL-EVIDENCE/1\n"
PART_BYTES = 4 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_SEAL_BYTES = 64 * 1024
MAX_RECORDS = 4_000_000
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:shipwall:predicate:evidence:v1"
START = "sha256:" + "0" * 64

_MAX_STORED_BYTES = PART_BYTES + 64 * 1024
_RECORD, _SEAL = b"REC0", b"SEAL"
_FRAME = struct.Struct(">4sI")
_THING = "evidence bundle"


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Header of one record. `name` is the item it belongs to, `offset` where its bytes lie in that item, `last` whether it ends it.

    `size` and `sha256` are of the content, `stored` and `stored_sha256` of the compressed bytes that follow. `previous`: head before it.
    """

    seq: int
    kind: str
    name: str
    offset: int
    last: bool
    size: int
    sha256: Digest
    stored: int
    stored_sha256: Digest
    previous: Digest


class Seal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the signature vouches for: that this chain, and no other, was collected about this container, alert and plan."""

    bundle: str
    head: Digest
    records: int
    node: str
    container: str
    alert: str
    plan: str
    image_digest: Digest | None
    sealed_ns: int


class _Subject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type_: str = msgspec.field(name="_type")
    subject: tuple[_Subject, ...]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: Seal


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a verification: `result` passed or not asked."""

    number: int
    name: str
    result: str
    detail: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that passed every step asked for. `size_bytes` of the file, `content_bytes` of what it holds."""

    seal: Seal
    signer: str
    size_bytes: int
    content_bytes: int
    kinds: dict[str, int]
    steps: tuple[Step, ...]


class Sink(Protocol):
    """Takes bytes in order."""

    def write(self, data: bytes, /) -> object:
        """Append `data`."""
        ...


class Source(Protocol):
    """Gives bytes in order."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, fewer only at the end."""
        ...


class Writer:
    """Writes one bundle to `sink`, which is never read back. Nothing is a bundle before `seal` returned."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._zstd = zstandard.ZstdCompressor(level=1)
        self.head: Digest = START
        self.records = 0
        self.size_bytes = len(MAGIC)
        sink.write(MAGIC)

    def add(self, kind: str, name: str, data: bytes) -> Digest:
        """Append an item held in memory; returns the SHA-256 of all of it."""
        return self.add_parts(kind, name, (data,))

    def add_parts(self, kind: str, name: str, parts: Iterable[bytes]) -> Digest:
        """Append an item that comes in parts (of at most PART_BYTES each, else cut); returns the SHA-256 of all of it."""
        whole = hashlib.sha256()
        offset = 0
        waiting: bytes | None = None
        for piece in _cut(parts):
            if waiting is not None:
                self._append(kind, name, offset, waiting, last=False)
                offset += len(waiting)
            whole.update(piece)
            waiting = piece
        self._append(kind, name, offset, waiting or b"", last=True)
        return "sha256:" + whole.hexdigest()

    def seal(self, sign: Callable[[bytes], bytes], **facts: object) -> Seal:
        """Close the bundle with an envelope made by `sign` (statement → envelope). `facts`: the fields of Seal but head and records."""
        seal = msgspec.convert({**facts, "head": self.head, "records": self.records}, Seal)
        envelope = sign(render_statement(seal))
        self._write(_FRAME.pack(_SEAL, len(envelope)) + envelope)
        return seal

    def _append(self, kind: str, name: str, offset: int, data: bytes, *, last: bool) -> None:
        stored = self._zstd.compress(data)
        header = msgspec.json.encode(
            Record(
                seq=self.records,
                kind=kind,
                name=name,
                offset=offset,
                last=last,
                size=len(data),
                sha256=_sha256(data),
                stored=len(stored),
                stored_sha256=_sha256(stored),
                previous=self.head,
            )
        )
        if len(header) > MAX_HEADER_BYTES:
            raise InputError(f"record {name[:80]!r}", "its name is too long for a bundle")
        self._write(_FRAME.pack(_RECORD, len(header)) + header)
        self._write(stored)
        self.head = _sha256(header)
        self.records += 1

    def _write(self, data: bytes) -> None:
        self._sink.write(data)
        self.size_bytes += len(data)


def render_statement(seal: Seal) -> bytes:
    """The in-toto statement of `seal`; the chain's head is its subject."""
    subject = _Subject(name=seal.bundle, digest={"sha256": seal.head.removeprefix("sha256:")})
    return msgspec.json.encode(
        _Statement(type_=STATEMENT_TYPE, subject=(subject,), predicate_type=PREDICATE_TYPE, predicate=seal)
    )


def parse_statement(payload: bytes) -> Seal:
    """The seal in `payload`. Total. Raises InputError for anything but what `render_statement` gives."""
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise InputError("evidence seal", str(error)) from error
    if render_statement(statement.predicate) != payload:
        raise InputError("evidence seal", "is not a statement about the head it names")
    return statement.predicate


def read_bundle(source: Source) -> Iterator[tuple[Record, bytes] | bytes]:
    """Every record with its content, in order, then the bytes of the seal's envelope. Checks steps 1 to 4 on the way.

    Trust: until the last item was given, records may be missing at the end; nobody has vouched for any of it (`verify_bundle` does).
    Units: at most about 2 × PART_BYTES in memory. Raises: TrustError naming the step. Total on arbitrary bytes.
    """
    # 1 form: the file begins as a bundle
    if source.read(len(MAGIC)) != MAGIC:
        raise _broken("1 form", "does not begin as an evidence bundle")
    head, count = START, 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=2 * PART_BYTES)
    while True:
        frame = _exactly(source, _FRAME.size, f"after record {count - 1}: the file ends without a seal")
        mark, length = _FRAME.unpack(frame)
        if mark == _SEAL:
            break
        if mark != _RECORD or not 0 < length <= MAX_HEADER_BYTES or count >= MAX_RECORDS:
            raise _broken("1 form", f"record {count} is damaged")
        header = _exactly(source, length, f"record {count} is cut off")
        record = _parse_record(header, count)
        # 2 chain: numbered without gap, each naming the one before
        if record.seq != count:
            raise _broken("2 chain", f"record {count} calls itself {record.seq}: a record was moved or left out")
        if record.previous != head:
            raise _broken("2 chain", f"record {count} does not follow the record before it")
        # 3 content: stored bytes and what they unpack to are the ones recorded
        stored = _exactly(source, record.stored, f"content of record {count} is cut off", step="3 content")
        yield record, _unpack(record, stored, decompressor)
        head, count = _sha256(header), count + 1
    # 4 end: one seal, nothing behind it
    if not 0 < length <= MAX_SEAL_BYTES:
        raise _broken("4 end", "the seal has an impossible length")
    envelope = _exactly(source, length, "the seal is cut off", step="4 end")
    if source.read(1):
        raise _broken("4 end", "bytes follow the seal")
    yield envelope


def verify_bundle(
    source: Source, open_seal: Callable[[bytes], tuple[bytes, str]], expected: dict[str, str] | None = None
) -> Report:
    """What a sound bundle holds.

    `open_seal` gives the payload of an envelope and the name of the key from OUTSIDE the bundle that signed it, or raises TrustError;
    it must refuse an envelope of which any byte differs from the one form it can have. `expected`: fields of Seal (`head`, `container`,
    `alert`, ...) known from elsewhere; without one, another sound bundle of the same signer cannot be told apart.

    Steps: 1 form · 2 chain · 3 content · 4 end · 5 signature · 6 the seal is about this chain · 7 it is the bundle expected.
    Raises: TrustError naming the step. On failure: closed.
    """
    head, count, size, content = START, 0, len(MAGIC), 0
    kinds: dict[str, int] = {}
    envelope = b""
    for item in read_bundle(source):  # steps 1 to 4
        if isinstance(item, bytes):
            envelope = item
            size += _FRAME.size + len(item)
            break
        record, data = item
        header = msgspec.json.encode(record)
        head, count = _sha256(header), count + 1
        size += _FRAME.size + len(header) + record.stored
        content += len(data)
        kinds[record.kind] = kinds.get(record.kind, 0) + 1
    # 5 signature: by a key the verifier brought along
    try:
        payload, signer = open_seal(envelope)
    except TrustError as error:
        raise _broken("5 signature", error.line()) from error
    # 6 the seal speaks of this chain
    try:
        seal = parse_statement(payload)
    except InputError as error:
        raise _broken("6 seal", error.line()) from error
    if seal.records != count:
        raise _broken("6 seal", f"it was sealed with {seal.records} records and has {count}")
    if seal.head != head:
        raise _broken("6 seal", "its last record is not the one that was sealed")
    # 7 it is the one that was meant
    for field, value in (expected or {}).items():
        if getattr(seal, field) != value:
            raise _broken("7 expected", f"{field} is {getattr(seal, field)}, not {value}: another bundle was put in its place")
    asked = ", ".join(sorted(expected or {}))
    steps = (
        Step(number=1, name="form", result="passed", detail=f"{size} bytes"),
        Step(number=2, name="chain", result="passed", detail=f"{count} records"),
        Step(number=3, name="content", result="passed", detail=f"{content} bytes unpacked and hashed"),
        Step(number=4, name="end", result="passed", detail="sealed, nothing behind it"),
        Step(number=5, name="signature", result="passed", detail=f"key {signer}"),
        Step(number=6, name="seal", result="passed", detail=f"head {head}"),
        Step(
            number=7,
            name="expected",
            result="passed" if asked else "not asked",
            detail=asked
            or "a sound bundle of another incident would pass too: compare the head with the one reported (--expect)",
        ),
    )
    return Report(seal=seal, signer=signer, size_bytes=size, content_bytes=content, kinds=kinds, steps=steps)


def _parse_record(header: bytes, number: int) -> Record:
    try:
        record = msgspec.json.decode(header, type=Record)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise _broken("1 form", f"header of record {number} is damaged") from error
    if msgspec.json.encode(record) != header:
        raise _broken("1 form", f"header of record {number} is not in its one form")
    if not 0 <= record.size <= PART_BYTES or not 0 <= record.stored <= _MAX_STORED_BYTES or record.offset < 0:
        raise _broken("1 form", f"record {number} has an impossible size")
    return record


def _unpack(record: Record, stored: bytes, decompressor: zstandard.ZstdDecompressor) -> bytes:
    if _sha256(stored) != record.stored_sha256:
        raise _broken("3 content", f"stored bytes of record {record.seq} were changed")
    try:
        if zstandard.get_frame_parameters(stored).content_size != record.size:
            raise _broken("3 content", f"record {record.seq} does not unpack to its size")
        data = decompressor.decompress(stored, max_output_size=max(record.size, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _broken("3 content", f"record {record.seq} does not unpack: {error}") from error
    if len(data) != record.size or _sha256(data) != record.sha256:
        raise _broken("3 content", f"content of record {record.seq} was changed")
    return data


def _cut(parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        for start in range(0, len(part), PART_BYTES):
            yield part if len(part) <= PART_BYTES else part[start : start + PART_BYTES]


def _exactly(source: Source, count: int, reason: str, step: str = "1 form") -> bytes:
    data = source.read(count)
    while len(data) < count:
        more = source.read(count - len(data))
        if not more:
            raise _broken(step, reason)
        data += more
    return data


def _sha256(data: bytes) -> Digest:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _broken(step: str, reason: str) -> TrustError:
    return TrustError(_THING, reason, "do not rely on it; look for another copy", step=step)
