"""Promotion policies: which images may go from one place to another, written in YAML.

    version: 1
    routes:
      - from: dev/*              # a * stands for the same text in both
        to: prod/*
        packages:
          deny:
            - name: tcpdump      # version: "< 4.99.4" would deny only those
              reason: a sniffer has no place in production
        findings:
          fixable: none          # no finding that has a fix (default: any)
          max: {critical: 0}     # the most findings of a severity, fixable or not
          deny:                  # conditions in CEL; docs/formats/conditions.md lists the fields
            - finding.kev
            - finding.severity >= HIGH && finding.epss > 0.1
          max_age: 7d            # of the advisories the scan used
          unjudged: refuse       # what could not be read or judged (default: refuse)
          ignore:
            - {id: CVE-2023-0001, reason: not reachable here, until: 2027-01-31}
            - {file: accepted.yaml}              # an ignore file beside this policy
          vex:
            - {file: vendor.openvex.json}        # a VEX document beside this policy
            - {by: [vendor], max_age: 30d}       # one beside the image, signed by a key of these names
        attestations:
          - {type: provenance, by: [build]}
          - {type: scan, by: [build], max_age: 24h}
        bases: []                # chain ids or manifest digests of allowed base images (default: any)

Everything unknown is an error: a rule with a misspelt key must not silently allow. What sets findings aside is under the control of
whoever keeps the policy: it lies beside the policy, or is signed by a key the policy names. What merely comes with an image is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from shipwall.lang.cel import Condition
from shipwall.lang.diagnostic import SourceError
from shipwall.lang.yaml_text import Node, parse_yaml
from shipwall.model.digest import Digest, digest_of, parse_digest
from shipwall.model.errors import InputError
from shipwall.model.finding import Severity
from shipwall.model.image import parse_image_ref
from shipwall.supply.fail_on import parse_fail_on
from shipwall.supply.ignore import Ignore, parse_ignores, read_reason, read_until
from shipwall.supply.statements import KINDS
from shipwall.supply.versions.deb import compare_versions, parse_version
from shipwall.supply.vex import VexStatement, parse_vex

MAX_POLICY_BYTES = 256 * 1024
_OPERATORS = ("<=", ">=", "<", ">", "=")
_DURATION = re.compile(r"([0-9]{1,6})(s|m|h|d)\Z")
_UNIT_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_KEY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_FINDING_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,99}\Z")
_PACKAGE_NAME = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@+._/-]{0,199}\Z")
_FILE_NAME = re.compile(r"(?!\.\.?(/|\Z))[A-Za-z0-9._+-]{1,100}(/(?!\.\.?(/|\Z))[A-Za-z0-9._+-]{1,100}){0,8}\Z")

ReadBeside = Callable[[str], bytes]
"""The bytes of the file of that relative name in the policy's folder, bounded. Raises InputError, StorageError."""


class VersionRange(msgspec.Struct, frozen=True):
    """`operator` (< <= = >= >) and a Debian version."""

    operator: str
    version: str

    def holds(self, version: str) -> bool:
        """Whether `version` is in the range. Raises InputError for what is not a version."""
        order = compare_versions(version, self.version)
        return {"<": order < 0, "<=": order <= 0, "=": order == 0, ">=": order >= 0, ">": order > 0}[self.operator]

    def __str__(self) -> str:
        """The range as it is written."""
        return f"{self.operator} {self.version}"


class DeniedPackage(msgspec.Struct, frozen=True, kw_only=True):
    """A package (binary or source name) that must not be there, in `versions` or, when None, in any."""

    name: str
    versions: VersionRange | None
    reason: str
    line: int


class BesideFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file beside the policy, as the policy calls it in `line`, and the digest of what was read."""

    name: str
    digest: Digest
    line: int


class IgnoredFinding(msgspec.Struct, frozen=True, kw_only=True):
    """An ignore entry, written in `line` of the policy or in the `file` that this line names."""

    entry: Ignore
    line: int
    file: BesideFile | None = None


class VexFile(msgspec.Struct, frozen=True, kw_only=True):
    """A VEX document beside the policy."""

    file: BesideFile
    statements: tuple[VexStatement, ...]


class AcceptedVex(msgspec.Struct, frozen=True, kw_only=True):
    """VEX documents beside the image count when signed by one of the keys named `by`, at most `max_age_ns` ago (None: any age)."""

    by: tuple[str, ...]
    max_age_ns: int | None
    line: int


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that must not be true of the scan or of a finding."""

    condition: Condition
    line: int


class RequiredAttestation(msgspec.Struct, frozen=True, kw_only=True):
    """A statement of `kind` signed by one of the keys named `by`, at most `max_age_ns` old (None: any age)."""

    kind: str
    by: tuple[str, ...]
    max_age_ns: int | None
    line: int


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one way. `limits`: most findings per severity. `bases`: chain ids or manifests, empty for any."""

    from_: str
    to: str
    line: int
    denied: tuple[DeniedPackage, ...] = ()
    fixable: str = "any"
    limits: dict[Severity, int] = {}
    denials: tuple[Denial, ...] = ()
    advisories_max_age_ns: int | None = None
    unjudged: str = "refuse"
    ignored: tuple[IgnoredFinding, ...] = ()
    vex_files: tuple[VexFile, ...] = ()
    vex_by: tuple[AcceptedVex, ...] = ()
    attestations: tuple[RequiredAttestation, ...] = ()
    bases: tuple[Digest, ...] = ()

    def target_of(self, repository: str) -> str | None:
        """Where `repository` goes on this route; None when the route is not for it."""
        head, star, tail = self.from_.partition("*")
        if not star:
            return self.to if repository == head else None
        if len(repository) <= len(head) + len(tail) or not (repository.startswith(head) and repository.endswith(tail)):
            return None
        middle = repository[len(head) : len(repository) - len(tail)]
        return self.to.replace("*", middle) if "/" not in middle else None


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy file. `digest` is that of its bytes: two verdicts with the same one were judged by the same text.

    Files that it names have digests of their own, in its routes; a verdict for which they mattered states them.
    """

    name: str
    digest: Digest
    routes: tuple[Route, ...]

    def find_route(self, repository: str, target: str = "") -> tuple[Route, str] | None:
        """The first route for `repository` (to `target`, where given) and the target; None when there is none."""
        for route in self.routes:
            found = route.target_of(repository)
            if found is not None and target in {"", found}:
                return route, found
        return None


def parse_policy(data: bytes, name: str, read_beside: ReadBeside | None = None) -> Policy:
    """The policy in `data`; `name` (its file) stands in errors. `read_beside` gives the files that it names; without it there are none.

    Total. Raises SourceError (an InputError with line, column, excerpt and did-you-mean) for anything that is not exactly a policy, and
    what `read_beside` raises. On failure of a named file: closed, for there is no policy then.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise InputError(
            name, f"is {len(data)} bytes, over the limit of {MAX_POLICY_BYTES}", "split the routes over several files"
        )
    top = parse_yaml(data, name).mapping(("version", "routes"), ("version", "routes"))
    top["version"].choice(("1",))
    routes = tuple(_route(node, read_beside) for node in top["routes"].sequence())
    if not routes:
        raise top["routes"].error("routes is empty", "add one: `- from: dev/*`, `to: prod/*`")
    return Policy(name=name, digest=digest_of(data), routes=routes)


def _route(node: Node, read_beside: ReadBeside | None) -> Route:
    keys = node.mapping(("from", "to", "packages", "findings", "attestations", "bases"), ("from", "to"))
    from_, to = _pattern(keys["from"]), _pattern(keys["to"])
    if "*" in to and "*" not in from_:
        raise keys["to"].error("to has a * that from does not have", "write the same * in both")
    if from_ == to:
        raise keys["to"].error("from and to are the same", "name another repository")
    route = Route(from_=from_, to=to, line=node.line)
    if "packages" in keys:
        deny = keys["packages"].mapping(("deny",), ("deny",))["deny"]
        route = replace(route, denied=tuple(_denied(one) for one in deny.sequence()))
    if "findings" in keys:
        route = _findings(keys["findings"], route, read_beside)
    if "attestations" in keys:
        route = replace(route, attestations=tuple(_attestation(one) for one in keys["attestations"].sequence()))
    if "bases" in keys:
        route = replace(route, bases=tuple(_digest(one) for one in keys["bases"].sequence()))
    return route


def _findings(node: Node, route: Route, read_beside: ReadBeside | None) -> Route:
    keys = node.mapping(("fixable", "max", "deny", "max_age", "unjudged", "ignore", "vex"))
    if "fixable" in keys:
        route = replace(route, fixable=keys["fixable"].choice(("none", "any")))
    if "unjudged" in keys:
        route = replace(route, unjudged=keys["unjudged"].choice(("refuse", "allow")))
    if "max" in keys:
        most = keys["max"].mapping([severity.value for severity in Severity])
        route = replace(route, limits={Severity(name): _count(value) for name, value in most.items()})
    if "deny" in keys:
        route = replace(route, denials=tuple(_denial(one) for one in keys["deny"].sequence()))
    if "max_age" in keys:
        route = replace(route, advisories_max_age_ns=_duration(keys["max_age"]))
    if "ignore" in keys:
        ignored = (entry for one in keys["ignore"].sequence() for entry in _ignored(one, read_beside))
        route = replace(route, ignored=tuple(ignored))
    if "vex" in keys:
        sources = [_vex(one, read_beside) for one in keys["vex"].sequence()]
        route = replace(
            route,
            vex_files=tuple(one for one in sources if isinstance(one, VexFile)),
            vex_by=tuple(one for one in sources if isinstance(one, AcceptedVex)),
        )
    return route


def _denied(node: Node) -> DeniedPackage:
    keys = node.mapping(("name", "version", "reason"), ("name", "reason"))
    name = keys["name"].string()
    if not _PACKAGE_NAME.match(name):
        raise keys["name"].error(f"{name[:60]!r} is not a package name", "write one name, like tcpdump")
    versions = _range(keys["version"]) if "version" in keys else None
    return DeniedPackage(name=name, versions=versions, reason=read_reason(keys["reason"]), line=node.line)


def _denial(node: Node) -> Denial:
    return Denial(condition=parse_fail_on(node.string(), node.document.name, node.error_at), line=node.line)


def _ignored(node: Node, read_beside: ReadBeside | None) -> tuple[IgnoredFinding, ...]:
    if "file" in node.mapping():
        name, line = node.mapping(("file",))["file"], node.line
        data = _read_beside(name, read_beside)
        file = BesideFile(name=name.string(), digest=digest_of(data), line=line)
        return tuple(IgnoredFinding(entry=one, line=line, file=file) for one in parse_ignores(data, file.name))
    keys = node.mapping(("id", "reason", "until", "file"), ("id", "reason", "until"))
    found = keys["id"].string()
    if not _FINDING_ID.match(found):
        raise keys["id"].error(f"{found[:60]!r} is not the id of a finding", "write one id, like CVE-2023-0001")
    entry = Ignore(
        id=found,
        reason=read_reason(keys["reason"]),
        until=keys["until"].string(),
        until_ns=read_until(keys["until"]),
        place=f"{node.document.name}:{node.line}",
    )
    return (IgnoredFinding(entry=entry, line=node.line),)


def _vex(node: Node, read_beside: ReadBeside | None) -> VexFile | AcceptedVex:
    if "file" in node.mapping(("file", "by", "max_age")):
        name = node.mapping(("file",))["file"]
        data = _read_beside(name, read_beside)
        file = BesideFile(name=name.string(), digest=digest_of(data), line=node.line)
        return VexFile(file=file, statements=parse_vex(data, file.name))
    keys = node.mapping(("by", "max_age"), ("by",))
    max_age_ns = _duration(keys["max_age"]) if "max_age" in keys else None
    return AcceptedVex(by=_keys(keys["by"]), max_age_ns=max_age_ns, line=node.line)


def _read_beside(node: Node, read_beside: ReadBeside | None) -> bytes:
    name = node.string()
    if not _FILE_NAME.match(name):
        raise node.error(
            f"{name[:80]!r} does not lie beside the policy", "put it into the policy's folder and write its name there"
        )
    if read_beside is None:
        raise node.error(f"{name!r} cannot be read: this policy stands alone", "write the policy into a file")
    return read_beside(name)


def _attestation(node: Node) -> RequiredAttestation:
    keys = node.mapping(("type", "by", "max_age"), ("type", "by"))
    kind = keys["type"].choice([kind for kind in KINDS if kind != "promotion"])
    max_age_ns = _duration(keys["max_age"]) if "max_age" in keys else None
    return RequiredAttestation(kind=kind, by=_keys(keys["by"]), max_age_ns=max_age_ns, line=node.line)


def _keys(node: Node) -> tuple[str, ...]:
    names = []
    for one in node.sequence():
        name = one.string()
        if not _KEY_NAME.match(name):
            raise one.error(f"{name[:60]!r} is not the name of a key", "list them: shipwall key show")
        names.append(name)
    if not names:
        raise node.error("by names no key", "name the keys that may sign this, like [build]")
    return tuple(names)


def _pattern(node: Node) -> str:
    text = node.string()
    try:
        ref = parse_image_ref("localhost/" + text.replace("*", "x", 1))
    except InputError as error:
        raise node.error(f"{text[:80]!r} is not a repository with at most one *", "write it like dev/shop or dev/*") from error
    if ref.tag or ref.digest:
        raise node.error(f"{text[:80]!r} names a tag or digest", "write the repository alone, like dev/*")
    return text


def _range(node: Node) -> VersionRange:
    text = node.string()
    operator = next((one for one in _OPERATORS if text.startswith(one)), "")
    version = text[len(operator) :].strip()
    try:
        parse_version(version)
    except InputError as error:
        raise node.error(f"version {text[:60]!r} is not a range", 'write it like "< 5.10-2"') from error
    if not operator:
        raise node.error(f"version {text[:60]!r} has no comparison", f'write "= {version}" or "< {version}"')
    return VersionRange(operator, version)


def _digest(node: Node) -> Digest:
    try:
        return parse_digest(node.string())
    except SourceError:
        raise
    except InputError as error:
        raise node.error("the base is not a digest", "write its layer chain id or manifest digest") from error


def _count(node: Node) -> int:
    count = node.integer()
    if not 0 <= count <= 1_000_000:
        raise node.error(f"{count} is not a count", "write a number from 0 to 1000000")
    return count


def _duration(node: Node) -> int:
    text = node.string()
    match = _DURATION.match(text)
    if match is None:
        raise node.error(f"{text[:40]!r} is not a duration", "write it like 30m, 24h or 7d")
    return int(match.group(1)) * _UNIT_NS[match.group(2)]
