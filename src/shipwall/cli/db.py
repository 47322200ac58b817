"""`shipwall db`: what is known of versions and advisories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from shipwall.cli.output import Output, OutputOption

if TYPE_CHECKING:
    from shipwall.supply.versions import Order

app = typer.Typer(help="Versions and advisories: what the scanner judges packages by.", no_args_is_help=True)

MAX_LINE_BYTES = 4096  # far beyond two versions; a longer line is answered with "?"


@app.command()
def compare(
    ecosystem: Annotated[str, typer.Argument(help="package URL type (deb, pypi) or OSV name (Debian:12, crates.io)")],
    left: Annotated[str, typer.Argument(help="a version")] = "",
    right: Annotated[str, typer.Argument(help="another version")] = "",
    stdin: Annotated[bool, typer.Option("--stdin", help="lines 'a b' from standard input, one answer a line")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Which of two versions is older: '<', '=', '>', or '?' with the reason why nobody can say.

    Exit codes: 0 answered (with --stdin: every line has its answer, also '?'), 2 unknown ecosystem or wrong arguments, 3 '?' for A B.
    JSON: one object a line: left, right, answer, reason.

    Examples:

      shipwall db compare deb 1.0~rc1 1.0

      shipwall db compare Maven 1.0-alpha-1 1.0 --output json

      printf '%s\\n' '1.0 1.0.post1' '1!0 2' | shipwall db compare pypi --stdin

      shipwall db compare pypi -- -dev 1.0   (a version that begins with a hyphen)
    """
    import sys

    import msgspec

    from shipwall.cli.output import neutral
    from shipwall.model.errors import InputError
    from shipwall.supply.versions import find_order

    if stdin == bool(left or right) or bool(left) != bool(right):
        raise typer.BadParameter("name two versions, or none and --stdin")
    try:
        order = find_order(ecosystem)
    except InputError as error:
        raise typer.BadParameter(error.line(), param_hint="ECOSYSTEM") from error
    given = (
        (left + "\n" + right).encode(errors="surrogateescape").decode(errors="replace").split("\n", 1)
    )  # arguments may be any bytes
    pairs = _read_pairs(sys.stdin.buffer) if stdin else iter([(given[0], given[1], "")])
    for a, b, problem in pairs:
        answer, reason = ("?", problem) if problem else _answer(order, a, b)
        if output is Output.JSON:
            line = msgspec.json.encode({"left": a, "right": b, "answer": answer, "reason": reason}).decode()
        else:
            line = f"{answer} {neutral(reason)}" if reason else answer
        sys.stdout.write(line + "\n")
        if answer == "?" and not stdin:
            raise typer.Exit(InputError.exit_code)


def _answer(order: Order, left: str, right: str) -> tuple[str, str]:
    from shipwall.model.errors import InputError

    try:
        return "=><"[order.compare(left, right)], ""
    except InputError as error:
        return "?", error.line()


def _read_pairs(stream: BinaryIO) -> Iterator[tuple[str, str, str]]:
    """Two versions and an empty text for each line, or two empty texts and what is wrong with it."""
    while line := stream.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield "", "", f"the line is longer than {MAX_LINE_BYTES} bytes"
            continue
        words = line.split()
        if len(words) != 2:
            yield "", "", "the line is not two versions with a blank between them"
            continue
        try:
            yield words[0].decode(), words[1].decode(), ""
        except UnicodeDecodeError:
            yield "", "", "the line is not UTF-8"
