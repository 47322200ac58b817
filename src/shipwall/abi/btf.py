"""BTF: the types a compiled BPF object says it was built with.

Only what comparing layouts needs: structs with sizes and member offsets, and enumerators.
Source: Documentation/bpf/btf.rst, include/uapi/linux/btf.h, include/uapi/linux/elf.h.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from shipwall.model.errors import InputError

_BTF_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MAGIC = 0xEB9F
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _VAR, _DATASEC, _FUNC_PROTO, _DECL_TAG, _ENUM64 = 1, 2, 3, 4, 5, 6, 14, 15, 13, 17, 19
_EXTRA_BYTES = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_EXTRA_BYTES_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}
_LAST_KIND = _ENUM64
_ELF64 = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")


class StructType(NamedTuple):
    """Size in bytes, and the byte offset of each named member."""

    size: int
    members: dict[str, int]


class Btf(NamedTuple):
    """Structs (and unions) by name, and all enumerators of all enums by name."""

    structs: dict[str, StructType]
    enumerators: dict[str, int]


def parse_btf(data: bytes) -> Btf:
    """The types in the raw BTF `data`. Total: raises InputError on anything malformed."""
    try:
        return _parse_btf(data)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise InputError("BTF", f"is cut short or damaged ({error})") from error


def _parse_btf(data: bytes) -> Btf:
    magic, version, _, header_bytes, type_at, type_bytes, string_at, string_bytes = _BTF_HEADER.unpack_from(data)
    if magic != _MAGIC or version != 1:
        raise InputError("BTF", f"magic {magic:#x} version {version} is not BTF of this byte order")
    types = data[header_bytes + type_at : header_bytes + type_at + type_bytes]
    strings = data[header_bytes + string_at : header_bytes + string_at + string_bytes]

    def name_at(offset: int) -> str:
        return strings[offset : strings.index(b"\0", offset)].decode() if strings.find(b"\0", offset) >= 0 else ""

    structs: dict[str, StructType] = {}
    enumerators: dict[str, int] = {}
    at = 0
    while at < len(types):
        name, info, size = _TYPE.unpack_from(types, at)
        at += _TYPE.size
        count, kind, flag = info & 0xFFFF, (info >> 24) & 0x1F, info >> 31
        if not 0 < kind <= _LAST_KIND:
            raise InputError("BTF", f"unknown kind of type {kind}")
        if kind in (_STRUCT, _UNION) and name:
            members = {}
            for index in range(count):
                member, _, offset = _TYPE.unpack_from(types, at + index * 12)
                members[name_at(member)] = (offset & 0xFFFFFF if flag else offset) // 8
            structs[name_at(name)] = StructType(size, members)
        elif kind == _ENUM:
            for index in range(count):
                member, value = struct.unpack_from("<Ii" if flag else "<II", types, at + index * 8)
                enumerators[name_at(member)] = value
        elif kind == _ENUM64:
            for index in range(count):
                member, low, high = _TYPE.unpack_from(types, at + index * 12)
                enumerators[name_at(member)] = low | high << 32
        at += _EXTRA_BYTES.get(kind, 0) + _EXTRA_BYTES_EACH.get(kind, 0) * count
    return Btf(structs, enumerators)


def parse_object_btf(data: bytes) -> Btf:
    """The types in the section `.BTF` of the 64-bit little-endian ELF object `data`. Raises InputError."""
    try:
        ident, *_, section_at, _, _, _, _, section_bytes, section_count, names_index = _ELF64.unpack_from(data)
        if ident[:6] != b"\x7fELF\x02\x01":
            raise InputError("BPF object", "is not a 64-bit little-endian ELF file")
        sections = [_SECTION.unpack_from(data, section_at + index * section_bytes) for index in range(section_count)]
        names = data[sections[names_index][4] :]
        for section in sections:
            if names[section[0] : section[0] + 5] == b".BTF\0":
                return parse_btf(data[section[4] : section[4] + section[5]])
    except (struct.error, IndexError) as error:
        raise InputError("BPF object", f"is cut short or damaged ({error})") from error
    raise InputError("BPF object", "has no section .BTF", "compile it with -g")
