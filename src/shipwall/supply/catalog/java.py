"""Java archives: which Maven artefacts a jar is, and which lie in it, nested or merged ("shaded").

Best first: `pom.properties` (Maven writes it, and a shaded jar carries one of each part), the folder and text of a `pom.xml`, the
manifest, the file's name. A name without its group is told as it is: advisories name groups, so nothing is judged by half a name.
Source: Maven's archiver plug-in; Java's JAR specification, "Manifest"; OSGi core, "Bundle Manifest Headers".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.java_groups import group_of
from shipwall.supply.catalog.words import decode, title, word
from shipwall.supply.catalog.zip_file import Member, list_members, read_member
from shipwall.supply.licenses import join_licenses, parse_license

JAVA_SUFFIXES = (".jar", ".war", ".ear", ".jpi", ".hpi", ".sar", ".par", ".kar", ".lpkg", ".nar", ".rar")
JAVA_MAGIC = (b"PK",)
_SUFFIXES = tuple(suffix.encode() for suffix in JAVA_SUFFIXES)
_MAX_DEPTH = 6
_MAX_TEXT = 256 << 10
_MAX_INFLATED = 512 << 20  # everything read out of one file together
_MIN_INFLATED = 64 << 20
_MAX_ARCHIVE = 128 << 20
_MAX_RATIO = 20  # jars hold packed classes: a jar in a jar hardly shrinks
_MAX_POMS = 5000
_MAX_ARCHIVES = 20_000
_MAX_PACKAGES = 20_000
_MANIFEST = "META-INF/MANIFEST.MF"
_POM = re.compile(r"META-INF/maven/([^/]+)/([^/]+)/pom\.(properties|xml)")
_PROPERTY = re.compile(r"^\s*(groupId|artifactId|version)\s*[=:]\s*(.*?)\s*$", re.MULTILINE)
_FILE_NAME = re.compile(r"(?P<artifact>[A-Za-z0-9._-]+?)-(?P<version>v?\d[A-Za-z0-9.+_-]*)")
_POM_NAME = re.compile(r"<name>([^<]{1,200})</name>")
_POM_VERSION = re.compile(r"<version>([^<]{1,200})</version>")
_POM_PARTS = re.compile(r"<(?:dependencies|dependencyManagement|build|profiles|modules|properties)\b")
_ARTIFACT = re.compile(r"[A-Za-z0-9._-]+")
_GROUP = re.compile(r"[A-Za-z][\w-]*(?:\.[\w-]+)+")
_PLACEHOLDER = re.compile(r"[${}]")


class _Maven(NamedTuple):
    group: str
    artifact: str
    version: str
    license: str = ""

    @property
    def name(self) -> str:
        return f"{self.group}:{self.artifact}" if self.group else self.artifact


class _Bounds:
    """What is left for all archives nested in one file."""

    def __init__(self, size: int) -> None:
        self.bytes = min(_MAX_INFLATED, max(_MIN_INFLATED, size * _MAX_RATIO))
        self.archives = _MAX_ARCHIVES
        self.packages: dict[tuple[str, str, str], Package] = {}
        self.skipped: list[Skipped] = []

    def skip(self, what: str, reason: str) -> None:
        if len(self.skipped) < 100:
            self.skipped.append(Skipped(what=what, reason=reason))


def parse_java(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The artefacts in the archive `data`; a nested one's evidence is `/outer.war!/inner.jar`.

    *Raises* InputError for what is no archive. Nested archives that cannot be read, or go beyond the bounds, are Skipped.
    """
    bounds = _Bounds(len(data))
    _read_archive(f"/{path}", data, bounds, 0)
    return list(bounds.packages.values()), bounds.skipped


def _read_archive(where: str, data: bytes, bounds: _Bounds, depth: int) -> None:
    manifest: Member | None = None
    poms: dict[tuple[str, str], dict[str, Member]] = {}
    nested: list[Member] = []
    has_more = False
    for member in list_members(data, where, _is_wanted):
        match = _POM.fullmatch(member.name)
        if match is not None:
            if (match[1], match[2]) not in poms and len(poms) >= _MAX_POMS:
                has_more = True
            else:
                poms.setdefault((match[1], match[2]), {})[match[3]] = member
        elif member.name == _MANIFEST:
            manifest = member
        elif member.name.lower().endswith(JAVA_SUFFIXES):
            nested.append(member)
    if has_more:
        bounds.skip(where, f"describes more than {_MAX_POMS} artefacts; the rest is not read")
    inside = [found for key, members in poms.items() if (found := _read_pom(where, data, key, members, bounds)) is not None]
    own = _own(where, data, manifest, inside, bounds)
    for one in [*inside, *([own] if own else [])]:
        _add(where, one, bounds)
    for member in nested:
        _read_nested(where, data, member, bounds, depth + 1)


def _is_wanted(name: bytes) -> bool:
    return name.startswith((b"META-INF/maven/", b"META-INF/MANIFEST.MF")) or name[-5:].lower().endswith(_SUFFIXES)


def _read_nested(where: str, data: bytes, member: Member, bounds: _Bounds, depth: int) -> None:
    inner = f"{where}!/{member.name[:1000]}"
    if depth > _MAX_DEPTH or bounds.archives <= 0 or bounds.bytes <= 0:
        bounds.skip(inner, "is nested deeper or inflates to more than is read of one archive")
        return
    bounds.archives -= 1
    try:
        content = read_member(data, member, where, min(_MAX_ARCHIVE, bounds.bytes))
        bounds.bytes -= len(content)
        _read_archive(inner, content, bounds, depth)
    except InputError as error:
        bounds.skip(inner, error.reason)


def _add(where: str, one: _Maven, bounds: _Bounds) -> None:
    key = (one.name, one.version, where)
    if len(bounds.packages) >= _MAX_PACKAGES:
        bounds.skip(where, f"has more than {_MAX_PACKAGES} artefacts; the rest is not read")
    elif key not in bounds.packages:
        bounds.packages[key] = Package(ecosystem="maven", name=one.name, version=one.version, evidence=where, license=one.license)


def _text(where: str, data: bytes, member: Member | None, bounds: _Bounds) -> str:
    if member is None:
        return ""
    try:
        content = read_member(data, member, where, max(0, min(_MAX_TEXT, bounds.bytes)))
        bounds.bytes -= len(content)
        return decode(content)
    except InputError as error:
        bounds.skip(f"{where}!/{member.name[:1000]}", error.reason)
        return ""


def _read_pom(where: str, data: bytes, key: tuple[str, str], members: dict[str, Member], bounds: _Bounds) -> _Maven | None:
    xml = _text(where, data, members.get("xml"), bounds)
    licenses = join_licenses(
        _POM_NAME.findall(_between(xml, "licenses")[:4000]), "OR"
    )  # source: Maven's POM reference: a list is a choice
    values = dict(_PROPERTY.findall(_text(where, data, members.get("properties"), bounds)))
    group, artifact = word(values.get("groupId", "")), word(values.get("artifactId", ""))
    version = word(values.get("version", ""))
    if not (group and artifact and version):
        group, artifact, version = word(key[0]), word(key[1]), _pom_version(xml)
    if not (group and artifact and version) or any(_PLACEHOLDER.search(text) for text in (group, artifact, version)):
        return None
    return _Maven(group, artifact, version, licenses)


def _between(xml: str, tag: str) -> str:
    """The text of the first element `tag`; found by text, so that no entity is ever expanded."""
    start = xml.find(f"<{tag}>")
    return xml[start + len(tag) + 2 : max(start, xml.find(f"</{tag}>", start))] if start >= 0 else ""


def _pom_version(xml: str) -> str:
    """The version in a pom.xml: the project's own, else its parent's."""
    parent = _between(xml, "parent")
    head = _POM_PARTS.split(xml.replace(parent, "", 1) if parent else xml, maxsplit=1)[0]
    found = _POM_VERSION.search(head) or _POM_VERSION.search(parent)
    return word(found[1]) if found else ""


def _own(where: str, data: bytes, manifest: Member | None, inside: list[_Maven], bounds: _Bounds) -> _Maven | None:
    """What the archive itself is, when it is none of the artefacts that say so `inside` of it."""
    stem = re.split(r"[/!]", where)[-1].rpartition(".")[0]
    named = _FILE_NAME.fullmatch(stem)
    if any(stem == one.artifact or stem.startswith(f"{one.artifact}-{one.version}") for one in inside):
        return None
    if len(inside) == 1 and (named is None or inside[0].artifact in stem):
        return None  # renamed, or named with its group
    artifact, version = (named["artifact"], named["version"]) if named else ("", "")
    found = _from_manifest(_main_section(_text(where, data, manifest, bounds)), artifact, version, stem)
    if found is None and named is not None:
        found = _Maven(group_of(artifact), artifact, version)
    if found is None or any(one.artifact == found.artifact and one.version == found.version for one in inside):
        return None
    return found


def _main_section(text: str) -> dict[str, str]:
    """The manifest's main attributes by lower-case name; continued lines joined."""
    joined = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n ", "")
    values: dict[str, str] = {}
    for line in joined.split("\n"):
        if not line:
            if values:
                break
            continue
        name, colon, value = line.partition(":")
        if colon:
            values.setdefault(name.strip().lower(), title(value))
    return values


def _from_manifest(values: dict[str, str], file_artifact: str, file_version: str, stem: str) -> _Maven | None:
    """The artefact a manifest names. The file's name decides where both speak: titles are written for people."""
    symbolic = values.get("bundle-symbolicname", "").partition(";")[0].strip()
    version = _first(values, "implementation-version", "specification-version", "bundle-version")
    artifact = file_artifact or _titled(values)
    group = _group(values, symbolic, artifact)
    if not artifact:
        last = symbolic.rpartition(".")[2]
        artifact = last if group_of(last) else word(stem)
        group = group or group_of(artifact)
    version = file_version or word(version.partition(" ")[0])
    if not artifact or not version or _PLACEHOLDER.search(artifact + version):
        return None
    return _Maven(group, artifact, version, join_licenses([_license(values)], "OR"))


def _first(values: dict[str, str], *names: str) -> str:
    return next((values[name] for name in names if values.get(name)), "")


def _group(values: dict[str, str], symbolic: str, artifact: str) -> str:
    """A group only from what is one by its form: letters with dots, never a company's name."""
    for text in (values.get("implementation-vendor-id", ""), values.get("group-id", "")):
        if _GROUP.fullmatch(text):
            return text
    if known := group_of(artifact):
        return known  # a bundle's symbolic name may be its group as well as group and artefact
    before, _, last = symbolic.rpartition(".")
    if before and artifact and (last == artifact or symbolic.replace("-", ".").endswith("." + artifact.replace("-", "."))):
        return symbolic[: -len(artifact) - 1] if symbolic.endswith(artifact) else before
    return ""


def _titled(values: dict[str, str]) -> str:
    """A title that is an artefact's name by its form."""
    titles = (values.get(key, "") for key in ("implementation-title", "short-name", "extension-name"))
    return next((text for text in titles if _ARTIFACT.fullmatch(text)), "")


def _license(values: dict[str, str]) -> str:
    text = values.get("bundle-license", "").partition(",")[0].partition(";")[0].strip().strip('"')
    return "" if text.startswith("http") and parse_license(text).startswith("LicenseRef-") else text
