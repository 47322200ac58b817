"""Packages as package URLs and back. Source: purl-spec and its types deb, rpm, apk, maven, npm, golang, composer, pypi.

Beyond the specification, as Syft and Trivy write them: `upstream=` (source package), `epoch=`, `rpmmod=` or `modularitylabel=`.
"""

from __future__ import annotations

import re

from shipwall.model.errors import InputError
from shipwall.model.package import Distribution, Package
from shipwall.supply.purl import Purl, make_purl, parse_purl
from shipwall.supply.purl import render_purl as render_parts

SYSTEM_TYPES = frozenset({"deb", "rpm", "apk"})
"""Ecosystems of distributions: their packages have a source package and a release they belong to."""

_EPOCH = re.compile(r"([0-9]{1,9}):(.+)\Z", re.DOTALL)
_SOURCE_RPM = re.compile(r"(.+)-([^-]+-[^-]+)\.(?:src|nosrc)\.rpm\Z", re.DOTALL)
_RELEASE = re.compile(r"(.+?)-([0-9][^-]*)\Z", re.DOTALL)


def render_purl(package: Package, distribution: Distribution) -> str:
    """The package URL of `package` in an image of `distribution`; empty for one that cannot have any (a name like `/`)."""
    purl = purl_of(package, distribution)
    return render_parts(purl) if purl else ""


def purl_of(package: Package, distribution: Distribution) -> Purl | None:
    """The package URL of `package` in an image of `distribution`, in parts; None for one that cannot have any."""
    type_ = package.ecosystem.lower()
    namespace, name = _split_name(type_, package.name)
    version, qualifiers = package.version, {}
    if type_ in SYSTEM_TYPES:
        namespace = distribution.id.lower()
        qualifiers = {"arch": package.arch, "upstream": _upstream(package)}
        if distribution.id and distribution.version_id:
            qualifiers["distro"] = f"{distribution.id}-{distribution.version_id}"
        if type_ == "rpm":
            epoch = _EPOCH.match(version)
            if epoch and epoch[1].strip("0"):
                qualifiers["epoch"], version = epoch[1], epoch[2]
            qualifiers["rpmmod"] = package.module
    elif package.arch:
        qualifiers = {"arch": package.arch}
    try:
        return make_purl(type_, name, namespace=namespace, version=version, qualifiers=qualifiers)
    except InputError:
        return None


def package_of_purl(text: str) -> tuple[Package, Distribution]:
    """The package that a package URL names, and the distribution it says it is from (empty when it says none).

    Raises InputError for what is not a package URL.
    """
    purl = parse_purl(text, lenient=True)
    type_, qualifiers = purl.type, purl.qualifiers
    version = purl.version
    if type_ in {"deb", "rpm"} and qualifiers.get("epoch", "0").strip("0") and not _EPOCH.match(version):
        version = f"{qualifiers['epoch']}:{version}"
    name = _join_name(type_, purl.namespace, purl.name)
    if type_ not in SYSTEM_TYPES:
        return Package(ecosystem=type_, name=name, version=version, arch=qualifiers.get("arch", "")), Distribution()
    source, source_version = split_upstream(type_, qualifiers.get("upstream", ""))
    package = Package(
        ecosystem=type_,
        name=purl.name,
        version=version,
        arch=qualifiers.get("arch", ""),
        source=source or purl.name,
        source_version=source_version or version,
        module=module_of(qualifiers.get("rpmmod", "") or qualifiers.get("modularitylabel", "")),
    )
    return package, _distribution(purl.namespace, qualifiers.get("distro", ""))


def split_upstream(type_: str, upstream: str) -> tuple[str, str]:
    """Name and version of the source package in an `upstream=` qualifier; the version empty when it says none."""
    if type_ == "rpm":
        source_rpm = _SOURCE_RPM.match(upstream)
        return (source_rpm[1], source_rpm[2]) if source_rpm else (upstream, "")
    name, _at, version = upstream.partition("@")
    return name, version


def module_of(label: str) -> str:
    """`name:stream` of a modularity label `name:stream:version:context`."""
    return ":".join(label.split(":")[:2])


def settle_distribution(id_: str, version_id: str, codename: str = "") -> Distribution:
    """A distribution as its os-release would say it: tools write Debian's point release (12.13), os-release says 12."""
    id_ = id_.strip().lower()
    id_ = {"redhat": "rhel", "red hat": "rhel", "alma": "almalinux"}.get(id_, id_)
    if id_ == "debian":
        version_id = version_id.partition(".")[0]
    return Distribution(id=id_, version_id=version_id.strip(), codename=codename.strip())


def _distribution(namespace: str, distro: str) -> Distribution:
    match = _RELEASE.match(distro)
    if match:
        return settle_distribution(match[1], match[2])
    return settle_distribution(namespace or distro, "")


def _upstream(package: Package) -> str:
    source, version = package.source, package.source_version
    if package.ecosystem == "rpm":
        if not source or not version:
            return source
        return f"{source}-{version.rpartition(':')[2]}.src.rpm"
    if version and version != package.version:
        return f"{source or package.name}@{version}"
    return source if source != package.name else ""


def _split_name(type_: str, name: str) -> tuple[str, str]:
    if type_ == "maven":
        group, colon, artifact = name.partition(":")
        return (group, artifact) if colon else ("", name)
    if type_ in {"npm", "composer", "golang"} and "/" in name.strip("/"):
        namespace, _slash, last = name.rpartition("/")
        return (namespace, last) if last else ("", name)
    return "", name


def _join_name(type_: str, namespace: str, name: str) -> str:
    if not namespace:
        return name
    return f"{namespace}:{name}" if type_ == "maven" else f"{namespace}/{name}"
