"""VEX in CycloneDX JSON, read: `vulnerabilities[].analysis` with `affects`. Source: CycloneDX 1.4 to 1.7, vulnerabilities.

A reference is a `bom-ref` of the document, a BOM-Link (`urn:cdx:…#bom-ref`) or a package URL.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from shipwall.lang.rfc3339 import parse_feed_time
from shipwall.model.errors import InputError
from shipwall.supply.vex.statement import MAX_STATEMENTS, Product, Status, VexStatement, make_product, one_line

_STATES = {
    "resolved": Status.FIXED,
    "resolved_with_pedigree": Status.FIXED,
    "exploitable": Status.AFFECTED,
    "in_triage": Status.UNDER_INVESTIGATION,
    "false_positive": Status.NOT_AFFECTED,
    "not_affected": Status.NOT_AFFECTED,
}
_UNAFFECTED = {Status.NOT_AFFECTED: "unaffected", Status.FIXED: "unaffected"}


class AffectedVersion(msgspec.Struct, frozen=True):
    """A version of a reference, and whether it is affected."""

    version: str | None = None
    range: str | None = None
    status: str = "affected"


class Affects(msgspec.Struct, frozen=True):
    """What a vulnerability touches."""

    ref: str = ""
    versions: list[AffectedVersion] | None = None


class Analysis(msgspec.Struct, frozen=True, rename="camel"):
    """What was found out."""

    state: str | None = None
    justification: str | None = None
    detail: str | None = None
    first_issued: str | None = None
    last_updated: str | None = None


class Reference(msgspec.Struct, frozen=True):
    """The same vulnerability elsewhere."""

    id: str = ""


class Vulnerability(msgspec.Struct, frozen=True):
    """What is read of a vulnerability."""

    id: str = ""
    references: list[Reference] | None = None
    analysis: Analysis | None = None
    affects: list[Affects] | None = None
    updated: str | None = None


class Component(msgspec.Struct, frozen=True, rename={"bom_ref": "bom-ref"}):
    """What a reference may name."""

    bom_ref: str = ""
    purl: str | None = None
    version: str | None = None
    components: list[Component] | None = None


class Metadata(msgspec.Struct, frozen=True):
    """When, and of what."""

    timestamp: str | None = None
    component: Component | None = None


class Document(msgspec.Struct, frozen=True):
    """What is read of a document."""

    metadata: Metadata = Metadata()
    components: list[Component] | None = None
    vulnerabilities: list[Vulnerability] | None = None


def parse_cyclonedx_vex(document: Any, name: str) -> tuple[VexStatement, ...]:
    """The statements of a CycloneDX document (builtins of JSON), called `name`. Total. Raises InputError.

    Vulnerabilities without an analysis are findings, not statements, and left out.
    """
    try:
        read = msgspec.convert(document, Document)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(name, str(error)[:300]) from error
    known = _named(read)
    vulnerabilities = read.vulnerabilities or []
    if len(vulnerabilities) > MAX_STATEMENTS:
        raise InputError(name, f"has more than {MAX_STATEMENTS} vulnerabilities")
    return tuple(
        _statement(one, f"{name} vulnerability {number}", known, read.metadata.timestamp or "")
        for number, one in enumerate(vulnerabilities, 1)
        if one.analysis is not None and one.analysis.state
    )


def _named(read: Document) -> dict[str, str]:
    """What each `bom-ref` stands for: a package URL, or the version of an image (its digest)."""
    known: dict[str, str] = {}
    waiting = [*(read.components or ()), *([read.metadata.component] if read.metadata.component else ())]
    while waiting:
        component = waiting.pop()
        waiting += component.components or ()
        if component.bom_ref:
            known[component.bom_ref] = component.purl or component.version or component.bom_ref
    return known


def _statement(one: Vulnerability, place: str, known: dict[str, str], written: str) -> VexStatement:
    analysis = one.analysis or Analysis()
    state = analysis.state or ""
    if state not in _STATES:
        raise InputError(place, f"has the state {state[:40]!r}", f"it is one of {', '.join(_STATES)}")
    status = _STATES[state]
    defect = ""
    if state == "not_affected" and not analysis.justification and not analysis.detail:
        defect = "says not_affected without a justification"
    products = []
    for affects in one.affects or ():
        found, problem = _products(affects, status, known)
        products += found
        defect = defect or problem
    return VexStatement(
        place=place,
        ids=tuple(dict.fromkeys(id_ for id_ in (one.id, *(ref.id for ref in one.references or ())) if id_)),
        status=status,
        products=tuple(products),
        reason=one_line(analysis.justification or (state if state == "false_positive" else ""), analysis.detail),
        time_ns=parse_feed_time(analysis.last_updated or analysis.first_issued or one.updated or written),
        defect=defect or ("" if products else "names no product"),
    )


def _products(affects: Affects, status: Status, known: dict[str, str]) -> tuple[list[Product], str]:
    """The products of one reference, narrowed to the versions it lists for `status`, and what is wrong with it."""
    ref = affects.ref
    if ref.startswith("urn:cdx:") and "#" in ref:
        ref = unquote(ref.partition("#")[2])
    product = make_product(known.get(ref, ref))
    wanted = _UNAFFECTED.get(status, "affected")
    versions = [one for one in affects.versions or () if one.status == wanted]
    if any(one.range for one in versions):
        return [], "names versions by a range, which is not read"
    if not versions or product.purl is None:
        return [product], ""
    return [replace(product, purl=replace(product.purl, version=one.version or "")) for one in versions], ""
