"""`shipwall db compare`, as a person and as a script use it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from shipwall.cli.app import build_app


def _run(*words: str, given: bytes | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), ["db", "compare", *words], input=given, env={"COLUMNS": "200"})
    return result.exit_code, result.output


@pytest.mark.parametrize(("left", "right", "sign"), [("1.0~rc1", "1.0", "<"), ("1.0", "0:1.0", "="), ("1:0", "9", ">")])
def test_two_versions(left: str, right: str, sign: str) -> None:
    assert _run("debian", left, right) == (0, sign + "\n")


def test_lines_get_one_answer_each_whatever_they_hold() -> None:
    lines = [b"1 2", b"", b"1", b"1 2 3", b"\xff 1", b"x:1 1", b"1 " + b"9" * 600, b"a" * 100_000 + b" 1", b"2\t1", b"1.0 1.0"]
    code, said = _run("Debian:12", "--stdin", given=b"\n".join(lines))
    answers = said.splitlines()
    assert code == 0
    assert [answer[0] for answer in answers] == ["<", *"???????", ">", "="]
    assert answers[4] == "? the line is not UTF-8"
    assert "its epoch is not a number" in answers[5]
    assert "longer than 512 characters" in answers[6]
    assert "longer than 4096 bytes" in answers[7]


def test_json_is_one_object_a_line() -> None:
    code, said = _run("pypi", "--stdin", "--output", "json", given=b"1.0 1.0.post1\n\n")
    assert code == 0
    first, second = map(json.loads, said.splitlines())
    assert first == {"left": "1.0", "right": "1.0.post1", "answer": "<", "reason": ""}
    assert second["answer"] == "?"
    assert second["reason"]


def test_what_nobody_can_say_ends_with_its_exit_code() -> None:
    assert _run("cran", "1", "x") == (3, "? CRAN version 'x': is not a list of numbers\n")
    assert _run("cran", "1", "\udcff", "--output", "json")[0] == 3


def test_wrong_command_lines() -> None:
    code, said = _run("debain", "1", "2")
    assert code == 2
    assert "did you mean debian?" in said
    assert _run("deb", "1")[0] == 2
    assert _run("deb")[0] == 2
    assert _run("deb", "1", "2", "--stdin")[0] == 2
