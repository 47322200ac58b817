"""Whether a compiled object and this Python speak of the same bytes."""

from __future__ import annotations

from shipwall.abi.btf import Btf
from shipwall.abi.schema import Record, enumerators, structs


def find_differences(btf: Btf, records: dict[str, Record] | None = None, constants: dict[str, int] | None = None) -> list[str]:
    """One line per struct, member or constant that differs between `btf` and a schema (default: the sensor's); empty when they agree."""
    differences = []
    for name, record in (structs() if records is None else records).items():
        found = btf.structs.get(name)
        if found is None:
            differences.append(f"struct {name} is missing")
            continue
        if found.size != record.size_bytes:
            differences.append(f"struct {name} has {found.size} bytes, not {record.size_bytes}")
        differences += [
            f"{name}.{field} is at {found.members.get(field)}, not at {offset}"
            for field, offset in record.offsets.items()
            if found.members.get(field) != offset
        ]
        differences += [f"{name}.{field} is not in the schema" for field in found.members if field not in record.offsets]
    for name, value in (enumerators() if constants is None else constants).items():
        if btf.enumerators.get(name) != value:
            differences.append(f"{name} is {btf.enumerators.get(name)}, not {value}")
    return differences
