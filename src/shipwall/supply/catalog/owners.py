"""Which distribution package owns a language package: then the distribution patches it, and its version alone says little.

Only packages of the distribution itself own in this sense. A vendor's `.deb` or `.rpm` may carry a whole Ruby or Java world of which
the distribution's advisories know nothing; what lies in it is judged by its own ecosystem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from shipwall.model.package import SYSTEM_TYPES, Package
from shipwall.supply.layers import View
from shipwall.supply.makers import maker_of
from shipwall.supply.tar import clean_path

_MAX_PATH = 4096
# As RPM's vendor tag names those who make distributions.
_DISTRIBUTORS = re.compile(
    r"(?i:red hat|centos|almalinux|cloudlinux|rocky|fedora|amazon|oracle america|suse\b|suse llc|opensuse|vmware|microsoft|openela"
    r"|scientific linux|openeuler|mageia|anolis|tencent|miracle linux|navy linux|azure linux).{0,100}"
)
# Places the distributions' own policies leave to others (Debian policy 9.1.1 and 9.1.2, FHS 3.13 and 4.9).
_OTHERS = ("/opt/", "/usr/local/")


def real_files(view: View, paths: Iterable[str]) -> tuple[str, ...]:
    """`paths` (absolute) where they really lie in `view`, sorted; folders left out.

    `/bin/sh` of a merged-/usr system comes as `/usr/bin/sh`, because that is the path a running process shows. Files that were deleted
    from the image since stay in, as the package database says; a folder that is gone is known by what is listed below it.
    """
    real: set[str] = set()
    folders: dict[str, str] = {}
    for raw in paths:
        path = clean_path(raw.removeprefix("/"))
        if not path or len(path) > _MAX_PATH:
            continue
        folder, _, base = path.rpartition("/")
        place = folders.get(folder)
        if place is None:
            place = folders[folder] = view.resolve(folder)
        path = f"{place}/{base}" if place else base
        if path not in view.folders and not (path in view.links and view.resolve(path) in view.folders):
            real.add(f"/{path}")
    return tuple(sorted(real.difference(f"/{place}" for place in folders.values())))


def is_of_distribution(package: Package) -> bool:
    """Whether the distribution itself made `package`, as far as it can be seen: by RPM's vendor; by who made a `.deb`; else by where its
    files lie.
    """
    if package.ecosystem == "rpm":
        return _DISTRIBUTORS.match(package.vendor) is not None
    if maker_of(package):
        return False
    return package.ecosystem in SYSTEM_TYPES and not any(file.startswith(_OTHERS) for file in package.files)


def assign_owners(packages: list[Package]) -> list[Package]:
    """`packages`, with `owner` filled in where a distribution package owns the file that is the evidence."""
    wanted = {_file_of(package) for package in packages if package.ecosystem not in SYSTEM_TYPES}
    owners: dict[str, str] = {}
    if wanted:
        for package in packages:
            if is_of_distribution(package):
                for file in wanted.intersection(package.files):
                    owners.setdefault(file, package.name)
    if not owners:
        return packages
    return [
        msgspec.structs.replace(package, owner=owners[_file_of(package)])
        if package.ecosystem not in SYSTEM_TYPES and _file_of(package) in owners
        else package
        for package in packages
    ]


def _file_of(package: Package) -> str:
    return package.evidence.partition("!/")[0]
