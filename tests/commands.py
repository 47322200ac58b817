"""Reads command lines as documents and help texts show them, and asks the real command tree whether it knows them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

PROGRAM = "shipwall"


class CommandRefusedError(Exception):
    """The command tree does not know this command line."""


def segments_of(line: str) -> list[list[str]]:
    """The words of each call of shipwall in a shell line: pipes, redirections, assignments and comments left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    parts: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if set(word) <= set("<>"):
            next(words, "")  # the file's name
        elif set(word) <= set("|&;"):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part[part.index(PROGRAM) :] for part in parts if PROGRAM in part]


def parse_command(root: Any, words: Sequence[str]) -> str:
    """The command (`image scan`) that `words` call, after the tree below `root` has parsed all of them. Nothing is run.

    Raises CommandRefusedError: no such command, option, argument or value.
    """
    command, path, rest = root, [], list(words[1:])
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        found = command.commands.get(rest[0])
        if found is None:
            raise CommandRefusedError(f"{' '.join(words)}: no command {rest[0]}")
        command = found
        path.append(rest.pop(0))
    try:
        command.make_context(" ".join([PROGRAM, *path]), rest)
    except Exception as error:
        raise CommandRefusedError(f"{' '.join(words)}: {getattr(error, 'message', '') or error!r}") from error
    return " ".join(path)


def check_words(root: Any, words: Sequence[str]) -> None:
    """Nothing, when the command named in running text exists and has the options named with it; arguments may be missing.

    Raises CommandRefusedError.
    """
    command, rest = root, list(words[1:])
    while isinstance(command, TyperGroup) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    if isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        raise CommandRefusedError(f"{' '.join(words)}: no command {rest[0]}")
    known = {"--help", *(name for option in command.params for name in (*option.opts, *option.secondary_opts))}
    if wrong := [word for word in rest if word.startswith("--") and word.partition("=")[0] not in known]:
        raise CommandRefusedError(f"{' '.join(words)}: no option {wrong[0]}")
