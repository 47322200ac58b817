"""npm packages: every `package.json` that names itself and its version. Source: docs.npmjs.com, package.json."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.words import word
from shipwall.supply.licenses import join_licenses, parse_license

NPM_BASENAMES = frozenset({"package.json"})
# Old names may have capitals; none has a slash but the one after its scope, or begins with a dot.
_NAME = re.compile(r"(?:@[A-Za-z0-9~_-][A-Za-z0-9._~-]*/)?[A-Za-z0-9~_-][A-Za-z0-9._~!'()*-]*")
_VERSION = re.compile(r"[v=\s]*(\d+\.\d+\.\d+[0-9A-Za-z.+-]*)")
_MAX_NAME = 214


class _Manifest(msgspec.Struct):
    name: Any = None
    version: Any = None
    license: Any = None
    licenses: Any = None


_DECODER = msgspec.json.Decoder(_Manifest)


def parse_npm(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The package that `data` describes; none when it names itself or its version not, as fixtures and folders' markers do.

    *Raises* InputError for what is no JSON object.
    """
    try:
        manifest = _DECODER.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # Test data below node_modules is full of broken ones, meant to be broken; a package's own is never.
        if _is_own(path):
            raise InputError(f"/{path}", f"is no package.json: {str(error)[:200]}") from error
        return [], []
    name = word(manifest.name)
    version = _VERSION.fullmatch(word(manifest.version))
    if not name or version is None or len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        return [], []
    return [
        Package(ecosystem="npm", name=name, version=version[1], evidence=f"/{path}", license=_license(manifest)),
    ], []


_OWN = re.compile(r"(?:.*/)?node_modules/(?:@[^/]+/)?[^/]+/package\.json")


def _is_own(path: str) -> bool:
    return _OWN.fullmatch(path) is not None


def _license(manifest: _Manifest) -> str:
    """`license` as an expression; the old forms (an object with `type`, a list of them: any may be chosen) as well."""
    if isinstance(manifest.license, str):
        return parse_license(manifest.license)
    values = manifest.licenses if manifest.license is None else manifest.license
    values = values[:20] if isinstance(values, list) else [values]
    texts = [value.get("type") if isinstance(value, dict) else value for value in values]
    return join_licenses((text for text in texts if isinstance(text, str)), "OR")
