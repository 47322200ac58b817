"""Packages as package URLs in bills of materials, and what other tools mean by theirs."""

from __future__ import annotations

import re

from msgspec.structs import replace

from shipwall.model.errors import InputError
from shipwall.model.package import SYSTEM_TYPES, Distribution, Package
from shipwall.supply.purl import Purl, distribution_of, package_of, parse_purl, purl_of

# What os-release adds to these numbers; the archives' suites are named so.
_CODENAMES = {
    ("debian", "10"): "buster", ("debian", "11"): "bullseye", ("debian", "12"): "bookworm", ("debian", "13"): "trixie",
    ("ubuntu", "18.04"): "bionic", ("ubuntu", "20.04"): "focal", ("ubuntu", "22.04"): "jammy", ("ubuntu", "24.04"): "noble",
}  # fmt: skip
_EPOCH = re.compile(r"[0-9]{1,9}:.")


def render_purl(package: Package, distribution: Distribution) -> str:
    """The package URL of `package` in an image of `distribution`; empty for one that cannot have any (a name like `/`)."""
    try:
        return purl_of(package, replace(distribution, id=distribution.id.lower()))
    except InputError:
        return ""


def find_purl(package: Package, distribution: Distribution) -> Purl | None:
    """The same, in parts; None for one that cannot have any."""
    text = render_purl(package, distribution)
    return parse_purl(text) if text else None


def package_of_purl(text: str) -> tuple[Package, Distribution]:
    """The package that a package URL names, and the distribution it says it is from (empty when it says none).

    Of a distribution's package the source is its own name and version where the URL says none; Trivy's `epoch=` of deb and its
    `modularitylabel=` are understood. Raises InputError for what is not a package URL.
    """
    purl = parse_purl(text, lenient=True)
    epoch = purl.qualifiers.get("epoch", "")
    if epoch and (not epoch.strip("0") or _EPOCH.match(purl.version)):
        purl = replace(purl, qualifiers={key: value for key, value in purl.qualifiers.items() if key != "epoch"})
        epoch = ""
    package = package_of(purl)
    if purl.type not in SYSTEM_TYPES:
        return replace(package, source="", source_version="", module=""), Distribution()
    version = f"{epoch}:{purl.version}" if epoch else package.version
    package = replace(
        package,
        version=version,
        source=package.source or package.name,
        source_version=package.source_version or version,
        module=package.module or module_of(purl.qualifiers.get("modularitylabel", "")),
    )
    said = distribution_of(purl)
    return package, settle_distribution(said.id, said.version_id, said.codename)


def module_of(label: str) -> str:
    """`name:stream` of a modularity label `name:stream:version:context`."""
    return ":".join(label.split(":")[:2])


def settle_distribution(id_: str, version_id: str, codename: str = "") -> Distribution:
    """A distribution as its os-release would say it: tools write Debian's point release (12.13), os-release says 12.

    Of version and codename the missing one is filled in where it is known.
    """
    id_, version_id, codename = id_.strip().lower(), version_id.strip(), codename.strip()
    id_ = {"redhat": "rhel", "red hat": "rhel", "alma": "almalinux"}.get(id_, id_)
    if id_ == "debian":
        version_id = version_id.partition(".")[0]
    if not version_id:
        version_id = next((number for (name, number), word in _CODENAMES.items() if (name, word) == (id_, codename)), "")
    return Distribution(id=id_, version_id=version_id, codename=codename or _CODENAMES.get((id_, version_id), ""))
