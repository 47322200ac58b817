"""Digests, and the one place where an image's several names are joined."""

from __future__ import annotations

import hashlib
import re

import msgspec

from shipwall.model.errors import InputError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")

Digest = str
"""`sha256:` and 64 lower-case hex digits. Only `parse_digest` and `digest_of` make one."""


def parse_digest(text: str) -> Digest:
    """The digest that `text` is. Raises InputError for anything but lower-case sha256."""
    if not _DIGEST.match(text):
        raise InputError(f"digest {text[:80]!r}", "is not sha256: and 64 lower-case hex digits")
    return text


def digest_of(data: bytes) -> Digest:
    """The SHA-256 digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def chain_ids(diff_ids: tuple[Digest, ...]) -> tuple[Digest, ...]:
    """The chain id of each layer: what lies under it and itself. Source: OCI image spec, config.md, Layer ChainID."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


class ImageIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Every name of one image. `manifest` is the join key of the whole product; a tag is never part of an identity.

    `config` is also the engine's image id. `diff_ids` are the digests of the uncompressed layers, lowest first.
    """

    manifest: Digest
    config: Digest
    diff_ids: tuple[Digest, ...]

    @property
    def chain_ids(self) -> tuple[Digest, ...]:
        """Chain ids of the layers, lowest first."""
        return chain_ids(self.diff_ids)

    def is_child_of(self, parent: ImageIdentity) -> bool:
        """Whether all layers of `parent` lie under at least one layer of this image."""
        count = len(parent.diff_ids)
        return 0 < count < len(self.diff_ids) and self.diff_ids[:count] == parent.diff_ids
