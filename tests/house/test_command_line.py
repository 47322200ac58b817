"""The command tree keeps its promises: an example that really parses and JSON for every command, completion for every shell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.commands import CommandRefusedError, parse_command, segments_of
from typer.main import get_command

from shipwall.cli.app import build_app

ROOT_COMMAND = get_command(build_app())

# Commands whose whole answer is a file or its bytes: another form of it would be another file.
BYTES_ONLY = {
    "key export": "a public key (PEM) for another program",
    "profile export": "a document in the form of another program",
}


def _leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""
    for name, found in getattr(command, "commands", {}).items():
        if hasattr(found, "commands"):
            yield from _leaves(found, (*path, name))
        else:
            yield " ".join((*path, name)), found


LEAVES = dict(_leaves(ROOT_COMMAND))


def _examples(text: str) -> list[str]:
    """The lines of `text` below `Examples:`, and what follows `Example:` on its line."""
    _, mark, rest = text.partition("Example")
    return [line.strip() for line in rest.partition(":")[2].splitlines() if line.strip()] if mark else []


def test_the_tree_is_read() -> None:
    assert {"up", "image scan", "engine break-glass"} <= set(LEAVES)


@pytest.mark.parametrize("words", LEAVES)
def test_its_examples_are_commands_that_exist(words: str) -> None:
    """Each example line is parsed by the real tree, types included; one of them shows the command itself."""
    examples = _examples(LEAVES[words].help or "")
    parsed = [parse_command(ROOT_COMMAND, segment) for line in examples for segment in segments_of(line)]
    assert words in parsed, f"shipwall {words} --help shows no example of itself"
    assert all(segments_of(line) for line in examples), "a line below Examples: that is no shipwall command"


@pytest.mark.parametrize("words", LEAVES)
def test_it_answers_programs_too(words: str) -> None:
    has_json = any("--output" in option.opts for option in LEAVES[words].params)
    assert has_json != (words in BYTES_ONLY), "give it --output json, or say in BYTES_ONLY why not"


@pytest.mark.parametrize("words", LEAVES)
def test_every_option_says_what_it_is(words: str) -> None:
    bare = [
        option.opts[0] for option in LEAVES[words].params if option.opts[0].startswith("-") and not getattr(option, "help", None)
    ]
    assert bare == []


@pytest.mark.parametrize(
    "line",
    [
        "shipwall image scam shop.tar",
        "shipwall image scan shop.tar --fail-on-fixes",
        "shipwall image scan",
        "shipwall up --port many",
        "docker save shop | shipwall image scan - --nonsense",
    ],
)
def test_the_parser_of_examples_refuses(line: str) -> None:
    with pytest.raises(CommandRefusedError):
        [parse_command(ROOT_COMMAND, segment) for segment in segments_of(line)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered_and_completes(shell: str) -> None:
    def ask(instruction: str, **more: str) -> str:
        environment = {**os.environ, "_SHIPWALL_COMPLETE": f"{instruction}_{shell}", **more}
        done = subprocess.run(
            [Path(sys.executable).with_name("shipwall")], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stderr == ""
        return done.stdout

    assert f"complete_{shell}" in ask("source")  # what --show-completion prints and --install-completion installs
    words = {"COMP_WORDS": "shipwall image sc", "COMP_CWORD": "2"}
    typed = {"_TYPER_COMPLETE_ARGS": "shipwall image sc", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "scan" in ask("complete", **words, **typed)
