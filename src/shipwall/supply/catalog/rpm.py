"""RPM packages: the database of installed packages. SQLite is read; the two older formats are named and not read."""

from __future__ import annotations

from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog.rpm_header import parse_rpm_header
from shipwall.supply.catalog.sqlite_file import read_table

RPM_PATTERN = r"(?:var/lib/rpm|usr/lib/sysimage/rpm|usr/share/rpm)/[^/]+"
RPM_BASENAMES = frozenset({"rpmdb.sqlite", "rpmdb.sqlite-wal", "Packages", "Packages.db"})
_MAX_PACKAGES = 100_000
# Berkeley DB's magic numbers of hash and tree, at offset 12 in the byte order of the machine that wrote it.
_BERKELEY = {bytes.fromhex(number) for number in ("61150600", "00061561", "62310500", "00053162")}


def parse_rpm(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """The packages in the database file `data`, with the files they own. Total: of a damaged one, what was sound."""
    base = path.rpartition("/")[2]
    if base == "rpmdb.sqlite":
        return _read_sqlite(path, data)
    if base == "rpmdb.sqlite-wal":
        reason = "holds changes that were not yet written into the RPM database beside it; they are not read"
        return [], [Skipped(what=f"/{path}", reason=reason)] if data else []
    if base == "Packages.db" and data[:4] == b"RpmP":
        return [], [Skipped(what=f"/{path}", reason="is an RPM database in NDB format, which is not read yet")]
    if base == "Packages" and data[12:16] in _BERKELEY:
        return [], [Skipped(what=f"/{path}", reason="is an RPM database in Berkeley DB format, which is not read yet")]
    return [], [Skipped(what=f"/{path}", reason="is no RPM database in a format that is known")] if data else []


def _read_sqlite(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    packages: list[Package] = []
    skipped: list[Skipped] = []
    rows = read_table(data, "Packages", f"/{path}")
    number = 0
    while number < _MAX_PACKAGES:
        number += 1
        try:
            row = next(rows, None)
            if row is None:
                return packages, skipped
            blob = row[1] if len(row) > 1 else None
            packages.append(parse_rpm_header(blob if isinstance(blob, bytes) else b"", path))
        except InputError as error:
            # After a damaged page the generator has ended: the next turn returns what was read before it.
            skipped.append(Skipped(what=f"/{path} row {number}", reason=error.line()))
    skipped.append(Skipped(what=f"/{path}", reason=f"has more than {_MAX_PACKAGES} rows; the rest is not read"))
    return packages, skipped
