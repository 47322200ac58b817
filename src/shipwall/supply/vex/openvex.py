"""OpenVEX JSON, read (0.0.1 to 0.2.0) and written (0.2.0). Source: openvex/spec OPENVEX-SPEC.md."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from shipwall.lang.rfc3339 import parse_feed_time
from shipwall.model.digest import digest_of
from shipwall.model.errors import InputError
from shipwall.model.finding import Suppressed
from shipwall.model.package import Inventory
from shipwall.supply.sbom.bounds import render_time
from shipwall.supply.sbom.purls import render_purl
from shipwall.supply.vex.statement import MAX_STATEMENTS, Product, Status, VexStatement, make_product, one_line

CONTEXT = "https://openvex.dev/ns/v0.2.0"
JUSTIFICATIONS = frozenset({
    "component_not_present", "vulnerable_code_not_present", "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary", "inline_mitigations_already_exist",
})  # fmt: skip


class Vulnerability(msgspec.Struct, frozen=True):
    """The vulnerability of a statement."""

    id: str = msgspec.field(name="@id", default="")
    name: str = ""
    aliases: list[str] | None = None


class Component(msgspec.Struct, frozen=True):
    """A product or a part of one."""

    id: str = msgspec.field(name="@id", default="")
    identifiers: dict[str, str] | None = None
    hashes: dict[str, str] | None = None
    subcomponents: list[Component | str] | None = None


class Statement(msgspec.Struct, frozen=True):
    """What is read of a statement."""

    status: str
    vulnerability: Vulnerability | str
    products: list[Component | str] | None = None
    subcomponents: list[Component | str] | None = None
    timestamp: str | None = None
    last_updated: str | None = None
    justification: str | None = None
    impact_statement: str | None = None
    action_statement: str | None = None
    status_notes: str | None = None


class Document(msgspec.Struct, frozen=True):
    """What is read of a document."""

    context: str = msgspec.field(name="@context", default="")
    statements: list[Statement] = []
    timestamp: str = ""
    last_updated: str | None = None


def parse_openvex(document: Any, name: str) -> tuple[VexStatement, ...]:
    """The statements of an OpenVEX document (builtins of JSON), called `name`. Total. Raises InputError."""
    try:
        read = msgspec.convert(document, Document)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(name, str(error)[:300]) from error
    if len(read.statements) > MAX_STATEMENTS:
        raise InputError(name, f"has more than {MAX_STATEMENTS} statements")
    written = read.last_updated or read.timestamp
    return tuple(_statement(one, f"{name} statement {number}", written) for number, one in enumerate(read.statements, 1))


def render_openvex(suppressed: tuple[Suppressed, ...], inventory: Inventory, author: str, time_ns: int) -> dict[str, Any]:
    """What was set aside, as an OpenVEX document about the image (about the packages, when it is a plain folder).

    A finding that an ignore file set aside is still `affected`: the statement says what was decided and until when.
    """
    when = render_time(time_ns)
    image = [{"@id": f"pkg:oci/image@{inventory.image.manifest}"}] if inventory.image else None
    statements = [_written(one, inventory, image, when) for one in suppressed]
    seed = hashlib.sha256(msgspec.json.encode([statements, author, when])).hexdigest()
    return {
        "@context": CONTEXT,
        "@id": f"urn:shipwall:openvex:{seed}",
        "author": author,
        "timestamp": when,
        "version": 1,
        "tooling": "shipwall",
        "statements": statements,
    }


def _written(one: Suppressed, inventory: Inventory, image: list[dict[str, Any]] | None, when: str) -> dict[str, Any]:
    finding = one.finding
    part = {"@id": render_purl(finding.package, inventory.distribution) or finding.package.name}
    vulnerability: dict[str, Any] = {"name": finding.id}
    if finding.aliases:
        vulnerability["aliases"] = list(finding.aliases)
    statement: dict[str, Any] = {
        "vulnerability": vulnerability,
        "timestamp": when,
        "products": [{**image[0], "subcomponents": [part]}] if image else [part],
    }
    if one.status == "ignored":
        end = f" until {one.until}" if one.until else ""
        return statement | {"status": "affected", "action_statement": f"accepted{end}: {one.reason}"}
    statement["status"] = one.status
    if one.status == Status.NOT_AFFECTED:
        justification, _colon, explanation = one.reason.partition(": ")
        if justification in JUSTIFICATIONS:
            statement["justification"] = justification
            if explanation:
                statement["impact_statement"] = explanation
        else:
            statement["impact_statement"] = one.reason
    elif one.reason:
        statement["status_notes"] = one.reason
    return statement


def _statement(one: Statement, place: str, written: str) -> VexStatement:
    if isinstance(one.vulnerability, str):
        ids = [one.vulnerability]
    else:
        # The name counts; an @id may be an address that ends in the id.
        tail = one.vulnerability.id.rstrip("/").rpartition("/")[2]
        ids = [one.vulnerability.name or tail, *(one.vulnerability.aliases or ())]
    try:
        status = Status(one.status)
    except ValueError as error:
        raise InputError(place, f"has the status {one.status[:40]!r}", f"it is one of {', '.join(Status)}") from error
    return VexStatement(
        place=place,
        ids=tuple(dict.fromkeys(id_ for id_ in ids if id_)),
        status=status,
        products=tuple(_product(product, one.subcomponents) for product in one.products or ()),
        reason=one_line(one.justification, one.impact_statement or one.action_statement or one.status_notes),
        time_ns=parse_feed_time(one.last_updated or one.timestamp or written),
        defect=_defect(one, status),
    )


def _defect(one: Statement, status: Status) -> str:
    if not one.products:
        return "names no product"
    if status is Status.NOT_AFFECTED and not one.justification and not one.impact_statement:
        return "says not_affected without a justification"
    if status is Status.NOT_AFFECTED and one.justification and one.justification not in JUSTIFICATIONS:
        return f"has the justification {one.justification[:60]!r}, which OpenVEX does not know"
    return ""


def _product(one: Component | str, shared: list[Component | str] | None = None) -> Product:
    if isinstance(one, str):
        return make_product(one, parts=tuple(_product(part) for part in shared or ()))
    digests = tuple(
        digest
        for kind, value in (one.hashes or {}).items()
        if kind.lower() in {"sha-256", "sha256"}
        and len(digest := f"sha256:{value.lower().removeprefix('sha256:')}") == len(digest_of(b""))
    )
    text = (one.identifiers or {}).get("purl", "") or one.id or next(iter((one.identifiers or {}).values()), "")
    return make_product(text, digests, tuple(_product(part) for part in one.subcomponents or shared or ()))
