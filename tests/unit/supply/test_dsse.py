"""DSSE: the specification's own example, every broken variant, and agreement with another implementation."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.signer import SSlibKey

from shipwall.adapters.keys import SigningKey
from shipwall.model.errors import InputError, TrustError
from shipwall.supply.dsse import (
    Envelope,
    PublicKey,
    Signature,
    key_id_of,
    pae,
    parse_envelope,
    parse_public_key,
    render_envelope,
    render_public_key,
    sign_envelope,
    verify_envelope,
)

TYPE = "application/vnd.in-toto+json"
SIGNER = SigningKey(Ed25519PrivateKey.generate(), "build")
OTHER = SigningKey(Ed25519PrivateKey.generate(), "other")
KEYS = {SIGNER.public.key_id: SIGNER.public}
ENVELOPE = sign_envelope(TYPE, b'{"a":1}', SIGNER)


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(ENVELOPE) | fields).encode()


def test_pae_is_that_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_signed_verifies_and_names_the_signer() -> None:
    verified = verify_envelope(ENVELOPE, KEYS, TYPE)
    assert verified.payload == b'{"a":1}'
    assert [key.name for key in verified.signers] == ["build"]


def test_render_and_parse_agree() -> None:
    assert render_envelope(parse_envelope(ENVELOPE)) == ENVELOPE


def test_another_implementation_agrees_both_ways() -> None:
    theirs = TheirEnvelope.from_dict(json.loads(ENVELOPE))
    key = SSlibKey.from_crypto(SIGNER.public.key, keyid=SIGNER.public.key_id)
    assert list(theirs.verify([key], 1)) == [SIGNER.public.key_id]
    assert verify_envelope(json.dumps(theirs.to_dict()).encode(), KEYS, TYPE).payload == b'{"a":1}'


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_ecdsa_verifies(curve: ec.EllipticCurve) -> None:
    private = ec.generate_private_key(curve)
    key = PublicKey("ec", key_id_of(private.public_key()), private.public_key())
    kind = hashes.SHA256() if curve.name == "secp256r1" else hashes.SHA384()
    signature = private.sign(pae(TYPE, b"x"), ec.ECDSA(kind))
    envelope = render_envelope(Envelope(TYPE, b"x", (Signature(key.key_id, signature),)))
    assert verify_envelope(envelope, {key.key_id: key}, TYPE).payload == b"x"
    broken = render_envelope(Envelope(TYPE, b"y", (Signature(key.key_id, signature),)))
    with pytest.raises(TrustError, match="4 signature"):
        verify_envelope(broken, {key.key_id: key}, TYPE)


@pytest.mark.parametrize(
    ("data", "step"),
    [
        (b"", "1 form"),
        (b"[]", "1 form"),
        (ENVELOPE[:-1], "1 form"),
        (ENVELOPE + b"x", "1 form"),
        (b"[" * 100_000, "1 form"),
        (ENVELOPE.replace(b'{"payload"', b'{"payload":"","payload"'), "1 form"),
        (changed(extra=1), "1 form"),
        (changed(payload="eyJhIjoxfQ"), "1 form"),
        (changed(payload="eyJhIjoxfQ==\n"), "1 form"),
        (changed(payload="eyJhIjoxfR=="), "1 form"),
        (changed(payload=7), "1 form"),
        (changed(signatures={}), "1 form"),
        (changed(signatures=[{"sig": "AAAA"}]), "1 form"),
        (changed(signatures=[{"keyid": "", "sig": "AAAA"}]), "1 form"),
        (changed(signatures=[{"keyid": "0" * 64, "sig": "AAAA"}] * 17), "1 form"),
        (changed(payloadType='a"b'), "1 form"),
        (changed(payloadType="application/json"), "2 type"),
        (changed(signatures=[]), "3 signatures"),
        (changed(payload=base64.b64encode(b'{"a":2}').decode()), "4 signature"),
        (changed(signatures=[{"keyid": SIGNER.public.key_id, "sig": "AAAA"}]), "4 signature"),
        (changed(signatures=[{"keyid": SIGNER.public.key_id, "sig": ""}]), "4 signature"),
        (sign_envelope(TYPE, b'{"a":1}', OTHER), "4 signature"),
        (sign_envelope("application/json", b'{"a":1}', SIGNER), "2 type"),
    ],
)
def test_every_broken_one_is_refused_at_its_step(data: bytes, step: str) -> None:
    with pytest.raises(TrustError) as caught:
        verify_envelope(data, KEYS, TYPE)
    assert caught.value.step == step


def test_a_payload_type_cannot_be_swapped_for_another_key() -> None:
    signature = Signature(SIGNER.public.key_id, OTHER.sign(pae(TYPE, b"x")))
    with pytest.raises(TrustError, match="does not fit"):
        verify_envelope(render_envelope(Envelope(TYPE, b"x", (signature,))), KEYS, TYPE)


def test_an_unknown_signature_beside_a_good_one_is_passed_over() -> None:
    value = json.loads(ENVELOPE)
    value["signatures"] += json.loads(sign_envelope(TYPE, b'{"a":1}', OTHER))["signatures"]
    assert [key.name for key in verify_envelope(json.dumps(value).encode(), KEYS, TYPE).signers] == ["build"]


def test_a_wrong_signature_of_a_known_key_spoils_a_good_one() -> None:
    value = json.loads(ENVELOPE)
    value["signatures"].append({"keyid": OTHER.public.key_id, "sig": "AAAA"})
    with pytest.raises(TrustError, match="key other does not fit"):
        verify_envelope(json.dumps(value).encode(), KEYS | {OTHER.public.key_id: OTHER.public}, TYPE)


def test_public_key_goes_through_pem() -> None:
    assert parse_public_key(render_public_key(SIGNER.public), "build").key_id == SIGNER.public.key_id


@pytest.mark.parametrize("pem", [b"", b"x" * 9000, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(InputError, match="public key k"):
        parse_public_key(pem, "k")


def test_other_kinds_of_keys_are_refused() -> None:
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InputError, match="neither Ed25519 nor ECDSA"):
        parse_public_key(rsa.generate_private_key(65537, 2048).public_key().public_bytes(*form), "k")
    with pytest.raises(InputError, match="secp521r1"):
        parse_public_key(ec.generate_private_key(ec.SECP521R1()).public_key().public_bytes(*form), "k")
