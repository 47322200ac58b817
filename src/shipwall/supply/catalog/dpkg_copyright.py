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


def parse_copyright(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The licences that `data` gives to any of the files, all together, as a package without name; none for a free-form text. Total."""
    if not data.removeprefix(b"\xef\xbb\xbf").lstrip()[:30].startswith(_FORMATS):
        return [], []
    names: dict[str, None] = {}
    of_files = False
    for line in data.split(b"\n"):
        if not line.strip():
            of_files = False
        elif line[:6].lower() == b"files:":
            of_files = True
        elif of_files and line[:8].lower() == b"license:" and len(names) < _MAX_NAMES and (text := decode(line[8:]).strip()):
            names[text.replace(",", " ")] = None
    found = join_licenses(names, "AND")
    return ([Package(ecosystem="deb", name="", version="", evidence=f"/{path}", license=found)] if found else []), []
