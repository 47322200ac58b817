"""A command line imports only its own noun, and that noun says the same as in the whole tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shipwall.cli.app import NOUNS, build_app
from shipwall.lang.neutral import neutral


@pytest.mark.parametrize("noun", NOUNS)
def test_a_noun_alone_is_the_noun_of_the_whole_tree(noun: str) -> None:
    alone, whole = (CliRunner().invoke(app, [noun, "--help"], prog_name="shipwall") for app in (build_app(noun), build_app()))
    assert (alone.exit_code, alone.output) == (0, whole.output)


@pytest.mark.parametrize(("noun", "command"), [("image", "scan"), ("image", "list"), ("image", "diff"), ("db", "update")])
def test_a_command_alone_is_the_command_of_the_whole_tree(noun: str, command: str) -> None:
    apps = (build_app(noun, command), build_app())
    alone, whole = (CliRunner().invoke(app, [noun, command, "--help"], prog_name="shipwall") for app in apps)
    assert (alone.exit_code, alone.output) == (0, whole.output)
    assert CliRunner().invoke(apps[0], [noun, "no-such-command"], prog_name="shipwall").exit_code == 2


@pytest.mark.parametrize("word", ["--help", "no-such-command", "scam"])
def test_other_second_words_get_the_whole_noun(word: str) -> None:
    help_text = CliRunner().invoke(build_app("image", word), ["image", "--help"]).output
    assert all(command in help_text for command in ("scan", "list", "diff", "promote", "rebuild", "build"))


@pytest.mark.parametrize("word", ["", "--help", "no-such-noun", "down"])
def test_other_words_get_the_whole_tree(word: str) -> None:
    help_text = CliRunner().invoke(build_app(word), ["--help"]).output
    assert all(noun in help_text for noun in NOUNS)


def test_listing_an_image_imports_neither_the_console_nor_an_http_client() -> None:
    program = (
        "import sys; sys.argv[1:] = ['image', 'list', '/nowhere.tar']\n"
        "from shipwall.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, *sorted({'httpx', 'fastapi', 'sqlalchemy', 'securesystemslib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "3\n"


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("words", [["db", "compare", "deb", "1", "2"], ["db", "compare", "deb", "1", "2", "--output", "json"]])
def test_output_to_a_full_disk_is_no_defect(words: list[str], buffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "shipwall", *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
            env={**os.environ, "PYTHONUNBUFFERED": buffered},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        8,
        "shipwall: output: No space left on device; free space or write to another place\n",
    )


def test_no_name_writes_a_line_of_its_own() -> None:
    assert neutral("a\n0 findings\t\x1b[2J") == r"a\x0a0 findings\x09\x1b[2J"
    assert neutral("two\nlines\x1b", lines=True) == "two\nlines\\x1b"


def test_a_reader_that_goes_away_is_no_defect() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "shipwall", "db", "compare", "deb", "1", "2"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
