"""DSSE envelopes: bytes, their type, and who signed both.

Source: DSSE v1.0 (protocol.md, envelope.md). Stricter than it: standard base64 only (padded, canonical), no unknown fields, a key id
on every signature, equal to the SHA-256 of the public key; so that no byte of an envelope can be changed unnoticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shipwall.lang.strict_json import parse_json
from shipwall.model.errors import InputError, TrustError

MAX_ENVELOPE_BYTES = 64 * 1024 * 1024
MAX_SIGNATURES = 16
MAX_PUBLIC_KEY_BYTES = 8 * 1024

_CURVE_HASHES: dict[str, hashes.HashAlgorithm] = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384()}


@dataclass(frozen=True)
class PublicKey:
    """A key somebody trusts under `name`. `key_id` is the SHA-256 of its SubjectPublicKeyInfo (DER), in hex."""

    name: str
    key_id: str
    key: Ed25519PublicKey | ec.EllipticCurvePublicKey

    def accepts(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` over `data` was made with the private half."""
        try:
            if isinstance(self.key, Ed25519PublicKey):
                self.key.verify(signature, data)
            else:
                self.key.verify(signature, data, ec.ECDSA(_CURVE_HASHES[self.key.curve.name]))
        except InvalidSignature:
            return False
        return True


PublicKeys = Mapping[str, PublicKey]
"""Trusted keys by key id."""


class Signer(Protocol):
    """Holds a private key and never shows it."""

    @property
    def public(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`."""
        ...


@dataclass(frozen=True)
class Signature:
    """One signature of an envelope and the id of the key it names."""

    key_id: str
    signature: bytes


@dataclass(frozen=True)
class Envelope:
    """A parsed, NOT verified envelope."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]


@dataclass(frozen=True)
class Verified:
    """The payload of an envelope that passed `verify_envelope`, and the keys that vouch for it."""

    payload: bytes
    signers: tuple[PublicKey, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed. Source: DSSE v1.0, protocol.md, Signature Definition."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def key_id_of(key: Ed25519PublicKey | ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo, in hex."""
    form = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(form).hexdigest()


def parse_public_key(pem: bytes, name: str) -> PublicKey:
    """The Ed25519 or ECDSA (P-256, P-384) public key in `pem`. Total. Raises InputError."""
    thing = f"public key {name}"
    if len(pem) > MAX_PUBLIC_KEY_BYTES:
        raise InputError(thing, f"is {len(pem)} bytes, over the limit of {MAX_PUBLIC_KEY_BYTES}")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(thing, "is not a PEM public key", "export one: shipwall key export NAME") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVE_HASHES:
        raise InputError(thing, f"is on curve {key.curve.name}", "use Ed25519, P-256 or P-384")
    if not isinstance(key, Ed25519PublicKey | ec.EllipticCurvePublicKey):
        raise InputError(thing, "is neither Ed25519 nor ECDSA", "use Ed25519, P-256 or P-384")
    return PublicKey(name, key_id_of(key), key)


def render_public_key(key: PublicKey) -> bytes:
    """`key` as PEM."""
    return key.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign_envelope(payload_type: str, payload: bytes, signer: Signer) -> bytes:
    """The envelope of `payload`, signed by `signer`, as compact JSON."""
    signature = Signature(signer.public.key_id, signer.sign(pae(payload_type, payload)))
    return render_envelope(Envelope(payload_type, payload, (signature,)))


def render_envelope(envelope: Envelope) -> bytes:
    """`envelope` as compact JSON. `parse_envelope` gives it back."""
    signatures = b",".join(
        b'{"keyid":"%b","sig":"%b"}' % (one.key_id.encode(), base64.b64encode(one.signature)) for one in envelope.signatures
    )
    kind = envelope.payload_type.encode()
    return b'{"payload":"%b","payloadType":"%b","signatures":[%b]}' % (base64.b64encode(envelope.payload), kind, signatures)


def parse_envelope(data: bytes) -> Envelope:
    """The envelope in `data`; nothing in it is verified yet. Total. Raises InputError."""
    thing = "DSSE envelope"
    value = parse_json(data, thing, MAX_ENVELOPE_BYTES)
    _fields(value, {"payload", "payloadType", "signatures"}, thing)
    payload_type = value["payloadType"]
    if not isinstance(payload_type, str) or not 0 < len(payload_type) <= 255 or not payload_type.isascii():
        raise InputError(thing, "payloadType is not a short ASCII text")
    if '"' in payload_type or "\\" in payload_type or not payload_type.isprintable():
        raise InputError(thing, "payloadType is not a media type")
    listed = value["signatures"]
    if not isinstance(listed, list) or len(listed) > MAX_SIGNATURES:
        raise InputError(thing, f"signatures is not a list of at most {MAX_SIGNATURES}")
    signatures = []
    for one in listed:
        _fields(one, {"keyid", "sig"}, f"{thing}, signature")
        key_id = one["keyid"]
        if not isinstance(key_id, str) or len(key_id) != 64 or not set(key_id) <= set("0123456789abcdef"):
            raise InputError(thing, "a signature's keyid is not the SHA-256 of a public key in lower-case hex")
        signatures.append(Signature(key_id, _base64(one["sig"], "sig", 1024)))
    return Envelope(payload_type, _base64(value["payload"], "payload", MAX_ENVELOPE_BYTES), tuple(signatures))


def verify_envelope(data: bytes, keys: PublicKeys, payload_type: str) -> Verified:
    """The payload of the envelope in `data`, signed by at least one of `keys`.

    Steps: 1 the bytes are one envelope · 2 its type is the expected one · 3 it is signed at all · 4 no signature that names a
    trusted key is wrong, and at least one names a trusted key.
    Trust: nothing of the payload is looked at before step 4. Signatures of unknown keys are passed over, as DSSE says.
    Raises: TrustError naming the step. On failure: closed.
    """
    thing = "DSSE envelope"
    # 1 the bytes are one envelope
    try:
        envelope = parse_envelope(data)
    except InputError as error:
        raise TrustError(thing, error.line(), "fetch it again or have it signed again", step="1 form") from error
    # 2 its type is the expected one: it is signed too, so an envelope of another protocol is never taken for ours
    if envelope.payload_type != payload_type:
        raise TrustError(thing, f"payloadType is {envelope.payload_type!r}, not {payload_type!r}", step="2 type")
    # 3 it is signed at all
    if not envelope.signatures:
        raise TrustError(thing, "carries no signature", "have it signed: shipwall image sign", step="3 signatures")
    # 4 trusted keys
    signed = pae(envelope.payload_type, envelope.payload)
    signers: dict[str, PublicKey] = {}
    for one in envelope.signatures:
        key = keys.get(one.key_id)
        if key is None:
            continue
        if key.key_id != one.key_id or not key.accepts(one.signature, signed):
            raise TrustError(thing, f"the signature of key {key.name} does not fit the payload", step="4 signature")
        signers[key.key_id] = key
    if not signers:
        named = ", ".join(one.key_id[:16] for one in envelope.signatures)
        raise TrustError(thing, f"signed by unknown key {named}", "trust it: shipwall key trust FILE.pub", step="4 signature")
    return Verified(envelope.payload, tuple(signers.values()))


def _fields(value: Any, names: set[str], thing: str) -> None:
    if not isinstance(value, dict):
        raise InputError(thing, "is not an object")
    if set(value) != names:
        odd = min(set(value) ^ names)
        raise InputError(thing, f"field {odd[:40]!r} is {'missing' if odd in names else 'unknown'}")


def _base64(text: Any, field: str, max_bytes: int) -> bytes:
    """The bytes of `text`: standard alphabet, padded, unused bits zero, so that exactly one text stands for them."""
    if not isinstance(text, str) or len(text) > max_bytes * 4 // 3 + 4:
        raise InputError("DSSE envelope", f"{field} is not a text of bounded length")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeError) as error:
        raise InputError("DSSE envelope", f"{field} is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise InputError("DSSE envelope", f"{field} is not canonical base64")
    return data
