"""Signed statements about one image: in-toto Statement v1 in DSSE, whose subject is always a manifest digest.

Kinds (the word used in policies) → predicate type: `sbom` CycloneDX · `scan` ours · `provenance` SLSA provenance v1 · `vex` OpenVEX ·
`verdict` ours · `promotion` ours · `profile` ours. Source: in-toto attestation framework v1 (statement.md), SLSA v1.0 (provenance.md),
OpenVEX (ATTESTING.md: the predicate is the document, of the type `https://openvex.dev/ns`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from shipwall.lang.rfc3339 import parse_rfc3339
from shipwall.lang.strict_json import parse_json
from shipwall.model.digest import Digest, digest_of, parse_digest
from shipwall.model.errors import InputError, TrustError
from shipwall.model.finding import ScanResult
from shipwall.model.package import Inventory
from shipwall.model.promotion import PROMOTION_TYPE, Promotion
from shipwall.model.verdict import Verdict
from shipwall.supply.dsse import MAX_ENVELOPE_BYTES, PublicKey, PublicKeys, Signer, sign_envelope, verify_envelope
from shipwall.supply.sbom import SBOM_TYPE, parse_sbom, render_sbom, render_time
from shipwall.supply.vex.openvex import parse_openvex

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
SCAN_TYPE = "urn:shipwall:predicate:scan:v1"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
VEX_TYPE = "https://openvex.dev/ns"
VERDICT_TYPE = "urn:shipwall:predicate:verdict:v1"
PROFILE_TYPE = "urn:shipwall:predicate:profile:v1"
BUILD_TYPE = "urn:shipwall:build:v1"
MAX_SKEW_NS = 300 * 10**9
"""How far ahead of this clock another may be before its times count as unknown."""

KINDS: dict[str, str] = {
    "sbom": SBOM_TYPE,
    "scan": SCAN_TYPE,
    "provenance": PROVENANCE_TYPE,
    "vex": VEX_TYPE,
    "verdict": VERDICT_TYPE,
    "promotion": PROMOTION_TYPE,
    "profile": PROFILE_TYPE,
}
_Kind = TypeVar("_Kind")
_KIND_OF = {predicate_type: kind for kind, predicate_type in KINDS.items()}


@dataclass(frozen=True)
class Statement:
    """A parsed, NOT verified statement: `predicate` of `predicate_type` about the manifest `subject`, called `name` when made."""

    name: str
    subject: Digest
    predicate_type: str
    predicate: dict[str, Any]


class ScanPredicate(msgspec.Struct, frozen=True, kw_only=True):
    """A scan made at `time_ns`. Packages in it carry no file lists: these are in the SBOM."""

    time_ns: int
    scan: ScanResult


class VerdictPredicate(msgspec.Struct, frozen=True, kw_only=True):
    """A gate's verdict for `target`, by `policy`."""

    time_ns: int
    target: str
    policy: Digest
    verdict: Verdict


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """Something a build took in. `digest` is empty where none was seen."""

    uri: str
    digest: Digest = ""


class BuildFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a builder says about a build. Times in nanoseconds since 1970."""

    builder: str
    parameters: dict[str, str] = {}
    materials: tuple[Material, ...] = ()
    started_ns: int = 0
    finished_ns: int = 0
    invocation: str = ""


class VerifiedStatement(msgspec.Struct, frozen=True, kw_only=True):
    """A statement that passed `verify_statement`. `signers` are names of trusted keys; `envelope` the digest of its bytes.

    `time_ns` is when the statement says it was made, 0 when it does not.
    """

    kind: str
    subject: Digest
    signers: tuple[str, ...]
    envelope: Digest
    predicate: dict[str, Any]
    time_ns: int = 0


class RefusedStatement(msgspec.Struct, frozen=True, kw_only=True):
    """A statement that was there but failed its verification: kept, so that a verdict can say why it did not count."""

    kind: str
    envelope: Digest
    reason: str


def kind_of(predicate_type: str) -> str:
    """The word for `predicate_type`, itself where we have none."""
    return _KIND_OF.get(predicate_type, predicate_type)


def sbom_statement(inventory: Inventory, name: str, time_ns: int) -> Statement:
    """What is in the image. Raises InputError for an inventory of no image."""
    if inventory.image is None:
        raise InputError(f"inventory of {name}", "is not of an image", "list an image, not a folder")
    return Statement(name, inventory.image.manifest, SBOM_TYPE, render_sbom(inventory, time_ns))


def scan_statement(scan: ScanResult, subject: Digest, name: str, time_ns: int) -> Statement:
    """What is wrong with the image, as found at `time_ns`."""
    lean = [
        msgspec.structs.replace(finding, package=msgspec.structs.replace(finding.package, files=())) for finding in scan.findings
    ]
    predicate = ScanPredicate(time_ns=time_ns, scan=msgspec.structs.replace(scan, findings=tuple(lean)))
    return Statement(name, subject, SCAN_TYPE, _builtins(predicate))


def provenance_statement(facts: BuildFacts, subject: Digest, name: str) -> Statement:
    """How the image was built, as SLSA provenance v1."""
    materials = []
    for material in facts.materials:
        digest = {"digest": {"sha256": parse_digest(material.digest).removeprefix("sha256:")}} if material.digest else {}
        materials.append({"uri": material.uri, **digest})
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": dict(facts.parameters),
            "resolvedDependencies": materials,
        },
        "runDetails": {
            "builder": {"id": facts.builder},
            "metadata": {
                **({"invocationId": facts.invocation} if facts.invocation else {}),
                **({"startedOn": render_time(facts.started_ns)} if facts.started_ns else {}),
                **({"finishedOn": render_time(facts.finished_ns)} if facts.finished_ns else {}),
            },
        },
    }
    return Statement(name, subject, PROVENANCE_TYPE, predicate)


def vex_statement(document: Mapping[str, Any], subject: Digest, name: str) -> Statement:
    """What an OpenVEX `document` says, bound to one image. Raises InputError for what is no such document."""
    statement = Statement(name, subject, VEX_TYPE, dict(document))
    _read_vex(statement)
    return statement


def verdict_statement(verdict: Verdict, subject: Digest, name: str, target: str, policy: Digest, time_ns: int) -> Statement:
    """What a gate decided."""
    predicate = VerdictPredicate(time_ns=time_ns, target=target, policy=policy, verdict=verdict)
    return Statement(name, subject, VERDICT_TYPE, _builtins(predicate))


def profile_statement(profile: Mapping[str, Any], subject: Digest, name: str, time_ns: int) -> Statement:
    """What the image's containers normally do: `profile` in the form of `runtime.profile`, said at `time_ns`."""
    return Statement(name, subject, PROFILE_TYPE, {"time_ns": time_ns, "profile": dict(profile)})


def promotion_statement(promotion: Promotion) -> Statement:
    """That an image may run."""
    return Statement(promotion.repository, promotion.image.manifest, PROMOTION_TYPE, _builtins(promotion))


def render_statement(statement: Statement) -> bytes:
    """`statement` as JSON."""
    subject = {"name": statement.name, "digest": {"sha256": statement.subject.removeprefix("sha256:")}}
    return msgspec.json.encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [subject],
            "predicateType": statement.predicate_type,
            "predicate": statement.predicate,
        }
    )


def parse_statement(payload: bytes) -> Statement:
    """The statement in `payload`: exactly one subject, named by SHA-256 alone. Total. Raises InputError."""
    thing = "in-toto statement"
    value = parse_json(payload, thing, MAX_ENVELOPE_BYTES)
    if not isinstance(value, dict) or set(value) != {"_type", "subject", "predicateType", "predicate"}:
        raise InputError(thing, "does not have exactly _type, subject, predicateType and predicate")
    if value["_type"] != STATEMENT_TYPE:
        raise InputError(thing, f"_type is {str(value['_type'])[:80]!r}, not {STATEMENT_TYPE}")
    subjects = value["subject"]
    if not isinstance(subjects, list) or len(subjects) != 1 or not isinstance(subjects[0], dict):
        raise InputError(thing, "does not name exactly one subject")
    subject = subjects[0]
    digests, name = subject.get("digest"), subject.get("name", "")
    if set(subject) - {"name", "digest"} or not isinstance(name, str):
        raise InputError(thing, "its subject has other fields than name and digest")
    if not isinstance(digests, dict) or set(digests) != {"sha256"} or not isinstance(digests["sha256"], str):
        raise InputError(thing, "its subject is not named by exactly one sha256")
    if not isinstance(value["predicateType"], str) or not isinstance(value["predicate"], dict):
        raise InputError(thing, "its predicate is not an object with a type")
    return Statement(name, parse_digest("sha256:" + digests["sha256"]), value["predicateType"], value["predicate"])


def sign_statement(statement: Statement, signer: Signer) -> bytes:
    """The signed envelope of `statement`."""
    return sign_envelope(PAYLOAD_TYPE, render_statement(statement), signer)


def verify_statement(envelope: bytes, keys: PublicKeys, subject: Digest, predicate_type: str = "") -> VerifiedStatement:
    """The statement about the manifest `subject` (of `predicate_type`, where given) in `envelope`, signed by one of `keys`.

    Steps: 1 to 4 of `verify_envelope` · 5 the payload is one statement · 6 it is about `subject` · 7 it is of the expected type ·
    8 its predicate is what its type says, and about the same image.
    Raises: TrustError naming the step. On failure: closed.
    """
    statement, signers = _verify_to_type(envelope, keys, subject, predicate_type)
    kind = kind_of(statement.predicate_type)
    # 8 its predicate is what its type says
    try:
        time_ns = _READERS[kind](statement) if kind in _READERS else 0
    except InputError as error:
        raise TrustError(f"{kind} statement", error.line(), step="8 predicate") from error
    return VerifiedStatement(
        kind=kind,
        subject=statement.subject,
        signers=tuple(key.name for key in signers),
        envelope=digest_of(envelope),
        predicate=statement.predicate,
        time_ns=time_ns,
    )


def verify_promotion(envelope: bytes, public_keys: PublicKeys) -> Promotion:
    """The promotion in `envelope`, signed by one of `public_keys` (by key id: give only keys that may promote).

    Steps: 1 to 4 of `verify_envelope` · 5 the payload is one statement · 7 it is a promotion · 8 its predicate is one, about the subject,
    and names the key that signed it. Raises: TrustError naming the step. On failure: closed.
    """
    statement, signers = _verify_to_type(envelope, public_keys, None, PROMOTION_TYPE)
    # 8 its predicate
    try:
        promotion = _promotion(statement)
    except InputError as error:
        raise TrustError("promotion statement", error.line(), step="8 predicate") from error
    if promotion.by_key not in {key.key_id for key in signers}:
        raise TrustError("promotion statement", "names another key than the one that signed it", step="8 predicate")
    return promotion


def is_young(statement: VerifiedStatement, max_age_ns: int | None, now_ns: int) -> bool:
    """Whether `statement` was made at most `max_age_ns` (None: any time) ago. One of unknown or future time is not."""
    if max_age_ns is None:
        return True
    return statement.time_ns > 0 and -MAX_SKEW_NS <= now_ns - statement.time_ns <= max_age_ns


def parse_scan(predicate: Mapping[str, Any]) -> ScanPredicate:
    """The scan in a predicate of SCAN_TYPE. Total. Raises InputError."""
    return _convert(predicate, ScanPredicate, "scan predicate")


def _verify_to_type(
    envelope: bytes, keys: PublicKeys, subject: Digest | None, predicate_type: str
) -> tuple[Statement, tuple[PublicKey, ...]]:
    # 1 to 4 the envelope
    verified = verify_envelope(envelope, keys, PAYLOAD_TYPE)
    # 5 the payload is one statement
    try:
        statement = parse_statement(verified.payload)
    except InputError as error:
        raise TrustError("statement", error.line(), step="5 statement") from error
    # 6 it is about the subject: a statement about another image, however true, says nothing here
    if subject is not None and statement.subject != subject:
        raise TrustError("statement", f"is about {statement.subject}, not {subject}", step="6 subject")
    # 7 it is of the expected type: an SBOM is never taken for a promotion
    if predicate_type and statement.predicate_type != predicate_type:
        raise TrustError("statement", f"is a {statement.predicate_type[:80]}, not a {predicate_type}", step="7 predicate type")
    return statement, verified.signers


def _read_sbom(statement: Statement) -> int:
    inventory = parse_sbom(statement.predicate)
    if inventory.image is None or inventory.image.manifest != statement.subject:
        raise InputError("SBOM", "is of another image than the statement's subject")
    return parse_rfc3339(str(statement.predicate["metadata"]["timestamp"]))


def _read_scan(statement: Statement) -> int:
    return parse_scan(statement.predicate).time_ns


def _read_provenance(statement: Statement) -> int:
    provenance = _convert(statement.predicate, _Provenance, "provenance")
    return parse_rfc3339(provenance.runDetails.metadata.finishedOn)


def _read_vex(statement: Statement) -> int:
    """The document's own time: that of its last change."""
    document = statement.predicate
    if not str(document.get("@context", "")).startswith(VEX_TYPE):
        raise InputError("VEX document", "is not OpenVEX", "give an OpenVEX document: its @context says so")
    parse_openvex(document, "VEX document")
    return parse_rfc3339(str(document.get("last_updated") or document.get("timestamp") or ""))


def _read_verdict(statement: Statement) -> int:
    return _convert(statement.predicate, VerdictPredicate, "verdict predicate").time_ns


def _read_promotion(statement: Statement) -> int:
    return _promotion(statement).time_ns


def _read_profile(statement: Statement) -> int:
    found = _convert(statement.predicate, _ProfilePredicate, "profile predicate")
    if found.profile.get("image") != statement.subject:
        raise InputError("profile", "is of another image than the statement's subject")
    return found.time_ns


_READERS = {
    "sbom": _read_sbom,
    "scan": _read_scan,
    "provenance": _read_provenance,
    "vex": _read_vex,
    "verdict": _read_verdict,
    "promotion": _read_promotion,
    "profile": _read_profile,
}


class _ProfilePredicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    time_ns: int
    profile: dict[str, Any]


class _Builder(msgspec.Struct, frozen=True):
    id: str


class _RunMetadata(msgspec.Struct, frozen=True):
    finishedOn: str = ""  # noqa: N815  the format's own name


class _RunDetails(msgspec.Struct, frozen=True):
    builder: _Builder
    metadata: _RunMetadata = _RunMetadata()


class _Definition(msgspec.Struct, frozen=True):
    buildType: str  # noqa: N815
    externalParameters: dict[str, Any]  # noqa: N815


class _Provenance(msgspec.Struct, frozen=True):
    """The parts of SLSA provenance v1 that must be there."""

    buildDefinition: _Definition  # noqa: N815
    runDetails: _RunDetails  # noqa: N815


def _promotion(statement: Statement) -> Promotion:
    promotion = _convert(statement.predicate, Promotion, "promotion")
    for digest in (promotion.image.manifest, promotion.image.config, promotion.policy, *promotion.image.diff_ids):
        parse_digest(digest)
    if promotion.image.manifest != statement.subject:
        raise InputError("promotion", "is of another image than the statement's subject")
    return promotion


def _convert(value: Any, kind: type[_Kind], thing: str) -> _Kind:
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(thing, str(error)[:300]) from error


def _builtins(value: msgspec.Struct) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return made
