"""SPDX 2.3 JSON: written so that nothing is lost, read of any tool.

Source: SPDX 2.3 clauses 6 to 12 and annex F (external references). What SPDX has no field for stands in annotations of Shipwall: the
package and the rest of the inventory as JSON. They count only beside a package of the same name and version.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from shipwall import __version__
from shipwall.model.digest import parse_digest
from shipwall.model.errors import InputError
from shipwall.model.package import SYSTEM_TYPES, Distribution, Inventory, Package
from shipwall.supply.sbom.bounds import MAX_COMPONENTS, license_of_names, license_words, render_time
from shipwall.supply.sbom.foreign import Claim, Collected, collect
from shipwall.supply.sbom.purls import render_purl, settle_distribution

READABLE = ("SPDX-2.2", "SPDX-2.3")
_TOOL = f"Tool: shipwall-{__version__}"
_PACKAGE_MARK, _INVENTORY_MARK = "shipwall:package:", "shipwall:inventory:"
_OWNERSHIP = "ownership-by-file-overlap"
_NOTHING = frozenset({"", "NOASSERTION", "NONE"})
_NOT_PACKAGES = frozenset(
    {"CONTAINER", "OPERATING-SYSTEM", "OPERATING_SYSTEM", "FILE", "DEVICE", "FIRMWARE", "SOURCE", "ARCHIVE"}
)
_TRIVY_NOTE = re.compile(r"([A-Za-z]{2,40}): (.*)", re.DOTALL)


class Annotation(msgspec.Struct, frozen=True):
    """A remark."""

    annotator: str = ""
    comment: str = ""


class Reference(msgspec.Struct, frozen=True, rename="camel"):
    """Another name of a package; `purl` is what is looked for."""

    reference_type: str = ""
    reference_locator: str = ""


class SpdxPackage(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of a package."""

    name: str
    spdx_id: str = msgspec.field(name="SPDXID", default="")
    version_info: str | None = None
    license_concluded: str | None = None
    license_declared: str | None = None
    external_refs: list[Reference] | None = None
    annotations: list[Annotation] | None = None
    primary_package_purpose: str | None = None


class SpdxFile(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of a file."""

    file_name: str
    spdx_id: str = msgspec.field(name="SPDXID", default="")


class Relationship(msgspec.Struct, frozen=True, rename="camel"):
    """Element, what it does, element."""

    spdx_element_id: str = ""
    relationship_type: str = ""
    related_spdx_element: str = ""
    comment: str | None = None


class Document(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of a document."""

    spdx_version: str
    packages: list[SpdxPackage] | None = None
    files: list[SpdxFile] | None = None
    relationships: list[Relationship] | None = None
    annotations: list[Annotation] | None = None


def render_spdx(inventory: Inventory, time_ns: int) -> dict[str, Any]:
    """`inventory` as an SPDX 2.3 document, written at `time_ns`. Packages are in the inventory's order, after the image itself."""
    created = render_time(time_ns)
    seed = hashlib.sha256(msgspec.json.encode(inventory)).hexdigest()
    name = inventory.image.manifest if inventory.image else "folder"
    ids = [f"SPDXRef-Package-{number}" for number in range(1, len(inventory.packages) + 1)]
    rest = msgspec.json.encode(msgspec.structs.replace(inventory, packages=())).decode()
    references = sorted({word for one in inventory.packages for word in license_words(one.license) or () if _is_reference(word)})
    document: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:shipwall:spdx:{seed}",
        "creationInfo": {"created": created, "creators": [_TOOL]},
        "packages": [
            _subject(inventory, name),
            *(
                _package(package, inventory.distribution, id_, created)
                for package, id_ in zip(inventory.packages, ids, strict=True)
            ),
        ],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
            *(_relation("SPDXRef-Image", "CONTAINS", id_) for id_ in ids),
            *_ownership(inventory, ids),
        ],
        "annotations": [_annotation(_INVENTORY_MARK + rest, created)],
    }
    if references:
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": one, "name": one, "extractedText": "NOASSERTION"} for one in references
        ]
    return document


def parse_spdx(document: Any) -> Inventory:
    """The inventory in an SPDX 2 document (builtins of JSON). Total. Raises InputError, with the path of what is wrong in it."""
    try:
        read = msgspec.convert(document, Document)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError("SBOM", str(error)[:300]) from error
    if read.spdx_version not in READABLE:
        raise InputError("SBOM", f"{read.spdx_version[:20]} is not read", f"export it as {' or '.join(READABLE)}")
    packages = read.packages or []
    if len(packages) > MAX_COMPONENTS or len(read.files or ()) > 20 * MAX_COMPONENTS:
        raise InputError("SBOM", f"has more than {MAX_COMPONENTS} packages or {20 * MAX_COMPONENTS} files")
    own = _own(read.annotations, _INVENTORY_MARK)
    if own:
        return _read_own(own, packages)
    collected = _collect_foreign(read)
    return Inventory(image=None, distribution=collected.distribution, packages=collected.packages, skipped=collected.skipped)


def _subject(inventory: Inventory, name: str) -> dict[str, Any]:
    subject: dict[str, Any] = {
        "SPDXID": "SPDXRef-Image",
        "name": name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "CONTAINER" if inventory.image else "FILE",
    }
    if inventory.image:
        subject["versionInfo"] = inventory.image.manifest
        subject["checksums"] = [{"algorithm": "SHA256", "checksumValue": inventory.image.manifest.removeprefix("sha256:")}]
    return subject


def _package(package: Package, distribution: Distribution, id_: str, created: str) -> dict[str, Any]:
    declared = package.license if package.license and license_words(package.license) is not None else "NOASSERTION"
    fields: dict[str, Any] = {
        "SPDXID": id_,
        "name": package.name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": declared,
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "LIBRARY",
        "annotations": [_annotation(_PACKAGE_MARK + msgspec.json.encode(package).decode(), created)],
    }
    if purl := render_purl(package, distribution):
        reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
        fields["externalRefs"] = [reference]
    if package.version:
        fields["versionInfo"] = package.version
    if package.evidence:
        fields["sourceInfo"] = f"acquired package info from {package.evidence}"
    return fields


def _ownership(inventory: Inventory, ids: list[str]) -> list[dict[str, Any]]:
    """Which distribution's package owns which other package, in the words Syft uses for it."""
    owners = {
        package.name: id_ for package, id_ in zip(inventory.packages, ids, strict=True) if package.ecosystem in SYSTEM_TYPES
    }
    return [
        _relation(owners[package.owner], "OTHER", id_, f"{_OWNERSHIP}: its files belong to the distribution's package")
        for package, id_ in zip(inventory.packages, ids, strict=True)
        if package.owner in owners
    ]


def _relation(from_: str, type_: str, to: str, comment: str = "") -> dict[str, Any]:
    relation = {"spdxElementId": from_, "relationshipType": type_, "relatedSpdxElement": to}
    return relation | {"comment": comment} if comment else relation


def _annotation(comment: str, created: str) -> dict[str, str]:
    return {"annotator": _TOOL, "annotationDate": created, "annotationType": "OTHER", "comment": comment}


def _is_reference(word: str) -> bool:
    return word.startswith("LicenseRef-")


def _own(annotations: list[Annotation] | None, mark: str) -> str:
    """The text that Shipwall left in `annotations` under `mark`; empty when there is none. Raises InputError for two."""
    found = [
        one.comment.removeprefix(mark)
        for one in annotations or ()
        if one.annotator.startswith("Tool: shipwall-") and one.comment.startswith(mark)
    ]
    if len(found) > 1:
        raise InputError("SBOM", f"has {len(found)} annotations {mark}")
    return found[0] if found else ""


def _read_own(rest: str, packages: list[SpdxPackage]) -> Inventory:
    try:
        inventory = msgspec.json.decode(rest.encode(), type=Inventory)
        found = []
        for one in packages:
            text = _own(one.annotations, _PACKAGE_MARK)
            if not text:
                continue
            package = msgspec.json.decode(text.encode(), type=Package)
            if (package.name, package.version) != (one.name, one.version_info or ""):
                raise InputError("SBOM", f"says two things about {one.spdx_id[:80]}: {one.name[:80]} and {package.name[:80]}")
            if package.layer:
                parse_digest(package.layer)
            found.append(package)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError("SBOM", f"has a damaged annotation of Shipwall: {str(error)[:200]}") from error
    if inventory.image:
        for digest in (inventory.image.manifest, inventory.image.config, *inventory.image.diff_ids):
            parse_digest(digest)
    return msgspec.structs.replace(inventory, packages=tuple(found))


def _collect_foreign(read: Document) -> Collected:
    packages = read.packages or []
    names = {one.spdx_id: one.name for one in packages}
    paths = {one.spdx_id: one.file_name for one in read.files or ()}
    files: dict[str, list[str]] = {}
    owners: dict[str, str] = {}
    for relation in read.relationships or ():
        from_, to = relation.spdx_element_id, relation.related_spdx_element
        if to in paths and relation.relationship_type == "CONTAINS":
            files.setdefault(from_, []).append(paths[to])
        elif to in names and from_ in names and (relation.comment or "").startswith(_OWNERSHIP):
            owners[to] = names[from_]
    distribution = Distribution()
    claims = []
    for one in packages:
        purl = next((ref.reference_locator for ref in one.external_refs or () if ref.reference_type == "purl"), "")
        purpose = (one.primary_package_purpose or "").upper()
        if purpose.startswith("OPERATING") and not distribution.id:
            distribution = settle_distribution(one.name, one.version_info or "")
        facts = _trivy_facts(one)
        is_none = purpose in _NOT_PACKAGES or one.name in _NOTHING or "aquasecurity:trivy:Class" in facts
        if (not purl or purl.startswith("pkg:oci/")) and is_none:
            continue
        is_system = purl.startswith(tuple(f"pkg:{type_}/" for type_ in SYSTEM_TYPES))
        own_files = tuple(files.get(one.spdx_id, ()))
        claims.append(
            Claim(
                name=one.name,
                version=one.version_info or "",
                purl=purl,
                license=_license(one),
                facts=facts,
                # Of a language's package the contained file is the one that says it is there.
                evidence=own_files[0] if own_files and not is_system else "",
                files=own_files if is_system else (),
                owner=owners.get(one.spdx_id, ""),
            )
        )
    return collect(claims, distribution)


def _license(package: SpdxPackage) -> str:
    said = [text for text in (package.license_declared, package.license_concluded) if text and text not in _NOTHING]
    return license_of_names(said[:1])


def _trivy_facts(package: SpdxPackage) -> Mapping[str, str]:
    """Trivy's annotations `SrcName: glibc`, under the names of its CycloneDX properties."""
    matches = (_TRIVY_NOTE.match(one.comment) for one in package.annotations or () if "trivy" in one.annotator)
    return {f"aquasecurity:trivy:{match[1]}": match[2] for match in matches if match}
