"""Statements against the findings of one image."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from shipwall.lang.diagnostic import did_you_mean
from shipwall.model.errors import InputError
from shipwall.model.finding import Finding, Suppressed
from shipwall.model.image import ImageRef, parse_image_ref
from shipwall.model.package import Inventory, Package
from shipwall.supply.purl import Purl
from shipwall.supply.purl_match import Difference, differences, is_named
from shipwall.supply.sbom.purls import find_purl
from shipwall.supply.vex.statement import SETS_ASIDE, Product, VexStatement

MAX_COMPARED = 20_000
"""How many packages are looked at for the nearest miss of one statement, and for the product whose parts it is about."""


def apply_statements(
    findings: Sequence[Finding], statements: Sequence[VexStatement], inventory: Inventory, source: str
) -> tuple[list[Finding], list[Suppressed], list[str]]:
    """The findings that stay, those set aside, and one notice for each statement that was not applied or matched nothing.

    `source` is how the image was named: an image-level product without a digest is compared with it.
    """
    by_id: dict[str, list[tuple[int, VexStatement]]] = defaultdict(list)
    for number, statement in enumerate(statements):
        if not statement.defect:
            for id_ in statement.ids:
                by_id[id_].append((number, statement))
    wholes = _Wholes(inventory)
    used: set[int] = set()
    kept: list[Finding] = []
    aside: list[Suppressed] = []
    for finding in findings:
        said = {number: one for id_ in (finding.id, *finding.aliases) for number, one in by_id.get(id_, ())}
        meant = [
            (one.time_ns, number, one)
            for number, one in said.items()
            if any(_names(product, finding, inventory, source, wholes) for product in one.products)
        ]
        used.update(number for _time, number, _one in meant)
        last = max(meant)[2] if meant else None  # two of the same time: the later in order
        if last is None or last.status not in SETS_ASIDE:
            kept.append(finding)
        else:
            aside.append(Suppressed(finding=finding, by=last.place, status=last.status.value, reason=last.reason))
    ids = sorted({id_ for finding in findings for id_ in (finding.id, *finding.aliases)})
    notices = [
        _why_not(statement, findings, inventory, source, ids, wholes)
        for number, statement in enumerate(statements)
        if number not in used
    ]
    return kept, aside, notices


def _names(product: Product, finding: Finding, inventory: Inventory, source: str, wholes: _Wholes) -> bool:
    if product.is_image:
        if _image_difference(product, inventory, source):
            return False
        return not product.parts or any(_is_package(part, finding, inventory) for part in product.parts)
    if not product.parts:
        return _is_package(product, finding, inventory)
    # A part of something else: what is true of it there says nothing of it here, unless that is here.
    return any(_is_package(part, finding, inventory) for part in product.parts) and not wholes.absence(product)


class _Wholes:
    """The packages of an image by name, made when a statement is about parts of a package: is that package there?"""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    @functools.cached_property
    def _by_name(self) -> dict[str, list[Package]]:
        found: dict[str, list[Package]] = defaultdict(list)
        for package in self._inventory.packages:
            for name in {package.name, package.source or package.name}:
                if (purl := find_purl(replace(package, name=name), self._inventory.distribution)) is not None:
                    found[purl.name].append(package)
        return found

    def absence(self, product: Product) -> str:
        """Why `product`, whose parts a statement is about, is not seen in the image; empty when it is."""
        if product.purl is None:
            return f"the statement is about parts of {product.text[:80]!r}, which is no package URL"
        same = self._by_name.get(product.purl.name, ())
        if any(is_named(product.purl, package, self._inventory.distribution) for package in same[:MAX_COMPARED]):
            return ""
        return f"the statement is about parts of {product.text[:80]}, which is not in the image"


def _is_package(product: Product, finding: Finding, inventory: Inventory) -> bool:
    return product.purl is not None and is_named(product.purl, finding.package, inventory.distribution)


def _image_difference(product: Product, inventory: Inventory, source: str) -> str:
    """How `product` differs from the image; empty when it is it. A digest decides alone; else name, repository and tag do."""
    if product.digests:
        own = {inventory.image.manifest, inventory.image.config} if inventory.image else set()
        if own & set(product.digests):
            return ""
        return f"digest is {product.digests[0]} in the statement, {inventory.image.manifest if inventory.image else 'not known'} here"
    if product.purl is None:
        return "the statement names no image"
    ref = _reference(source)
    if ref is None:
        return f"the statement names an image without a digest, and {source[:80]} is not the name of one"
    return _name_difference(product.purl, ref)


def _name_difference(said: Purl, ref: ImageRef) -> str:
    name = ref.repository.rpartition("/")[2].lower()
    if said.name != name:
        return f"image is {said.name} in the statement, {name} here"
    wanted = said.qualifiers.get("repository_url", "").removeprefix("https://").removesuffix("/").lower()
    if wanted and wanted not in {ref.name.lower(), ref.name.lower().rpartition("/")[0]}:
        return f"repository is {wanted} in the statement, {ref.name} here"
    tag = said.qualifiers.get("tag", "") or said.version
    if tag and tag != ref.tag:
        return f"tag is {tag} in the statement, {ref.tag or 'not given'} here"
    return ""


def _reference(source: str) -> ImageRef | None:
    try:
        ref = parse_image_ref(source)
    except InputError:
        return None
    return ref if ref.registry or ref.tag else None


def _why_not(
    statement: VexStatement, findings: Sequence[Finding], inventory: Inventory, source: str, ids: list[str], wholes: _Wholes
) -> str:
    """One line: the statement, that it did nothing, and why."""
    named = f"{statement.place} ({', '.join(statement.ids[:3]) or 'no vulnerability'}, {statement.status})"
    if statement.defect:
        return f"{named} is not applied: it {statement.defect}"
    same = [finding for finding in findings if set(statement.ids) & {finding.id, *finding.aliases}]
    if not same:
        hint = next((found for id_ in statement.ids if (found := did_you_mean(id_, ids))), "") if len(ids) <= MAX_COMPARED else ""
        return f"{named} matched nothing: the image has no finding of that name" + (f"; {hint}" if hint else "")
    return f"{named} matched nothing: {_nearest(statement.products, same, inventory, source, wholes)}"


def _nearest(products: Iterable[Product], findings: Sequence[Finding], inventory: Inventory, source: str, wholes: _Wholes) -> str:
    best: tuple[int, str] | None = None
    for product in products:
        if product.is_image and (other := _image_difference(product, inventory, source)):
            best = min(filter(None, (best, (1, other))))
            continue
        if not product.is_image and product.parts and (other := wholes.absence(product)):
            best = min(filter(None, (best, (10, other))))
            continue
        for part in product.parts or (product,):
            if part.purl is None:
                reason = f"{part.text[:80]!r} is no package URL"
                best = min(filter(None, (best, (90, reason))))
                continue
            for finding in findings[:MAX_COMPARED]:
                found = differences(part.purl, finding.package, inventory.distribution)
                shown = "; ".join(map(str, found))
                line = f"nearest is {finding.package.name} {finding.package.version}, whose {shown}"
                best = min(filter(None, (best, (_weight(found), line))))
    return best[1] if best else "it names no product"


def _weight(found: tuple[Difference, ...]) -> int:
    weights = {"type": 20, "name": 20, "namespace": 8, "version": 3}
    return sum(weights.get(one.part, 2) for one in found)
