"""Whether a compiled object and this Python speak of the same bytes."""

from __future__ import annotations

from shipwall.abi.btf import Btf
from shipwall.abi.schema import enumerators, structs


def find_differences(btf: Btf) -> list[str]:
    """One line per struct, member or constant that differs between `btf` and the schema; empty when they agree."""
    differences = []
    for name, record in structs().items():
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
    for name, value in enumerators().items():
        if btf.enumerators.get(name) != value:
            differences.append(f"{name} is {btf.enumerators.get(name)}, not {value}")
    return differences
