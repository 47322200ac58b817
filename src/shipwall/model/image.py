"""References to images, as people and engines write them."""

from __future__ import annotations

import re

import msgspec

from shipwall.model.digest import Digest, parse_digest
from shipwall.model.errors import InputError

_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")


class ImageRef(msgspec.Struct, frozen=True, kw_only=True):
    """`registry/repository:tag@digest`; `registry` is empty when the reference names none; `tag` may be empty, `digest` None."""

    registry: str = ""
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.registry else self.repository

    def __str__(self) -> str:
        """The reference as it is written."""
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def at(self, digest: Digest) -> ImageRef:
        """The same repository, named by digest alone."""
        return ImageRef(registry=self.registry, repository=self.repository, digest=digest)


def parse_image_ref(text: str) -> ImageRef:
    """The reference `text` is. No default registry or tag is invented. Raises InputError. Source: distribution/reference grammar."""
    rest, at, digest_text = text.partition("@")
    digest = parse_digest(digest_text) if at else None
    head, slash, tail = rest.partition("/")
    is_host = bool(slash) and ("." in head or ":" in head or head == "localhost" or head.startswith("["))
    registry, remainder = (head, tail) if is_host else ("", rest)
    repository, colon, tag = remainder.partition(":")
    if registry and not _REGISTRY.match(registry):
        raise InputError(f"image {text[:200]!r}", f"{registry!r} is not a registry host")
    if len(repository) > 255 or not _REPOSITORY.match(repository):
        raise InputError(f"image {text[:200]!r}", "the repository is lower-case letters and digits, separated by . _ - or /")
    if colon and not _TAG.match(tag):
        raise InputError(f"image {text[:200]!r}", f"{tag[:40]!r} is not a tag")
    return ImageRef(registry=registry, repository=repository, tag=tag, digest=digest)
