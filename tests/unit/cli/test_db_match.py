"""`shipwall db match`, as a person and as a script use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.advisories import make_database
from typer.testing import CliRunner

from shipwall.cli.app import build_app
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.errors import ShipwallError


def said(scope: str, name: str, fixed: str) -> tuple[Affected, ...]:
    return (Affected(scope=scope, name=name, ranges=(Range("", fixed),), by_source=scope.startswith("Debian")),)


@pytest.fixture
def database(tmp_path: Path) -> str:
    advisories = [
        Advisory(feed="f", id="CVE-2024-1002", affected=said("PyPI", "django", "4.2.2")),
        Advisory(feed="f", id="CVE-2024-1001", affected=said("PyPI", "django", "4.2.4")),
        Advisory(feed="f", id="CVE-2024-1003", affected=said("PyPI", "django", "9"), withdrawn=True),
        Advisory(feed="f", id="CVE-2024-1004", affected=said("Debian:12", "openssl", "3.0.11-1")),
    ]
    return str(make_database(tmp_path / "db", {"f": advisories}))


def run(database: str, *words: str, given: bytes | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(build_app("db", "match"), ["db", "match", *words, "--db", database], input=given)
    failure = result.exception
    return failure.exit_code if isinstance(failure, ShipwallError) else result.exit_code, result.output


def test_one_package(database: str) -> None:
    assert run(database, "PyPI", "Django", "4.2.1") == (
        0,
        "CVE-2024-1001 CVE-2024-1002\n",
    )  # names as the ecosystem compares them
    assert run(database, "PyPI", "django", "4.2.4") == (0, "-\n")
    assert run(database, "Debian:12.5", "openssl", "3.0.9-1") == (0, "CVE-2024-1004\n")


NO_PAIR = "? the line is not two words with a blank between them"


def test_lines_get_one_answer_each_whatever_they_hold(database: str) -> None:
    lines = [
        b"openssl 3.0.9-1",
        b"",
        b"zlib 1",
        b"a b c",
        b"\xff 1",
        b"openssl x:1",
        b"zlib x:1",
        b"openssl 3.0.9-1",
        b"a" * 9000 + b" 1",
    ]
    code, output = run(database, "Debian:12", "--stdin", given=b"\n".join(lines))
    assert code == 0
    assert output.splitlines() == [
        "CVE-2024-1004", NO_PAIR, "-", NO_PAIR, "? the line is not UTF-8",
        "? CVE-2024-1004: Debian version 'x:1': its epoch is not a number below 2^31", "-", "CVE-2024-1004",
        "? the line is longer than 4096 bytes",
    ]  # fmt: skip


def test_json_is_one_object_a_line(database: str) -> None:
    code, output = run(database, "Debian:12", "--stdin", "--output", "json", given=b"openssl 3.0.9-1\nopenssl x:1\n\n")
    assert code == 0
    first, second, third = map(json.loads, output.splitlines())
    assert first == {"name": "openssl", "version": "3.0.9-1", "ids": ["CVE-2024-1004"], "undecided": [], "reason": ""}
    assert [(one["id"], "epoch" in one["reason"]) for one in second["undecided"]] == [("CVE-2024-1004", True)]
    assert (third["ids"], third["reason"]) == ([], NO_PAIR.removeprefix("? "))


def test_every_end_has_its_code(database: str) -> None:
    assert run(database, "Debian:12", "openssl", "x:1")[0] == 9
    assert run(database, "Maven", "a:b", "1")[0] == 7
    assert run(f"{database}-none", "PyPI", "a", "1")[0] == 8
    for wrong in (("PyPI", "a"), ("PyPI",), ("PyPI", "a", "1", "--stdin"), ("Nonsense", "a", "1")):
        assert run(database, *wrong)[0] == 2
