"""Findings grouped by what would end them: one upgrade of one package usually ends many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cmp_to_key

import msgspec

from shipwall.model.errors import InputError
from shipwall.model.finding import Finding, FixState, Severity
from shipwall.model.package import SYSTEM_TYPES
from shipwall.supply.versions import ORDERS

SEVERITIES = tuple(reversed(Severity))
"""The worst first; UNKNOWN is the last, because nothing is known of it."""

_RANK = {severity: number for number, severity in enumerate(SEVERITIES)}


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something that ends findings. `kind`: `upgrade` to version `to`, or `none` where no fix is known (`state` says what is).

    `package` is what one upgrades: of a distribution's packages the source, whose `binaries` come together; else the package itself, at
    each of `paths`. `ids` are the worst first, without repetition. `findings` counts one per package and id.
    """

    kind: str
    ecosystem: str
    package: str
    installed: str
    to: str
    state: FixState
    binaries: tuple[str, ...]
    paths: tuple[str, ...]
    ids: tuple[str, ...]
    findings: int
    severities: dict[Severity, int]
    worst: Severity
    known_exploited: int
    highest_epss: float | None


def list_actions(findings: Iterable[Finding]) -> tuple[Action, ...]:
    """What to do about `findings`: upgrades first, among them those that end what is exploited and the worst, then the most."""
    groups: dict[tuple[object, ...], list[Finding]] = defaultdict(list)
    for finding in findings:
        package = finding.package
        name = (package.source or package.name) if package.ecosystem in SYSTEM_TYPES else package.name
        version = (package.source_version or package.version) if package.ecosystem in SYSTEM_TYPES else package.version
        state = FixState.FIXED if finding.fixed_version else finding.state
        groups[bool(finding.fixed_version), package.ecosystem, name, version, state].append(finding)
    actions = [_action(str(key[2]), group) for key, group in groups.items()]
    return tuple(sorted(actions, key=_order))


def order_findings(findings: Iterable[Finding]) -> list[Finding]:
    """`findings`, the worst first: exploited, severity, EPSS, then by name."""
    return sorted(findings, key=_finding_order)


def _action(name: str, group: list[Finding]) -> Action:
    group = order_findings(group)
    first = group[0].package
    severities = dict.fromkeys(SEVERITIES, 0)
    for finding in group:
        severities[finding.severity] += 1
    fixed = _highest(first.ecosystem, {finding.fixed_version for finding in group} - {""})
    return Action(
        kind="upgrade" if fixed else "none",
        ecosystem=first.ecosystem,
        package=name,
        installed=" / ".join(sorted({finding.package.version for finding in group})),
        to=fixed,
        state=FixState.FIXED if fixed else group[0].state,
        binaries=tuple(sorted({finding.package.name for finding in group})),
        paths=tuple(sorted({finding.package.evidence for finding in group if finding.package.evidence})),
        ids=tuple(dict.fromkeys(finding.id for finding in group)),
        findings=len(group),
        severities=severities,
        worst=next(severity for severity in SEVERITIES if severities[severity]),
        known_exploited=sum(finding.exploited.kev for finding in group),
        highest_epss=max((one.exploited.epss for one in group if one.exploited.epss is not None), default=None),
    )


def _highest(ecosystem: str, versions: set[str]) -> str:
    """The version that ends all findings of a group: the highest; all of them, where they cannot be compared."""
    if len(versions) <= 1:
        return next(iter(versions), "")
    if ecosystem in ORDERS:
        try:
            return max(versions, key=cmp_to_key(ORDERS[ecosystem].compare))
        except InputError:
            pass
    return " / ".join(sorted(versions))


def _order(action: Action) -> tuple[object, ...]:
    counts = tuple(-action.severities[severity] for severity in SEVERITIES)
    return (action.kind != "upgrade", -action.known_exploited, *counts, action.package, action.installed, action.state)


def _finding_order(finding: Finding) -> tuple[object, ...]:
    epss = finding.exploited.epss
    package = finding.package
    return (
        not finding.exploited.kev,
        _RANK[finding.severity],
        -(epss if epss is not None else -1.0),
        package.source or package.name,
        package.name,
        finding.id,
        package.version,
        package.arch,
        package.evidence,
        finding.source,
    )
