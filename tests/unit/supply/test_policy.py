"""Promotion policies: what is read, and where and how each mistake is shown."""

from __future__ import annotations

import pytest

from shipwall.lang.diagnostic import SourceError
from shipwall.model.digest import digest_of
from shipwall.model.errors import InputError
from shipwall.model.finding import Severity
from shipwall.supply.policy import MAX_POLICY_BYTES, parse_policy

BASE = digest_of(b"base")
WHOLE = f"""\
version: 1
routes:
  - from: dev/*
    to: prod/*
    packages:
      deny:
        - name: tcpdump
          reason: a sniffer has no
            place in production
        - {{name: openssl, version: "< 3.0.15-1", reason: old}}
    findings:
      fixable: none
      max: {{critical: 0, unknown: 5}}
      max_age: 7d
      unjudged: allow
      ignore:
        - {{id: CVE-2023-0001, reason: not reachable, until: 1970-01-02}}
    attestations:
      - {{type: provenance, by: [build]}}
      - {{type: scan, by: [build, ci-2], max_age: 24h}}
    bases: [{BASE}]
  - {{from: lab/tool, to: tools/tool}}
""".encode()


def test_everything_is_read() -> None:
    policy = parse_policy(WHOLE, "policy.yaml")
    assert policy.digest == digest_of(WHOLE)
    first, second = policy.routes
    assert [(rule.name, str(rule.versions), rule.reason, rule.line) for rule in first.denied] == [
        ("tcpdump", "None", "a sniffer has no place in production", 7),
        ("openssl", "< 3.0.15-1", "old", 10),
    ]
    assert (first.fixable, first.unjudged, first.advisories_max_age_ns) == ("none", "allow", 7 * 86400 * 10**9)
    assert first.limits == {Severity.CRITICAL: 0, Severity.UNKNOWN: 5}
    assert (first.ignored[0].entry.id, first.ignored[0].entry.until_ns) == ("CVE-2023-0001", 2 * 86400 * 10**9)
    assert [(one.kind, one.by, one.max_age_ns) for one in first.attestations] == [
        ("provenance", ("build",), None),
        ("scan", ("build", "ci-2"), 86400 * 10**9),
    ]
    assert first.bases == (BASE,)
    assert (second.fixable, second.unjudged, second.denied) == ("any", "refuse", ())


def test_a_route_carries_its_star_over() -> None:
    policy = parse_policy(WHOLE, "p")
    assert [policy.routes[0].target_of(name) for name in ("dev/shop", "dev/", "dev/a/b", "other/shop", "dev")] == [
        "prod/shop",
        None,
        None,
        None,
        None,
    ]
    found = policy.find_route("lab/tool")
    assert found is not None
    assert found[1] == "tools/tool"
    assert policy.find_route("dev/shop", "prod/other") is None
    assert policy.find_route("dev/shop", "prod/shop") is not None


@pytest.mark.parametrize(
    ("operator", "holds"),
    [
        ("<", (True, False, False)),
        ("<=", (True, True, False)),
        ("=", (False, True, False)),
        (">=", (False, True, True)),
        (">", (False, False, True)),
    ],
)
def test_version_ranges(operator: str, holds: tuple[bool, ...]) -> None:
    deny = f'{{name: x, version: "{operator} 1:2.0-3", reason: y}}'
    policy = parse_policy(f"version: 1\nroutes: [{{from: a/*, to: b/*, packages: {{deny: [{deny}]}}}}]".encode(), "p")
    versions = policy.routes[0].denied[0].versions
    assert versions is not None
    assert tuple(versions.holds(version) for version in ("1:2.0-3~1", "1:2.0-3", "2:0")) == holds


def route(text: str) -> bytes:
    return f"version: 1\nroutes:\n  - from: dev/*\n    to: prod/*\n    {text}\n".encode()


@pytest.mark.parametrize(
    ("data", "line", "column", "words"),
    [
        (b"", 1, 1, "expected keys and values"),
        (b"version: 1\n", 1, 1, "'routes' is missing"),
        (b"version: 2\nroutes: []\n", 1, 10, "'2' is not one of 1"),
        (b"version: 1\nroutes: []\n", 2, 9, "routes is empty"),
        (b"version: 1\nroutes: [\n", 3, 1, ""),
        (b"version: 1\nversion: 1\n", 2, 1, "twice"),
        (b"version: 1\nroutes: [{from: x}]\n", 2, 10, "'to' is missing"),
        (b"version: 1\nroutes: [{from: a, to: a}]\n", 2, 24, "the same"),
        (b"version: 1\nroutes: [{from: a, to: b/*}]\n", 2, 24, "a * that from does not have"),
        (b"version: 1\nroutes: [{from: a/*/*, to: b}]\n", 2, 17, "at most one *"),
        (b"version: 1\nroutes: [{from: 'a:1', to: b}]\n", 2, 17, "tag or digest"),
        (b"version: 1\nroutes: [{from: A, to: b}]\n", 2, 17, "not a repository"),
        (route("pakages: {}"), 5, 5, "did you mean 'packages'?"),
        (route("packages: {deny: [{name: x}]}"), 5, 23, "'reason' is missing"),
        (route("packages: {deny: [{name: x, reason: ''}]}"), 5, 41, "say why"),
        (route("packages: {deny: [{name: 'a b', reason: y}]}"), 5, 30, "not a package name"),
        (route("packages: {deny: [{name: x, reason: y, version: '3'}]}"), 5, 53, "no comparison"),
        (route("packages: {deny: [{name: x, reason: y, version: '< a b'}]}"), 5, 53, "not a range"),
        (route("findings: {fixable: non}"), 5, 25, "did you mean 'none'?"),
        (route("findings: {max: {hihg: 1}}"), 5, 22, "did you mean 'high'?"),
        (route("findings: {max: {high: -1}}"), 5, 28, "not a count"),
        (route("findings: {max: {high: many}}"), 5, 28, "whole number"),
        (route("findings: {max_age: 7 days}"), 5, 25, "not a duration"),
        (route("findings: {ignore: [{id: CVE-1, until: 2027-01-01}]}"), 5, 25, "'reason' is missing"),
        (route("findings: {ignore: [{id: CVE-1, reason: x}]}"), 5, 25, "'until' is missing"),
        (route("findings: {ignore: [{id: 'CVE-*', reason: x, until: 2027-01-01}]}"), 5, 30, "not the id"),
        (route("findings: {ignore: [{id: CVE-1, reason: x, until: soon}]}"), 5, 55, "not a date"),
        (route("attestations: [{type: sbomb, by: [build]}]"), 5, 27, "did you mean 'sbom'?"),
        (route("attestations: [{type: promotion, by: [build]}]"), 5, 27, "not one of"),
        (route("attestations: [{type: sbom, by: []}]"), 5, 37, "names no key"),
        (route("attestations: [{type: sbom, by: [../x]}]"), 5, 38, "not the name of a key"),
        (route("bases: [debian]"), 5, 13, "not a digest"),
        (route("bases: !!python/object:os.system []"), 5, 12, "tag"),
    ],
)
def test_every_mistake_is_shown_at_its_place(data: bytes, line: int, column: int, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_policy(data, "policy.yaml")
    assert (caught.value.line_number, caught.value.column) == (line, column)
    assert words in caught.value.line()
    assert caught.value.line().startswith(f"policy.yaml:{line}:{column}: ")


def test_the_excerpt_points_at_the_place() -> None:
    with pytest.raises(SourceError) as caught:
        parse_policy(route("pakages: {}"), "policy.yaml")
    assert caught.value.excerpt == "    pakages: {}\n    ^"


def test_bombs_are_refused_fast() -> None:
    lists = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20))
    with pytest.raises(SourceError, match="values"):
        parse_policy(f"a0: &a0 [x, x, x]\n{lists}\n".encode(), "p")
    with pytest.raises(SourceError, match="nested"):
        parse_policy(b"[" * 5000, "p")
    with pytest.raises(InputError, match="over the limit"):
        parse_policy(b" " * (MAX_POLICY_BYTES + 1), "p")


def test_a_condition_is_checked_where_it_stands() -> None:
    head = b"version: 1\nroutes:\n  - from: a\n    to: b\n    findings:\n      deny:\n        - finding.kev\n"
    text = head + b"        - >-\n          finding.kev &&\n          finding.severty > LOW\n"
    with pytest.raises(SourceError) as caught:
        parse_policy(text, "p.yaml")
    assert (caught.value.line_number, caught.value.column) == (10, 19)
    assert "did you mean 'severity'?" in caught.value.line()
    assert caught.value.excerpt == "          finding.severty > LOW\n                  ^"
