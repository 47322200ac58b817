"""The schema refuses records a compiler would lay out otherwise, and the BTF reader reads what a compiler wrote."""

from __future__ import annotations

import struct

import pytest

from shipwall.abi.btf import Btf, StructType, parse_btf, parse_object_btf
from shipwall.abi.layouts import find_differences
from shipwall.abi.schema import CALLS, CONSTANTS, FAMILIES, HEADER, RECORDS, Field, Record, enumerators, structs
from shipwall.model.errors import InputError


def test_holes_and_misalignment_are_refused() -> None:
    with pytest.raises(InputError, match="not aligned"):
        Record("bad", "", Field("a", "u16"), Field("b", "u64"))
    with pytest.raises(InputError, match="ends in a hole"):
        Record("bad", "", Field("a", "u64"), Field("b", "u16"))


def test_python_layouts_have_the_sizes_of_the_records() -> None:
    for record in (HEADER, *RECORDS.values(), *structs().values()):
        assert record.layout.size == record.size_bytes


def test_every_record_fits_with_all_its_strings() -> None:
    for record in RECORDS.values():
        strings = sum(field.name.endswith("_length") for field in record.fields)
        assert HEADER.size_bytes + record.size_bytes + strings * CONSTANTS["STRING_MAX"] < CONSTANTS["TAIL_MAX"]


def test_calls_are_unique_and_in_the_table() -> None:
    assert len({call.number for call in CALLS}) == len({call.name for call in CALLS}) == len(CALLS)
    assert all(call.number < CONSTANTS["CALLS_MAX"] and call.family in FAMILIES for call in CALLS)


def _btf(types: bytes, strings: bytes) -> bytes:
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


def test_structs_and_enumerators_are_read() -> None:
    strings = b"\0thing\0first\0second\0RED\0"
    types = struct.pack("<IIII", 0, 1 << 24, 4, 32)  # an int
    types += struct.pack("<III", 1, 4 << 24 | 2, 8) + struct.pack("<IIIIII", 7, 1, 0, 13, 1, 32)
    types += struct.pack("<III", 0, 6 << 24 | 1, 4) + struct.pack("<II", 20, 5)
    assert parse_btf(_btf(types, strings)) == Btf({"thing": StructType(8, {"first": 0, "second": 4})}, {"RED": 5})


def test_an_object_without_types_is_refused() -> None:
    with pytest.raises(InputError, match="64-bit little-endian"):
        parse_object_btf(bytes(64))
    with pytest.raises(InputError, match="cut short"):
        parse_object_btf(b"\x7fELF\x02\x01\x01")


def test_every_difference_is_named() -> None:
    types = {
        name: StructType(record.size_bytes, dict(record.offsets)) for name, record in structs().items() if "watch" not in name
    }
    types["shipwall_open"].members["flags"] = 4
    types["shipwall_fork"].members["more"] = 8
    differences = find_differences(Btf(types, enumerators() | {"SHIPWALL_KIND_EXEC": 0}))
    assert differences == [
        "shipwall_fork.more is not in the schema",
        "shipwall_open.flags is at 4, not at 0",
        "struct shipwall_watch is missing",
        "SHIPWALL_KIND_EXEC is 0, not 3",
    ]
