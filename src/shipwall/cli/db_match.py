"""`shipwall db match`: a long list of names and versions against all advisories of one ecosystem."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.output import Output, OutputOption

if TYPE_CHECKING:
    from shipwall.supply.match_list import Answer

_BATCH = 50_000
_MAX_REMEMBERED = 500_000


def match(
    ecosystem: Annotated[str, typer.Argument(help="ecosystem as OSV names it: PyPI, Debian:12, AlmaLinux:9")],
    name: Annotated[str, typer.Argument(help="a package's name, or its source package's")] = "",
    version: Annotated[str, typer.Argument(help="its version")] = "",
    stdin: Annotated[bool, typer.Option("--stdin", help="lines 'name version' from standard input, one answer a line")] = False,
    database: Annotated[Path | None, typer.Option("--db", help="database file; default: advisories/ in the state folder")] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="state folder; default $SHIPWALL_STATE, else the system's")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Which advisories affect a package: their ids, '-' for none, and '?' with the id and why for each of which nobody can say.

    For lists of millions: the advisories are made ready once, and answers come 50,000 lines at a time. Without an image nothing is known of
    a package but its name and version, so what a distribution owns or builds for one architecture is not told apart: `image scan` is exact.

    Exit codes: 0 answered (with --stdin: every line has its answer, also '?'); 2 wrong arguments; 7 the database has no advisories for the
    ecosystem; 8 there is no database; 9 nobody can say of NAME VERSION.

    JSON: one object a line: name, version, ids, undecided (id and reason), reason (why the line is none).

    Examples:

      shipwall db match PyPI django 4.2.1

      printf '%s\\n' 'openssl 3.0.11-1' 'zlib 1:1.2.13' | shipwall db match Debian:12 --stdin --output json
    """
    import sys

    from shipwall.adapters.advisory_db import AdvisoryDb
    from shipwall.adapters.instance import find_instance
    from shipwall.cli.pairs import read_pairs
    from shipwall.model.errors import InputError, UndecidedError, UnsupportedError
    from shipwall.supply.ecosystems import order_of, parse_scope
    from shipwall.supply.match_list import ListMatcher

    if stdin == bool(name or version) or bool(name) != bool(version):
        raise typer.BadParameter("name a package and a version, or none and --stdin")
    try:
        scope = parse_scope(ecosystem)
        order_of(scope)
    except InputError as error:
        raise typer.BadParameter(error.line(), param_hint="ECOSYSTEM") from error
    with AdvisoryDb(database or find_instance(state).advisories) as advisories:
        if not advisories.holds(scope):
            raise UnsupportedError(scope, "the database has no advisories for it", "shipwall db status lists what there is")
        matcher = ListMatcher(scope, advisories.entries([scope]), advisories.advisory)
        lines = read_pairs(sys.stdin.buffer) if stdin else iter([(name, version, "")])
        texts: dict[tuple[str, str, str], str] = {}  # long lists repeat themselves
        while batch := list(itertools.islice(lines, _BATCH)):
            if len(texts) > _MAX_REMEMBERED:
                texts.clear()
            asked = [line for line in dict.fromkeys(batch) if line not in texts]
            answers = matcher.match([line[:2] for line in asked])
            texts |= {line: _text(line, answer, output) for line, answer in zip(asked, answers, strict=True)}
            sys.stdout.writelines([texts[line] + "\n" for line in batch])
            if not stdin and answers[0].undecided:
                raise UndecidedError(f"{name} {version}", "of some advisories nobody can say", "compare the versions yourself")


def _text(line: tuple[str, str, str], answer: Answer, output: Output) -> str:
    import msgspec

    from shipwall.cli.output import neutral

    name, version, problem = line
    if output is Output.JSON:
        undecided = [{"id": one, "reason": reason} for one, reason in answer.undecided]
        said = {"name": name, "version": version, "ids": answer.ids, "undecided": undecided, "reason": problem}
        return msgspec.json.encode(said).decode()
    if problem:
        return f"? {neutral(problem)}"
    unsure = [f"? {one}: {reason}" for one, reason in answer.undecided]
    return neutral("; ".join(filter(None, (" ".join(answer.ids), *unsure))) or "-")
