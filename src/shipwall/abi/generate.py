"""The C header of the schema. Renew it with: python -m shipwall.abi.generate > bpf/shipwall_abi.h"""

from __future__ import annotations

import sys

from shipwall.abi.schema import Record, enumerators, structs

_C_TYPES = {"u8": "__u8", "u16": "__u16", "u32": "__u32", "s32": "__s32", "u64": "__u64", "s64": "__s64", "char": "char"}


def render_header() -> str:
    """The text of `bpf/shipwall_abi.h`."""
    lines = [
        "/* Generated from src/shipwall/abi/schema.py by `python -m shipwall.abi.generate`: do not edit. */",
        "#ifndef SHIPWALL_ABI_H",
        "#define SHIPWALL_ABI_H",
        "",
        "enum shipwall_constant {",
        *(f"\t{name} = {value:#x}," for name, value in enumerators().items()),
        "};",
        "",
    ]
    for name, record in structs().items():
        lines += [f"/* {record.meaning} */", f"struct {name} {{", *_members(record), "};", ""]
    lines += [
        "/* Keeps every type above in the BTF of the object, where its layout is compared at start. */",
        "union shipwall_abi {",
        *(f"\tstruct {name} {name[9:]};" for name in structs()),
        "\tenum shipwall_constant constant;",
        "};",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _members(record: Record) -> list[str]:
    return [f"\t{_C_TYPES[field.type]} {field.name}{f'[{field.length}]' if field.length > 1 else ''};" for field in record.fields]


if __name__ == "__main__":
    sys.stdout.write(render_header())
