"""The C headers of the schemas. Renew one with: python -m shipwall.abi.generate [guard] > bpf/[guard_abi|shipwall_abi].h"""

from __future__ import annotations

import sys

from shipwall.abi import guard_schema, schema
from shipwall.abi.schema import Record

_C_TYPES = {"u8": "__u8", "u16": "__u16", "u32": "__u32", "s32": "__s32", "u64": "__u64", "s64": "__s64", "char": "char"}


def render_header(of: str = "") -> str:
    """The text of `bpf/shipwall_abi.h`, or of `bpf/guard_abi.h` (`of` guard)."""
    structs, constants = (guard_schema.structs(), guard_schema.enumerators()) if of else (schema.structs(), schema.enumerators())
    source, word, prefix = ("guard_schema.py", " guard", "guard") if of else ("schema.py", "", "shipwall")
    lines = [
        f"/* Generated from src/shipwall/abi/{source} by `python -m shipwall.abi.generate{word}`: do not edit. */",
        f"#ifndef {prefix.upper()}_ABI_H",
        f"#define {prefix.upper()}_ABI_H",
        "",
        f"enum {prefix}_constant {{",
        *(f"\t{name} = {value:#x}," for name, value in constants.items()),
        "};",
        "",
    ]
    for name, record in structs.items():
        lines += [f"/* {record.meaning} */", f"struct {name} {{", *_members(record), "};", ""]
    lines += [
        "/* Keeps every type above in the BTF of the object, where its layout is compared at start. */",
        f"union {prefix}_abi {{",
        *(f"\tstruct {name} {name[len(prefix) + 1 :]};" for name in structs),
        f"\tenum {prefix}_constant constant;",
        "};",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _members(record: Record) -> list[str]:
    return [f"\t{_C_TYPES[field.type]} {field.name}{f'[{field.length}]' if field.length > 1 else ''};" for field in record.fields]


if __name__ == "__main__":
    sys.stdout.write(render_header(*sys.argv[1:2]))
