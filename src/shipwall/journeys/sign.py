"""Signing: SBOM, scan and provenance of an image become signed statements beside it in the registry, as OCI referrers.

Each statement is an artifact manifest whose `subject` is the image and whose one layer is the DSSE envelope. Where the registry has no
referrers API, its client enters it into the fallback index: children first, then the index, so that what is listed is always there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shipwall.adapters.files import read_bounded
from shipwall.adapters.registry import OCI_MANIFEST, Manifest, Registry
from shipwall.adapters.report import no_report
from shipwall.lang.strict_json import parse_json
from shipwall.model.digest import Digest, ImageIdentity, digest_of, parse_digest
from shipwall.model.errors import InputError, RemoteError, TrustError, UnsupportedError
from shipwall.model.finding import ScanResult
from shipwall.model.image import parse_image_ref
from shipwall.model.package import Inventory
from shipwall.model.wire import ImageStep, Message
from shipwall.supply.dsse import MAX_ENVELOPE_BYTES, PublicKeys, Signer
from shipwall.supply.statements import (
    PAYLOAD_TYPE,
    VEX_TYPE,
    BuildFacts,
    Material,
    RefusedStatement,
    Statement,
    VerifiedStatement,
    kind_of,
    provenance_statement,
    sbom_statement,
    scan_statement,
    sign_statement,
    verify_statement,
    vex_statement,
)
from shipwall.supply.vex import MAX_VEX_BYTES

if TYPE_CHECKING:
    from shipwall.journeys.build import Built

ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
PREDICATE_ANNOTATION = "in-toto.io/predicate-type"
BUILDER = "urn:shipwall:builder"
MAX_STATEMENTS = 200
_EMPTY = b"{}"


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """One statement beside the image: the artifact manifest that holds it, and the envelope's digest."""

    kind: str
    artifact: Digest
    envelope: Digest
    key_id: str


def load_identity(registry: Registry, repository: str, reference: str) -> tuple[Manifest, ImageIdentity]:
    """The manifest that `reference` (tag or digest) names now, and every name of the image. Raises RemoteError, UnsupportedError."""
    manifest = registry.manifest(repository, reference)
    content = manifest.parse()
    thing = f"{registry.host}/{repository}@{manifest.digest}"
    if "manifests" in content or "config" not in content:
        raise UnsupportedError(thing, "is an index of several images", "name one of its images by digest")
    config = parse_digest(str(content["config"].get("digest", "")))
    value = Manifest(config, "", registry.blob_bytes(repository, config)).parse()
    root = value.get("rootfs")
    diff_ids = root.get("diff_ids") if isinstance(root, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) > 1000 or not all(isinstance(one, str) for one in diff_ids):
        raise InputError(thing, "its configuration lists no layers", "is it an image?")
    return manifest, ImageIdentity(manifest=manifest.digest, config=config, diff_ids=tuple(parse_digest(one) for one in diff_ids))


def sign_image(
    registry: Registry,
    repository: str,
    inventory: Inventory,
    scan: ScanResult | None,
    build: BuildFacts | None,
    signer: Signer,
    now_ns: int,
    report: Callable[[Message], None] = no_report,
    vex: Sequence[Mapping[str, Any]] = (),
) -> tuple[Signed, ...]:
    """The statements now beside the image of `inventory` in `repository`, signed by `signer`: SBOM, and scan, provenance and `vex` (OpenVEX
    documents) where given.

    Trust: the image must be in the repository; nothing is said about what is not there. Raises RemoteError, InputError.
    """
    sbom = sbom_statement(inventory, repository, now_ns)
    subject = registry.manifest(repository, sbom.subject)
    statements: list[Statement] = [sbom]
    if scan is not None:
        statements.append(scan_statement(scan, subject.digest, repository, now_ns))
    if build is not None:
        statements.append(provenance_statement(build, subject.digest, repository))
    statements += [vex_statement(document, subject.digest, repository) for document in vex]
    signed = []
    for statement in statements:
        envelope = sign_statement(statement, signer)
        artifact = attach_envelope(registry, repository, subject, envelope, statement.predicate_type)
        signed.append(
            Signed(
                kind=kind_of(statement.predicate_type),
                artifact=artifact,
                envelope=digest_of(envelope),
                key_id=signer.public.key_id,
            )
        )
    kinds = ", ".join(one.kind for one in signed)
    report(
        ImageStep(
            digest=subject.digest,
            image=f"{registry.host}/{repository}",
            step="signed",
            time_ns=now_ns,
            summary=f"{kinds} signed by {signer.public.name}",
            facts={one.kind: one.envelope for one in signed} | {"key": signer.public.key_id},
        )
    )
    return tuple(signed)


def facts_of_build(built: Built, parameters: Mapping[str, str]) -> BuildFacts:
    """What the provenance says of a build of ours: what it was made from, with what, when."""
    materials = []
    if built.base:
        materials.append(Material(uri=built.base, digest=parse_image_ref(built.base).digest or ""))
    if built.context:
        materials.append(Material(uri="urn:shipwall:build-context", digest=built.context))
    return BuildFacts(
        builder=BUILDER,
        parameters={**parameters, "SOURCE_DATE_EPOCH": str(built.epoch_s)},
        materials=tuple(materials),
        started_ns=built.started_ns,
        finished_ns=built.finished_ns,
    )


def load_openvex(paths: Sequence[Path]) -> tuple[dict[str, Any], ...]:
    """The OpenVEX documents in the files `paths`, as they will be signed. Raises InputError, StorageError."""
    documents = []
    for path in paths:
        document = parse_json(read_bounded(path, MAX_VEX_BYTES), str(path), MAX_VEX_BYTES)
        if not isinstance(document, dict) or not str(document.get("@context", "")).startswith(VEX_TYPE):
            raise InputError(str(path), "is not OpenVEX: its @context does not say so", "sign an OpenVEX document")
        documents.append(document)
    return tuple(documents)


def attach_envelope(registry: Registry, repository: str, subject: Manifest, envelope: bytes, predicate_type: str) -> Digest:
    """The artifact manifest that now holds `envelope` beside `subject`. Doing it again changes nothing."""
    config = registry.put_blob(repository, _EMPTY)
    layer = registry.put_blob(repository, envelope)
    return registry.put_manifest(repository, render_artifact(subject, config, layer, len(envelope), predicate_type), OCI_MANIFEST)


def render_artifact(subject: Manifest, config: Digest, layer: Digest, layer_bytes: int, predicate_type: str) -> bytes:
    """The artifact manifest of an envelope. Source: OCI image spec 1.1, manifest.md, Guidelines for Artifact Usage."""
    return msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": PAYLOAD_TYPE,
            "config": {"mediaType": EMPTY_TYPE, "digest": config, "size": len(_EMPTY)},
            "layers": [{"mediaType": ENVELOPE_TYPE, "digest": layer, "size": layer_bytes}],
            "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.body)},
            "annotations": {PREDICATE_ANNOTATION: predicate_type},
        }
    )


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One statement found beside an image; `artifact` is its manifest."""

    artifact: Digest
    statement: VerifiedStatement | RefusedStatement


def load_statements(registry: Registry, repository: str, subject: Digest, keys: PublicKeys) -> tuple[Found, ...]:
    """What stands beside the image `subject`, each verified with `keys` or refused with the reason.

    Trust: the registry's list is believed for nothing but where to look. A statement that cannot be fetched is refused, not left out.
    Raises: RemoteError when the list itself cannot be had; InputError for more than MAX_STATEMENTS.
    """
    listed = registry.referrers(repository, subject, PAYLOAD_TYPE)
    if len(listed) > MAX_STATEMENTS:
        raise InputError(f"{repository}@{subject}", f"has more than {MAX_STATEMENTS} statements beside it", "delete the old ones")
    found = []
    for descriptor in listed:
        artifact, annotations = str(descriptor.get("digest", "")), descriptor.get("annotations")
        claimed = annotations.get(PREDICATE_ANNOTATION) if isinstance(annotations, dict) else None
        kind = kind_of(claimed) if isinstance(claimed, str) else ""
        envelope = ""
        try:
            layer = _envelope_layer(registry.manifest(repository, parse_digest(artifact)))
            envelope = layer
            data = registry.blob_bytes(repository, layer, MAX_ENVELOPE_BYTES)
            found.append(Found(artifact=artifact, statement=verify_statement(data, keys, subject)))
        except (InputError, TrustError, RemoteError) as error:
            if isinstance(error, RemoteError) and error.status == 0:
                raise  # the registry went away: that says nothing about the statement
            refused = RefusedStatement(kind=kind, envelope=envelope or artifact[:100], reason=error.line())
            found.append(Found(artifact=artifact, statement=refused))
    return tuple(found)


def statements_of(found: Sequence[Found]) -> tuple[VerifiedStatement | RefusedStatement, ...]:
    """The statements alone, as the gate takes them."""
    return tuple(one.statement for one in found)


def _envelope_layer(artifact: Manifest) -> Digest:
    layers = artifact.parse().get("layers", [])
    if len(layers) != 1 or layers[0].get("mediaType") != ENVELOPE_TYPE:
        raise InputError(f"artifact {artifact.digest}", "does not hold exactly one DSSE envelope")
    return parse_digest(str(layers[0].get("digest", "")))
