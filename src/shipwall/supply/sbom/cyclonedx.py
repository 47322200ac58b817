"""CycloneDX JSON: writes 1.6, reads 1.4 to 1.7 of any tool.

Source: CycloneDX 1.6 (ECMA-424): metadata, components, evidence, licenses. What it has no field for stands in properties `shipwall:*`;
of other tools the properties `aquasecurity:trivy:*` and `syft:*` are understood.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import msgspec

from shipwall import __version__
from shipwall.model.digest import ImageIdentity, parse_digest
from shipwall.model.errors import InputError
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.supply.sbom.bounds import MAX_COMPONENTS, license_of_names, license_words, render_time
from shipwall.supply.sbom.foreign import Claim, Collected, collect
from shipwall.supply.sbom.purls import render_purl, settle_distribution

SBOM_TYPE = "https://cyclonedx.org/bom"
READABLE = ("1.4", "1.5", "1.6", "1.7")

_P = "shipwall:"
_FACTS = ("ecosystem", "arch", "source", "source-version", "layer", "owner", "module", "vendor", "license", "name")
_NOT_PACKAGES = frozenset({"file", "operating-system", "container", "device", "data", "platform", "machine-learning-model"})


class Property(msgspec.Struct, frozen=True):
    """A name and its value."""

    name: str = ""
    value: str | None = None


class License(msgspec.Struct, frozen=True):
    """A licence by id or name."""

    id: str | None = None
    name: str | None = None


class LicenseChoice(msgspec.Struct, frozen=True):
    """A licence or an expression."""

    license: License | None = None
    expression: str | None = None


class Method(msgspec.Struct, frozen=True):
    """How a component was found: by reading `value`."""

    value: str | None = None


class Identity(msgspec.Struct, frozen=True):
    """What the purl of a component rests on."""

    methods: list[Method] | None = None


class Occurrence(msgspec.Struct, frozen=True):
    """A file of the component."""

    location: str = ""


class ComponentEvidence(msgspec.Struct, frozen=True):
    """Evidence of one component; 1.4 and 1.5 wrote one identity, later versions a list."""

    identity: list[Identity] | Identity | None = None
    occurrences: list[Occurrence] | None = None


class Component(msgspec.Struct, frozen=True, rename={"bom_ref": "bom-ref"}):
    """What is read of a component."""

    name: str
    type: str = ""
    bom_ref: str = ""
    group: str | None = None
    version: str | None = None
    purl: str | None = None
    licenses: list[LicenseChoice] | None = None
    properties: list[Property] | None = None
    evidence: ComponentEvidence | None = None
    components: list[Component] | None = None


class Metadata(msgspec.Struct, frozen=True):
    """Of what the document is."""

    component: Component | None = None
    properties: list[Property] | None = None


class Bom(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of a document."""

    bom_format: str
    spec_version: str
    metadata: Metadata = Metadata()
    components: list[Component] | None = None


def render_cyclonedx(inventory: Inventory, time_ns: int) -> dict[str, Any]:
    """`inventory` as a CycloneDX 1.6 document, written at `time_ns`. Components are in the inventory's order."""
    image = inventory.image
    purls = [render_purl(package, inventory.distribution) for package in inventory.packages]
    if image:
        subject = {"type": "container", "name": "image", "version": image.manifest}
    else:
        subject = {"type": "file", "name": "folder"}
    properties = [_property(f"distribution:{key}", value) for key, value in _distribution_facts(inventory) if value]
    if image:
        properties.append(_property("config", image.config))
        properties += [_property("diff-id", diff_id) for diff_id in image.diff_ids]
    properties += [_property(f"label:{key}", value) for key, value in inventory.labels.items()]
    properties += [_property("skipped", msgspec.json.encode([one.what, one.reason]).decode()) for one in inventory.skipped]
    properties += [_property("history", command) for command in inventory.history]
    if inventory.created:
        properties.append(_property("created", inventory.created))
    seed = hashlib.sha256(msgspec.json.encode(inventory)).digest()[:16]
    metadata: dict[str, Any] = {
        "timestamp": render_time(time_ns),
        "tools": {"components": [{"type": "application", "name": "shipwall", "version": __version__}]},
        "component": subject,
    }
    if properties:
        metadata["properties"] = properties
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.UUID(bytes=seed, version=4).urn,
        "version": 1,
        "metadata": metadata,
        "components": [
            _component(package, purl, ref) for package, purl, ref in zip(inventory.packages, purls, _numbered(purls), strict=True)
        ],
    }


def bom_refs(inventory: Inventory) -> list[str]:
    """The `bom-ref` of each package, in order: its purl, with `#2` and so on where one is installed several times."""
    return _numbered([render_purl(package, inventory.distribution) for package in inventory.packages])


def parse_cyclonedx(document: Any) -> Inventory:
    """The inventory in a CycloneDX document (builtins of JSON). Total. Raises InputError, with the path of what is wrong in it."""
    try:
        bom = msgspec.convert(document, Bom)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError("SBOM", str(error)[:300]) from error
    if bom.bom_format != "CycloneDX":
        raise InputError("SBOM", f"bomFormat is {bom.bom_format[:40]!r}, not CycloneDX")
    if bom.spec_version not in READABLE:
        raise InputError("SBOM", f"CycloneDX {bom.spec_version[:20]} is not read", f"export it as one of {', '.join(READABLE)}")
    components = _flat(bom.components or [])
    facts = [(one.name.removeprefix(_P), one.value or "") for one in bom.metadata.properties or () if one.name.startswith(_P)]
    names = dict(facts)
    own = {number: _package(one) for number, one in enumerate(components) if f"{_P}ecosystem" in _facts_of(one)}
    said = Distribution(
        id=names.get("distribution:id", ""),
        version_id=names.get("distribution:version-id", ""),
        codename=names.get("distribution:codename", ""),
    )
    packages, skipped, distribution = _collect(components, own, said)
    if own or names:
        distribution = said
    return Inventory(
        image=_identity(bom.metadata.component, facts),
        distribution=distribution,
        packages=packages,
        skipped=(*(_skipped(value) for name, value in facts if name == "skipped"), *skipped),
        labels={name.removeprefix("label:"): value for name, value in facts if name.startswith("label:")},
        created=names.get("created", ""),
        history=tuple(value for name, value in facts if name == "history"),
    )


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": _P + name, "value": value}


def _distribution_facts(inventory: Inventory) -> list[tuple[str, str]]:
    distribution = inventory.distribution
    return [("id", distribution.id), ("version-id", distribution.version_id), ("codename", distribution.codename)]


def _numbered(purls: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    refs = []
    for purl in purls:
        ref = purl or "package"
        seen[ref] = count = seen.get(ref, 0) + 1
        refs.append(ref if count == 1 else f"{ref}#{count}")
    return refs


def _component(package: Package, purl: str, bom_ref: str) -> dict[str, Any]:
    # Only `group/name` that joins back is split, as other tools expect it; the rest stays in one piece.
    group, name = "", package.name
    if package.ecosystem == "maven" and package.name.count(":") == 1:
        group, name = package.name.split(":")
    elif package.ecosystem in {"npm", "composer"} and package.name.count("/") == 1:
        group, name = package.name.split("/")
    if not group or not name:
        group, name = "", package.name
    licenses = bool(package.license) and license_words(package.license) is not None
    facts = {
        "ecosystem": package.ecosystem,
        "arch": package.arch,
        "source": package.source,
        "source-version": package.source_version,
        "layer": package.layer,
        "owner": package.owner,
        "module": package.module,
        "vendor": package.vendor,
        "license": "" if licenses else package.license,
        "name": package.name if group else "",
    }
    component: dict[str, Any] = {"type": "library", "bom-ref": bom_ref}
    if group:
        component["group"] = group
    component["name"] = name
    if package.version:
        component["version"] = package.version
    if licenses:
        component["licenses"] = [{"expression": package.license}]
    if purl:
        component["purl"] = purl
    properties = [_property(name, facts[name]) for name in _FACTS if facts[name] or name == "ecosystem"]
    component["properties"] = properties
    evidence: dict[str, Any] = {}
    if package.evidence:
        method = {"technique": "manifest-analysis", "confidence": 1.0, "value": package.evidence}
        evidence["identity"] = [{"field": "purl", "confidence": 1.0, "methods": [method]}]
    if package.files:
        evidence["occurrences"] = [{"location": path} for path in package.files]
    if evidence:
        component["evidence"] = evidence
    return component


def _flat(components: list[Component]) -> list[Component]:
    """All components, those inside others too, outer first."""
    found: list[Component] = []
    waiting = list(reversed(components))
    while waiting:
        component = waiting.pop()
        found.append(component)
        if len(found) > MAX_COMPONENTS:
            raise InputError("SBOM", f"has more than {MAX_COMPONENTS} components")
        waiting += reversed(component.components or [])
    return found


def _facts_of(component: Component) -> dict[str, str]:
    return {one.name: one.value or "" for one in component.properties or ()}


def _evidence_path(component: Component) -> str:
    identity = component.evidence.identity if component.evidence else None
    identities = identity if isinstance(identity, list) else [identity] if identity else []
    return next((method.value for one in identities for method in one.methods or () if method.value), "")


def _occurrences(component: Component) -> tuple[str, ...]:
    return tuple(one.location for one in (component.evidence.occurrences if component.evidence else None) or ())


def _license(component: Component) -> str:
    names = [
        choice.expression or (choice.license and (choice.license.id or choice.license.name)) or ""
        for choice in component.licenses or ()
    ]
    return license_of_names([name for name in names if name])


def _package(component: Component) -> Package:
    """A component that Shipwall wrote."""
    facts = {name.removeprefix(_P): value for name, value in _facts_of(component).items() if name.startswith(_P)}
    layer = facts.get("layer", "")
    license_ = facts.get("license", "")
    if not license_ and component.licenses:
        license_ = component.licenses[0].expression or _license(component)
    return Package(
        ecosystem=facts.get("ecosystem", ""),
        name=facts.get("name", "") or component.name,
        version=component.version or "",
        arch=facts.get("arch", ""),
        source=facts.get("source", ""),
        source_version=facts.get("source-version", ""),
        evidence=_evidence_path(component),
        layer=parse_digest(layer) if layer else "",
        files=_occurrences(component),
        license=license_,
        owner=facts.get("owner", ""),
        module=facts.get("module", ""),
        vendor=facts.get("vendor", ""),
    )


def _collect(components: list[Component], own: dict[int, Package], distribution: Distribution) -> Collected:
    """The packages of `components` in their order; `own` are those already read from Shipwall's properties."""
    claims: list[Claim | Package] = []
    for number, component in enumerate(components):
        if number in own:
            claims.append(own[number])
            continue
        facts = _facts_of(component)
        if component.type == "operating-system" and not distribution.id:
            id_ = facts.get("syft:distro:id") or component.name
            version = facts.get("syft:distro:versionID") or component.version or ""
            distribution = settle_distribution(id_, version, facts.get("syft:distro:versionCodename", ""))
        if not component.purl and (component.type in _NOT_PACKAGES or "aquasecurity:trivy:Class" in facts):
            continue
        claims.append(
            Claim(
                name=f"{component.group}/{component.name}" if component.group else component.name,
                version=component.version or "",
                purl=component.purl or "",
                license=_license(component),
                facts=facts,
                evidence=_evidence_path(component),
                files=_occurrences(component),
            )
        )
    return collect(claims, distribution)


def _identity(component: Component | None, facts: list[tuple[str, str]]) -> ImageIdentity | None:
    configs = [value for name, value in facts if name == "config"]
    if component is None or component.type != "container" or not facts:
        return None  # another tool's document does not say all of an image's digests
    if len(configs) != 1:
        raise InputError("SBOM", "does not name one image configuration")
    return ImageIdentity(
        manifest=parse_digest(component.version or ""),
        config=parse_digest(configs[0]),
        diff_ids=tuple(parse_digest(value) for name, value in facts if name == "diff-id"),
    )


def _skipped(text: str) -> Skipped:
    try:
        what, reason = msgspec.json.decode(text.encode(), type=tuple[str, str])
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InputError("SBOM", "has a damaged property shipwall:skipped") from error
    return Skipped(what=what, reason=reason)
