"""What a policy lets people set aside of a scan: VEX statements and ignore entries, by whose word they count.

Three sources count: entries in the policy, files lying beside it, and OpenVEX documents beside the image, signed for this very manifest
by a key that the policy names under `vex`. Nothing else: a document's own `author` is only a claim, and a document in or beside an image,
unsigned or signed by another key, is whatever its sender likes. On failure: closed, the finding stays and counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from shipwall.model.digest import ImageIdentity
from shipwall.model.finding import Finding, ScanResult, Suppressed
from shipwall.model.package import Inventory
from shipwall.model.verdict import Evidence, Reason
from shipwall.supply.ignore import apply_ignores
from shipwall.supply.policy import AcceptedVex, BesideFile, IgnoredFinding, Policy, Route
from shipwall.supply.statements import RefusedStatement, VerifiedStatement, is_young
from shipwall.supply.vex import VexStatement, apply_statements
from shipwall.supply.vex.openvex import parse_openvex

MAX_SHOWN = 50
"""Statements without effect, and documents that do not count, that a verdict states; of the former how many more there are is said.

What was set aside is stated in full, however much it is.
"""


class Aside(NamedTuple):
    """A scan without what was set aside, and what a verdict says of it. `ended`: entries that have run out and would have mattered."""

    scan: ScanResult
    reasons: tuple[Reason, ...]
    ended: tuple[tuple[IgnoredFinding, Finding], ...]


def set_aside(
    policy: Policy,
    route: Route,
    inventory: Inventory,
    scan: ScanResult,
    statements: Sequence[VerifiedStatement | RefusedStatement],
    source: str,
    now_ns: int,
) -> Aside:
    """`scan` after what `route` lets count. `source` is how the image was named.

    Every finding that is set aside is named with by what and why; a statement or entry that speaks of a finding of this image and did
    nothing is named with what differs, and so is each document beside the image that does not count. Raises nothing.
    """
    if inventory.image is None or not (route.ignored or route.vex_files or route.vex_by):
        return Aside(scan, (), ())
    ids = {id_ for finding in scan.findings for id_ in (finding.id, *finding.aliases)}
    accepted, refused = _accepted(route, inventory.image, statements, now_ns)
    origins = _Origins(policy)
    vex: list[VexStatement] = []
    for document in route.vex_files:
        # A document may be about a whole line of products: what it says of other problems is nothing to this image.
        read = tuple(one for one in document.statements if ids & set(one.ids))
        origins.add((one.place for one in read), document.file.line, document.file)
        vex += read
    for rule, statement in accepted:
        read = parse_openvex(statement.predicate, f"vex {statement.envelope[:19]} signed by {' and '.join(statement.signers)}")
        origins.add((one.place for one in read), rule.line, statement)
        vex += read
    kept, by_vex, notices = apply_statements(scan.findings, vex, inventory, source)

    named = [rule for rule in route.ignored if not rule.entry.id or rule.entry.id in ids]
    live = [rule for rule in named if now_ns < rule.entry.until_ns]
    for one in live:
        origins.add((one.entry.place,), one.line, one.file)
    left = kept
    kept, by_hand, more = apply_ignores(left, tuple(one.entry for one in live), inventory.distribution, now_ns)
    # A policy serves many images: that an entry matches nothing in this one is worth a word only where its id is there, and not set
    # aside by a statement already.
    still = {id_ for finding in left for id_ in (finding.id, *finding.aliases)}
    speaking = tuple(f"{one.entry.place}:" for one in live if one.entry.id in still)
    unused = [notice for notice in more if notice.startswith(speaking)]
    ended = [
        (one, hit)
        for one in named
        if now_ns >= one.entry.until_ns
        and (hit := next((finding for finding in kept if one.entry.matches(finding, inventory.distribution)), None))
    ]
    reasons = (
        *(_done(group, origins) for group in _grouped([*by_vex, *by_hand])),
        *_shown([_nothing_done(notice, origins) for notice in (*notices, *unused)], policy, route),
        *_refused(refused, policy, route),
    )
    return Aside(replace(scan, findings=tuple(kept), suppressed=(*scan.suppressed, *by_vex, *by_hand)), reasons, tuple(ended))


class _Origins:
    """Where each statement and entry comes from, as evidence, by its place."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._of: dict[str, tuple[Evidence, ...]] = {}

    def add(self, places: Iterable[str], line: int, origin: BesideFile | VerifiedStatement | None) -> None:
        rule = Evidence(kind="policy", ref=self._policy.digest, detail=f"{self._policy.name}:{line}")
        if isinstance(origin, VerifiedStatement):
            said: tuple[Evidence, ...] = (
                Evidence(kind="statement", ref=origin.envelope, detail=f"vex signed by {', '.join(origin.signers)}"),
            )
        else:
            said = (Evidence(kind="file", ref=origin.name, detail=origin.digest),) if origin is not None else ()
        self._of.update(dict.fromkeys(places, (*said, rule)))

    def of(self, place: str) -> tuple[Evidence, ...]:
        """The evidence for the statement or entry in `place`."""
        return self._of[place]

    def find(self, notice: str) -> tuple[Evidence, ...]:
        """The evidence for what `notice` begins with."""
        return next(evidence for place, evidence in self._of.items() if notice.startswith((f"{place} ", f"{place}:")))


def _accepted(
    route: Route, image: ImageIdentity, statements: Sequence[VerifiedStatement | RefusedStatement], now_ns: int
) -> tuple[list[tuple[AcceptedVex, VerifiedStatement]], list[Evidence]]:
    """The VEX documents beside the image that count, each with the rule that lets it, and why each of the others does not."""
    accepted, refused = [], []
    for one in statements if route.vex_by else ():
        if isinstance(one, RefusedStatement):
            if one.kind == "vex":
                refused.append(Evidence(kind="statement", ref=one.envelope, detail=one.reason))
            continue
        if one.kind != "vex":
            continue
        signed = [rule for rule in route.vex_by if set(one.signers) & set(rule.by)]
        young = [rule for rule in signed if is_young(one, rule.max_age_ns, now_ns)]
        if one.subject == image.manifest and young:
            accepted.append((young[0], one))
            continue
        why = f"vex signed by {', '.join(one.signers)} does not count"
        if one.subject != image.manifest:
            why = f"vex about {one.subject} does not count"
        elif signed:
            why = f"vex signed by {', '.join(one.signers)} is older than the policy lets count, or of unknown age"
        refused.append(Evidence(kind="statement", ref=one.envelope, detail=why))
    return accepted, refused


def _grouped(aside: Iterable[Suppressed]) -> list[list[Suppressed]]:
    groups: dict[tuple[str, str], list[Suppressed]] = defaultdict(list)
    for one in aside:
        groups[one.by, one.finding.id].append(one)
    return list(groups.values())


def _done(group: list[Suppressed], origins: _Origins) -> Reason:
    """One reason for all findings of one id that one statement or entry set aside."""
    first = group[0]
    evidence = [finding_evidence(one.finding) for one in group]
    if first.status == "ignored":
        message = f"{first.finding.id} was ignored, until {first.until}, by {first.by}: {first.reason}"
        return Reason(code="finding-ignored", message=message, evidence=(*evidence, *origins.of(first.by)))
    message = f"{first.finding.id} was set aside as {first.status} by {first.by}" + (f": {first.reason}" if first.reason else "")
    return Reason(code="finding-set-aside", message=message, evidence=(*evidence, *origins.of(first.by)))


def _nothing_done(notice: str, origins: _Origins) -> Reason:
    return Reason(code="judgement-unused", message=notice, evidence=origins.find(notice))


def _shown(reasons: list[Reason], policy: Policy, route: Route) -> list[Reason]:
    if len(reasons) <= MAX_SHOWN:
        return reasons
    rest = reasons[MAX_SHOWN:]
    message = f"and {len(rest)} more of this kind, first: {rest[0].message}"
    return [*reasons[:MAX_SHOWN], Reason(code=rest[0].code, message=message[:1000], evidence=(_of_route(policy, route),))]


def _refused(refused: list[Evidence], policy: Policy, route: Route) -> list[Reason]:
    if not refused:
        return []
    count = f"{len(refused)} VEX {'document' if len(refused) == 1 else 'documents'}"
    names = sorted({name for rule in route.vex_by for name in rule.by})
    message = (
        f"{count} beside the image {'does' if len(refused) == 1 else 'do'} not count: not signed for it by {' or '.join(names)}"
    )
    return [Reason(code="vex-not-accepted", message=message, evidence=(*refused[:MAX_SHOWN], _of_route(policy, route)))]


def _of_route(policy: Policy, route: Route) -> Evidence:
    return Evidence(kind="policy", ref=policy.digest, detail=f"{policy.name}:{route.line}")


def finding_evidence(finding: Finding) -> Evidence:
    """`finding` as evidence of a verdict."""
    fixed = f"fixed in {finding.fixed_version}" if finding.fixed_version else "no fix known"
    source = f", says {finding.source}" if finding.source else ""
    detail = f"{finding.package.name} {finding.package.version}, {fixed}, severity {finding.severity}{source}"
    return Evidence(kind="finding", ref=finding.id, detail=detail)
