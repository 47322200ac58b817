"""VEX: what sets a finding aside, what does not, and that every statement without effect is said with its nearest miss."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError
from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.supply.suppress import suppress
from shipwall.supply.vex import parse_vex, render_openvex

NOW = 1_700_000_000 * 10**9
IMAGE = ImageIdentity(manifest=digest_of(b"m"), config=digest_of(b"c"), diff_ids=())
SSL = Package(ecosystem="deb", name="libssl3", version="3.0.11-1", arch="amd64", source="openssl", source_version="3.0.11-1")
CURL = Package(ecosystem="deb", name="curl", version="7.88", arch="amd64", source="curl", source_version="7.88")
FLASK = Package(ecosystem="pypi", name="Flask", version="2.0")
INVENTORY = Inventory(image=IMAGE, distribution=Distribution(id="debian", version_id="12.13"), packages=(SSL, CURL, FLASK))
SCAN = ScanResult(
    findings=(
        Finding(id="CVE-1", package=SSL),
        Finding(id="CVE-1", package=CURL),
        Finding(id="CVE-2", package=FLASK, aliases=("GHSA-2",)),
    ),
    advisories="feed",
)
SOURCE = "localhost:5000/dev/shop:1"


def openvex(*statements: dict[str, Any], **more: Any) -> bytes:
    top = {"@context": "https://openvex.dev/ns/v0.2.0", "timestamp": "2026-01-01T00:00:00Z"}
    return json.dumps({**top, "statements": statements, **more}).encode()


def say(vulnerability: str, *products: Any, status: str = "not_affected", **more: Any) -> dict[str, Any]:
    why = {"justification": "vulnerable_code_not_present"} if status == "not_affected" else {}
    return {"vulnerability": {"name": vulnerability}, "products": list(products), "status": status, **why, **more}


def judge(*documents: bytes) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    statements = [one for number, data in enumerate(documents, 1) for one in parse_vex(data, f"doc{number}")]
    result = suppress(SCAN, INVENTORY, SOURCE, statements, (), NOW)
    assert len(result.findings) + len(result.suppressed) == len(SCAN.findings), "nothing is lost"
    return [(one.finding.id, one.finding.package.name) for one in result.suppressed], result.notices


def part(purl: str, image: str = f"pkg:oci/shop@{IMAGE.manifest}") -> dict[str, Any]:
    return {"@id": image, "subcomponents": [{"@id": purl}]}


@pytest.mark.parametrize(
    ("product", "aside"),
    [
        ({"@id": "pkg:deb/debian/libssl3@3.0.11-1?arch=amd64&distro=debian-12.13"}, ["libssl3"]),
        ({"@id": "pkg:deb/debian/libssl3@3.0.11-1"}, ["libssl3"]),
        ({"@id": "pkg:deb/debian/libssl3"}, ["libssl3"]),
        ({"@id": "pkg:deb/debian/openssl@3.0.11-1?arch=source"}, ["libssl3"]),
        ({"@id": "x", "identifiers": {"purl": "pkg:deb/debian/libssl3"}}, ["libssl3"]),
        ({"@id": f"pkg:oci/shop@{IMAGE.manifest}"}, ["libssl3", "curl"]),
        ({"@id": f"pkg:oci/shop@{IMAGE.config}?repository_url=anything"}, ["libssl3", "curl"]),
        ({"@id": "x", "hashes": {"sha-256": IMAGE.manifest[7:]}}, ["libssl3", "curl"]),
        ({"@id": f"localhost:5000/dev/shop@{IMAGE.manifest}"}, ["libssl3", "curl"]),
        ({"@id": "pkg:oci/shop?repository_url=localhost:5000/dev/shop&tag=1"}, ["libssl3", "curl"]),
        ({"@id": "pkg:oci/shop?repository_url=localhost:5000/dev"}, ["libssl3", "curl"]),
        (part("pkg:deb/debian/curl"), ["curl"]),
        (part("pkg:deb/debian/libssl3", "pkg:deb/debian/curl"), ["libssl3"]),
        ("pkg:deb/debian/libssl3", ["libssl3"]),
    ],
)
def test_products_that_are_meant(product: Any, aside: list[str]) -> None:
    found, notices = judge(openvex(say("CVE-1", product)))
    assert found == [("CVE-1", name) for name in aside]
    assert notices == ()


@pytest.mark.parametrize(
    ("vulnerability", "product", "words"),
    [
        (
            "CVE-1",
            {"@id": "pkg:deb/debian/libssl3@3.0.11-1?distro=debian-12"},
            "nearest is libssl3 3.0.11-1, whose distro is debian-12 in the statement, debian-12.13 in the image",
        ),
        ("CVE-1", {"@id": "pkg:deb/debian/libssl3@3.0.9"}, "version is 3.0.9 in the statement, 3.0.11-1 in the image"),
        ("CVE-1", {"@id": "pkg:deb/ubuntu/curl"}, "nearest is curl 7.88, whose namespace is ubuntu in the statement, debian"),
        ("CVE-1", {"@id": "pkg:deb/debian/libssl3?arch=arm64"}, "arch is arm64 in the statement, amd64 in the image"),
        ("CVE-1", part("pkg:deb/debian/wget"), "name is wget in the statement"),
        ("CVE-1", part("pkg:deb/debian/curl", f"pkg:oci/shop@{digest_of(b'other')}"), f"digest is {digest_of(b'other')}"),
        (
            "CVE-1",
            part("pkg:deb/debian/curl", "pkg:golang/other/app@v1"),
            "parts of pkg:golang/other/app@v1, which is not in the image",
        ),
        ("CVE-1", part("pkg:deb/debian/curl", "some other product"), "parts of 'some other product', which is no package URL"),
        ("CVE-1", {"@id": "pkg:oci/store"}, "image is store in the statement, shop here"),
        ("CVE-1", {"@id": "pkg:oci/shop?tag=2"}, "tag is 2 in the statement, 1 here"),
        ("CVE-1", {"@id": "pkg:oci/shop?repository_url=docker.io/x/shop"}, "repository is docker.io/x/shop in the statement"),
        ("CVE-1", {"@id": "shop"}, "'shop' is no package URL"),
        ("CVE-11", {"@id": "pkg:deb/debian/curl"}, "no finding of that name; did you mean 'CVE-1'?"),
    ],
)
def test_what_matched_nothing_is_said_with_the_nearest_miss(vulnerability: str, product: Any, words: str) -> None:
    found, notices = judge(openvex(say(vulnerability, product)))
    assert found == []
    assert len(notices) == 1
    assert notices[0].startswith(f"doc1 statement 1 ({vulnerability}, not_affected) matched nothing: ")
    assert words in notices[0]


def test_aliases_and_normalised_names() -> None:
    for vulnerability in ("CVE-2", "GHSA-2"):
        assert judge(openvex(say(vulnerability, {"@id": "pkg:pypi/flask@2.0"})))[0] == [("CVE-2", "Flask")]
    named = {"vulnerability": {"@id": "https://nvd.nist.gov/vuln/detail/CVE-2", "name": "OTHER", "aliases": ["CVE-2"]}}
    assert judge(openvex({**say("", {"@id": "pkg:pypi/flask"}), **named}))[0] == [("CVE-2", "Flask")]
    old = {"vulnerability": "CVE-2", "products": ["pkg:pypi/flask"], "status": "fixed"}
    assert judge(openvex(old))[0] == [("CVE-2", "Flask")]


def test_the_latest_statement_counts() -> None:
    product = {"@id": "pkg:deb/debian/curl"}
    early, late = {"timestamp": "2026-01-01T00:00:00Z"}, {"timestamp": "2026-02-01T00:00:00+01:00"}
    assert judge(openvex(say("CVE-1", product, **late), say("CVE-1", product, status="affected", **early)))[0] == [
        ("CVE-1", "curl")
    ]
    assert judge(openvex(say("CVE-1", product, **early), say("CVE-1", product, status="affected", **late))) == ([], ())
    assert judge(openvex(say("CVE-1", product)), openvex(say("CVE-1", product, status="under_investigation"))) == ([], ())
    assert judge(openvex(say("CVE-1", product, last_updated=late["timestamp"]), say("CVE-1", product, status="affected")))[0]


def test_not_affected_needs_a_reason() -> None:
    bare = say("CVE-1", {"@id": "pkg:deb/debian/curl"}, justification=None)
    found, notices = judge(openvex(bare))
    assert found == []
    assert "is not applied: it says not_affected without a justification" in notices[0]
    assert judge(openvex({**bare, "impact_statement": "compiled out"}))[0] == [("CVE-1", "curl")]
    assert "does not know" in judge(openvex({**bare, "justification": "because"}))[1][0]
    assert "names no product" in judge(openvex(say("CVE-1")))[1][0]


def cyclonedx(analysis: dict[str, Any], *affects: dict[str, Any], id_: str = "CVE-1") -> bytes:
    return json.dumps({
        "bomFormat": "CycloneDX", "specVersion": "1.6",
        "components": [{"type": "library", "name": "x", "bom-ref": "the-curl", "purl": "pkg:deb/debian/curl@7.88"}],
        "vulnerabilities": [{"id": id_, "analysis": analysis, "affects": list(affects)}],
    }).encode()  # fmt: skip


CODE = {"state": "not_affected", "justification": "code_not_reachable", "detail": "not\ncalled"}


@pytest.mark.parametrize(
    ("analysis", "affects", "aside"),
    [
        (CODE, {"ref": "the-curl"}, ["curl"]),
        (CODE, {"ref": "pkg:deb/debian/curl"}, ["curl"]),
        (CODE, {"ref": "urn:cdx:3e671687-395b-41f5-a30f-a58921a69b79/1#pkg%3Adeb/debian/curl%407.88"}, ["curl"]),
        (CODE, {"ref": "pkg:deb/debian/curl", "versions": [{"version": "7.88", "status": "unaffected"}]}, ["curl"]),
        (CODE, {"ref": "pkg:deb/debian/curl", "versions": [{"version": "7.89", "status": "unaffected"}]}, []),
        (CODE, {"ref": IMAGE.manifest}, ["libssl3", "curl"]),
        ({"state": "false_positive"}, {"ref": "the-curl"}, ["curl"]),
        ({"state": "resolved"}, {"ref": "the-curl"}, ["curl"]),
        ({"state": "exploitable"}, {"ref": "the-curl"}, []),
        ({"state": "in_triage"}, {"ref": "the-curl"}, []),
        ({"state": "not_affected"}, {"ref": "the-curl"}, []),
        (CODE, {"ref": "pkg:deb/debian/curl", "versions": [{"range": "vers:deb/<8", "status": "unaffected"}]}, []),
    ],
)
def test_cyclonedx(analysis: dict[str, Any], affects: dict[str, Any], aside: list[str]) -> None:
    assert judge(cyclonedx(analysis, affects))[0] == [("CVE-1", name) for name in aside]


def test_cyclonedx_keeps_reason_and_place() -> None:
    result = suppress(SCAN, INVENTORY, SOURCE, parse_vex(cyclonedx(CODE, {"ref": "the-curl"}), "a.json"), (), NOW)
    (one,) = result.suppressed
    assert (one.by, one.status, one.reason) == ("a.json vulnerability 1", "not_affected", "code_not_reachable: not called")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "x:1:2"),
        (b"{}", "neither OpenVEX"),
        (openvex(say("CVE-1", status="harmless")), "x statement 1: has the status 'harmless'"),
        (openvex({"vulnerability": 5}), "$.statements[0]"),
        (cyclonedx({"state": "odd"}), "x vulnerability 1: has the state 'odd'"),
    ],
)
def test_what_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_vex(data, "x")
    assert words in caught.value.line()


def test_what_is_written_sets_the_same_aside() -> None:
    said = say("CVE-1", {"@id": "pkg:deb/debian/curl"}, impact_statement="why")
    statements = parse_vex(openvex(said, say("GHSA-2", {"@id": "pkg:pypi/flask"}, status="fixed")), "x")
    first = suppress(SCAN, INVENTORY, SOURCE, statements, (), NOW)
    document = render_openvex(first.suppressed, INVENTORY, "tester", NOW)
    again = suppress(SCAN, INVENTORY, "other", parse_vex(json.dumps(document).encode(), "y"), (), NOW)
    assert again.notices == ()
    assert [(one.finding, one.status, one.reason) for one in again.suppressed] == [
        (one.finding, one.status, one.reason) for one in first.suppressed
    ]
    assert document["statements"][0]["justification"] == "vulnerable_code_not_present"


def test_an_ignored_finding_is_written_as_affected() -> None:
    from shipwall.supply.ignore import parse_ignores

    ignores = parse_ignores(b"version: 1\nignore: [{id: CVE-2, reason: later, until: 2030-01-01}]", "i.yaml")
    result = suppress(SCAN, INVENTORY, SOURCE, (), ignores, NOW)
    (statement,) = render_openvex(result.suppressed, INVENTORY, "tester", NOW)["statements"]
    assert (statement["status"], statement["action_statement"]) == ("affected", "accepted until 2030-01-01: later")
