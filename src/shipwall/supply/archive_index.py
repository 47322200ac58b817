"""What a Debian archive says of itself: Release files and Packages indexes, as text. Nothing here is trusted until its digest is.

Source: Debian wiki, DebianRepository/Format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from shipwall.model.errors import InputError
from shipwall.supply.deb822 import parse_paragraphs, split_source

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FIELDS = frozenset({"package", "version", "architecture", "source", "filename", "size", "sha256"})
_MAX_DEB_BYTES = 4 << 30


class ListedFile(NamedTuple):
    """A file a Release names: hex SHA-256 and size in bytes."""

    sha256: str
    size: int


class Release(NamedTuple):
    """`files` by path relative to the Release. Times in ns since 1970; `valid_until_ns` is 0 when it never ends."""

    origin: str
    label: str
    suite: str
    codename: str
    date_ns: int
    valid_until_ns: int
    by_hash: bool
    files: dict[str, ListedFile]

    def indexes(self, arch: str) -> dict[str, str]:
        """Component → path of its Packages index for `arch`, the smallest compression that can be read here."""
        found: dict[str, str] = {}
        for ending in (".xz", ".gz", ""):
            pattern = re.compile(rf"([A-Za-z0-9][A-Za-z0-9.+-]*)/binary-{re.escape(arch)}/Packages{re.escape(ending)}\Z")
            for path, file in self.files.items():
                match = pattern.match(path)
                if match is not None and file.size:
                    found.setdefault(match.group(1), path)
        return found


class ArchivePackage(NamedTuple):
    """One `.deb` of the archive. `filename` is relative to the archive's root; `suite` says which index named it."""

    name: str
    version: str
    arch: str
    source: str
    source_version: str
    filename: str
    size: int
    sha256: str
    suite: str


def parse_release(data: bytes, thing: str) -> Release:
    """The Release in `data` (the SIGNED text, taken out of its signature). Raises InputError naming `thing`."""
    names = frozenset({"origin", "label", "suite", "codename", "date", "valid-until", "acquire-by-hash", "sha256"})
    fields = next(parse_paragraphs(data, names), {})
    files: dict[str, ListedFile] = {}
    for line in fields.get("sha256", "").split("\n"):
        parts = line.split()
        if len(parts) == 3 and _SHA256.match(parts[0]) and parts[1].isdigit() and len(parts[1]) <= 12 and is_inside(parts[2]):
            files[parts[2]] = ListedFile(parts[0], int(parts[1]))
    if not files:
        raise InputError(thing, "names no file with a SHA-256", "check the archive's address and suite")
    date_ns = _time_ns(fields.get("date", ""))
    if not date_ns:
        raise InputError(thing, "has no readable Date", "check the archive's address and suite")
    return Release(
        origin=fields.get("origin", ""),
        label=fields.get("label", ""),
        suite=fields.get("suite", ""),
        codename=fields.get("codename", ""),
        date_ns=date_ns,
        valid_until_ns=_time_ns(fields.get("valid-until", "")),
        by_hash=fields.get("acquire-by-hash", "") == "yes",
        files=files,
    )


def parse_packages(data: bytes, suite: str, names: Iterable[str], sources: Iterable[str]) -> list[ArchivePackage]:
    """The packages in index `data` whose name is in `names` or whose source is in `sources`. Total on arbitrary bytes.

    Paragraphs that lack a file, a size or a digest, or whose file lies outside the archive, are left out.
    """
    wanted_names, wanted_sources = set(names), set(sources)
    packages: list[ArchivePackage] = []
    for paragraph in parse_paragraphs(data, _FIELDS):
        name, version = paragraph.get("package", ""), paragraph.get("version", "")
        source, source_version = split_source(paragraph.get("source", ""), name, version)
        if name not in wanted_names and source not in wanted_sources:
            continue
        size, filename = paragraph.get("size", ""), paragraph.get("filename", "")
        if not size.isascii() or not size.isdigit() or len(size) > 12 or int(size) > _MAX_DEB_BYTES:
            continue
        if not name or not version or not _SHA256.match(paragraph.get("sha256", "")) or not is_inside(filename):
            continue
        packages.append(
            ArchivePackage(
                name=name,
                version=version,
                arch=paragraph.get("architecture", ""),
                source=source,
                source_version=source_version,
                filename=filename,
                size=int(size),
                sha256=paragraph["sha256"],
                suite=suite,
            )
        )
    return packages


def is_inside(path: str) -> bool:
    """Whether `path` is relative, printable and stays below where it starts."""
    parts = path.split("/")
    return bool(path) and path.isascii() and path.isprintable() and not {"", ".", ".."} & set(parts) and "\\" not in path


def _time_ns(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 822 date; 0 when it is none."""
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000_000, 0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0
