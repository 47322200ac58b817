"""Promotions: the signed fact that an image may run in an environment."""

from __future__ import annotations

import msgspec

from shipwall.model.digest import Digest, ImageIdentity

PROMOTION_TYPE = "urn:shipwall:predicate:promotion:v1"


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """`image` passed `policy` and was copied to `repository` (without registry, `prod/shop`) of `registry`.

    `writable`: absolute paths the image declares it writes to, `exec` ones apart; both from its labels when it was promoted.
    """

    image: ImageIdentity
    registry: str
    repository: str
    policy: Digest
    time_ns: int
    by_key: str = ""
