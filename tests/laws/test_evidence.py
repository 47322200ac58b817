"""Laws of evidence: no flipped byte and no missing end goes unnoticed; readers are total."""

from __future__ import annotations

import contextlib
import io

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from shipwall.adapters.keys import SigningKey
from shipwall.journeys.collect import open_with, seal_with
from shipwall.kernel.capture import parse_inet_sockets, parse_maps, parse_status, parse_unix_sockets
from shipwall.kernel.freezer import find_hierarchies
from shipwall.kernel.rootfs import parse_mounts
from shipwall.lang.rfc3339 import parse_rfc3339
from shipwall.model.errors import InputError, TrustError
from shipwall.response.evidence import MAGIC, Writer, parse_statement, read_bundle, verify_bundle
from shipwall.response.policy import ResponsePolicy, parse_response_policy
from shipwall.response.redact import redact_argv, redact_environment

KEY = SigningKey(Ed25519PrivateKey.generate(), "evidence")
KEYS = {KEY.public.key_id: KEY.public}


def make() -> bytes:
    sink = io.BytesIO()
    writer = Writer(sink)
    writer.add("alert", "alert.json", b'{"id":"a"}')
    writer.add("memory", "memory/7/1000-2000", bytes(range(256)) * 3)
    writer.add("file", "files/empty", b"")
    writer.seal(seal_with(KEY), bundle="b", node="n", container="c", alert="a", plan="b", image_digest=None, sealed_ns=1)
    return sink.getvalue()


GOOD = make()


def test_every_flipped_byte_is_found() -> None:
    """Not sampled: every single position of a small bundle, with two different flips."""
    open_seal = open_with(KEYS)
    verify_bundle(io.BytesIO(GOOD), open_seal)
    for position in range(len(GOOD)):
        for flip in (0x01, 0x20):
            changed = bytearray(GOOD)
            changed[position] ^= flip
            with pytest.raises(TrustError):
                verify_bundle(io.BytesIO(bytes(changed)), open_seal)


def test_every_truncation_is_found() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(TrustError):
            verify_bundle(io.BytesIO(GOOD[:length]), open_with(KEYS))


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=40))
@settings(max_examples=300)
def test_every_other_edit_is_found(start: int, end: int, instead: bytes) -> None:
    start, end = sorted((start, end))
    changed = GOOD[:start] + instead + GOOD[end:]
    if changed != GOOD:
        with pytest.raises(TrustError):
            verify_bundle(io.BytesIO(changed), open_with(KEYS))


@given(st.binary(max_size=400), st.booleans())
def test_reader_is_total(data: bytes, with_magic: bool) -> None:
    with pytest.raises(TrustError):
        list(read_bundle(io.BytesIO(MAGIC + data if with_magic else data)))


@given(st.binary(max_size=300))
def test_statement_parser_is_total(data: bytes) -> None:
    with pytest.raises(InputError):
        parse_statement(data)


@given(st.binary(max_size=300))
def test_proc_parsers_are_total(data: bytes) -> None:
    text = data.decode("latin-1")
    parse_status(data)
    parse_maps(data)
    parse_inet_sockets("tcp", b"head\n" + data, {})
    parse_unix_sockets(b"head\n" + data, {})
    parse_mounts(text)
    find_hierarchies(text)
    assert parse_rfc3339(text) >= 0


@given(st.text(max_size=200))
def test_policy_parser_is_total(text: str) -> None:
    with contextlib.suppress(InputError):
        assert isinstance(parse_response_policy(text, "p"), ResponsePolicy)


@given(st.lists(st.text(max_size=60), max_size=8))
def test_redaction_is_total_and_keeps_the_count(words: list[str]) -> None:
    assert len(redact_argv(words)) == len(redact_environment(words)) == len(words)


@given(st.from_regex(r"[A-Z]{1,8}_(PASSWORD|TOKEN|SECRET|API_KEY)", fullmatch=True), st.text(min_size=1, max_size=60))
def test_named_secrets_never_show(name: str, value: str) -> None:
    shown = redact_environment([f"{name}={value}"])[0]
    assert shown == f"{name}=[redacted]"
