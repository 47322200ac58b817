"""Packages in documents of other tools: what their package URLs and properties say, put into one form.

Syft and Trivy are understood in full (source package, epoch, module, layer, evidence); of all others the package URL is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from shipwall.model.digest import Digest, parse_digest
from shipwall.model.errors import InputError
from shipwall.model.package import SYSTEM_TYPES, Distribution, Package, Skipped
from shipwall.supply.purl import split_source_rpm
from shipwall.supply.sbom.bounds import MAX_TEXT
from shipwall.supply.sbom.purls import module_of, package_of_purl

_DATABASES = ("/var/lib/dpkg/", "/lib/apk/", "/usr/lib/apk/", "/var/lib/rpm/", "/usr/lib/sysimage/rpm/", "/usr/share/rpm/")
_LOCATION = re.compile(r"syft:location:([0-9]{1,4}):(path|layerID)\Z")
_TRIVY = "aquasecurity:trivy:"
_SYFT = "syft:metadata:"


class Claim(NamedTuple):
    """What a document says of one component. `owner` is the name of the package it is said to belong to."""

    name: str
    version: str
    purl: str
    license: str = ""
    facts: Mapping[str, str] = {}
    evidence: str = ""
    files: tuple[str, ...] = ()
    owner: str = ""


class Collected(NamedTuple):
    """What `collect` made of a document's components."""

    packages: tuple[Package, ...]
    skipped: tuple[Skipped, ...]
    distribution: Distribution


def collect(claims: Sequence[Claim | Package], distribution: Distribution) -> Collected:
    """The packages of `claims`, in their order; what is a Package already stays as it is.

    Without `distribution` it is the one that most package URLs name.
    """
    packages: list[Package] = []
    skipped: list[Skipped] = []
    named: Counter[Distribution] = Counter()
    for claim in claims:
        if isinstance(claim, Package):
            packages.append(claim)
            continue
        what = f"component {claim.name[:200]} {claim.version[:100]}".rstrip()
        if not claim.purl:
            skipped.append(Skipped(what=what, reason="has no package URL, so its ecosystem is not known"))
            continue
        try:
            package, said = package_of_purl(claim.purl)
            packages.append(_complete(package, claim))
        except InputError as error:
            skipped.append(Skipped(what=what, reason=error.line()[:300]))
            continue
        if said.id:
            named[said] += 1
    if not distribution.id and named:
        # A purl without `distro=` names the distribution but no release: one with a release says more.
        distribution = max(named.items(), key=lambda item: (bool(item[0].version_id), item[1]))[0]
    own = {id(one) for one in claims if isinstance(one, Package)}
    return Collected(_owned(packages, own), tuple(skipped), distribution)


def _complete(package: Package, claim: Claim) -> Package:
    """`package` with what the document says beside its package URL."""
    if any(len(text) > MAX_TEXT for text in (package.name, package.version, claim.evidence)):
        raise InputError("component", f"has a text of more than {MAX_TEXT} characters")
    facts = claim.facts
    if not package.version and claim.version:
        package = replace(package, version=claim.version, source_version=package.source_version or claim.version)
        if package.ecosystem not in SYSTEM_TYPES:
            package = replace(package, source_version="")
    if package.ecosystem in SYSTEM_TYPES:
        source, source_version = _source(package, facts)
        module = module_of(facts.get(_TRIVY + "Modularitylabel", "") or facts.get(_SYFT + "modularityLabel", ""))
        package = replace(package, source=source, source_version=source_version, module=package.module or module)
    path, layer = _place(package, facts)
    path = claim.evidence or path
    return replace(
        package,
        license=claim.license,
        evidence="/" + path.lstrip("/") if path else "",
        layer=layer,
        files=tuple(sorted({"/" + one.lstrip("/") for one in claim.files})),
        owner=claim.owner if package.ecosystem not in SYSTEM_TYPES else "",
    )


def _source(package: Package, facts: Mapping[str, str]) -> tuple[str, str]:
    """Source package and version. The package URL's `upstream=` counts before properties, these before the package's own name."""
    source, version = package.source, package.source_version
    if source not in {package.name, ""}:
        return source, version
    if name := facts.get(_TRIVY + "SrcName", ""):
        epoch, release = facts.get(_TRIVY + "SrcEpoch", ""), facts.get(_TRIVY + "SrcRelease", "")
        said = facts.get(_TRIVY + "SrcVersion", "")
        if said:
            version = (f"{epoch}:" if epoch.strip("0") else "") + said + (f"-{release}" if release else "")
        return name, version
    if name := facts.get(_SYFT + "source", "") or facts.get(_SYFT + "originPackage", ""):
        return name, facts.get(_SYFT + "sourceVersion", "") or version
    if source_rpm := facts.get(_SYFT + "sourceRpm", ""):
        name, said = split_source_rpm(source_rpm)
        return (name, said) if name else (source, version)
    return source, version


def _place(package: Package, facts: Mapping[str, str]) -> tuple[str, Digest]:
    """The file that says the package is there, and its layer; of a distribution's package rather its database."""
    if path := facts.get(_TRIVY + "FilePath", ""):
        return path, _digest(facts.get(_TRIVY + "LayerDiffID", ""))
    places: dict[int, dict[str, str]] = {}
    for name, value in facts.items():
        if match := _LOCATION.match(name):
            places.setdefault(int(match[1]), {})[match[2]] = value
    ordered = [places[number] for number in sorted(places)]
    if package.ecosystem in SYSTEM_TYPES:
        ordered.sort(key=lambda one: not one.get("path", "").startswith(_DATABASES))
    best = ordered[0] if ordered else {}
    return best.get("path", ""), _digest(best.get("layerID", "") or facts.get(_TRIVY + "LayerDiffID", ""))


def _digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except InputError:
        return ""


def _owned(packages: list[Package], settled: set[int]) -> tuple[Package, ...]:
    """Packages whose evidence a distribution's package owns belong to it. `settled`: identities of those that are not touched."""
    free = {
        number
        for number, package in enumerate(packages)
        if id(package) not in settled and not package.owner and package.evidence and package.ecosystem not in SYSTEM_TYPES
    }
    if not free:
        return tuple(packages)
    owners = {path: package.name for package in packages if package.ecosystem in SYSTEM_TYPES for path in package.files}
    return tuple(
        replace(package, owner=owners.get(package.evidence, "")) if number in free else package
        for number, package in enumerate(packages)
    )
