"""Ruby gems: the specifications RubyGems leaves of what it installed. They are Ruby programs; they are read as text, never run.

Source: guides.rubygems.org, specification reference; what `Gem::Specification#to_ruby` writes.
"""

from __future__ import annotations

import re

from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.words import decode, word
from shipwall.supply.licenses import join_licenses

GEM_SUFFIXES = (".gemspec",)
GEM_PATTERN = r"(?:.*/)?specifications/(?:default/)?[^/]+\.gemspec"
_STRING = r"""(?:"([^"\\\n]{1,256})"|'([^'\\\n]{1,256})'|%q[<({\[]([^>)}\]\n]{1,256})[>)}\]])(?:\.freeze)?"""
_NAME = re.compile(rf"^\s*\w+\.name\s*=\s*{_STRING}", re.MULTILINE)
_VERSION = re.compile(rf"^\s*\w+\.version\s*=\s*(?:Gem::Version\.new\s*\(?\s*)?{_STRING}", re.MULTILINE)
_LICENSES = re.compile(r"^\s*\w+\.licenses?\s*=\s*(\[[^\]\n]{0,1000}\]|[^\n]{1,300})", re.MULTILINE)
_ANY_STRING = re.compile(_STRING)


def parse_gem(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The gem that the specification `data` is of. *Raises* InputError when its name or version is not written out."""
    text = decode(data)
    name, version = _string(_NAME.search(text)), _string(_VERSION.search(text))
    if not name or not version:
        # Default gems' specifications may compute their version; the file's name says it too, as RubyGems itself relies on.
        base = path.rpartition("/")[2].removesuffix(".gemspec")
        named = re.fullmatch(r"(.+)-(\d[0-9A-Za-z.]*)(?:-[a-z][0-9A-Za-z_-]*)?", base)
        if named is None:
            raise InputError(f"/{path}", "the gem's name or version is not written out")
        name, version = name or named[1], version or named[2]
    licenses = _LICENSES.search(text)
    texts = [next(filter(None, match.groups())) for match in _ANY_STRING.finditer(licenses[1])] if licenses else []
    # Several licences of a gem are a choice: how Ruby's own gems mean "Ruby", "BSD-2-Clause".
    return [Package(ecosystem="gem", name=name, version=version, evidence=f"/{path}", license=join_licenses(texts, "OR"))], []


def _string(match: re.Match[str] | None) -> str:
    return word(next((group for group in match.groups() if group), "")) if match else ""
