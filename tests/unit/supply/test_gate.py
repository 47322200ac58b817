"""The gate: every reason, its evidence and the way to pass; closed where something is not known."""

from __future__ import annotations

import msgspec
import pytest

from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.finding import Finding, ScanResult, Severity
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.model.verdict import Verdict
from shipwall.supply.gate import decide_promotion
from shipwall.supply.policy import parse_policy
from shipwall.supply.statements import RefusedStatement, VerifiedStatement

DAY = 86400 * 10**9
NOW = 20_000 * DAY
BOTTOM, TOP = digest_of(b"bottom"), digest_of(b"top")
IMAGE = ImageIdentity(manifest=digest_of(b"m"), config=digest_of(b"c"), diff_ids=(BOTTOM, TOP))
BASE = ImageIdentity(manifest=digest_of(b"base"), config=digest_of(b"bc"), diff_ids=(BOTTOM,))


def deb(name: str, version: str = "1.0-1", source: str = "", layer: str = BOTTOM) -> Package:
    return Package(
        ecosystem="deb",
        name=name,
        version=version,
        arch="amd64",
        source=source or name,
        source_version=version,
        evidence="/var/lib/dpkg/status",
        layer=layer,
    )


def finding(id_: str, package: Package, fixed: str = "1.0-2", severity: Severity = Severity.UNKNOWN) -> Finding:
    return Finding(id=id_, package=package, fixed_version=fixed, severity=severity, source="archive")


def statement(kind: str, signer: str = "build", subject: str = IMAGE.manifest, time_ns: int = NOW) -> VerifiedStatement:
    return VerifiedStatement(
        kind=kind, subject=subject, signers=(signer,), envelope=digest_of(kind.encode()), predicate={}, time_ns=time_ns
    )


PACKAGES = (deb("libssl3", source="openssl"), deb("openssl"), deb("tcpdump", "4.99.3-1", layer=TOP))
INVENTORY = Inventory(image=IMAGE, distribution=Distribution(id="debian"), packages=PACKAGES)
SCAN = ScanResult(findings=(), advisories="security", advisories_time_ns=NOW - DAY)


def judge(
    rules: str,
    inventory: Inventory = INVENTORY,
    scan: ScanResult = SCAN,
    statements: tuple[VerifiedStatement | RefusedStatement, ...] = (),
    known: tuple[ImageIdentity, ...] = (),
) -> Verdict:
    policy = parse_policy(f"version: 1\nroutes:\n  - from: dev/*\n    to: prod/*\n{rules}".encode(), "policy.yaml")
    verdict = decide_promotion(policy, policy.routes[0], inventory, scan, statements, NOW, known)
    assert all(any(one.ref == policy.digest for one in reason.evidence) for reason in verdict.reasons), "each names the policy"
    assert verdict.allowed or all(reason.next_step for reason in verdict.reasons), "each refusal shows a way"
    return verdict


def codes(verdict: Verdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


def test_no_rules_let_pass_and_say_so() -> None:
    verdict = judge("")
    assert verdict.allowed
    assert codes(verdict) == ["passes-policy"]


def test_no_route_and_no_image_are_closed() -> None:
    policy = parse_policy(b"version: 1\nroutes: [{from: a, to: b}]", "p")
    assert codes(decide_promotion(policy, None, INVENTORY, SCAN, (), NOW)) == ["no-route"]
    folder = msgspec.structs.replace(INVENTORY, image=None)
    assert codes(decide_promotion(policy, policy.routes[0], folder, SCAN, (), NOW)) == ["no-image"]


DENY = "    packages: {deny: [{name: %s, reason: no sniffers}]}\n"


def test_a_denied_package_is_named_with_file_and_layer() -> None:
    verdict = judge(DENY % "tcpdump")
    (reason,) = verdict.reasons
    assert reason.code == "package-denied"
    assert reason.message == "package tcpdump 4.99.3-1 is denied: no sniffers"
    assert [(one.kind, one.ref, one.detail) for one in reason.evidence[:2]] == [
        ("package", "tcpdump 4.99.3-1 amd64", "source tcpdump"),
        ("file", "/var/lib/dpkg/status", f"in layer {TOP}"),
    ]
    assert reason.evidence[-1].detail == "policy.yaml:5"
    assert "without tcpdump" in reason.next_step


def test_a_denied_source_denies_its_binaries_and_versions_count() -> None:
    assert codes(judge(DENY % "openssl")) == ["package-denied"] * 2
    assert judge(DENY % 'openssl, version: "> 1.0-1"').allowed
    assert not judge(DENY % 'openssl, version: "<= 1.0-1"').allowed


def test_a_version_that_cannot_be_compared_is_denied() -> None:
    odd = msgspec.structs.replace(INVENTORY, packages=(deb("openssl", "not a version"),))
    assert codes(judge(DENY % 'openssl, version: "> 9"', odd)) == ["package-denied"]


FIXABLE = "    findings: {fixable: none}\n"
FOUND = msgspec.structs.replace(
    SCAN,
    findings=(
        finding("CVE-1", PACKAGES[0]),
        finding("CVE-1", PACKAGES[1]),
        finding("CVE-2", PACKAGES[0]),
        finding("CVE-3", PACKAGES[2], ""),
    ),
)


def test_fixable_findings_are_one_reason_per_source_with_every_id() -> None:
    (reason,) = judge(FIXABLE, scan=FOUND).reasons
    assert reason.message == "openssl 1.0-1 has 2 findings with a fix: CVE-1, CVE-2"
    assert [one.ref for one in reason.evidence if one.kind == "finding"] == ["CVE-1", "CVE-1", "CVE-2"]
    assert "libssl3 1.0-1, fixed in 1.0-2, severity unknown, says archive" in [one.detail for one in reason.evidence]
    assert reason.next_step == "rebuild on a base, or with an upgrade, that has openssl 1.0-2"


def test_the_version_that_ends_all_of_them_is_named() -> None:
    versions = ("1.0-1+deb12u9", "1.0-1+deb12u10", "1.0-1+deb12u2")
    found = tuple(finding(f"CVE-{number}", PACKAGES[1], fixed) for number, fixed in enumerate(versions))
    (reason,) = judge(FIXABLE, scan=msgspec.structs.replace(SCAN, findings=found)).reasons
    assert reason.next_step == "rebuild on a base, or with an upgrade, that has openssl 1.0-1+deb12u10"


def test_limits_count_by_severity() -> None:
    scan = msgspec.structs.replace(SCAN, findings=tuple(finding(f"CVE-{n}", PACKAGES[0], "", Severity.HIGH) for n in range(3)))
    assert judge("    findings: {max: {high: 3}}\n", scan=scan).allowed
    (reason,) = judge("    findings: {max: {high: 2}}\n", scan=scan).reasons
    assert reason.message == "3 findings of severity high, at most 2 allowed"
    assert "remove the package" in reason.next_step


def ignore(id_: str, until: str) -> str:
    return f"    findings: {{fixable: none, ignore: [{{id: {id_}, reason: why, until: {until}}}]}}\n"


def test_ignored_findings_do_not_count_until_their_end_and_are_shown() -> None:
    scan = msgspec.structs.replace(SCAN, findings=(finding("CVE-1", PACKAGES[0]),))
    today = "2024-10-04"  # day 20000
    verdict = judge(ignore("CVE-1", today), scan=scan)
    assert verdict.allowed
    assert codes(verdict) == ["passes-policy", "finding-ignored"]
    assert codes(judge(ignore("CVE-1", "2024-10-03"), scan=scan)) == ["finding-fixable", "exception-expired"]
    assert codes(judge(ignore("CVE-9", today), scan=scan)) == ["finding-fixable"]


def test_an_alias_is_ignored_too() -> None:
    one = msgspec.structs.replace(finding("DSA-1", PACKAGES[0]), aliases=("CVE-1",))
    assert judge(ignore("CVE-1", "2030-01-01"), scan=msgspec.structs.replace(SCAN, findings=(one,))).allowed


def test_what_was_not_judged_refuses_unless_allowed() -> None:
    skipped = tuple(Skipped(what=f"/file{n}", reason="odd") for n in range(30))
    scan = msgspec.structs.replace(SCAN, skipped=skipped)
    (reason,) = judge("", scan=scan).reasons
    assert reason.code == "not-judged"
    assert [one.ref for one in reason.evidence][-2] == "10 more"
    assert not judge("", msgspec.structs.replace(INVENTORY, skipped=skipped)).allowed
    assert judge("    findings: {unjudged: allow}\n", scan=scan).allowed


@pytest.mark.parametrize("rules", ["fixable: none", "max: {high: 9}"])
def test_a_scan_without_advisories_never_passes_a_rule_about_findings(rules: str) -> None:
    blind = ScanResult(findings=(), skipped=(Skipped(what="findings of 3 packages", reason="archive away"),))
    verdict = judge(f"    findings: {{{rules}, unjudged: allow}}\n", scan=blind)
    assert codes(verdict) == ["findings-unknown"]
    assert "archive away" in verdict.reasons[0].evidence[0].detail
    assert judge("    findings: {unjudged: allow}\n", scan=blind).allowed


@pytest.mark.parametrize(
    ("time_ns", "allowed"), [(NOW - DAY, True), (NOW - 8 * DAY, False), (0, False), (NOW + DAY, False), (NOW + 10**9, True)]
)
def test_age_of_the_advisories(time_ns: int, allowed: bool) -> None:
    scan = msgspec.structs.replace(SCAN, advisories_time_ns=time_ns)
    assert judge("    findings: {max_age: 7d}\n", scan=scan).allowed is allowed


SIGNED = "    attestations: [{type: provenance, by: [build]}, {type: scan, by: [build], max_age: 24h}]\n"


def test_required_statements_let_pass() -> None:
    verdict = judge(SIGNED, statements=(statement("provenance"), statement("scan")))
    assert verdict.allowed
    assert "scan signed by build" in [one.detail for one in verdict.reasons[0].evidence]


def test_missing_statements_are_each_a_reason() -> None:
    verdict = judge(SIGNED)
    assert codes(verdict) == ["attestation-missing"] * 2
    assert verdict.reasons[0].message == f"no provenance signed by build for {IMAGE.manifest}"
    assert verdict.reasons[0].evidence[0].detail == "none was found"


def test_what_was_there_and_does_not_count_is_quoted() -> None:
    there = (
        statement("provenance", signer="stranger"),
        statement("provenance", subject=digest_of(b"other")),
        RefusedStatement(kind="provenance", envelope=digest_of(b"e"), reason="4 signature: does not fit"),
        statement("scan"),
    )
    (reason,) = judge(SIGNED, statements=there).reasons
    details = [one.detail for one in reason.evidence if one.kind == "statement"]
    assert details == [
        "provenance signed by stranger does not count",
        f"provenance about {digest_of(b'other')} does not count",
        "4 signature: does not fit",
    ]


@pytest.mark.parametrize("time_ns", [NOW - 2 * DAY, 0, NOW + DAY])
def test_an_old_undated_or_future_statement_does_not_count(time_ns: int) -> None:
    verdict = judge(SIGNED, statements=(statement("provenance"), statement("scan", time_ns=time_ns)))
    assert codes(verdict) == ["attestation-too-old"]


def test_bases_by_chain_id_or_known_manifest() -> None:
    assert judge(f"    bases: [{BOTTOM}]\n").allowed
    assert codes(judge(f"    bases: [{BASE.manifest}]\n")) == ["base-not-allowed"]
    assert judge(f"    bases: [{BASE.manifest}]\n", known=(BASE,)).allowed
    assert codes(judge(f"    bases: [{TOP}]\n", known=(BASE,))) == ["base-not-allowed"]


def test_every_reason_at_once() -> None:
    verdict = judge(DENY % "tcpdump" + FIXABLE + SIGNED + f"    bases: [{TOP}]\n", scan=FOUND)
    assert codes(verdict) == [
        "package-denied",
        "finding-fixable",
        "attestation-missing",
        "attestation-missing",
        "base-not-allowed",
    ]


def test_denied_by_a_condition_over_findings() -> None:
    rules = "    findings:\n      deny:\n        - finding.severity >= HIGH && finding.fixed\n        - scan.unknown > 5\n"
    high = finding("CVE-9", PACKAGES[0], severity=Severity.HIGH)
    scan = msgspec.structs.replace(SCAN, findings=(high, finding("CVE-8", PACKAGES[1]), finding("CVE-7", PACKAGES[0], fixed="")))
    verdict = judge(rules, scan=scan)
    assert codes(verdict) == ["finding-denied"]
    (reason,) = verdict.reasons
    assert reason.message == "`finding.severity >= HIGH && finding.fixed` is true of 1 finding: CVE-9"
    assert reason.next_step == "update openssl"
    assert [one.ref for one in reason.evidence if one.kind == "finding"] == ["CVE-9"]
    assert reason.evidence[-1].detail == "policy.yaml:7"
    ignored = rules + "      ignore: [{id: CVE-9, reason: r, until: 2100-01-01}]\n"
    assert codes(judge(ignored, scan=scan)) == ["passes-policy", "finding-ignored"]


def test_denied_by_a_condition_over_the_scan_and_closed_where_it_cannot_be_computed() -> None:
    scan = msgspec.structs.replace(SCAN, findings=(finding("CVE-9", PACKAGES[0]),))
    verdict = judge("    findings: {deny: [scan.unknown > 0, 1 / (scan.findings - 1) > 0]}\n", scan=scan)
    assert codes(verdict) == ["finding-denied", "deny-not-computed"]
    assert "divides by zero" in verdict.reasons[1].message
    unknown = msgspec.structs.replace(SCAN, advisories="")
    assert codes(judge("    findings: {deny: [finding.kev]}\n", scan=unknown)) == ["findings-unknown"]
