"""CycloneDX 1.6 JSON: an inventory as others read it, and back.

Law: `parse_sbom(render_sbom(inventory, t)) == inventory`, so a scan of the SBOM finds what a scan of the image finds.
Source: CycloneDX 1.6 (ECMA-424): metadata, components, evidence. What it has no field for stands in properties `shipwall:*`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from typing import Any, Literal

import msgspec

from shipwall.model.digest import ImageIdentity, parse_digest
from shipwall.model.errors import InputError
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.supply.purl import purl_of

SBOM_TYPE = "https://cyclonedx.org/bom"
MAX_COMPONENTS = 200_000

_P = "shipwall:"


class Property(msgspec.Struct, frozen=True):
    """A name and its value."""

    name: str
    value: str


class Method(msgspec.Struct, frozen=True):
    """How a component was found: by reading `value`, a package manager's own file."""

    technique: Literal["manifest-analysis"]
    confidence: float
    value: str


class Identity(msgspec.Struct, frozen=True):
    """What the purl of a component rests on."""

    field: Literal["purl"]
    confidence: float
    methods: tuple[Method, ...]


class Occurrence(msgspec.Struct, frozen=True):
    """A file the component owns."""

    location: str


class ComponentEvidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Evidence of one component."""

    identity: tuple[Identity, ...] = ()
    occurrences: tuple[Occurrence, ...] = ()


class Component(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, rename={"bom_ref": "bom-ref"}):
    """A package, or the image itself."""

    type: Literal["library", "container", "file"]
    bom_ref: str = ""
    name: str
    version: str = ""
    purl: str = ""
    properties: tuple[Property, ...] = ()
    evidence: ComponentEvidence = ComponentEvidence()


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """When it was written, and of what."""

    timestamp: str
    component: Component
    properties: tuple[Property, ...] = ()


class Bom(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The document."""

    bom_format: Literal["CycloneDX"]
    spec_version: Literal["1.6"]
    serial_number: str
    version: Literal[1]
    metadata: Metadata
    components: tuple[Component, ...]


def render_sbom(inventory: Inventory, time_ns: int) -> dict[str, Any]:
    """`inventory` as a CycloneDX 1.6 document, written at `time_ns`."""
    image = inventory.image
    seen: dict[str, int] = {}
    components = []
    for package in inventory.packages:
        purl = purl_of(package, inventory.distribution)
        seen[purl] = count = seen.get(purl, 0) + 1
        components.append(_component(package, purl, purl if count == 1 else f"{purl}#{count}"))
    subject = (
        Component(type="container", name="image", version=image.manifest) if image else Component(type="file", name="folder")
    )
    properties = [Property(_P + f"distribution:{key}", value) for key, value in _distribution(inventory) if value]
    if image:
        properties.append(Property(_P + "config", image.config))
        properties += [Property(_P + "diff-id", diff_id) for diff_id in image.diff_ids]
    properties += [Property(_P + f"label:{key}", value) for key, value in inventory.labels.items()]
    properties += [Property(_P + "skipped", msgspec.json.encode([one.what, one.reason]).decode()) for one in inventory.skipped]
    if inventory.created:
        properties.append(Property(_P + "created", inventory.created))
    seed = hashlib.sha256(msgspec.json.encode(inventory)).digest()[:16]
    bom = Bom(
        bom_format="CycloneDX",
        spec_version="1.6",
        serial_number=uuid.UUID(bytes=seed, version=4).urn,
        version=1,
        metadata=Metadata(timestamp=render_time(time_ns), component=subject, properties=tuple(properties)),
        components=tuple(components),
    )
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(bom))
    return document


def parse_sbom(document: Any) -> Inventory:
    """The inventory in a CycloneDX document that `render_sbom` wrote (builtins of JSON). Total. Raises InputError."""
    try:
        bom = msgspec.convert(document, Bom)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError("SBOM", str(error)[:300]) from error
    if len(bom.components) > MAX_COMPONENTS:
        raise InputError("SBOM", f"has more than {MAX_COMPONENTS} components")
    facts = [(one.name.removeprefix(_P), one.value) for one in bom.metadata.properties if one.name.startswith(_P)]
    image = None
    if bom.metadata.component.type == "container":
        configs = [value for name, value in facts if name == "config"]
        if len(configs) != 1:
            raise InputError("SBOM", "does not name one image configuration")
        image = ImageIdentity(
            manifest=parse_digest(bom.metadata.component.version),
            config=parse_digest(configs[0]),
            diff_ids=tuple(parse_digest(value) for name, value in facts if name == "diff-id"),
        )
    names = dict(facts)
    return Inventory(
        image=image,
        distribution=Distribution(
            id=names.get("distribution:id", ""),
            version_id=names.get("distribution:version-id", ""),
            codename=names.get("distribution:codename", ""),
        ),
        packages=tuple(_package(component) for component in bom.components),
        skipped=tuple(_skipped(value) for name, value in facts if name == "skipped"),
        labels={name.removeprefix("label:"): value for name, value in facts if name.startswith("label:")},
        created=names.get("created", ""),
    )


def render_time(time_ns: int) -> str:
    """`time_ns` as RFC 3339 in UTC, whole seconds."""
    seconds = min(max(time_ns // 1_000_000_000, 0), 253402300799)
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _distribution(inventory: Inventory) -> list[tuple[str, str]]:
    distribution = inventory.distribution
    return [("id", distribution.id), ("version-id", distribution.version_id), ("codename", distribution.codename)]


def _component(package: Package, purl: str, bom_ref: str) -> Component:
    facts = {
        "ecosystem": package.ecosystem,
        "arch": package.arch,
        "source": package.source,
        "source-version": package.source_version,
        "layer": package.layer,
    }
    identity: tuple[Identity, ...] = ()
    if package.evidence:
        identity = (Identity("purl", 1.0, (Method("manifest-analysis", 1.0, package.evidence),)),)
    return Component(
        type="library",
        bom_ref=bom_ref,
        name=package.name,
        version=package.version,
        purl=purl,
        properties=tuple(Property(_P + name, value) for name, value in facts.items() if value),
        evidence=ComponentEvidence(identity, tuple(Occurrence(path) for path in package.files)),
    )


def _package(component: Component) -> Package:
    facts = {one.name.removeprefix(_P): one.value for one in component.properties if one.name.startswith(_P)}
    methods = [method for identity in component.evidence.identity for method in identity.methods]
    layer = facts.get("layer", "")
    return Package(
        ecosystem=facts.get("ecosystem", ""),
        name=component.name,
        version=component.version,
        arch=facts.get("arch", ""),
        source=facts.get("source", ""),
        source_version=facts.get("source-version", ""),
        evidence=methods[0].value if methods else "",
        layer=parse_digest(layer) if layer else "",
        files=tuple(one.location for one in component.evidence.occurrences),
    )


def _skipped(text: str) -> Skipped:
    try:
        what, reason = msgspec.json.decode(text.encode(), type=tuple[str, str])
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InputError("SBOM", "has a damaged property shipwall:skipped") from error
    return Skipped(what=what, reason=reason)
