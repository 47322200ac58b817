"""Bundles: whole ones verify; every broken one names the step that failed."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shipwall.adapters.keys import SigningKey
from shipwall.journeys.collect import open_with, seal_with
from shipwall.model.errors import TrustError
from shipwall.response.evidence import MAGIC, PART_BYTES, Report, Writer, read_bundle, verify_bundle

KEY = SigningKey(Ed25519PrivateKey.generate(), "evidence")
OTHER = SigningKey(Ed25519PrivateKey.generate(), "evidence")
KEYS = {KEY.public.key_id: KEY.public}
FACTS = {
    "bundle": "b1", "node": "n", "container": "c" * 64, "alert": "a1", "plan": "b1", "image_digest": "sha256:" + "0" * 64, "sealed_ns": 5,
}  # fmt: skip


def make(items: list[tuple[str, str, bytes]], key: SigningKey = KEY, **facts: object) -> bytes:
    sink = io.BytesIO()
    writer = Writer(sink)
    for kind, name, data in items:
        writer.add(kind, name, data)
    writer.seal(seal_with(key), **(FACTS | facts))
    return sink.getvalue()


ITEMS = [("alert", "alert.json", b"{}"), ("memory", "memory/1/0-1000", b"secret" * 1000), ("skipped", "skipped.json", b"[]")]
GOOD = make(ITEMS)


def verify(data: bytes, expected: dict[str, str] | None = None) -> Report:
    return verify_bundle(io.BytesIO(data), open_with(KEYS), expected)


def spans(data: bytes) -> list[tuple[int, int]]:
    """Where each record (and last the seal) begins and ends."""
    found, at, sizes = (
        [],
        len(MAGIC),
        [record.stored for item in read_bundle(io.BytesIO(data)) if not isinstance(item, bytes) for record in [item[0]]],
    )
    for stored in [*sizes, 0]:
        _, length = struct.unpack(">4sI", data[at : at + 8])
        found.append((at, at + 8 + length + stored))
        at = found[-1][1]
    return found


def test_whole_bundle_verifies() -> None:
    report = verify(GOOD)
    assert report.seal.records == 3
    assert report.kinds == {"alert": 1, "memory": 1, "skipped": 1}
    assert report.size_bytes == len(GOOD)
    assert [step.result for step in report.steps] == ["passed"] * 6 + ["not asked"]
    assert verify(GOOD, {"head": report.seal.head, "container": "c" * 64}).steps[6].result == "passed"


def test_content_of_any_size_comes_back_in_parts() -> None:
    data = bytes(range(256)) * (PART_BYTES // 128)
    bundle = make([("file", "files/big", data + b"end")])
    parts = [item for item in read_bundle(io.BytesIO(bundle)) if not isinstance(item, bytes)]
    assert [record.offset for record, _ in parts] == [0, PART_BYTES, 2 * PART_BYTES]
    assert [record.last for record, _ in parts] == [False, False, True]
    assert b"".join(part for _, part in parts) == data + b"end"


def remove_last_record(data: bytes) -> bytes:
    *_, last, seal = spans(data)
    return data[: last[0]] + data[seal[0] :]


def remove_first_record(data: bytes) -> bytes:
    first = spans(data)[0]
    return data[: first[0]] + data[first[1] :]


def swap_records(data: bytes) -> bytes:
    first, second = spans(data)[:2]
    return data[: first[0]] + data[second[0] : second[1]] + data[first[0] : first[1]] + data[second[1] :]


def repeat_record(data: bytes) -> bytes:
    first = spans(data)[0]
    return data[: first[1]] + data[first[0] :]


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (remove_last_record, "6 seal"),
        (remove_first_record, "2 chain"),
        (swap_records, "2 chain"),
        (repeat_record, "2 chain"),
        (lambda data: data[: spans(data)[-1][0]], "1 form"),
        (lambda data: data[:-1], "4 end"),
        (lambda data: data + b"\n", "4 end"),
        (lambda data: data + data, "4 end"),
        (lambda _: b"", "1 form"),
        (lambda _: MAGIC, "1 form"),
        (lambda _: make(ITEMS, OTHER), "5 signature"),
        (lambda data: data[: spans(data)[-1][0]] + make(ITEMS[:2])[spans(make(ITEMS[:2]))[-1][0] :], "6 seal"),
    ],
)
def test_broken_bundle_names_the_step(change: Callable[[bytes], bytes], step: str) -> None:
    with pytest.raises(TrustError) as broken:
        verify(change(GOOD))
    assert broken.value.step == step


def test_another_sound_bundle_in_its_place_is_found() -> None:
    head = verify(GOOD).seal.head
    other = make([*ITEMS, ("file", "x", b"")], container="d" * 64)
    assert verify(other).seal.container == "d" * 64
    for expected in ({"head": head}, {"container": "c" * 64}):
        with pytest.raises(TrustError) as swapped:
            verify(other, expected)
        assert swapped.value.step == "7 expected"


def test_second_signature_or_other_spelling_of_the_envelope_is_refused() -> None:
    start = spans(GOOD)[-1][0]
    envelope = GOOD[start + 8 :]
    for spelled in (
        envelope.replace(b":", b": ", 1),
        envelope.replace(b'"signatures":[', b'"signatures":[{"keyid":"' + b"0" * 64 + b'","sig":"AA=="},'),
    ):
        with pytest.raises(TrustError) as refused:
            verify(GOOD[:start] + struct.pack(">4sI", b"SEAL", len(spelled)) + spelled)
        assert refused.value.step == "5 signature"


def test_reader_refuses_content_that_unpacks_beyond_its_size() -> None:
    import hashlib

    import msgspec
    import zstandard

    from shipwall.response.evidence import START, Record

    stored = zstandard.ZstdCompressor().compress(bytes(64 * 1024 * 1024))
    digest = "sha256:" + hashlib.sha256(stored).hexdigest()
    record = Record(
        seq=0, kind="file", name="bomb", offset=0, last=True, size=10, sha256=digest, stored=len(stored), stored_sha256=digest,
        previous=START,
    )  # fmt: skip
    header = msgspec.json.encode(record)
    with pytest.raises(TrustError) as refused:
        list(read_bundle(io.BytesIO(MAGIC + struct.pack(">4sI", b"REC0", len(header)) + header + stored)))
    assert refused.value.step == "3 content"
