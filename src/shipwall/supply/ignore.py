"""Ignore files: findings set aside by hand, each with a reason and an end.

    version: 1
    ignore:
      - id: CVE-2023-0001            # or an alias of it
        package: openssl             # name or source, or a purl like pkg:deb/debian/openssl; optional
        path: /opt/legacy/**         # of the file that says the package is there; ** crosses folders; optional
        reason: not reachable here   # mandatory
        until: 2027-01-31            # mandatory; the entry holds through this day (UTC)

Of `id`, `package` and `path` at least one stands in an entry, and all that stand must match. An entry that has run out is not applied,
and said; one that matches nothing is said too. Such a file is read only where it is named: a file that happens to lie in the working
folder must not silently change what a scan says.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable

import msgspec

from shipwall.lang.yaml_text import Node, parse_yaml
from shipwall.model.errors import InputError
from shipwall.model.finding import Finding, Suppressed
from shipwall.model.package import Distribution
from shipwall.supply.purl import Purl, parse_purl
from shipwall.supply.purl_match import is_named

MAX_IGNORE_BYTES = 1024 * 1024
_DAY_NS = 86400 * 10**9
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,99}\Z")


class Ignore(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. It holds before `until_ns`; `place` is file and line. `purl` is set where `package` is written as one."""

    id: str = ""
    package: str = ""
    purl: Purl | None = None
    path: str = ""
    reason: str
    until: str
    until_ns: int
    place: str

    def matches(self, finding: Finding, distribution: Distribution) -> bool:
        """Whether `finding`, in an image of `distribution`, is meant."""
        package = finding.package
        return (
            (not self.id or self.id in {finding.id, *finding.aliases})
            and (self.purl is not None or self.package in {"", package.name, package.source})
            and (self.purl is None or is_named(self.purl, package, distribution))
            and (not self.path or _path_matches(self.path, package.evidence))
        )

    def __str__(self) -> str:
        """What the entry asks for, in a few words."""
        return " ".join(one for one in (self.id, self.package, self.path) if one)


def parse_ignores(data: bytes, name: str) -> tuple[Ignore, ...]:
    """The entries of the ignore file `data`. Total. Raises SourceError with line, column, caret and did-you-mean."""
    if len(data) > MAX_IGNORE_BYTES:
        raise InputError(name, f"is {len(data)} bytes, over the limit of {MAX_IGNORE_BYTES}", "split it")
    top = parse_yaml(data, name).mapping(("version", "ignore"), ("version", "ignore"))
    top["version"].choice(("1",))
    return tuple(_entry(node) for node in top["ignore"].sequence())


def apply_ignores(
    findings: Iterable[Finding], ignores: tuple[Ignore, ...], distribution: Distribution, now_ns: int
) -> tuple[list[Finding], list[Suppressed], list[str]]:
    """The findings that stay, those set aside, and what must be said: entries that have run out, and that matched nothing."""
    kept: list[Finding] = []
    aside: list[Suppressed] = []
    used: set[int] = set()
    for finding in findings:
        matching = [number for number, one in enumerate(ignores) if one.matches(finding, distribution)]
        used.update(matching)
        live = [ignores[number] for number in matching if now_ns < ignores[number].until_ns]
        if not live:
            kept.append(finding)
            continue
        longest = max(live, key=lambda one: one.until_ns)
        aside.append(Suppressed(finding=finding, by=longest.place, status="ignored", reason=longest.reason, until=longest.until))
    notices = []
    for number, one in enumerate(ignores):
        if now_ns >= one.until_ns:
            notices.append(f"{one.place}: the entry for {one} ran out on {one.until} and is not applied: {one.reason}")
        elif number not in used:
            notices.append(f"{one.place}: the entry for {one} matched nothing; remove it, or look at its spelling")
    return kept, aside, notices


def read_reason(node: Node) -> str:
    """The reason in `node`: one line of at most 500 characters. Raises SourceError."""
    text = " ".join(node.string().split())
    if not text or len(text) > 500:
        raise node.error("the reason is empty or longer than 500 characters", "say why in one line")
    return text


def read_until(node: Node) -> int:
    """When the day in `node` (UTC) is over, in nanoseconds since 1970. Raises SourceError."""
    text = node.string()
    try:
        day = dt.date.fromisoformat(text)
    except ValueError as error:
        raise node.error(f"{text[:40]!r} is not a date", "write it like 2027-01-31") from error
    return (day.toordinal() + 1 - dt.date(1970, 1, 1).toordinal()) * _DAY_NS


def _entry(node: Node) -> Ignore:
    keys = node.mapping(("id", "package", "path", "reason", "until"), ("reason", "until"))
    texts = {name: keys[name].string() for name in ("id", "package", "path") if name in keys}
    if not texts:
        raise node.error("the entry would ignore everything", "say which: id, package or path")
    for name, text in texts.items():
        if not text.strip() or len(text) > 1000:
            raise keys[name].error(f"{name} is empty or too long")
    if "id" in texts and not _ID.match(texts["id"]):
        raise keys["id"].error(f"{texts['id'][:60]!r} is not the id of a finding", "write one id, like CVE-2023-0001")
    purl = None
    if texts.get("package", "").startswith("pkg:"):
        try:
            purl = parse_purl(texts["package"])
        except InputError as error:
            raise keys["package"].error(f"{texts['package'][:60]!r} is not a package URL", error.reason) from error
    return Ignore(
        **texts,
        purl=purl,
        reason=read_reason(keys["reason"]),
        until=keys["until"].string(),
        until_ns=read_until(keys["until"]),
        place=f"{node.document.name}:{node.line}",
    )


def _path_matches(pattern: str, path: str) -> bool:
    """Whether the glob `pattern` is `path`: `*` and `?` within a folder, `**` across folders (also none)."""
    wanted, parts = ([part for part in text.split("/") if part] for text in (pattern, path))
    return _glob(
        wanted, parts, "**", lambda part, text: _glob(list(part), list(text), "*", lambda one, other: one in {"?", other})
    )


def _glob(pattern: list[str], items: list[str], star: str, is_one: Callable[[str, str], bool]) -> bool:
    """Whether `items` are `pattern`, in which `star` stands for any number of them. Time: the product of both lengths at most."""

    def closed(reached: set[int]) -> set[int]:
        for at in sorted(reached):
            after = at
            while after < len(pattern) and pattern[after] == star:
                after += 1
                reached.add(after)
        return reached

    reached = closed({0})
    for item in items:
        reached = closed({
            at if pattern[at] == star else at + 1
            for at in reached
            if at < len(pattern) and (pattern[at] == star or is_one(pattern[at], item))
        })  # fmt: skip
    return len(pattern) in reached
