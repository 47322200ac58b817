"""Package URLs: text to parts and back, and the one way from a `Package` to its URL and back.

Source: purl-spec (ECMA-427) "how to parse", "how to build", and its type definitions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote_to_bytes

import msgspec

from shipwall.model.errors import InputError
from shipwall.model.package import Distribution, Package

MAX_LENGTH = 8192

_TYPE = re.compile(r"[a-z][a-z0-9.-]*\Z")
_KEY = re.compile(r"[a-z][a-z0-9._-]*\Z")
_EPOCH = re.compile(r"0*[1-9][0-9]{0,8}:")
_STRICT_KEYS = {"gem", "rpm"}
_SAFE = ":"  # besides letters, digits and `-._~`


class Purl(msgspec.Struct, frozen=True, kw_only=True):
    """The parts, decoded and normalised for their type. Absent ones are empty. `qualifiers` sorted by key."""

    type: str
    name: str
    namespace: str = ""
    version: str = ""
    qualifiers: dict[str, str] = {}
    subpath: str = ""


class PurlType(NamedTuple):
    """What a type says of its parts: which are in lower case, whether a namespace must or may not be there, what a name may be."""

    lower: str = ""  # of: n(ame) s (namespace) v(ersion)
    namespace: Literal["optional", "required", "prohibited"] = "optional"
    name: re.Pattern[str] | None = None
    version: re.Pattern[str] | None = None


def canonical_purl(text: str) -> str:
    """`text` in canonical form. Raises InputError. Takes what is written carelessly but can be mended: also upper-case keys of any type."""
    return render_purl(parse_purl(text, lenient=True))


def parse_purl(text: str, *, lenient: bool = False) -> Purl:
    """The package URL in `text`. Raises InputError: no scheme, type or name, or what the type prohibits.

    Keys of qualifiers become lower case; but the types in `_STRICT_KEYS` refuse others here, as their suites demand.
    """
    thing = f"package URL {text[:80]!r}"
    if len(text) > MAX_LENGTH:
        raise InputError(thing, f"is longer than {MAX_LENGTH} characters")
    rest, _mark, subpath = text.partition("#")
    rest, _mark, query = rest.partition("?")
    scheme, colon, rest = rest.partition(":")
    if not colon or scheme.lower() != "pkg":
        raise InputError(thing, "does not begin with 'pkg:'")
    kind, _slash, rest = rest.lstrip("/").partition("/")
    rest, version = _split_version(rest.strip("/"))
    namespace, _slash, name = rest.rpartition("/")
    return make_purl(
        kind,
        _decode(name, thing),
        namespace="/".join(_decode(part, thing) for part in namespace.split("/") if part),
        version=_decode(version, thing),
        qualifiers=_parse_qualifiers(query, thing, mend=lenient or kind.lower() not in _STRICT_KEYS),
        subpath="/".join(_decode(part, thing) for part in subpath.split("/")),
    )


def _split_version(rest: str) -> tuple[str, str]:
    """The version is after the last `@`, unless that stands at the beginning of a segment (an npm scope that was not encoded)."""
    head, at, version = rest.rpartition("@")
    if not at or ("/" in version and (not head or head.endswith("/"))):
        return rest, ""
    return head, version


def _parse_qualifiers(query: str, thing: str, *, mend: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, _equals, value = pair.partition("=")
        key = key.lower() if mend else key
        if key in found:
            raise InputError(thing, f"has the qualifier {key[:40]!r} twice")
        found[key] = _decode(value, thing)
    return found


def _decode(text: str, thing: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError as error:
        raise InputError(thing, "is not UTF-8 once decoded") from error


def make_purl(
    kind: str, name: str, *, namespace: str = "", version: str = "", qualifiers: dict[str, str] | None = None, subpath: str = ""
) -> Purl:
    """A package URL of decoded parts, normalised as its type says. Raises InputError for what cannot be one."""
    kind = kind.lower()
    thing = f"package URL of type {kind[:40]!r}"
    if not _TYPE.match(kind):
        raise InputError(thing, "a type is letters, digits, '.' and '-', and begins with a letter")
    rule = TYPES.get(kind, PurlType())
    name, namespace, version = (
        part.lower() if letter in rule.lower else part for letter, part in (("n", name), ("s", namespace), ("v", version))
    )
    namespace = "/".join(filter(None, namespace.split("/")))
    if kind == "git" and "/" in namespace:  # the namespace is the host alone, the name a whole path
        namespace, _slash, path = namespace.partition("/")
        name = f"{path}/{name}"
    given = {key: value for key, value in sorted((qualifiers or {}).items()) if value}
    if kind in _REWRITE:
        name, version = _REWRITE[kind](name, version, given)
    if not name:
        raise InputError(thing, "has no name")
    for key in given:
        if not _KEY.match(key):
            raise InputError(thing, f"its qualifier {key[:40]!r} is not lower-case letters, digits, '.', '-' and '_'")
    _check_type(kind, rule, name, namespace, version, given)
    segments = [part for part in subpath.split("/") if part not in ("", ".", "..")]
    return Purl(type=kind, name=name, namespace=namespace, version=version, qualifiers=given, subpath="/".join(segments))


def _check_type(kind: str, rule: PurlType, name: str, namespace: str, version: str, given: dict[str, str]) -> None:
    thing = f"package URL of type {kind!r}"
    if rule.namespace == "required" and not namespace:
        raise InputError(thing, "needs a namespace")
    if rule.namespace == "prohibited" and namespace:
        raise InputError(thing, "may not have a namespace")
    if kind == "julia" and "uuid" not in given:
        raise InputError(thing, "needs the qualifier uuid")
    if rule.name and not rule.name.match(name):
        raise InputError(thing, f"cannot have the name {name[:80]!r}")
    if version and rule.version and not rule.version.match(version):
        raise InputError(thing, f"cannot have the version {version[:80]!r}")


def render_purl(purl: Purl) -> str:
    """The canonical text: parts encoded, qualifiers sorted by key."""
    text = f"pkg:{purl.type}/"
    for part in filter(None, purl.namespace.split("/")):
        text += quote(part, safe=_SAFE) + "/"
    text += quote(purl.name, safe=_SAFE + "/" if purl.type == "git" else _SAFE)
    if purl.version:
        text += "@" + quote(purl.version, safe=_SAFE)
    if purl.qualifiers:
        text += "?" + "&".join(f"{key}={quote(value, safe=_SAFE)}" for key, value in sorted(purl.qualifiers.items()))
    if purl.subpath:
        text += "#" + "/".join(quote(part, safe=_SAFE) for part in purl.subpath.split("/"))
    return text


def _pypi(name: str, version: str, _qualifiers: dict[str, str]) -> tuple[str, str]:
    return name.replace("_", "-"), version


_REWRITE: dict[str, Callable[[str, str, dict[str, str]], tuple[str, str]]] = {
    "pypi": _pypi,
    "pub": lambda name, version, _qualifiers: (name.replace("-", "_"), version),
    # Databricks does not tell names apart by case, other registries of models do.
    "mlflow": lambda name, version, given: (name.lower() if "databricks" in given.get("repository_url", "") else name, version),
}

TYPES: dict[str, PurlType] = {
    "alpm": PurlType(lower="ns"),
    "apk": PurlType(lower="ns"),
    "bazel": PurlType(namespace="prohibited"),
    "bitbucket": PurlType(lower="ns"),
    "bitnami": PurlType(lower="n", namespace="prohibited"),
    "brew": PurlType(lower="ns"),
    "cargo": PurlType(namespace="prohibited"),
    "chrome-extension": PurlType(
        namespace="prohibited", name=re.compile(r"[a-p]{32}\Z"), version=re.compile(r"[0-9]+(?:\.[0-9]+){0,3}\Z")
    ),
    "composer": PurlType(lower="ns"),
    "conda": PurlType(namespace="prohibited"),
    "cpan": PurlType(name=re.compile(r"(?!.*::)")),
    "cran": PurlType(namespace="prohibited"),
    "deb": PurlType(lower="ns"),
    "gem": PurlType(namespace="prohibited"),
    "git": PurlType(lower="ns", namespace="required"),
    "github": PurlType(lower="ns"),
    "hackage": PurlType(namespace="prohibited"),
    "hex": PurlType(lower="ns"),
    "huggingface": PurlType(lower="v"),
    "julia": PurlType(namespace="prohibited"),
    "nuget": PurlType(namespace="prohibited"),
    "oci": PurlType(lower="n", namespace="prohibited"),
    "opam": PurlType(namespace="prohibited"),
    "otp": PurlType(lower="n", namespace="prohibited"),
    "pub": PurlType(lower="n", namespace="prohibited"),
    "pypi": PurlType(lower="n", namespace="prohibited"),
    "qpkg": PurlType(lower="s"),
    "rpm": PurlType(lower="s"),
    "swift": PurlType(namespace="required"),
    "vcpkg": PurlType(namespace="prohibited"),
    "vscode-extension": PurlType(lower="ns", namespace="required"),
}
"""What types say beyond the general rules. A type that is not here has the general ones."""


_DISTRIBUTION_TYPES = {"apk", "deb", "rpm"}  # their namespace is the distribution
_SCOPED_TYPES = {"composer": "/", "golang": "/", "maven": ":", "npm": "/"}  # what parts namespace and name in `Package.name`


def purl_of(package: Package, distribution: Distribution) -> str:
    """The package URL of `package`. Raises InputError when its ecosystem or name cannot be in one.

    Beyond the specification, as Syft writes them: `upstream` (a source package of another name or version) and `rpmmod` (its module).
    """
    name, namespace, version, qualifiers = package.name, "", package.version, {"arch": package.arch}
    if package.ecosystem in _DISTRIBUTION_TYPES:
        namespace = distribution.id
        if distribution.id and distribution.version_id:
            qualifiers["distro"] = f"{distribution.id}-{distribution.version_id}"
        if package.ecosystem == "rpm" and _EPOCH.match(version):
            qualifiers["epoch"], _colon, version = version.partition(":")
        qualifiers |= {"upstream": _render_upstream(package), "rpmmod": package.module if package.ecosystem == "rpm" else ""}
    elif package.ecosystem in _SCOPED_TYPES:
        namespace, _mark, name = name.rpartition(_SCOPED_TYPES[package.ecosystem])
    return render_purl(make_purl(package.ecosystem, name, namespace=namespace, version=version, qualifiers=qualifiers))


def package_of(purl: Purl) -> Package:
    """The package that `purl` names. Others' qualifiers are understood too: `upstream` (source package), `rpmmod` (module)."""
    name, version = purl.name, purl.version
    if purl.namespace and purl.type not in _DISTRIBUTION_TYPES:
        name = f"{purl.namespace}{_SCOPED_TYPES.get(purl.type, '/')}{name}"
    epoch = purl.qualifiers.get("epoch", "")
    if purl.type == "rpm" and epoch:
        version = f"{epoch}:{version}"
    source, source_version = _upstream(purl)
    return Package(
        ecosystem=purl.type,
        name=name,
        version=version,
        arch=purl.qualifiers.get("arch", ""),
        source=source,
        source_version=source_version,
        module=":".join(purl.qualifiers.get("rpmmod", "").split(":")[:2]),
    )


def distribution_of(purl: Purl) -> Distribution:
    """The distribution of `purl`: its namespace and the qualifier `distro` (`debian-12`, or a codename). Empty for other packages."""
    if purl.type not in _DISTRIBUTION_TYPES:
        return Distribution()
    distro = purl.qualifiers.get("distro", "")
    name, _hyphen, version = distro.rpartition("-")
    if name and version[:1].isdigit():
        return Distribution(id=purl.namespace or name, version_id=version)
    return Distribution(id=purl.namespace, codename=distro)


def split_source_rpm(text: str) -> tuple[str, str]:
    """Name and version-release in `name-version-release.src.rpm`; empty texts for what is none."""
    parts = text.removesuffix(".rpm").removesuffix(".src").removesuffix(".nosrc").rsplit("-", 2)
    return (parts[0], f"{parts[1]}-{parts[2]}") if len(parts) == 3 else ("", "")


def _render_upstream(package: Package) -> str:
    source, version = package.source, package.source_version
    if package.ecosystem == "rpm":
        return f"{source}-{version.rpartition(':')[2]}.src.rpm" if source and version else source
    if version and version != package.version:
        return f"{source or package.name}@{version}"
    return source if source != package.name else ""


def _upstream(purl: Purl) -> tuple[str, str]:
    """`upstream=name@version` of deb and apk, `upstream=name-version-release.src.rpm` of rpm."""
    text = purl.qualifiers.get("upstream", "")
    if purl.type == "rpm":
        return split_source_rpm(text)
    name, _at, version = text.partition("@")
    return name, version
