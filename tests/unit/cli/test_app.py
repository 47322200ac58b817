"""A command line imports only its own noun, and that noun says the same as in the whole tree."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from shipwall.cli.app import NOUNS, build_app


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
