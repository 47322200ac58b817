"""Alpine packages: apk's list of what is installed. Source: apk-tools, apk-installed-db(5)."""

from __future__ import annotations

from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.words import PathBudget, decode, word
from shipwall.supply.licenses import parse_license

APK_BASENAMES = frozenset({"installed"})
APK_PATTERN = r"(?:usr/)?lib/apk/db/installed"
_MAX_PACKAGES = 100_000


def parse_apk(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The packages in `data`, with the files they own as apk wrote them. Total."""
    packages: list[Package] = []
    skipped: list[Skipped] = []
    budget = PathBudget(len(data))
    for number, block in enumerate(data.split(b"\n\n"), 1):
        if not block.strip():
            continue
        if len(packages) + len(skipped) >= _MAX_PACKAGES:
            skipped.append(Skipped(what=f"/{path}", reason=f"has more than {_MAX_PACKAGES} paragraphs; the rest is not read"))
            break
        values, files = _read_block(block, budget)
        name, version = word(values.get(b"P")), word(values.get(b"V"))
        if not name or not version:
            skipped.append(Skipped(what=f"/{path} paragraph {number}", reason="has no package name or no version"))
            continue
        packages.append(
            Package(
                ecosystem="apk",
                name=name,
                version=version,
                arch=word(values.get(b"A")),
                source=word(values.get(b"o")) or name,
                source_version=version,
                evidence=f"/{path}",
                files=tuple(sorted(files)),
                license=parse_license(values.get(b"L", ""), spaces_are_and=True),
            )
        )
    return packages, skipped


def _read_block(block: bytes, budget: PathBudget) -> tuple[dict[bytes, str], list[str]]:
    values: dict[bytes, str] = {}
    files: list[str] = []
    folder = ""
    for line in block.split(b"\n"):
        key, colon, value = line.partition(b":")
        if not colon:
            continue
        if key == b"F":
            folder = decode(value).strip("/")
        elif key == b"R":
            file = f"/{folder}/{decode(value)}" if folder else f"/{decode(value)}"
            if budget.allows(file):
                files.append(file)
        elif key in {b"P", b"V", b"A", b"o", b"L"} and key not in values:
            values[key] = decode(value)
    return values, files
