"""The one form that statements of every VEX format are turned into."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from shipwall.model.digest import Digest
from shipwall.model.errors import InputError
from shipwall.supply.purl import Purl, parse_purl

MAX_VEX_BYTES = 64 * 1024 * 1024
MAX_STATEMENTS = 100_000
IMAGE_TYPES = frozenset({"oci", "docker"})

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}(?![0-9a-f])")


class Status(StrEnum):
    """What a statement says of a product. Source: OpenVEX 0.2.0, CISA Minimum Requirements for VEX."""

    NOT_AFFECTED = "not_affected"
    FIXED = "fixed"
    AFFECTED = "affected"
    UNDER_INVESTIGATION = "under_investigation"


SETS_ASIDE = frozenset({Status.NOT_AFFECTED, Status.FIXED})


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement is about, as it is written in `text`: a package (`purl`) or an image (`purl` of type oci, or `digests`).

    `parts`: only these packages of it; empty for all.
    """

    text: str
    purl: Purl | None = None
    digests: tuple[Digest, ...] = ()
    parts: tuple[Product, ...] = ()

    @property
    def is_image(self) -> bool:
        """Whether it names an image rather than a package."""
        return bool(self.digests) or (self.purl is not None and self.purl.type in IMAGE_TYPES)


class VexStatement(msgspec.Struct, frozen=True, kw_only=True):
    """One statement. `place` names document and statement. `ids`: the vulnerability and its aliases. `time_ns`: 0 when it says none.

    `reason`: justification and explanation in one line. `defect`: why it may not be applied, empty when it may.
    """

    place: str
    ids: tuple[str, ...]
    status: Status
    products: tuple[Product, ...]
    reason: str = ""
    time_ns: int = 0
    defect: str = ""


def make_product(text: str, digests: tuple[Digest, ...] = (), parts: tuple[Product, ...] = ()) -> Product:
    """The product that is written as `text`: a package URL, or anything with a sha256 digest in it."""
    try:
        purl = parse_purl(text, lenient=True) if text.startswith("pkg:") else None
    except InputError:
        purl = None
    found = tuple(_DIGEST.findall(purl.version if purl and purl.type in IMAGE_TYPES else "" if purl else text))
    return Product(text=text[:500], purl=purl, digests=(*digests, *found), parts=parts)


def one_line(*texts: str | None) -> str:
    """The texts that are there, in one line of at most 500 characters."""
    return " ".join(": ".join(text for text in texts if text).split())[:500]
