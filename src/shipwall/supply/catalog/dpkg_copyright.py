"""Licences of Debian packages, from the copyright files that are written to be read by machines. Source: DEP-5 (copyright-format 1.0).

Free-form copyright files are not interpreted: what a person must read is not guessed.
"""

from __future__ import annotations

from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.words import decode
from shipwall.supply.licenses import join_licenses

COPYRIGHT_BASENAMES = frozenset({"copyright"})
COPYRIGHT_PATTERN = r"usr/share/doc/[^/]+/copyright"
_FORMATS = (b"Format:", b"Format-Specification:")
_MAX_NAMES = 200
_MAX_NAME = 500


def parse_copyright(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The licences that `data` gives to any of the files, all together, as a package without name; none for a free-form text. Total."""
    if not data.removeprefix(b"\xef\xbb\xbf").lstrip()[:30].startswith(_FORMATS):
        return [], []
    names: dict[str, None] = {}
    for paragraph in data.split(b"\n\n"):
        if paragraph[:6].lower() != b"files:" and b"\nFiles:" not in paragraph:
            continue
        start = paragraph.find(b"\nLicense:")
        if start < 0:
            start = paragraph.lower().find(b"\nlicense:")  # names of fields have no case; nearly all are written as above
        text = decode(paragraph[start + 9 : start + 9 + _MAX_NAME].split(b"\n", 1)[0]).strip() if start >= 0 else ""
        if text and len(names) < _MAX_NAMES:
            names[text.replace(",", " ")] = None
    found = join_licenses(names, "AND")
    return ([Package(ecosystem="deb", name="", version="", evidence=f"/{path}", license=found)] if found else []), []
