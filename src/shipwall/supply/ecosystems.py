"""Who judges a package: one table from package types and distributions to advisory scopes, version orders and spellings of names.

A scope is an ecosystem in OSV's words, for distributions with its release: `PyPI`, `Debian:12`, `Red Hat:8`. Feeds spell releases in
several ways; `parse_scope` turns all of them into the one that `scopes_of` asks for.
Source: OSV schema 1.7, "Defined ecosystems"; os-release(5) of the distributions; PEP 503.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from shipwall.model.errors import InputError
from shipwall.model.package import SYSTEM_TYPES, Distribution, Package
from shipwall.supply.versions import find_order


class Ecosystem(NamedTuple):
    """`purl`: the package type. `by_source`: advisories name source packages. Its version order: `supply/versions` knows it by name.

    `normalise`: the one spelling of a name under which advisories and packages meet.
    """

    name: str
    purl: str
    by_source: bool = False
    normalise: Callable[[str], str] = str


_SEPARATORS = re.compile(r"[-_.]+")


def _pypi_name(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


def _crate_name(name: str) -> str:
    return name.replace("_", "-").lower()


# THE list. Language ecosystems first: one for each package type; then the families of distributions.
ECOSYSTEMS = {
    one.name: one
    for one in (
        Ecosystem("PyPI", "pypi", normalise=_pypi_name),
        Ecosystem("npm", "npm"),
        Ecosystem("Maven", "maven"),
        Ecosystem("Go", "golang"),
        Ecosystem("crates.io", "cargo", normalise=_crate_name),
        Ecosystem("RubyGems", "gem"),
        Ecosystem("Packagist", "composer", normalise=str.lower),
        Ecosystem("NuGet", "nuget", normalise=str.lower),
        Ecosystem("Pub", "pub"),
        Ecosystem("CRAN", "cran"),
        Ecosystem("Hackage", "hackage"),
        Ecosystem("Hex", "hex", normalise=str.lower),
        Ecosystem("SwiftURL", "swift"),
        Ecosystem("GitHub Actions", "github"),
        Ecosystem("Bitnami", "bitnami"),
        Ecosystem("Debian", "deb", by_source=True),
        Ecosystem("Ubuntu", "deb", by_source=True),
        Ecosystem("Alpine", "apk", by_source=True),
        Ecosystem("Wolfi", "apk", by_source=True),
        Ecosystem("Chainguard", "apk", by_source=True),
        Ecosystem("MinimOS", "apk", by_source=True),
        Ecosystem("AlmaLinux", "rpm"),
        Ecosystem("Rocky Linux", "rpm"),
        Ecosystem("Red Hat", "rpm"),
        Ecosystem("Oracle Linux", "rpm"),
        Ecosystem("Amazon Linux", "rpm"),
        Ecosystem("Fedora", "rpm"),
        Ecosystem("openSUSE", "rpm", by_source=True),
        Ecosystem("SUSE", "rpm", by_source=True),
        Ecosystem("Photon OS", "rpm", by_source=True),
        Ecosystem("Azure Linux", "rpm"),
        Ecosystem("openEuler", "rpm"),
        Ecosystem("Mageia", "rpm", by_source=True),
    )
}
_LANGUAGES = {one.purl: one for one in ECOSYSTEMS.values() if one.purl not in SYSTEM_TYPES}

# The number of a release whose advisories are filed under it; releases without a number yet go by their codename.
DEBIAN_RELEASES = {
    "wheezy": "7", "jessie": "8", "stretch": "9", "buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14",
}  # fmt: skip
_NUMBER = re.compile(r"\d+")
_MAJOR_MINOR = re.compile(r"\d+\.\d+")
_FOLLOWS_RED_HAT = frozenset({"rhel", "centos", "redhat"})
_BY_MAJOR = {
    "almalinux": "AlmaLinux", "rocky": "Rocky Linux", "ol": "Oracle Linux", "fedora": "Fedora", "azurelinux": "Azure Linux",
    "mageia": "Mageia", "amzn": "Amazon Linux", "mariner": "Azure Linux", "cbl-mariner": "Azure Linux",
}  # fmt: skip
_WHOLE = {"wolfi": "Wolfi", "chainguard": "Chainguard", "minimos": "MinimOS"}


def scopes_of(package: Package, distribution: Distribution) -> tuple[str, ...]:
    """The advisory scopes that judge `package` in an image of `distribution`; empty when none does.

    None judges a language package that a package of the distribution owns (the distribution patches it and keeps its version: its own
    advisories speak of the owner), nor a package of a distribution that is not known.
    """
    if package.ecosystem not in SYSTEM_TYPES:
        ecosystem = _LANGUAGES.get(package.ecosystem)
        return (ecosystem.name,) if ecosystem is not None and not package.owner else ()
    return tuple(scope for scope in distribution_scopes(distribution) if ECOSYSTEMS[family_of(scope)].purl == package.ecosystem)


@functools.lru_cache(maxsize=64)
def distribution_scopes(distribution: Distribution) -> tuple[str, ...]:
    """The scopes of a distribution's own packages; empty for an unknown one."""
    name, version = distribution.id.lower(), distribution.version_id
    major, minor = _NUMBER.match(version), _MAJOR_MINOR.match(version)
    if name == "debian":
        release = major.group() if major else DEBIAN_RELEASES.get(distribution.codename, distribution.codename.rpartition("/")[2])
        return (f"Debian:{release}",) if release else ()
    if name == "alpine":
        stable = minor is not None and "_alpha" not in version
        return (f"Alpine:v{minor.group()}",) if stable and minor else ("Alpine:edge",)
    if name in _WHOLE:
        return (_WHOLE[name],)
    if name in {"opensuse-tumbleweed", "opensuse"} and "leap" not in version.lower() and not minor:
        return ("openSUSE:Tumbleweed",)
    if name in _FOLLOWS_RED_HAT and major:
        return (f"Red Hat:{major.group()}",)
    if name in _BY_MAJOR and major:
        return (f"{_BY_MAJOR[name]}:{major.group()}",)
    if minor is None:
        return (f"SUSE:{major.group()}",) if name.startswith("sle") and major else ()
    if name == "ubuntu":
        return f"Ubuntu:{minor.group()}", f"Ubuntu:Pro:{minor.group()}"
    if name.startswith("opensuse"):
        return (f"openSUSE:Leap {minor.group()}",)
    if name.startswith("sle"):
        return (f"SUSE:{minor.group()}",)
    if name == "photon":
        return (f"Photon OS:{minor.group()}",)
    return ()


_SPELLINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"Debian:(\d+)(?:\.\d+)?"), r"Debian:\1"),
    (re.compile(r"Ubuntu:Pro:(\d+\.\d+)(?::LTS)?"), r"Ubuntu:Pro:\1"),
    (re.compile(r"Ubuntu:Pro:([^:]+):(\d+\.\d+)(?::LTS)?"), r"Ubuntu:Pro:\1:\2"),
    (re.compile(r"Ubuntu:(\d+\.\d+)(?::LTS)?"), r"Ubuntu:\1"),
    (re.compile(r"Alpine:v?(\d+\.\d+)"), r"Alpine:v\1"),
    (re.compile(r"(AlmaLinux|Rocky Linux|Oracle Linux|Amazon Linux|Fedora|Mageia|Azure Linux):(\d+)(?:\.\d+)?"), r"\1:\2"),
    # Of Red Hat's products only the main stream of the release; extended-support streams keep names of their own.
    (re.compile(r"Red Hat:enterprise_linux:(\d+)(?:\.\d+)?(?:::.*)?"), r"Red Hat:\1"),
    (re.compile(r"SUSE:Linux Enterprise (?:Server|Desktop|Module for .*) (\d+) SP(\d+)"), r"SUSE:\1.\2"),
    (re.compile(r"SUSE:Linux Enterprise (?:Server|Desktop|Module for .*) (\d+)"), r"SUSE:\1"),
)
_MAX_SCOPE = 200


@functools.lru_cache(maxsize=4096)
def parse_scope(ecosystem: str) -> str:
    """The scope that a feed's `ecosystem` means, in the words of `scopes_of`. What no rule knows stays as it is.

    Ubuntu's Pro releases stay apart (`Ubuntu:Pro:18.04`): their fixes are none for those who do not subscribe. *Raises* InputError for an
    empty or overlong text.
    """
    if not 0 < len(ecosystem) <= _MAX_SCOPE:
        raise InputError(f"ecosystem {ecosystem[:80]!r}", "is empty or too long")
    for pattern, words in _SPELLINGS:
        match = pattern.fullmatch(ecosystem)
        if match is not None:
            return match.expand(words)
    family, colon, _rest = ecosystem.partition(":")
    if colon and family in ECOSYSTEMS and ECOSYSTEMS[family].purl not in SYSTEM_TYPES:
        return family  # a language ecosystem with the address of a registry
    return ecosystem


class Rules(NamedTuple):
    """What follows from a feed's spelling of an ecosystem: the scope, its version order (empty: not known), and how names are written."""

    scope: str
    order: str
    by_source: bool
    normalise: Callable[[str], str]


@functools.lru_cache(maxsize=4096)
def rules_of(ecosystem: str) -> Rules:
    """The rules for `ecosystem` as a feed writes it. *Raises* InputError for an empty or overlong text."""
    scope = parse_scope(ecosystem)
    known = ECOSYSTEMS.get(family_of(scope))
    try:
        order = order_of(scope)
    except InputError:
        order = ""
    return Rules(scope, order, False, str) if known is None else Rules(scope, order, known.by_source, known.normalise)


def family_of(scope: str) -> str:
    """The ecosystem `scope` is a release of."""
    return scope.partition(":")[0]


@functools.lru_cache(maxsize=4096)
def order_of(scope: str) -> str:
    """The name of the version order of `scope`. *Raises* InputError for an ecosystem that is not known."""
    return find_order(scope).name


@functools.lru_cache(maxsize=4096)
def is_by_source(scope: str) -> bool:
    """Whether advisories of `scope` name source packages."""
    ecosystem = ECOSYSTEMS.get(family_of(scope))
    return ecosystem is not None and ecosystem.by_source


def is_distribution(scope: str) -> bool:
    """Whether `scope` is a distribution's."""
    ecosystem = ECOSYSTEMS.get(family_of(scope))
    return ecosystem is not None and ecosystem.purl in SYSTEM_TYPES


def parse_name(scope: str, name: str) -> str:
    """The one spelling of `name` under which packages and advisories of `scope` meet."""
    ecosystem = ECOSYSTEMS.get(family_of(scope))
    return name if ecosystem is None else ecosystem.normalise(name)
