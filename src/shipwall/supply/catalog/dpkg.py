"""Debian packages: dpkg's status file, the file lists beside it, and the split form of images without dpkg (status.d)."""

from __future__ import annotations

from collections.abc import Iterator

from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.owners import real_files
from shipwall.supply.catalog.words import title
from shipwall.supply.deb822 import parse_paragraphs, split_source
from shipwall.supply.layers import KeptFile, View
from shipwall.supply.versions.deb import parse_version

STATUS = "var/lib/dpkg/status"
DPKG_GLOBS = (STATUS, "var/lib/dpkg/status.d/*", "var/lib/dpkg/info/*.list")
_FIELDS = frozenset({"package", "version", "architecture", "source", "status", "conffiles", "maintainer"})
_ABSENT = {"not-installed", "config-files"}
_MAX_PACKAGES = 100_000
_MAX_NAME = 256


def read_dpkg(view: View) -> tuple[list[Package], list[Skipped]]:
    """The installed packages of `view` with the files they own, and what could not be read.

    Owned paths are given where they really lie (`/bin/sh` of a merged-/usr system as `/usr/bin/sh`), because that is the path a
    running process shows. Folders are left out; files that were deleted from the image since stay in, as dpkg says.
    """
    packages: list[Package] = []
    skipped: list[Skipped] = []
    status = view.read(STATUS)
    if status is None:
        skipped += _unread(view)
    else:
        _read_status(view, STATUS, status, None, packages, skipped)
    for path, file in view.matching("var/lib/dpkg/status.d/*"):
        if not path.endswith(".md5sums"):
            sums = view.read(f"{path}.md5sums")
            _read_status(view, path, file, sums.data if sums else b"", packages, skipped)
    return packages, skipped


def _unread(view: View) -> Iterator[Skipped]:
    """Say so when the database is there but lies elsewhere, behind a link to a place nobody reads."""
    for path in ("var/lib/dpkg", STATUS):
        if path in view.links:
            yield Skipped(what=f"/{path}", reason=f"is a symbolic link to {view.links[path][:200]}, where no file is read")


def _read_status(
    view: View, path: str, file: KeptFile, sums: bytes | None, packages: list[Package], skipped: list[Skipped]
) -> None:
    for number, paragraph in enumerate(parse_paragraphs(file.data, _FIELDS), 1):
        if number > _MAX_PACKAGES or len(packages) >= _MAX_PACKAGES:
            skipped.append(Skipped(what=f"/{path}", reason=f"names more than {_MAX_PACKAGES} packages; the rest is not read"))
            return
        name, version, arch = paragraph.get("package", ""), paragraph.get("version", ""), paragraph.get("architecture", "")
        state = paragraph.get("status", "install ok installed").split()
        if state and state[-1] in _ABSENT:
            continue
        if not name or not version or len(name) > _MAX_NAME:
            skipped.append(Skipped(what=f"/{path} paragraph {number}", reason="has no package name or no version"))
            continue
        try:
            parse_version(version)
        except InputError as error:
            skipped.append(Skipped(what=f"package {name}", reason=error.line()))
            continue
        source, source_version = split_source(paragraph.get("source", ""), name, version)
        listed = _listed(view, name, arch) if sums is None else None
        if listed is not None:
            owned = listed.data.split(b"\n")
        else:
            owned = [line.split(maxsplit=1)[-1] for line in (sums or b"").splitlines() if line]
        conffiles = [line.split(" ", 1)[0].encode() for line in paragraph.get("conffiles", "").split("\n") if line]
        packages.append(
            Package(
                ecosystem="deb",
                name=name,
                version=version,
                arch=arch,
                source=source,
                source_version=source_version,
                evidence=f"/{path}",
                # Every install rewrites the one status file, but only a package's own its list.
                layer=listed.layer if listed is not None else file.layer,
                files=real_files(view, (raw.decode("utf-8", "backslashreplace") for raw in (*owned, *conffiles))),
                vendor=title(paragraph.get("maintainer", "")),
            )
        )


def _listed(view: View, name: str, arch: str) -> KeptFile | None:
    """The package's file list; foreign and same-named ones are kept apart by `:arch` in its name."""
    return view.read(f"var/lib/dpkg/info/{name}:{arch}.list") or view.read(f"var/lib/dpkg/info/{name}.list")
