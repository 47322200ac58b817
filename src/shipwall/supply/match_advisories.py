"""Findings: the packages of an inventory that advisories speak of, one for each package and problem.

Pure: advisories come through the Protocol `Advisories` (a database, or lists in a test). A version that cannot be placed in its
ecosystem's order, and a build of a module whose stream is not known, are Skipped: never silently "not affected".
Start here: `match_advisories`, `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from shipwall.model.advisory import Advisory, Affected
from shipwall.model.errors import InputError
from shipwall.model.finding import Exploited, Finding, FixState
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.supply.advisory_ids import is_bug_fix
from shipwall.supply.ecosystems import distribution_scopes, order_of, parse_name, scopes_of
from shipwall.supply.join import Hit, join_hits
from shipwall.supply.makers import not_of_distribution
from shipwall.supply.modules import Stream, stream_fits
from shipwall.supply.versions import compare_again

_UBUNTU_PRO = "Ubuntu:Pro:"


class Entry(NamedTuple):
    """What the advisory `number` (of the database that gave it) says of one package."""

    number: int
    affected: Affected


class Advisories(Protocol):
    """A database of advisories, read only."""

    def holds(self, scope: str) -> bool:
        """Whether any advisory speaks of `scope`."""
        ...

    def affecting(self, scope: str, names: Iterable[str]) -> Mapping[str, Sequence[Entry]]:
        """By name, all entries of `scope` for these packages."""
        ...

    def advisory(self, number: int) -> Advisory:
        """The advisory of an entry, without its list of affected packages."""
        ...

    def exploited(self, ids: Iterable[str]) -> Mapping[str, Exploited]:
        """Signs of exploitation of those of `ids` that have any."""
        ...

    def vectors(self, ids: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """CVSS vectors that any feed gives for those of `ids`."""
        ...


class Judgement(NamedTuple):
    """What one advisory means for one package. `affected`: the entry that says so, None for "not affected".

    `fixed`: the version that ends it, empty when none is known. `undecided`: why it could not be said.
    """

    affected: Affected | None = None
    fixed: str = ""
    undecided: str = ""


def match_advisories(inventory: Inventory, advisories: Advisories) -> tuple[list[Finding], list[Skipped]]:
    """The findings over `inventory`, sorted by package and id, and what could not be judged.

    Packages that nothing judges (an unknown distribution, a kind of package the database has no advisories for) are one Skipped for each
    reason, with their number. A package in the distribution's form that somebody else made is judged, and a Skipped besides.
    """
    hits: list[Hit] = []
    skipped: list[Skipped] = []
    missed: dict[int, list[Skipped]] = {}
    said: set[tuple[int, str]] = set()  # (advisory, name) that the release itself, not only its subscription, is spoken of
    for scope, packages in sorted(_by_scope(inventory, advisories, skipped).items(), key=lambda item: _is_pro(item[0])):
        entries = advisories.affecting(scope, {name for package in packages for name in names_in(package, scope)})
        if _is_pro(scope):
            entries = {name: [one for one in own if (one.number, name) not in said] for name, own in entries.items()}
        else:
            said |= {(one.number, name) for name, own in entries.items() for one in own}
        for package in packages:
            if id(package) not in missed and (foreign := not_of_distribution(package)):
                missed[id(package)] = [foreign]
            binary, source = names_in(package, scope)
            found = [one for one in entries.get(binary, ()) if not one.affected.by_source]
            found += [one for one in entries.get(source, ()) if one.affected.by_source]
            if found:
                _judge_package(package, scope, found, advisories, hits, missed.setdefault(id(package), []))
    skipped += [one for own in missed.values() for one in own]
    ids = {name for hit in hits for name in hit.ids}
    return join_hits(hits, advisories.exploited(ids), advisories.vectors(ids)), skipped


def is_judgeable(inventory: Inventory, advisories: Advisories) -> bool:
    """Whether the database speaks of any scope that judges one of the packages (or there are none)."""
    scopes = {scope for package in inventory.packages for scope in scopes_of(package, inventory.distribution)}
    return not inventory.packages or any(advisories.holds(scope) for scope in scopes)


def _by_scope(inventory: Inventory, advisories: Advisories, skipped: list[Skipped]) -> dict[str, list[Package]]:
    """The packages each scope judges. Unjudged ones go to `skipped`."""
    groups: dict[str, list[Package]] = {}
    unjudged: dict[tuple[str, str], int] = {}
    held: dict[str, bool] = {}
    for package in inventory.packages:
        scopes = scopes_of(package, inventory.distribution)
        for scope in scopes:
            if scope not in held:
                held[scope] = advisories.holds(scope)
        usable = [scope for scope in scopes if held[scope]]
        for scope in usable:
            groups.setdefault(scope, []).append(package)
        if not usable:
            if package.owner:  # judged with its owner, by the distribution's advisories, if there are any
                scopes = distribution_scopes(inventory.distribution)
                if any(held.setdefault(scope, advisories.holds(scope)) for scope in scopes):
                    continue
            key = (
                f"{package.ecosystem} packages that the distribution owns" if package.owner else f"{package.ecosystem} packages",
                scopes[0] if scopes else "",
            )
            unjudged[key] = unjudged.get(key, 0) + 1
    for (what, scope), count in unjudged.items():
        reason = f"the database has no advisories for {scope}" if scope else _unknown(what, inventory.distribution)
        skipped.append(Skipped(what=f"{count} {what}", reason=reason, packages=count))
    return groups


def _unknown(what: str, distribution: Distribution) -> str:
    if what.endswith("owns") or what.partition(" ")[0] in {"deb", "apk", "rpm"}:
        name = " ".join(filter(None, (distribution.id, distribution.version_id))) or "an unknown distribution"
        return f"no advisories are known for {name}"
    return f"no advisories are known for {what}"


def _is_pro(scope: str) -> bool:
    return scope.startswith(_UBUNTU_PRO)


def names_in(package: Package, scope: str) -> tuple[str, str]:
    """The names under which advisories of `scope` speak of `package`: its own, and its source package's."""
    return parse_name(scope, package.name), parse_name(scope, package.source or package.name)


def _judge_package(
    package: Package, scope: str, entries: Sequence[Entry], advisories: Advisories, hits: list[Hit], missed: list[Skipped]
) -> None:
    """Add to `hits` what affects `package`, and to `missed`, which is of this package alone, what could not be decided."""
    by_advisory: dict[int, list[Affected]] = {}
    for entry in entries:
        by_advisory.setdefault(entry.number, []).append(entry.affected)
    own: list[Hit] = []
    for number, affected in by_advisory.items():
        judgement = judge(package, scope, affected)
        if judgement.affected is None and not judgement.undecided:
            continue
        advisory = advisories.advisory(number)
        if not is_told(advisory):
            continue
        if judgement.affected is None:
            what = f"{package.ecosystem} package {package.name} {package.version}, {advisory.id}"
            missed.append(Skipped(what=what, reason=judgement.undecided, packages=0 if missed else 1))
            continue
        own.append(_for_subscribers(Hit(package, scope, advisory, judgement.affected, judgement.fixed)))
    # Numbers follow the order in which feeds were fetched last, which must not decide whose word counts.
    hits += sorted(own, key=lambda hit: (hit.advisory.feed, hit.advisory.id))


def is_told(advisory: Advisory) -> bool:
    """Whether it speaks of a problem: not taken back, and not of defects alone."""
    return not advisory.withdrawn and (bool(advisory.fixes) or not is_bug_fix(advisory.id))


def _for_subscribers(hit: Hit) -> Hit:
    """`hit`; a fix that only subscribers of Ubuntu Pro get is none for the image as it is."""
    if not _is_pro(hit.scope) or not hit.fixed:
        return hit
    reason = f"fixed in {hit.fixed} for subscribers of Ubuntu Pro only"
    return hit._replace(fixed="", affected=msgspec.structs.replace(hit.affected, state=FixState.WILL_NOT_FIX, reason=reason))


def judge(package: Package, scope: str, affected: Sequence[Affected]) -> Judgement:
    """What one advisory's entries for a package of `scope` mean for `package`. Total.

    An RPM erratum names one fixed version for each build it published (of module streams, of rebuilds); a package is measured against
    the earliest among those of its own stream, since each of them carries the fix. Elsewhere the entries are alternatives.
    """
    order = order_of(scope)
    stream = Stream.of(package) if order == "rpm" else None
    own: list[Affected] = []
    perhaps: list[Affected] = []
    for one in affected:
        if one.arches and package.arch and package.arch not in {"noarch", *one.arches}:
            continue
        fits = True if stream is None else stream_fits(stream, one)
        if fits:
            own.append(one)
        elif fits is None:
            perhaps.append(one)
    judgement = _judge_entries(package, own, order)
    if judgement.affected is not None or not perhaps:
        return judgement
    other = _judge_entries(package, perhaps, order)
    if other.affected is None:
        return judgement if judgement.undecided else other
    return Judgement(undecided="it is of an RPM module whose stream is not known")


def _judge_entries(package: Package, affected: list[Affected], order: str) -> Judgement:
    undecided = ""
    try:
        own = earliest_builds(affected, order) if order == "rpm" else affected
    except InputError as error:
        return Judgement(undecided=error.line())
    for one in own:
        version = package.source_version or package.version if one.by_source else package.version
        try:
            fixed = find_fix(one, version, order)
        except InputError as error:
            undecided = error.line()
            continue
        if fixed is not None:
            return Judgement(one, fixed)
    return Judgement(undecided=undecided)


def earliest_builds(affected: list[Affected], order: str) -> list[Affected]:
    """`affected`, but of those that say no more than "before this build" only the one with the earliest. *Raises* InputError."""
    plain = [one for one in affected if len(one.ranges) == 1 and one.ranges[0].fixed and not one.ranges[0].introduced]
    plain = [one for one in plain if not one.versions]
    if len(plain) < 2:
        return affected
    earliest = plain[0]
    for one in plain[1:]:
        if compare_again(order, one.ranges[0].fixed, earliest.ranges[0].fixed) < 0:
            earliest = one
    return [earliest, *(one for one in affected if one not in plain)]


def find_fix(affected: Affected, version: str, order: str) -> str | None:
    """None when `version` is not affected; else the version that ends it (empty: none known). *Raises* InputError.

    A version is affected by any span it lies in, and by being listed. What cannot be compared matters only where nothing else decides.
    """
    trouble: InputError | None = None
    for one in affected.ranges:
        try:
            if one.introduced and compare_again(order, version, one.introduced) < 0:
                continue
            if one.fixed and compare_again(order, version, one.fixed) >= 0:
                continue
            if one.last_affected and compare_again(order, version, one.last_affected) > 0:
                continue
        except InputError as error:
            trouble = error
            continue
        return one.fixed
    for listed in affected.versions:
        if listed == version or _same(order, listed, version):
            return _next_fix(affected, version, order)
    if trouble is not None:
        raise trouble
    return None


def _same(order: str, listed: str, version: str) -> bool:
    try:
        return compare_again(order, listed, version) == 0
    except InputError:
        return False


def _next_fix(affected: Affected, version: str, order: str) -> str:
    """The earliest fix after `version`, empty when there is none."""
    best = ""
    for one in affected.ranges:
        try:
            if one.fixed and compare_again(order, one.fixed, version) > 0:
                best = one.fixed if not best or compare_again(order, one.fixed, best) < 0 else best
        except InputError:
            continue
    return best
