"""Whatever the bytes, decoding gives an event or InputError; what was written comes back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipwall.abi.btf import parse_btf, parse_object_btf
from shipwall.abi.schema import HEADER, KIND_NUMBERS, ORIGINS, RECORDS
from shipwall.abi.words import may_begin, word_set
from shipwall.kernel.cgroups import parse_mounts
from shipwall.model.errors import InputError
from shipwall.model.event import AnyEvent
from shipwall.runtime.decode import container_of_cgroup, decode_record

_RANGES = {"u8": (0, 255), "u16": (0, 65535), "u32": (0, 2**32 - 1), "u64": (0, 2**64 - 1)}
_RANGES |= {"s32": (-(2**31), 2**31 - 1), "s64": (-(2**63), 2**63 - 1)}


def _attempt(data: bytes) -> AnyEvent | None:
    try:
        event = decode_record(data, seq=1, wall_offset_ns=0)
    except InputError:
        return None
    msgspec.msgpack.encode(event)
    return event


@given(st.binary(max_size=400))
def test_decoding_is_total(data: bytes) -> None:
    _attempt(data)


@given(st.sampled_from(sorted(RECORDS)), st.data())
def test_every_record_of_every_kind_decodes_and_a_changed_size_does_not(kind: str, data: st.DataObject) -> None:
    """Records as the kernel may write them, with any numbers and any string bytes."""
    values: list[object] = []
    strings = b""
    for field in RECORDS[kind].fields:
        if field.name.startswith("pad"):
            continue
        if field.name.endswith("_length"):
            text = data.draw(st.binary(max_size=60))
            strings += text
            values.append(len(text))
        elif field.name == "origin":
            values.append(data.draw(st.integers(0, len(ORIGINS) - 1)))
        elif field.name == "act":
            values.append(data.draw(st.integers(1, 2)))
        elif field.length > 1 and field.type not in {"u8", "char"}:
            values += data.draw(st.lists(st.integers(*_RANGES[field.type]), min_size=field.length, max_size=field.length))
        elif field.length > 1:
            values.append(data.draw(st.binary(min_size=field.length, max_size=field.length)))
        else:
            values.append(data.draw(st.integers(*_RANGES[field.type])))
    fixed = RECORDS[kind].layout.pack(*values)
    size = HEADER.size_bytes + len(fixed) + len(strings)
    numbers = data.draw(st.lists(st.integers(0, 2**31), min_size=10, max_size=10))
    header = HEADER.layout.pack(*numbers[:7], -numbers[7], *numbers[8:], size, 1, KIND_NUMBERS[kind], 260, 0, b"comm")
    event = _attempt(header + fixed + strings)
    assert event is not None
    assert (event.ret, event.pid, event.comm) == (-numbers[7], numbers[2], "comm")
    assert event.__struct_config__.tag == kind
    assert _attempt(header + fixed + strings + b"x") is None


@given(st.binary(max_size=300))
def test_reading_types_is_total(data: bytes) -> None:
    for parse, start in ((parse_btf, b"\x9f\xeb\1\0\x18\0\0\0"), (parse_object_btf, b"\x7fELF\2\1\1")):
        for candidate in (data, start + data):
            try:
                parse(candidate)
            except InputError:
                continue


@given(st.text(max_size=300))
def test_cgroup_paths_and_mounts_are_total(text: str) -> None:
    assert len(container_of_cgroup(text)) in {0, 64}
    parse_mounts(text)
    parse_mounts(f"1 2 0:3 / {text} rw - cgroup2 none rw")


_PREFIXES = st.lists(st.binary(min_size=1, max_size=20).filter(lambda text: b"\0" not in text), max_size=12)


@given(_PREFIXES, st.binary(max_size=30), st.data())
def test_no_path_that_begins_with_a_wanted_prefix_is_dismissed(prefixes: list[bytes], rest: bytes, data: st.DataObject) -> None:
    lengths, found = word_set(prefixes)
    if prefixes:
        assert may_begin(data.draw(st.sampled_from(prefixes)) + rest, lengths, found)
    else:
        assert not may_begin(rest, lengths, found)


def test_most_paths_that_begin_with_none_are_dismissed() -> None:
    lengths, found = word_set([b"/etc/shadow", b"/root/", b"/proc/self/environ"])
    paths = [f"/usr{number}/lib".encode() for number in range(2000)]
    assert sum(may_begin(path, lengths, found) for path in paths) < 40
    assert may_begin(b"/etc/sha", lengths, found)


def test_a_law_can_fail() -> None:
    with pytest.raises(InputError):
        decode_record(b"", seq=1, wall_offset_ns=0)
