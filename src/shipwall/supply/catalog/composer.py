"""PHP packages: what Composer installed below `vendor`. Source: getcomposer.org, `InstalledVersions`; both forms of installed.json."""

from __future__ import annotations

from typing import Any

import msgspec

from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.words import word
from shipwall.supply.licenses import join_licenses

COMPOSER_BASENAMES = frozenset({"installed.json"})
_MAX_PACKAGES = 20_000


def parse_composer(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The packages in `data`. *Raises* InputError for a damaged file where Composer puts it (`vendor/composer`).

    Elsewhere a file of this name is Composer's only if it looks so; others use the name too, and are nothing to speak of.
    """
    is_sure = f"/{path}".endswith("/composer/installed.json")
    try:
        packages, skipped = _read_installed(path, data)
    except InputError:
        if is_sure:
            raise
        return [], []
    return (packages, skipped) if is_sure or all("/" in package.name for package in packages) else ([], [])


def _read_installed(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """A list (Composer 1), or an object with the list `packages` (Composer 2)."""
    try:
        whole: Any = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"/{path}", f"is no JSON: {str(error)[:200]}") from error
    found = whole.get("packages") if isinstance(whole, dict) else whole
    if not isinstance(found, list):
        raise InputError(f"/{path}", "has no list of packages")
    packages: list[Package] = []
    skipped: list[Skipped] = []
    for number, one in enumerate(found[:_MAX_PACKAGES], 1):
        values = one if isinstance(one, dict) else {}
        name, version = word(values.get("name")), word(values.get("version"))
        if not name or not version:
            skipped.append(Skipped(what=f"/{path} package {number}", reason="has no name or no version"))
            continue
        licenses = values.get("license")
        texts = [text for text in licenses[:20] if isinstance(text, str)] if isinstance(licenses, list) else []
        texts = [licenses] if isinstance(licenses, str) else texts
        # Source: getcomposer.org/doc/04-schema.md#license: a list is a choice.
        packages.append(
            Package(ecosystem="composer", name=name, version=version, evidence=f"/{path}", license=join_licenses(texts, "OR"))
        )
    if len(found) > _MAX_PACKAGES:
        skipped.append(Skipped(what=f"/{path}", reason=f"names more than {_MAX_PACKAGES} packages; the rest is not read"))
    return packages, skipped
