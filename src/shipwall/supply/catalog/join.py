"""Parts of one package that lie in several files, put together: file readers see one file at a time.

A reader gives a part that cannot stand alone as a package without name: the files of a Python distribution (its RECORD), the licence
of a Debian package (its copyright file).
"""

from __future__ import annotations

import msgspec

from shipwall.model.package import Package
from shipwall.supply.catalog.owners import real_files
from shipwall.supply.layers import View

_WITH_RAW_FILES = frozenset({"apk", "rpm", "pypi"})  # dpkg's are read from the view, real from the start


def join_parts(view: View, found: list[Package]) -> list[Package]:
    """The packages among `found`, completed by the parts among it; paths of owned files as they really are in `view`."""
    files: dict[str, set[str]] = {}
    licenses: dict[str, str] = {}
    for part in found:
        if part.name:
            continue
        if part.ecosystem == "deb":
            licenses[part.evidence] = part.license
        else:
            files.setdefault(_folder(part.evidence), set()).update(part.files)
    return [_complete(view, package, files, licenses) for package in found if package.name]


def _complete(view: View, package: Package, files: dict[str, set[str]], licenses: dict[str, str]) -> Package:
    if package.ecosystem == "deb" and not package.license and licenses:
        place = "/" + view.resolve(f"usr/share/doc/{package.name}/copyright")
        return msgspec.structs.replace(package, license=licenses[place]) if place in licenses else package
    if package.ecosystem in _WITH_RAW_FILES:
        owned = files.get(_folder(package.evidence), package.files) if package.ecosystem == "pypi" else package.files
        return msgspec.structs.replace(package, files=real_files(view, owned)) if owned else package
    return package


def _folder(evidence: str) -> str:
    return evidence.rpartition("/")[0]
