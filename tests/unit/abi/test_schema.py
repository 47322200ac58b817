"""The schema refuses records a compiler would lay out otherwise, and the BTF reader reads what a compiler wrote."""

from __future__ import annotations

import struct

import pytest

from shipwall.abi.btf import Btf, StructType, parse_btf, parse_object_btf
from shipwall.abi.call_numbers import I386, NUMBERS, SOCKET_CALLS, X32
from shipwall.abi.calls import CALLS, CALLS_BY_NAME, FAMILIES, RESULT, START_CWD, Shape, shape_of
from shipwall.abi.layouts import find_differences
from shipwall.abi.schema import CONSTANTS, HEADER, RECORDS, Field, Record, enumerators, structs
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
    """Up to four strings; where there are more, the programs ask for room before the fifth."""
    for record in RECORDS.values():
        strings = min(4, sum(field.name.endswith("_length") for field in record.fields))
        last = HEADER.size_bytes + record.size_bytes + (strings - 1) * (CONSTANTS["STRING_MAX"] - 1)
        assert last < CONSTANTS["TAIL_MAX"]


def test_calls_are_unique_and_in_the_table() -> None:
    assert len({call.number for call in CALLS}) == len({call.name for call in CALLS}) == len(CALLS)
    assert all(call.number < CONSTANTS["CALLS_MAX"] and call.family in FAMILIES for call in CALLS)


def test_shapes_point_at_arguments() -> None:
    for call in CALLS:
        shape = shape_of(call)
        assert (
            max(*shape.strings, *shape.descriptors, shape.address, shape.address_size, shape.data, shape.data_size) <= RESULT + 1
        )
        assert all(start in {0, START_CWD} or 1 <= start <= 6 for start in shape.starts)
        assert len(call.of_kind("path", "text")) <= 2
        assert len({parameter.name for parameter in call.parameters}) == len(call.parameters)
    assert shape_of(CALLS_BY_NAME["linkat"]) == Shape(strings=(2, 4), starts=(1, 3))
    assert shape_of(CALLS_BY_NAME["symlink"]) == Shape(strings=(1, 2), starts=(0, START_CWD))
    assert shape_of(CALLS_BY_NAME["accept"]).descriptors == (RESULT + 1, 1)


def test_numbers_of_foreign_callers_lead_to_calls_of_the_same_name() -> None:
    assert (I386[11], I386[5], I386[295], I386[212], I386[192]) == ("execve", "open", "openat", "chown", "mmap")
    assert set(I386.values()) | set(X32.values()) <= set(NUMBERS)
    assert set(SOCKET_CALLS.values()) - {"send", "recv"} <= set(NUMBERS)
    assert (NUMBERS["execve"], NUMBERS["openat2"], NUMBERS["fchmodat2"]) == (59, 437, 452)


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
