"""VEX and ignore files: whatever they hold, reading and applying them ends, and no finding is lost or made."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError
from shipwall.model.finding import Finding, ScanResult, Severity
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.supply.ignore import parse_ignores
from shipwall.supply.report import FORMS, Report, list_actions
from shipwall.supply.suppress import suppress
from shipwall.supply.vex import parse_vex

IMAGE = ImageIdentity(manifest=digest_of(b"m"), config=digest_of(b"c"), diff_ids=())
PACKAGES = (
    Package(ecosystem="deb", name="a", version="1", source="s", source_version="1", evidence="/x"),
    Package(ecosystem="npm", name="@a/b", version="1", evidence="/y/z"),
)
INVENTORY = Inventory(image=IMAGE, distribution=Distribution(id="debian", version_id="12"), packages=PACKAGES)
findings = st.lists(
    st.builds(
        Finding,
        id=st.sampled_from(["CVE-1", "CVE-2"]),
        package=st.sampled_from(PACKAGES),
        aliases=st.sampled_from([(), ("CVE-1",)]),
        severity=st.sampled_from(Severity),
        fixed_version=st.sampled_from(["", "2", "3"]),
    ),
    max_size=6,
)
purls = st.sampled_from([
    "pkg:deb/debian/a", "pkg:deb/debian/a@2", "pkg:deb/debian/s?arch=source", "pkg:npm/%40a/b", f"pkg:oci/x@{IMAGE.manifest}", "x", "",
])  # fmt: skip
texts = (
    purls
    | st.sampled_from(["CVE-1", "not_affected", "fixed", "affected", "2026-01-01T00:00:00Z", "component_not_present"])
    | st.text(max_size=4)
)
keys = st.sampled_from([
    "@context", "@id", "statements", "vulnerability", "name", "aliases", "products", "subcomponents", "identifiers", "purl", "hashes",
    "sha-256", "status", "justification", "timestamp", "vulnerabilities", "id", "analysis", "state", "affects", "ref", "versions",
    "version", "components", "bom-ref",
])  # fmt: skip
values = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)
parts = st.fixed_dictionaries(
    {"@id": purls}, optional={"subcomponents": st.lists(st.fixed_dictionaries({"@id": purls}), max_size=2)}
)
TIMES = st.sampled_from(["2026-01-01T00:00:00Z", "x"])
statements = st.fixed_dictionaries(
    {
        "vulnerability": st.fixed_dictionaries({"name": st.sampled_from(["CVE-1", "CVE-2", "CVE-3"])}),
        "products": st.lists(parts, max_size=3),
        "status": st.sampled_from(["not_affected", "fixed", "affected", "under_investigation"]),
    },
    optional={"justification": st.sampled_from(["component_not_present", "odd"]), "timestamp": TIMES},
)
OPENVEX = {"@context": "https://openvex.dev/ns/v0.2.0", "timestamp": "2026-01-01T00:00:00Z"}


@given(st.dictionaries(keys, values, max_size=6), st.sampled_from([OPENVEX, {"bomFormat": "CycloneDX"}]))
@settings(max_examples=400, deadline=None)
def test_readers_are_total(document: dict[str, object], mark: dict[str, str]) -> None:
    with contextlib.suppress(InputError):
        said = parse_vex(json.dumps({**document, **mark}).encode(), "x")
        suppress(ScanResult(findings=()), INVENTORY, "x", said, (), 0)


@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    for parse in (parse_vex, parse_ignores):
        with contextlib.suppress(InputError):
            parse(data, "x")


@given(findings, st.lists(statements, max_size=5))
@settings(max_examples=300, deadline=None)
def test_no_finding_is_lost_or_made_and_no_statement_is_silent(found: list[Finding], said: list[dict[str, object]]) -> None:
    scan = ScanResult(findings=tuple(found), advisories="a")
    parsed = parse_vex(json.dumps({**OPENVEX, "statements": said}).encode(), "x")
    result = suppress(scan, INVENTORY, "shop:1", parsed, (), 0)
    assert Counter(result.findings) + Counter(one.finding for one in result.suppressed) == Counter(found)
    assert all(one.status in {"not_affected", "fixed"} for one in result.suppressed)
    speaking = {one.by for one in result.suppressed}
    for number in range(1, len(said) + 1):
        place = f"x statement {number}"
        noticed = any(notice.startswith(f"{place} (") for notice in result.notices)
        assert not (noticed and place in speaking)
    assert suppress(scan, INVENTORY, "shop:1", parsed, (), 0) == result


@given(findings)
@settings(deadline=None)
def test_actions_cover_every_finding_once(found: list[Finding]) -> None:
    actions = list_actions(found)
    assert sum(one.findings for one in actions) == len(found)
    assert sum(sum(one.severities.values()) for one in actions) == len(found)
    assert {id_ for one in actions for id_ in one.ids} == {finding.id for finding in found}


@given(findings, st.sampled_from(sorted(FORMS)))
@settings(deadline=None, max_examples=60)
def test_every_form_is_made_of_every_scan(found: list[Finding], form: str) -> None:
    report = Report(source="x", inventory=INVENTORY, result=ScanResult(findings=tuple(found), advisories="a"))
    text = FORMS[form](report, 0)
    if form in {"json", "html", "sarif"}:
        assert all(finding.id.encode() in text for finding in found)
