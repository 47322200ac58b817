"""Statements: each kind signed and verified, and every broken variant refused at its step."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shipwall.adapters.keys import SigningKey
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError, TrustError
from shipwall.model.finding import Finding, ScanResult, Severity
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.model.promotion import PROMOTION_TYPE, Promotion
from shipwall.model.verdict import Evidence, Reason, Verdict
from shipwall.supply.dsse import sign_envelope
from shipwall.supply.purl import purl_of
from shipwall.supply.sbom import SBOM_TYPE, parse_sbom, render_sbom
from shipwall.supply.statements import (
    PAYLOAD_TYPE,
    PROVENANCE_TYPE,
    SCAN_TYPE,
    BuildFacts,
    Material,
    Statement,
    parse_scan,
    parse_statement,
    promotion_statement,
    provenance_statement,
    render_statement,
    sbom_statement,
    scan_statement,
    sign_statement,
    verdict_statement,
    verify_promotion,
    verify_statement,
)

SIGNER = SigningKey(Ed25519PrivateKey.generate(), "build")
OTHER = SigningKey(Ed25519PrivateKey.generate(), "other")
KEYS = {SIGNER.public.key_id: SIGNER.public}
LAYER = digest_of(b"layer")
IMAGE = ImageIdentity(manifest=digest_of(b"manifest"), config=digest_of(b"config"), diff_ids=(LAYER, digest_of(b"two")))
ELSEWHERE = digest_of(b"another image")
PACKAGE = Package(
    ecosystem="deb",
    name="libstdc++6",
    version="1:12.2.0-14+deb12u1",
    arch="amd64",
    source="gcc-12",
    source_version="12.2.0-14+deb12u1",
    evidence="/var/lib/dpkg/status",
    layer=LAYER,
    files=("/usr/lib/a", "/usr/lib/b"),
)
INVENTORY = Inventory(
    image=IMAGE,
    distribution=Distribution(id="debian", version_id="12", codename="bookworm"),
    packages=(PACKAGE, PACKAGE),
    skipped=(Skipped(what="/odd", reason="not a tar"),),
    labels={"a": "b"},
    created="2026-01-01T00:00:00Z",
)
SCAN = ScanResult(
    findings=(Finding(id="CVE-2026-1", package=PACKAGE, severity=Severity.HIGH, fixed_version="1:12.2.0-15"),),
    advisories="archive",
    advisories_time_ns=5,
)
NOW = 1_790_000_000 * 10**9
PROMOTION = Promotion(
    image=IMAGE,
    registry="127.0.0.1:5000",
    repository="prod/shop",
    policy=digest_of(b"policy"),
    time_ns=NOW,
    by_key=SIGNER.public.key_id,
)
BUILD = BuildFacts(
    builder="urn:builder",
    parameters={"file": "Dockerfile"},
    materials=(Material(uri="dev/base", digest=LAYER),),
    started_ns=NOW - 10**9,
    finished_ns=NOW,
    invocation="1",
)


def test_each_kind_verifies_with_its_time() -> None:
    verdict = Verdict(allowed=True, reasons=(Reason(code="x", message="y", evidence=(Evidence(kind="k", ref="r"),)),))
    statements = {
        "sbom": sbom_statement(INVENTORY, "dev/shop", NOW),
        "scan": scan_statement(SCAN, IMAGE.manifest, "dev/shop", NOW),
        "provenance": provenance_statement(BUILD, IMAGE.manifest, "dev/shop"),
        "verdict": verdict_statement(verdict, IMAGE.manifest, "dev/shop", "prod/shop", digest_of(b"p"), NOW),
        "promotion": promotion_statement(PROMOTION),
    }
    for kind, statement in statements.items():
        envelope = sign_statement(statement, SIGNER)
        verified = verify_statement(envelope, KEYS, IMAGE.manifest, statement.predicate_type)
        assert (verified.kind, verified.time_ns, verified.signers) == (kind, NOW, ("build",))
        assert verified.envelope == digest_of(envelope)


def test_sbom_goes_both_ways_and_names_its_evidence() -> None:
    document = render_sbom(INVENTORY, NOW)
    assert parse_sbom(json.loads(json.dumps(document))) == INVENTORY
    component = document["components"][0]
    assert (
        component["purl"]
        == "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14%2Bdeb12u1"
    )
    assert component["evidence"]["identity"][0]["methods"][0]["value"] == "/var/lib/dpkg/status"
    assert [one["bom-ref"] for one in document["components"]] == [component["purl"], component["purl"] + "#2"]
    assert document["metadata"]["timestamp"] == "2026-09-21T14:13:20Z"


def test_sbom_of_a_folder_goes_both_ways() -> None:
    folder = Inventory(image=None, distribution=Distribution(), packages=(Package(ecosystem="deb", name="a", version="1"),))
    assert parse_sbom(render_sbom(folder, NOW)) == folder
    assert purl_of(folder.packages[0], folder.distribution) == "pkg:deb/a@1"
    with pytest.raises(InputError, match="not of an image"):
        sbom_statement(folder, "x", NOW)


def test_scan_comes_back_without_file_lists() -> None:
    verified = verify_statement(
        sign_statement(scan_statement(SCAN, IMAGE.manifest, "x", NOW), SIGNER), KEYS, IMAGE.manifest, SCAN_TYPE
    )
    again = parse_scan(verified.predicate).scan
    assert again.findings[0].package == msgspec.structs.replace(PACKAGE, files=())
    assert again.advisories == "archive"


def test_promotion_comes_back_whole() -> None:
    assert verify_promotion(sign_statement(promotion_statement(PROMOTION), SIGNER), KEYS) == PROMOTION


def test_promotion_by_a_key_that_may_not_promote_is_refused() -> None:
    with pytest.raises(TrustError, match="unknown key"):
        verify_promotion(sign_statement(promotion_statement(PROMOTION), OTHER), KEYS)
    both = KEYS | {OTHER.public.key_id: OTHER.public}
    with pytest.raises(TrustError, match="another key"):
        verify_promotion(sign_statement(promotion_statement(PROMOTION), OTHER), both)


def test_promotion_of_another_image_than_the_subject_is_refused() -> None:
    statement = Statement("prod/shop", ELSEWHERE, PROMOTION_TYPE, msgspec.to_builtins(PROMOTION))
    with pytest.raises(TrustError, match=r"8 predicate.*another image"):
        verify_promotion(sign_statement(statement, SIGNER), KEYS)


def test_an_sbom_is_never_taken_for_a_promotion() -> None:
    with pytest.raises(TrustError, match="7 predicate type"):
        verify_promotion(sign_statement(sbom_statement(INVENTORY, "x", NOW), SIGNER), KEYS)


def payload(**fields: Any) -> bytes:
    return json.dumps(json.loads(render_statement(provenance_statement(BUILD, IMAGE.manifest, "x"))) | fields).encode()


SUBJECT = {"name": "x", "digest": {"sha256": IMAGE.manifest[7:]}}


@pytest.mark.parametrize(
    ("body", "step"),
    [
        (b"no json", "5 statement"),
        (payload().replace(b'{"_type"', b'{"subject":[],"_type"', 1), "5 statement"),
        (payload(_type="https://in-toto.io/Statement/v0.1"), "5 statement"),
        (payload(more=1), "5 statement"),
        (payload(subject=[]), "5 statement"),
        (payload(subject=[SUBJECT, SUBJECT]), "5 statement"),
        (payload(subject=[{"name": "x", "digest": {}}]), "5 statement"),
        (payload(subject=[{"name": "x", "digest": {"sha256": IMAGE.manifest[7:].upper()}}]), "5 statement"),
        (payload(subject=[{"name": "x", "digest": {"sha256": IMAGE.manifest[7:], "sha1": "0"}}]), "5 statement"),
        (payload(subject=[{"name": "x", "digest": {"sha256": ELSEWHERE[7:]}}]), "6 subject"),
        (payload(predicateType=SBOM_TYPE), "7 predicate type"),
        (payload(predicate=[]), "5 statement"),
        (payload(predicate={}), "8 predicate"),
        (payload(predicate={"buildDefinition": {}, "runDetails": {"builder": {"id": "x"}}}), "8 predicate"),
    ],
)
def test_every_broken_statement_is_refused_at_its_step(body: bytes, step: str) -> None:
    with pytest.raises(TrustError) as caught:
        verify_statement(sign_envelope(PAYLOAD_TYPE, body, SIGNER), KEYS, IMAGE.manifest, PROVENANCE_TYPE)
    assert caught.value.step == step


def test_an_sbom_of_another_image_is_refused() -> None:
    other = msgspec.structs.replace(INVENTORY, image=msgspec.structs.replace(IMAGE, manifest=ELSEWHERE))
    statement = Statement("x", IMAGE.manifest, SBOM_TYPE, render_sbom(other, NOW))
    with pytest.raises(TrustError, match="8 predicate"):
        verify_statement(sign_statement(statement, SIGNER), KEYS, IMAGE.manifest)


def test_a_statement_of_an_unknown_type_verifies_under_its_own_name() -> None:
    envelope = sign_statement(Statement("x", IMAGE.manifest, "https://example.org/p", {"a": 1}), SIGNER)
    assert verify_statement(envelope, KEYS, IMAGE.manifest).kind == "https://example.org/p"


def test_times_of_others_are_read_and_nonsense_is_unknown() -> None:
    def time_of(text: str) -> int:
        value = json.loads(payload())
        value["predicate"]["runDetails"]["metadata"]["finishedOn"] = text
        envelope = sign_envelope(PAYLOAD_TYPE, json.dumps(value).encode(), SIGNER)
        return verify_statement(envelope, KEYS, IMAGE.manifest).time_ns

    assert time_of("1970-01-01T01:00:00+01:00") == 0
    assert time_of("1970-01-02T00:00:00.5Z") == 86_400_500_000_000
    assert time_of("yesterday") == 0
    assert time_of("1970-01-02T00:00:00") == 0


def test_parse_statement_gives_what_was_rendered() -> None:
    statement = sbom_statement(INVENTORY, "dev/shop", NOW)
    assert parse_statement(render_statement(statement)) == statement
