"""At the gate: whose word sets a finding aside, whose does not, and that the verdict says which, by what and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shipwall.adapters.keys import SigningKey
from shipwall.lang.diagnostic import SourceError
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError, TrustError
from shipwall.model.finding import Finding, ScanResult, Severity
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.model.verdict import Verdict
from shipwall.supply.gate import decide_promotion
from shipwall.supply.policy import parse_policy
from shipwall.supply.statements import (
    RefusedStatement,
    VerifiedStatement,
    render_statement,
    sign_statement,
    verify_statement,
    vex_statement,
)

NOW = 20_000 * 86400 * 10**9  # 2024-10-04
VENDOR, BUILD, STRANGER = (SigningKey(Ed25519PrivateKey.generate(), name) for name in ("vendor", "build", "stranger"))
TRUSTED = {key.public.key_id: key.public for key in (VENDOR, BUILD)}
IMAGE = ImageIdentity(manifest=digest_of(b"m"), config=digest_of(b"c"), diff_ids=(digest_of(b"layer"),))
ELSEWHERE = digest_of(b"another image")
SSL = Package(ecosystem="deb", name="libssl3", version="3.0.11-1", arch="amd64", source="openssl", source_version="3.0.11-1")
CURL = Package(ecosystem="deb", name="curl", version="7.88-1", arch="amd64", source="curl", source_version="7.88-1")
INVENTORY = Inventory(image=IMAGE, distribution=Distribution(id="debian", version_id="12.13"), packages=(SSL, CURL))
SCAN = ScanResult(
    findings=(
        Finding(id="CVE-1", package=SSL, fixed_version="3.0.15-1", severity=Severity.HIGH, aliases=("DSA-1",)),
        Finding(id="CVE-2", package=CURL, fixed_version="7.88-2"),
    ),
    advisories="feed",
    advisories_time_ns=NOW,
)
SOURCE = f"localhost:5000/dev/shop@{IMAGE.manifest}"


def document(id_: str = "CVE-1", product: str = "pkg:deb/debian/libssl3", when: str = "2024-10-01T00:00:00Z") -> dict[str, Any]:
    said = {
        "vulnerability": {"name": id_},
        "products": [{"@id": product}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
    }
    return {"@context": "https://openvex.dev/ns/v0.2.0", "author": "vendor", "timestamp": when, "statements": [said]}


def beside(said: dict[str, Any], key: SigningKey = VENDOR, subject: str = IMAGE.manifest) -> VerifiedStatement | RefusedStatement:
    """`said` as it is found beside the image: signed by `key` for `subject`, and verified or refused as every statement there."""
    envelope = sign_statement(vex_statement(said, subject, "shop"), key)
    try:
        return verify_statement(envelope, TRUSTED, IMAGE.manifest)
    except TrustError as error:
        return RefusedStatement(kind="vex", envelope=digest_of(envelope), reason=error.line())


def judge(
    findings: str,
    *statements: VerifiedStatement | RefusedStatement,
    files: Mapping[str, bytes] | None = None,
    scan: ScanResult = SCAN,
) -> Verdict:
    text = f"version: 1\nroutes:\n  - from: dev/*\n    to: prod/*\n    findings: {{fixable: none, {findings}}}\n"
    policy = parse_policy(text.encode(), "policy.yaml", (files or {}).__getitem__)
    verdict = decide_promotion(policy, policy.routes[0], INVENTORY, scan, statements, NOW, (), SOURCE)
    assert all(any(one.ref == policy.digest for one in reason.evidence) for reason in verdict.reasons), "each names the policy"
    return verdict


def codes(verdict: Verdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


CURL_OUT = "ignore: [{id: CVE-2, reason: no network, until: 2024-12-31}]"
BY_VENDOR = f"{CURL_OUT}, vex: [{{by: [vendor]}}]"


def test_a_document_signed_for_this_image_by_a_named_key_sets_aside_and_is_quoted() -> None:
    statement = beside(document())
    verdict = judge(BY_VENDOR, statement)
    assert verdict.allowed
    passed, vex, ignored = verdict.reasons
    assert passed.message == "passes policy.yaml: 2 packages, 0 findings and 2 set aside, every required statement is there"
    by = f"vex {statement.envelope[:19]} signed by vendor statement 1"
    assert vex.code == "finding-set-aside"
    assert vex.message == f"CVE-1 was set aside as not_affected by {by}: vulnerable_code_not_in_execute_path"
    assert [(one.kind, one.ref) for one in vex.evidence[:2]] == [("finding", "CVE-1"), ("statement", statement.envelope)]
    assert vex.evidence[0].detail == "libssl3 3.0.11-1, fixed in 3.0.15-1, severity high"
    assert ignored.code == "finding-ignored"
    assert ignored.message == "CVE-2 was ignored, until 2024-12-31, by policy.yaml:5: no network"


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (beside(document(), BUILD), "vex signed by build does not count"),
        (beside(document(), STRANGER), "signed by unknown key"),
        (beside(document(), subject=ELSEWHERE), f"is about {ELSEWHERE}, not {IMAGE.manifest}"),
        (
            RefusedStatement(kind="vex", envelope=digest_of(b"e"), reason="3 signatures: carries no signature"),
            "carries no signature",
        ),
    ],
)
def test_what_merely_comes_with_the_image_changes_nothing_and_is_named(
    statement: VerifiedStatement | RefusedStatement, why: str
) -> None:
    verdict = judge(BY_VENDOR, statement)
    assert not verdict.allowed
    assert codes(verdict) == ["finding-fixable", "finding-ignored", "vex-not-accepted"]
    refused = verdict.reasons[-1]
    assert refused.message == "1 VEX document beside the image does not count: not signed for it by vendor"
    assert (refused.evidence[0].ref, why in refused.evidence[0].detail) == (statement.envelope, True)


def test_a_statement_of_another_manifest_that_was_verified_for_it_does_not_count() -> None:
    elsewhere = verify_statement(sign_statement(vex_statement(document(), ELSEWHERE, "s"), VENDOR), TRUSTED, ELSEWHERE)
    assert codes(judge(BY_VENDOR, elsewhere)) == ["finding-fixable", "finding-ignored", "vex-not-accepted"]


def test_a_policy_that_names_no_vex_counts_none() -> None:
    assert codes(judge(CURL_OUT, beside(document()))) == ["finding-fixable", "finding-ignored"]


@pytest.mark.parametrize(
    ("when", "allowed"),
    [("2024-10-01T00:00:00Z", True), ("2024-08-01T00:00:00Z", False), ("2024-11-01T00:00:00Z", False), ("", False)],
)
def test_an_old_undated_or_future_document_does_not_count(when: str, allowed: bool) -> None:
    verdict = judge(f"{CURL_OUT}, vex: [{{by: [vendor], max_age: 30d}}]", beside(document(when=when)))
    assert verdict.allowed is allowed
    if not allowed:
        assert "older than the policy lets count" in verdict.reasons[-1].evidence[0].detail


def test_the_nearest_miss_is_told() -> None:
    near = "pkg:deb/debian/libssl3@3.0.11-1?distro=debian-12"
    for verdict in (
        judge(BY_VENDOR, beside(document(product=near))),
        judge(f"{CURL_OUT}, vex: [{{file: v.json}}]", files={"v.json": json.dumps(document(product=near)).encode()}),
    ):
        assert codes(verdict) == ["finding-fixable", "finding-ignored", "judgement-unused"]
        assert "nearest is libssl3 3.0.11-1, whose distro is debian-12 in the statement" in verdict.reasons[-1].message
    other_image = beside(document(product=f"pkg:oci/shop@{ELSEWHERE}"))
    assert f"digest is {ELSEWHERE} in the statement" in judge(BY_VENDOR, other_image).reasons[-1].message


def test_a_document_beside_the_policy_sets_aside_with_its_digest() -> None:
    data = json.dumps(document()).encode()
    verdict = judge(f"{CURL_OUT}, vex: [{{file: vex/v.json}}]", files={"vex/v.json": data})
    assert codes(verdict) == ["passes-policy", "finding-set-aside", "finding-ignored"]
    assert ("file", "vex/v.json", digest_of(data)) in [(one.kind, one.ref, one.detail) for one in verdict.reasons[1].evidence]


def test_a_document_about_other_problems_is_silent() -> None:
    data = json.dumps(document("CVE-77")).encode()
    assert codes(judge(f"{CURL_OUT}, vex: [{{file: v.json}}]", files={"v.json": data})) == ["finding-fixable", "finding-ignored"]


def ignore_file(until: str, package: str = "curl") -> bytes:
    return f"version: 1\nignore:\n  - {{id: CVE-2, package: {package}, reason: no network, until: {until}}}\n".encode()


SSL_OUT = "vex: [{by: [vendor]}]"


def test_an_ignore_file_holds_to_its_end_and_no_longer() -> None:
    rules = f"{SSL_OUT}, ignore: [{{file: accepted.yaml}}]"
    today, over = (ignore_file(until) for until in ("2024-10-04", "2024-10-03"))
    verdict = judge(rules, beside(document()), files={"accepted.yaml": today})
    assert codes(verdict) == ["passes-policy", "finding-set-aside", "finding-ignored"]
    assert "by accepted.yaml:3: no network" in verdict.reasons[-1].message
    refused = judge(rules, beside(document()), files={"accepted.yaml": over})
    assert codes(refused) == ["finding-fixable", "exception-expired", "finding-set-aside"]
    expired = refused.reasons[1]
    assert expired.message == "the exception for CVE-2 curl has run out on 2024-10-03: no network"
    assert ("accepted.yaml", digest_of(over)) in [(one.ref, one.detail) for one in expired.evidence]
    missed = judge(rules, beside(document()), files={"accepted.yaml": ignore_file("2024-10-04", "libcurl4")})
    assert codes(missed) == ["finding-fixable", "finding-set-aside", "judgement-unused"]
    assert "CVE-2 libcurl4 matched nothing" in missed.reasons[-1].message


def test_conditions_see_what_fail_on_sees() -> None:
    used = msgspec.structs.replace(
        SCAN, findings=tuple(msgspec.structs.replace(one, in_use=one.id == "CVE-1") for one in SCAN.findings)
    )
    rules = 'deny: ["finding.in_use && finding.fixed", "scan.suppressed > 1", "scan.findings > 0"], fixable: any'
    text = f"version: 1\nroutes:\n  - from: a\n    to: b\n    findings: {{{rules}, vex: [{{by: [vendor]}}]}}\n"
    policy = parse_policy(text.encode(), "p")

    def hit(*statements: VerifiedStatement | RefusedStatement) -> list[str]:
        verdict = decide_promotion(policy, policy.routes[0], INVENTORY, used, statements, NOW, (), SOURCE)
        return [reason.message for reason in verdict.reasons if reason.code == "finding-denied"]

    assert hit() == ["`finding.in_use && finding.fixed` is true of 1 finding: CVE-1", "`scan.findings > 0` is true of this scan"]
    assert hit(beside(document())) == ["`scan.findings > 0` is true of this scan"]
    both = hit(beside(document()), beside(document("CVE-2", "pkg:deb/debian/curl")))
    assert both == ["`scan.suppressed > 1` is true of this scan"]


@pytest.mark.parametrize("name", ["../v.json", "/etc/v.json", "a/../v.json", "./v.json", "..", "", "a//b"])
def test_only_a_file_beside_the_policy_can_be_named(name: str) -> None:
    for rule in (f"vex: [{{file: {name!r}}}]", f"ignore: [{{file: {name!r}}}]"):
        with pytest.raises(SourceError, match="does not lie beside the policy"):
            judge(rule, files={name: json.dumps(document()).encode()})


def test_a_broken_file_is_no_policy() -> None:
    with pytest.raises(InputError, match="neither OpenVEX"):
        judge("vex: [{file: v.json}]", files={"v.json": b"{}"})
    with pytest.raises(SourceError, match="key 'reason' is missing"):
        judge("ignore: [{file: i.yaml}]", files={"i.yaml": b"version: 1\nignore: [{id: CVE-1, until: 2030-01-01}]"})
    with pytest.raises(SourceError, match="stands alone"):
        parse_policy(b"version: 1\nroutes: [{from: a, to: b, findings: {vex: [{file: v.json}]}}]", "p")


def test_what_is_signed_as_vex_must_be_openvex() -> None:
    with pytest.raises(InputError, match="is not OpenVEX"):
        vex_statement({"bomFormat": "CycloneDX"}, IMAGE.manifest, "s")
    good = vex_statement(document(), IMAGE.manifest, "s")
    assert b'"predicateType":"https://openvex.dev/ns"' in render_statement(good)
    bad = document()
    bad["statements"][0]["status"] = "perhaps"
    with pytest.raises(InputError, match="perhaps"):
        vex_statement(bad, IMAGE.manifest, "s")
