"""Reports: grouped by what ends most, valid in every form, and hostile names stay text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import msgspec
import pytest
from tests.reports import EMPTY, FINDINGS, HOSTILE, NOW, REPORT, SUPPRESSED, deb

from shipwall.model.finding import Exploited, Finding, FixState, Severity
from shipwall.supply.report import FORMS, Report, ScanDocument, list_actions, make_document, summarise
from shipwall.supply.report.links import address_of
from shipwall.supply.sbom import parse_sbom
from shipwall.supply.suppress import suppress
from shipwall.supply.vex import parse_vex


def render(form: str, report: Report = REPORT) -> bytes:
    return FORMS[form](report, NOW)


def test_one_upgrade_ends_many_findings() -> None:
    actions = list_actions(FINDINGS)
    assert [(one.package, one.to, one.findings) for one in actions if one.kind == "upgrade"][:3] == [
        ("org.apache.logging.log4j:log4j-core", "2.16.0", 2),
        ("curl", "7.88.1-10+deb12u4", 1),
        ("openssl", "3.0.15-1~deb12u1", 3),
    ]
    openssl = next(one for one in actions if one.package == "openssl")
    assert (openssl.binaries, openssl.ids) == (("libssl3", "openssl"), ("CVE-2023-5363", "CVE-2024-5535"))
    assert (openssl.worst, openssl.severities[Severity.MEDIUM], openssl.highest_epss) == (Severity.HIGH, 2, 0.0421)
    assert [(one.package, one.state) for one in actions if one.kind == "none"] == [
        ("gnupg2", FixState.WILL_NOT_FIX),
        ("bash", FixState.UNKNOWN),
        ("perl", FixState.NOT_FIXED),
    ]
    assert sum(one.findings for one in actions) == len(FINDINGS)


def test_the_highest_fixed_version_is_by_the_ecosystems_order() -> None:
    package = deb("a", "1.0")
    fixed = [
        Finding(id=f"CVE-{n}", package=package, fixed_version=version) for n, version in enumerate(["1.10", "1.9", "1.10~rc1"])
    ]
    assert [one.to for one in list_actions(fixed)] == ["1.10"]
    odd = [msgspec.structs.replace(one, fixed_version=version) for one, version in zip(fixed, ["!", "1", "1"], strict=True)]
    assert [one.to for one in list_actions(odd)] == ["! / 1"]


def test_what_is_exploited_comes_first() -> None:
    exploited = Finding(id="CVE-1", package=deb("z", "1"), fixed_version="2", exploited=Exploited(kev=True))
    critical = Finding(id="CVE-2", package=deb("a", "1"), fixed_version="2", severity=Severity.CRITICAL)
    assert [one.package for one in list_actions([critical, exploited])] == ["z", "a"]


def test_sums() -> None:
    sums = summarise(REPORT)
    assert (sums.findings, sums.with_fix, sums.severity_unknown, sums.known_exploited, sums.suppressed) == (10, 7, 2, 2, 2)
    assert (sums.skipped, sums.highest_epss, sums.packages_affected, sums.judged) == (2, 0.944, 8, True)
    assert summarise(EMPTY).highest_epss is None


def test_json_comes_back_and_is_the_same_twice() -> None:
    text = render("json")
    assert msgspec.json.decode(text, type=ScanDocument) == make_document(REPORT)
    assert FORMS["json"](REPORT, 0) == text, "nothing in it depends on the time"


@pytest.mark.parametrize("report", [REPORT, EMPTY])
def test_json_is_valid_by_the_published_schema(report: Report) -> None:
    import jsonschema
    from tests.house.test_formats import SCHEMA

    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(render("json", report)))


@pytest.mark.parametrize("report", [REPORT, EMPTY])
def test_sarif_is_valid_and_consistent(report: Report) -> None:
    from sarif_pydantic import Sarif

    document = json.loads(render("sarif", report))
    read = Sarif.model_validate(document)
    # Every key is one that SARIF knows: nothing is lost on the way through the typed model.
    assert json.loads(read.model_dump_json(by_alias=True, exclude_none=True, exclude_unset=True))["runs"] == document["runs"]
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert len(run["results"]) == len(report.result.findings) + len(report.result.suppressed)
    assert sum("suppressions" in result for result in run["results"]) == len(report.result.suppressed)
    prints = [result["partialFingerprints"]["shipwallFinding/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)
    if report is REPORT:
        log4shell = next(rule for rule in rules if rule["id"] == "CVE-2021-44228")
        assert log4shell["properties"]["security-severity"] == "10.0"
        assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "app/lib/log4j-core.jar"


@pytest.mark.parametrize("report", [REPORT, EMPTY])
def test_cyclonedx_is_valid_and_lists_as_the_image(report: Report) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = render("cyclonedx", report)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    document = json.loads(text)
    assert parse_sbom(document) == report.inventory
    refs = {one["bom-ref"] for one in document["components"]}
    affected = [(one["id"], ref["ref"]) for one in document["vulnerabilities"] for ref in one["affects"]]
    assert {ref for _id, ref in affected} <= refs
    assert len(affected) == len(report.result.findings) + len(report.result.suppressed)


def test_the_cyclonedx_report_is_a_vex_of_what_was_set_aside() -> None:
    statements = parse_vex(render("cyclonedx"), "x")
    assert [(one.ids[0], one.status.value) for one in statements] == [
        ("CVE-2023-50495", "not_affected"),
        ("CVE-2016-2781", "affected"),
    ]
    scan = msgspec.structs.replace(REPORT.result, findings=tuple(one.finding for one in SUPPRESSED), suppressed=(), notices=())
    again = suppress(scan, REPORT.inventory, REPORT.source, statements, (), NOW)
    assert [one.finding.id for one in again.suppressed] == ["CVE-2023-50495"]
    assert again.notices == ()


@pytest.mark.parametrize("report", [REPORT, EMPTY])
def test_spdx_is_valid_and_lists_as_the_image(report: Report) -> None:
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    document = json.loads(render("spdx", report))
    assert [one.validation_message for one in validate_full_spdx_document(JsonLikeDictParser().parse(document))] == []
    assert parse_sbom(document) == report.inventory
    refs = [ref for one in document["packages"] for ref in one.get("externalRefs", ())]
    addresses = [ref["referenceLocator"] for ref in refs if ref["referenceType"] == "advisory"]
    assert len(addresses) == (9 if report is REPORT else 0)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_is_one_file_in_which_names_stay_text() -> None:
    text = render("html").decode()
    page = _Page()
    page.feed(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [attrs for _, attrs in page.tags if {"src", "onclick", "onload", "onerror"} & set(attrs)]
    assert {tag for tag, _ in page.tags} & {"link", "img", "iframe", "form", "object", "base"} == set()
    links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]
    assert links
    assert all(re.match(r"https://(nvd\.nist\.gov|github\.com|osv\.dev)/[\w/.:-]+\Z", link) for link in links)
    assert any("<script>alert(1)</script>" in one for one in page.texts), "the hostile name is shown as it is"
    assert not re.search("[\x00-\x08\x1b\u202e]", text)
    assert "Content-Security-Policy" in text
    policy = next(attrs["content"] or "" for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "Nothing was found." in render("html", EMPTY).decode()


def test_html_says_that_nothing_is_known() -> None:
    text = render("html", msgspec.structs.replace(EMPTY, unjudged="archive: not reached")).decode()
    assert "Findings are unknown." in text
    assert "Nothing was found." not in text


def test_addresses_only_of_what_is_an_id() -> None:
    assert address_of("CVE-2021-44228") == "https://nvd.nist.gov/vuln/detail/CVE-2021-44228"
    assert address_of("GHSA-jfh8-c2jp-5v3q").startswith("https://github.com/advisories/")
    assert address_of("RUSTSEC-2021-0001").startswith("https://osv.dev/")
    for text in (HOSTILE, "javascript:alert(1)", "deb:openssl@1", "CVE-2021-44228/../x", "", "CVE-2021-44228 "):
        assert address_of(text) == ""


def test_openvex_of_what_was_set_aside() -> None:
    statements = parse_vex(render("openvex"), "x")
    assert [(one.ids[0], one.status.value) for one in statements] == [
        ("CVE-2023-50495", "not_affected"),
        ("CVE-2016-2781", "affected"),
    ]
