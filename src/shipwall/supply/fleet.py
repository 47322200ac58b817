"""Many images at once: what they have in common is judged once.

A component is a package as advisories see it: without the places it was found in, but with the release whose advisories judge it. Equal
components of different images are one, so a fleet of 100,000 images has some ten thousands of them.
Pure. Start here: `component_of`, `judge_components`, `parse_query`.
"""

from __future__ import annotations

import array
import hashlib
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shipwall.lang.diagnostic import did_you_mean
from shipwall.model.errors import InputError
from shipwall.model.finding import Exploited, Finding
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.supply.ecosystems import ECOSYSTEMS, order_of, scopes_of
from shipwall.supply.match_advisories import Advisories, Entry, match_advisories, names_in
from shipwall.supply.versions import compare_versions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_QUERY_CHARS = 500
OPERATORS = ("<=", ">=", "!=", "<", ">", "=")
_QUERY = re.compile(r"\s*(?:([A-Za-z0-9._-]+)/)?((?:@[^\s<>=!]+/)?[^\s<>=!]+)\s*(?:(<=|>=|!=|<|>|=)\s*(\S+))?\s*\Z")


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """`package` has no evidence, layer, files, licence; `distribution` is empty for packages no distribution judges."""

    package: Package
    distribution: Distribution

    @property
    def scopes(self) -> tuple[str, ...]:
        """The advisory scopes that judge it; empty when none does."""
        return scopes_of(self.package, self.distribution)

    def names(self) -> list[tuple[str, str]]:
        """(scope, name) of every question that is asked about it."""
        return [(scope, name) for scope in self.scopes for name in dict.fromkeys(names_in(self.package, scope))]


def component_of(package: Package, distribution: Distribution) -> Component:
    """The component that `package` of an image of `distribution` is."""
    bare = msgspec.structs.replace(package, evidence="", layer="", files=(), license="")
    judged_by = scopes_of(bare, distribution)
    is_own = package.ecosystem not in {"deb", "apk", "rpm"}
    return Component(package=bare, distribution=Distribution() if is_own or not judged_by else distribution)


def key_of(component: Component) -> bytes:
    """16 bytes that name the component."""
    return hashlib.blake2b(msgspec.msgpack.encode(component), digest_size=16).digest()


class _Told:
    """What `advisories` say without signs of exploitation, which change daily; with `only`, what these of them say."""

    def __init__(self, advisories: Advisories, only: Container[int] | None) -> None:
        self._only = only
        self.holds, self.advisory, self.vectors = advisories.holds, advisories.advisory, advisories.vectors
        self._affecting = advisories.affecting

    def affecting(self, scope: str, names: Iterable[str]) -> Mapping[str, Sequence[Entry]]:
        """By name, the entries of `scope` for these packages."""
        only, said = self._only, self._affecting(scope, names)
        return said if only is None else {name: [one for one in own if one.number in only] for name, own in said.items()}

    def exploited(self, _ids: Iterable[str]) -> Mapping[str, Exploited]:
        """None."""
        return {}


def judge_components(
    components: Sequence[Component], advisories: Advisories, only: Container[int] | None = None
) -> tuple[list[tuple[int, Finding]], list[Skipped]]:
    """(index of the component, finding) for each problem of each component, and what could not be judged.

    The findings have no signs of exploitation. With `only`, by these advisories alone (their numbers).
    Law: the findings of an image are those of its components.
    """
    told = _Told(advisories, only)
    by_release: dict[Distribution, list[int]] = {}
    for index, component in enumerate(components):
        if component.package.owner:
            continue  # judged with its owner
        by_release.setdefault(component.distribution, []).append(index)
    found: list[tuple[int, Finding]] = []
    skipped: list[Skipped] = []
    for distribution, indexes in by_release.items():
        # The index stands in the package's layer, which a component does not have, and comes back with the finding.
        packages = tuple(msgspec.structs.replace(components[index].package, layer=str(index)) for index in indexes)
        findings, missed = match_advisories(Inventory(image=None, distribution=distribution, packages=packages), told)
        skipped += missed
        for finding in findings:
            index = int(finding.package.layer)
            own = components[index].package
            evidence = tuple(one for one in finding.evidence if one.kind != "file")
            found.append((index, msgspec.structs.replace(finding, package=own, evidence=evidence)))
    return found, skipped


class Query(NamedTuple):
    """`NAME`, `TYPE/NAME` or `NAME OPERATOR VERSION`: `type` is a package type (`maven`), empty for any."""

    type: str
    name: str
    operator: str
    version: str

    def may_match(self, package: Package) -> bool:
        """Whether the names fit: the whole name, its source's, or its last part (`log4j-core` of `org.apache…:log4j-core`)."""
        if self.type and package.ecosystem != self.type:
            return False
        wanted = self.name.lower()
        name = package.name.lower()
        return wanted in {name, package.source.lower()} or name.endswith((f":{wanted}", f"/{wanted}"))

    def holds(self, package: Package) -> bool:
        """Whether `package` is what is asked for. *Raises* InputError when its version cannot be compared."""
        if not self.may_match(package):
            return False
        if not self.operator:
            return True
        order = compare_versions(_order(package), package.version, self.version)
        return {"<": order < 0, "<=": order <= 0, "=": order == 0, "!=": order != 0, ">=": order >= 0, ">": order > 0}[
            self.operator
        ]


_TYPES = {one.purl for one in ECOSYSTEMS.values()} | {"generic"}
_ORDERS = {one.purl: one.name for one in ECOSYSTEMS.values()}


def _order(package: Package) -> str:
    ecosystem = _ORDERS.get(package.ecosystem)
    if ecosystem is None:
        raise InputError(f"{package.ecosystem} package {package.name}", "its versions have no known order")
    return order_of(ecosystem)


def parse_query(text: str) -> Query:
    """The query `text` is. *Raises* InputError with what is possible."""
    hint = "as in 'openssl', 'log4j-core < 2.17', 'npm/lodash <= 4.17.20'"
    match = _QUERY.match(text) if len(text) <= MAX_QUERY_CHARS else None
    if match is None:
        raise InputError(f"query {text[:80]!r}", "is not NAME or NAME OPERATOR VERSION", hint)
    kind, name, operator, version = match.groups()
    if kind is not None and kind not in _TYPES:
        if kind.startswith("@") or "." in kind:  # a Go module or a scope, not a type
            return Query("", f"{kind}/{name}", operator or "", version or "")
        raise InputError(f"query {text[:80]!r}", f"{kind!r} is no package type", did_you_mean(kind, _TYPES) or hint)
    return Query(kind or "", name, operator or "", version or "")


class Change(NamedTuple):
    """What a new database changed for one component. `kind`: new, gone, changed. `why` is one line."""

    kind: str
    component: int
    finding: Finding
    why: str


def compare_findings(component: int, before: Iterable[Finding], after: Iterable[Finding]) -> list[Change]:
    """What changed between two judgements of one component, by problem; a problem renamed by an alias stays the same one."""
    old = {finding.id: finding for finding in before}
    changes: list[Change] = []
    for finding in after:
        same = old.pop(finding.id, None) or next((old.pop(name) for name in finding.aliases if name in old), None)
        if same is None:
            changes.append(Change("new", component, finding, f"{finding.source} says: {finding.reason}"))
        elif why := _explain(same, finding):
            changes.append(Change("changed", component, finding, why))
    changes += [
        Change("gone", component, finding, f"no feed says so any more; before: {finding.source}: {finding.reason}")
        for finding in old.values()
    ]
    return changes


def find_part(before: Iterable[Finding], after: Iterable[Finding], is_moved: Callable[[str], bool]) -> list[Finding] | None:
    """The findings among `before` of one component that moved advisories (`feed:id`) made, in whose place those of `after` come.

    `after` is what the moved advisories make by themselves. None when another advisory shares one of the problems.
    """
    part: list[Finding] = []
    others: set[str] = set()
    for finding in before:
        moved = [is_moved(one.ref) for one in finding.evidence if one.kind == "statement"]
        if all(moved):
            part.append(finding)
        elif any(moved):
            return None
        else:
            others.update(_names(finding))
    return part if others.isdisjoint(name for finding in after for name in _names(finding)) else None


def _names(finding: Finding) -> tuple[str, ...]:
    return finding.id, *finding.aliases


class Touched(NamedTuple):
    """Changes by image: those of image `images[i]` are `which[starts[i]:starts[i + 1]]`. Arrays of NumPy; images ascending."""

    images: NDArray[np.int64]
    starts: NDArray[np.int64]
    which: NDArray[np.int64]

    def of(self, place: int) -> list[int]:
        """The indexes of the changes that are about `images[place]`."""
        return [int(one) for one in self.which[self.starts[place] : self.starts[place + 1]]]


def group_by_image(images: Sequence[array.array[int]]) -> Touched:
    """The changes grouped by image, from the images (numbers) of each change. A million pairs take about 0.05 s."""
    import numpy as np

    if not images:
        return Touched(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int64))
    every = np.concatenate([np.frombuffer(one, dtype=f"u{one.itemsize}").astype(np.int64) for one in images])
    which = np.repeat(np.arange(len(images)), [len(one) for one in images])
    both = (every << 32) | which  # one sort of numbers costs a fifth of an `argsort`
    both.sort()
    every, which = both >> 32, both & 0xFFFFFFFF
    starts = np.flatnonzero(np.concatenate(([True], every[1:] != every[:-1]))) if len(every) else np.empty(0, np.int64)
    return Touched(every[starts], np.append(starts, len(every)), which)


def _explain(before: Finding, after: Finding) -> str:
    said = (
        ("fix", before.fixed_version or "none", after.fixed_version or "none"),
        ("state", before.state.value, after.state.value),
        ("severity", before.severity.value, after.severity.value),
        ("score", _score(before), _score(after)),
        ("id", before.id, after.id),
    )
    return "; ".join(f"{what} {old} → {new}" for what, old, new in said if old != new)


def _score(finding: Finding) -> str:
    return "unknown" if finding.score is None else f"{finding.score:.1f}"
