"""Promotions: the signed fact that an image may run in an environment."""

from __future__ import annotations

import msgspec

from shipwall.model.digest import Digest, ImageIdentity

PROMOTION_TYPE = "urn:shipwall:predicate:promotion:v1"


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """`image` passed `policy` and was copied to `repository` (without registry, `prod/shop`) of `registry`.

    `verdict` is the digest of the signed verdict beside the image (empty in promotions of before): what passed, and all that was set aside
    for it.
    """

    image: ImageIdentity
    registry: str
    repository: str
    policy: Digest
    time_ns: int
    by_key: str = ""
    verdict: Digest = ""
