"""Python distributions: the metadata folders and files that installers leave beside the code.

Source: packaging.python.org core metadata, "Recording installed projects"; setuptools' egg formats.
"""

from __future__ import annotations

import csv
import posixpath
import re

from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.words import PathBudget, decode, word
from shipwall.supply.catalog.zip_file import list_members, read_member
from shipwall.supply.licenses import join_licenses, parse_license

PYTHON_BASENAMES = frozenset({"METADATA", "PKG-INFO", "RECORD", "installed-files.txt"})
PYTHON_SUFFIXES = (".egg-info",)
PYTHON_PATTERN = (
    r"(?:.*/)?(?:[^/]+\.dist-info/(?:METADATA|RECORD)|[^/]+\.egg-info/(?:PKG-INFO|installed-files\.txt)"
    r"|EGG-INFO/PKG-INFO|[^/]+\.egg-info)"
)
EGG_SUFFIXES = (".egg",)
EGG_MAGIC = (b"PK\x03\x04",)
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)")
_MAX_FIELDS = 10_000
_MAX_METADATA = 1 << 20
_CLASSIFIER = "License :: OSI Approved :: "
_NO_LICENSE = {"", "unknown", "none", "n/a"}
# The classifiers that name one licence. Source: PEP 639, appendix "Mapping license classifiers to SPDX identifiers".
_CLASSIFIERS = {
    "Academic Free License (AFL)": "", "Apache Software License": "LicenseRef-Apache", "BSD License": "LicenseRef-BSD",
    "GNU Affero General Public License v3": "AGPL-3.0-only", "Universal Permissive License (UPL)": "UPL-1.0",
    "Zope Public License": "LicenseRef-ZPL", "Artistic License": "LicenseRef-Artistic",
}  # fmt: skip


def parse_python(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The distribution whose metadata `data` is; or, without name, the files of the one described in the same folder.

    *Raises* InputError for metadata without a name or version.
    """
    base = path.rpartition("/")[2]
    if base in {"RECORD", "installed-files.txt"}:
        files = _recorded(path, data) if base == "RECORD" else _installed(path, data)
        return [Package(ecosystem="pypi", name="", version="", evidence=f"/{path}", files=files)], []
    fields = _read_fields(data)
    name, version = word(_first(fields, "name")), word(_first(fields, "version"))
    if not name or not version:
        if base == "PKG-INFO" and not _first(fields, "metadata-version"):
            return [], []  # setuptools leaves empty ones beside sources
        raise InputError(f"/{path}", "the metadata has no name or no version")
    return [Package(ecosystem="pypi", name=name, version=version, evidence=f"/{path}", license=_license(fields))], []


def parse_egg(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The distribution in an egg that was left packed. *Raises* InputError for what is no archive with metadata."""
    for member in list_members(data, f"/{path}", lambda name: name == b"EGG-INFO/PKG-INFO"):
        return parse_python(f"{path}!/{member.name}", read_member(data, member, f"/{path}", _MAX_METADATA))
    return [], []


def _read_fields(data: bytes) -> dict[str, list[str]]:
    """The header fields by lower-case name, as far as the first empty line (the description follows)."""
    fields: dict[str, list[str]] = {}
    current: list[str] | None = None
    count = 0
    for raw in data[:_MAX_METADATA].split(b"\n"):
        line = decode(raw).rstrip("\r")
        if not line:
            break
        if line[0] in " \t":
            if current is not None and len(current[-1]) < 4096:
                current[-1] += "\n" + line.strip()
            continue
        match = _FIELD.fullmatch(line)
        count += 1
        if match is None or count > _MAX_FIELDS:
            current = None
            continue
        current = fields.setdefault(match[1].lower(), [])
        current.append(match[2])
    return fields


def _first(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _license(fields: dict[str, list[str]]) -> str:
    """From License-Expression, else License, else the classifiers: the order in which they are exact (PEP 639)."""
    expression = _first(fields, "license-expression")
    if expression.strip():
        return parse_license(expression)
    text = _first(fields, "license").strip()
    if text.lower() not in _NO_LICENSE:
        found = parse_license(text)
        if not found.startswith("LicenseRef-"):
            return found
    names = [one.removeprefix(_CLASSIFIER) for one in fields.get("classifier", []) if one.startswith(_CLASSIFIER)]
    known = join_licenses((_CLASSIFIERS.get(name, name) for name in names), "AND")
    return known or (parse_license(text) if text.lower() not in _NO_LICENSE else "")


def _recorded(path: str, data: bytes) -> tuple[str, ...]:
    """The files in a RECORD: paths relative to the folder of the metadata folder. Byte code, made when it is first run, is left out."""
    root = "/" + path.rpartition("/")[0].rpartition("/")[0]
    budget = PathBudget(len(data))
    files = set()
    try:
        for row in csv.reader(decode(data).replace("\0", "").splitlines()):
            if row and row[0] and len(row[0]) < 4096:
                file = posixpath.normpath(posixpath.join(root, row[0]))
                if not file.endswith(".pyc") and budget.allows(file):
                    files.add(file)
    except csv.Error as error:
        raise InputError(f"/{path}", f"is no list of files: {error}") from error
    return tuple(sorted(files))


def _installed(path: str, data: bytes) -> tuple[str, ...]:
    """The files in an installed-files.txt: one a line, relative to the egg-info folder."""
    root = "/" + path.rpartition("/")[0]
    budget = PathBudget(len(data))
    files = {posixpath.normpath(posixpath.join(root, line)) for line in decode(data).splitlines() if line and len(line) < 4096}
    return tuple(sorted(file for file in files if not file.endswith(".pyc") and budget.allows(file)))
