"""Every record, map value and constant that the kernel programs and Python share, written once.

`generate.py` renders the C header `bpf/shipwall_abi.h` from this module, `layouts.py` compares both with the BTF of a compiled object.
A record in the ring is `header`, then the fixed part named after its kind, then its strings back to back, whose lengths the fixed
part gives in fields named `*_length`, in order. Fields are naturally aligned, holes are written as `pad*` fields.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from shipwall.abi.call_numbers import NAMES
from shipwall.abi.calls import (
    CALLS,
    FAMILIES,
    RESULT,
    SHAPE_MSGHDR,
    SHAPE_ONLY_EXEC,
    SHAPE_ONLY_FAILED,
    SHAPE_WAITS,
    START_CWD,
)
from shipwall.abi.words import BITS
from shipwall.model.errors import InputError

_WIDTHS = {"u8": 1, "u16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8, "char": 1}
_CODES = {"u8": "B", "u16": "H", "u32": "I", "s32": "i", "u64": "Q", "s64": "q"}


class Field(NamedTuple):
    """One member: `length` > 1 makes an array (a byte string for `char` and `u8`)."""

    name: str
    type: str
    length: int = 1

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole member."""
        return _WIDTHS[self.type] * self.length


class Record:
    """A struct without holes: its members with their offsets, and the Python layout of the same bytes."""

    def __init__(self, name: str, meaning: str, *fields: Field) -> None:
        self.name = name
        self.meaning = meaning
        self.fields = fields
        self.offsets: dict[str, int] = {}
        at = 0
        for field in fields:
            if at % _WIDTHS[field.type]:
                raise InputError(f"record {name}", f"member {field.name} is not aligned", "add a pad member before it")
            self.offsets[field.name] = at
            at += field.size_bytes
        if fields and at % max(_WIDTHS[field.type] for field in fields):
            raise InputError(f"record {name}", "ends in a hole", "add a pad member at its end")
        self.size_bytes = at
        codes = []
        for field in fields:
            if field.name.startswith("pad"):
                codes.append(f"{field.size_bytes}x")
            elif field.type in {"char", "u8"} and field.length > 1:
                codes.append(f"{field.length}s")
            else:
                codes.append(f"{field.length}{_CODES[field.type]}")
        self.layout = struct.Struct("<" + "".join(codes))


KINDS = ("fork", "exit", "exec", "open", "connect", "privilege", "module", "namespace", "mount", "duplicate", "cgroup", "call")
"""Kinds of record, numbered from 1, and the classes in which losses are counted."""

ORIGINS = ("unknown", "image", "upper", "tmpfs", "memfd", "mount", "deleted")
"""Where the bytes of an executed file came from, numbered from 0; see `model.event.Exec`."""

PROGRAMS = (
    "dispatch",
    "open",
    "connect",
    "privilege",
    "module",
    "namespace",
    "mount",
    "duplicate",
    "exec_refused",
    "call",
    "exec",
    "fork",
    "exit",
    "cgroup",
)
HELPERS = ("read_user", "read_kernel", "map_update", "send_signal", "tail_call", "scratch")
"""Programs and helpers whose failures are counted one by one; both numbered from 0."""

CONSTANTS = {
    "CALLS_MAX": 512,  # numbers from 0; the last one stands for every call that has no number here
    "CALL_OTHER": 511,
    "CALL_NONE": 0xFFFF,  # in the tables of translation
    "X32_FIRST": 512,
    "COUNT_SLOTS": 256,  # containers counted each for itself; slot 0 is shared by all others
    "RESULT": RESULT,
    "ADDRESS_MAX": 128,  # bytes of a socket address, and of the buffer's head
    "WATCH_SLOTS": 4096,  # direct-mapped by the low bits of the cgroup id: a power of two
    "NO_SLOT": 0xFFFFFFFF,
    "CLASSES": 16,
    "STRING_MAX": 4096,  # bytes of one string, its terminator included: Linux's PATH_MAX
    "TAIL_MAX": 16384,  # bytes of fixed part and strings: a power of two, and room for header, three strings and more
    "PREFIX_MAX": 128,
    "ARGUMENTS_MAX": 64,  # of a refused exec
    "COMPONENTS_MAX": 512,  # of a walked path
    "PARENT_MAX": 256,  # bytes of the path of a parent cgroup
    # flags of a watched cgroup
    "WATCH_EVENTS": 1,
    "WATCH_CHILDREN": 2,
    "WATCH_KILL_DRIFT": 4,
    "WATCH_GONE": 8,
    "WATCH_PARENT": 16,  # an engine makes its containers here; what is not named like one is left alone
    "WATCH_UNFILTERED": 32,  # everything is delivered, whatever the filter says
    # operations of the control program
    "CONTROL_SET": 1,
    "CONTROL_FORGET": 2,
    # bits of an exec record
    "EXEC_WRITABLE": 1,
    "EXEC_KILLED": 2,
    "EXEC_TRUNCATED": 4,
    "EXEC_RESOLVED": 8,
    "EXEC_USER_WRITABLE": 16,
    # bits of the header
    "HEADER_COMPAT": 1,
    "HEADER_HURRIES": 2,  # wakes the reader whatever its kind
    # bits of a call record
    "CALL_TRUNCATED": 1,
    # bits and places of a shape
    "SHAPE_ONLY_FAILED": SHAPE_ONLY_FAILED,
    "SHAPE_ONLY_EXEC": SHAPE_ONLY_EXEC,
    "SHAPE_WAITS": SHAPE_WAITS,
    "SHAPE_MSGHDR": SHAPE_MSGHDR,
    "START_CWD": START_CWD,
    # layer of an overlay's file
    "LAYER_LOWER": 1,
    "LAYER_UPPER": 2,
    # settings
    "SETTING_ENVIRONMENT": 1,
    "WORD_SETS": 8,  # the wanted prefixes; from 1 on of each generation of the filter those of reads, from 3 on those of all opens
    # the filter (runtime/lower): two generations of everything, of which one is in force
    "FILTER_GENERATIONS": 2,
    "FILTER_PROGRAMS": 96,  # numbers of programs: 0 and 1 are not programs but mean all and none
    "FILTER_DELIVER": 0,
    "FILTER_DROP": 1,
    "FILTER_CLAUSES": 32,
    "FILTER_TESTS": 32,
    "FILTER_PLACES": 3,  # where strings come from
    "READS_LOOKED_AT": 0,  # what a read-only open needs to be of interest: anything
    "READS_BEGIN": 1,  # a path that begins as one of the words
    "READS_ASK": 2,  # that, or an atom of what was asked for
    "FILTER_CELLS": 131072,  # of the automaton: a power of two
    "FILTER_STATES": 4096,
    "TEST_RANGE": 0,
    "TEST_EQUALS": 1,
    "TEST_CERTAIN": 1,
    "TEST_SIGNED": 2,
    "STATE_UNCERTAIN": 0,
    "STATE_DEAD": 1,
    # act of a cgroup record
    "CGROUP_MADE": 1,
    "CGROUP_REMOVED": 2,
}

HEADER = Record(
    "header",
    "What every record starts with. time_ns: CLOCK_BOOTTIME. sequence counts per cgroup: a hole in it is a loss. call: number of the "
    "x86-64 call, also for a 32-bit one (HEADER_COMPAT). First what differs each time, then who acted, then what was done: a record like "
    "an earlier one is known by its bytes from `cgroup_id` on (runtime/quiet.py).",
    Field("time_ns", "u64"),
    Field("sequence", "u64"),
    Field("pid", "u32"),
    Field("tid", "u32"),
    Field("ppid", "u32"),
    Field("ns_pid", "u32"),
    Field("cgroup_id", "u64"),
    Field("ret", "s64"),
    Field("uid", "u32"),
    Field("gid", "u32"),
    Field("size", "u32"),
    Field("slot", "u32"),
    Field("kind", "u16"),
    Field("call", "u16"),
    Field("bits", "u32"),
    Field("comm", "char", 16),
)

RECORDS: dict[str, Record] = {
    record.name: record
    for record in (
        Record(
            "fork",
            "The child, and the CLONE_* flags of the call.",
            Field("child_pid", "u32"),
            Field("child_ns_pid", "u32"),
            Field("flags", "u64"),
        ),
        Record("exit", "Nothing but the header."),
        Record(
            "exec",
            "Strings: path (EXEC_RESOLVED) or the folder a relative `asked` starts from, asked, arguments separated by NUL, working "
            "folder, environment (SETTING_ENVIRONMENT) as the arguments. Times of the inode in ns since 1970; groups and session by "
            "their leaders' "
            "pids; tty as the kernel's major * 256 + minor, 0 none; login_uid -1: none. Of a refused exec only the strings.",
            Field("inode", "u64"),
            Field("ctime_ns", "u64"),
            Field("mtime_ns", "u64"),
            Field("cap_effective", "u64"),
            Field("cap_permitted", "u64"),
            Field("cap_inheritable", "u64"),
            Field("session", "u32"),
            Field("group", "u32"),
            Field("ns_group", "u32"),
            Field("tty", "u32"),
            Field("login_uid", "s32"),
            Field("pad_times", "u32"),
            Field("device", "u32"),
            Field("old_uid", "u32"),
            Field("path_length", "u16"),
            Field("asked_length", "u16"),
            Field("argv_length", "u16"),
            Field("cwd_length", "u16"),
            Field("environment_length", "u16"),
            Field("origin", "u8"),
            Field("bits", "u8"),
            Field("pad", "u32"),
            Field("parent_comm", "char", 16),
        ),
        Record(
            "open",
            "Strings: path (resolved 1) or the folder a relative `asked` starts from (resolved 0), asked.",
            Field("flags", "u64"),
            Field("path_length", "u16"),
            Field("asked_length", "u16"),
            Field("resolved", "u8"),
            Field("pad", "u8", 3),
        ),
        Record(
            "connect",
            "String: the path of a unix socket. port in host order, address in network order (IPv4 in the first 4 bytes). asked_*: what "
            "the caller's memory says after the call, asked_family 0 when it cannot be read.",
            Field("fd", "s32"),
            Field("family", "u16"),
            Field("type", "u16"),
            Field("protocol", "u16"),
            Field("port", "u16"),
            Field("path_length", "u16"),
            Field("local_port", "u16"),
            Field("asked_family", "u16"),
            Field("asked_port", "u16"),
            Field("address", "u8", 16),
            Field("local", "u8", 16),
            Field("asked_address", "u8", 16),
        ),
        Record(
            "privilege",
            "new ids as asked for (-1: not), the effective capabilities after the call.",
            Field("cap_effective", "u64"),
            Field("new_uid", "s32"),
            Field("new_gid", "s32"),
        ),
        Record(
            "module",
            "String: name or path of the module. command: first argument of bpf.",
            Field("command", "u32"),
            Field("name_length", "u16"),
            Field("pad", "u16"),
        ),
        Record("namespace", "The CLONE_NEW* flags.", Field("flags", "u64")),
        Record(
            "mount",
            "Strings: source, target, file system type.",
            Field("flags", "u64"),
            Field("source_length", "u16"),
            Field("target_length", "u16"),
            Field("fstype_length", "u16"),
            Field("pad", "u16"),
        ),
        Record(
            "duplicate",
            "The socket's peer, as in connect.",
            Field("old_fd", "s32"),
            Field("new_fd", "s32"),
            Field("family", "u16"),
            Field("port", "u16"),
            Field("path_length", "u16"),
            Field("pad", "u16"),
            Field("address", "u8", 16),
        ),
        Record(
            "call",
            "A call of the generic handler (`abi.calls`). Two descriptors: inode, device, mode and layer of the file; family to remote of "
            "a socket (ports in host order, 16 bytes of address each). Strings: for each of two strings the folder it starts from and what "
            "was asked, then the paths of the two descriptors, a socket address and the head of a buffer from the caller's memory.",
            Field("arguments", "u64", 6),
            Field("inode", "u64", 2),
            Field("device", "u32", 2),
            Field("mode", "u16", 2),
            Field("family", "u16", 2),
            Field("type", "u16", 2),
            Field("protocol", "u16", 2),
            Field("local_port", "u16", 2),
            Field("remote_port", "u16", 2),
            Field("first_start_length", "u16"),
            Field("first_length", "u16"),
            Field("second_start_length", "u16"),
            Field("second_length", "u16"),
            Field("first_path_length", "u16"),
            Field("second_path_length", "u16"),
            Field("address_length", "u16"),
            Field("data_length", "u16"),
            Field("layer", "u8", 2),
            Field("bits", "u8"),
            Field("pad", "u8", 5),
            Field("local", "u8", 32),
            Field("remote", "u8", 32),
        ),
        Record(
            "cgroup",
            "String: path below the cgroup mount. header.cgroup_id is the maker's.",
            Field("made_id", "u64"),
            Field("parent_id", "u64"),
            Field("path_length", "u16"),
            Field("act", "u8"),
            Field("pad", "u8", 5),
        ),
    )
}

WATCH = Record(
    "watch",
    "A watched cgroup (value of `watches`, direct-mapped, and of `crowded`). root_device: its root file system, once known. "
    "collided: another id wanted this slot and lives in `crowded`. produced and consumed bytes of the ring: the credit. counting: its slot "
    "in `counts`. By class: lost: no room in the ring; over: more unread than its share; filtered: of no interest to any rule.",
    Field("cgroup_id", "u64"),
    Field("sequence", "u64"),
    Field("produced_bytes", "u64"),
    Field("consumed_bytes", "u64"),
    Field("flags", "u32"),
    Field("collided", "u32"),
    Field("root_device", "u32"),
    Field("slot", "u32"),
    Field("counting", "u32"),
    Field("pad", "u32"),
    Field("lost", "u64", CONSTANTS["CLASSES"]),
    Field("over", "u64", CONSTANTS["CLASSES"]),
    Field("filtered", "u64", CONSTANTS["CLASSES"]),
)

COUNTS = Record(
    "counts",
    "How often a container made each call, and how often it failed; one for each CPU.",
    Field("calls", "u64", CONSTANTS["CALLS_MAX"]),
    Field("errors", "u64", CONSTANTS["CALLS_MAX"]),
)

SHAPE = Record(
    "shape",
    "What the generic handler does for a call. Places are arguments + 1 (RESULT + 1: the result), 0 none; starts: the place of the "
    "folder's descriptor, START_CWD for the working folder, 0 for a string that is no path.",
    Field("strings", "u8", 2),
    Field("starts", "u8", 2),
    Field("descriptors", "u8", 2),
    Field("address", "u8"),
    Field("address_size", "u8"),
    Field("data", "u8"),
    Field("data_size", "u8"),
    Field("bits", "u8"),
    Field("pad", "u8"),
)

SETTINGS = Record(
    "settings",
    "The only value of `settings`, written by Python and read by every program. families: which family handles each call, 0 none. "
    "own_flags, other_flags: what the cgroup of a new container gets, below a parent of the engine and elsewhere. compat, x32 (from "
    "X32_FIRST on), socket_calls: the x86-64 number of another caller's call, CALL_NONE for none. word_lengths, words: abi/words.py. "
    "filter_in_force: 0 none, else the generation + 1; filter_programs: by generation and call. asleep: whether the reader is to be woken; "
    "unhurried, unhurried_calls: kinds and calls (a bit each) that do not wake it.",
    Field("credit_bytes", "u64"),
    Field("own_flags", "u32"),
    Field("other_flags", "u32"),
    Field("bits", "u32"),
    Field("word_lengths", "u32", CONSTANTS["WORD_SETS"]),
    Field("pad_words", "u32"),
    Field("words", "u64", CONSTANTS["WORD_SETS"] * BITS // 64),
    Field("families", "u8", CONSTANTS["CALLS_MAX"]),
    Field("compat", "u16", CONSTANTS["CALLS_MAX"]),
    Field("x32", "u16", 64),
    Field("socket_calls", "u16", 32),
    Field("filter_programs", "u8", CONSTANTS["FILTER_GENERATIONS"] * CONSTANTS["CALLS_MAX"]),
    Field("filter_in_force", "u32"),
    Field("pad_filter", "u8", 60),  # what the reader writes lies in another line of the processors' caches
    Field("asleep", "u32"),
    Field("unhurried", "u32"),
    Field("unhurried_calls", "u64", CONSTANTS["CALLS_MAX"] // 64),
)

_TESTS, _CLAUSES, _PLACES = (CONSTANTS[f"FILTER_{name}"] for name in ("TESTS", "CLAUSES", "PLACES"))
FILTER_PROGRAM = Record(
    "filter",
    "How the events of some calls are judged (`runtime.lower.tables.Program`, from where its words are). Value of `filters`, by generation "
    "and number.",
    Field("need", "u64", _CLAUSES),
    Field("forbid", "u64", _CLAUSES),
    Field("test_low", "s64", _TESTS),
    Field("test_high", "s64", _TESTS),
    Field("atoms", "u64", _PLACES),
    Field("floating", "u64"),
    Field("starts", "u32", _PLACES),
    Field("clauses", "u32"),
    Field("tests", "u32"),
    Field("reads", "u32"),
    Field("test_number", "u8", _TESTS),
    Field("test_kind", "u8", _TESTS),
    Field("test_bit", "u8", _TESTS),
    Field("test_bits", "u8", _TESTS),
)

AUTOMATON = Record(
    "automaton",
    "The automaton over strings of all programs (`runtime.lower.tables.Automaton`). Value of `automata`, by generation.",
    Field("may", "u64", CONSTANTS["FILTER_STATES"]),
    Field("must", "u64", CONSTANTS["FILTER_STATES"]),
    Field("cells", "u16", CONSTANTS["FILTER_CELLS"]),
    Field("classes", "u8", 256),
    Field("width", "u32"),
    Field("pad", "u32"),
)

PREFIX = Record(
    "prefix",
    "Key of the map of wanted path prefixes.",
    Field("bits", "u32"),
    Field("path", "char", CONSTANTS["PREFIX_MAX"]),
)

PARENT = Record(
    "parent",
    "Key of the map of parents that need not exist yet: a path below the cgroup mount, as `/docker`.",
    Field("path", "char", CONSTANTS["PARENT_MAX"]),
)


def numbered(names: tuple[str, ...], start: int) -> dict[str, int]:
    """`names` with their numbers."""
    return {name: number for number, name in enumerate(names, start)}


KIND_NUMBERS = numbered(KINDS, 1)
ORIGIN_NUMBERS = numbered(ORIGINS, 0)
FAMILY_NUMBERS = numbered(FAMILIES, 1)
CALL_NAMES = NAMES
FILTER_NUMBERS = numbered(
    (
        "ret",
        "uid",
        "gid",
        "flags",
        "fd",
        "family",
        "protocol",
        "port",
        "local_port",
        "ipv4",
        *(f"argument_{at}" for at in range(6)),
    ),
    0,
)
"""Numbers that tests of the filter ask for. flags: of an open, or CLONE_*; fd: the result or -1; ports and addresses as numbers."""


def enumerators() -> dict[str, int]:
    """Every shared constant under its C name."""
    groups = {
        "KIND": KIND_NUMBERS,
        "ORIGIN": ORIGIN_NUMBERS,
        "FAMILY": FAMILY_NUMBERS,
        "CALL": {call.name: call.number for call in CALLS},
        "PROGRAM": {**numbered(PROGRAMS, 0), "count": len(PROGRAMS)},
        "HELPER": {**numbered(HELPERS, 0), "count": len(HELPERS)},
        "NUMBER": {**FILTER_NUMBERS, "count": len(FILTER_NUMBERS)},
    }
    found = {f"SHIPWALL_{group}_{name.upper()}": value for group, members in groups.items() for name, value in members.items()}
    return found | {f"SHIPWALL_{name}": value for name, value in CONSTANTS.items()}


def structs() -> dict[str, Record]:
    """Every shared struct under its C name."""
    records = [HEADER, *RECORDS.values(), WATCH, COUNTS, SHAPE, SETTINGS, FILTER_PROGRAM, AUTOMATON, PREFIX, PARENT]
    return {f"shipwall_{record.name}": record for record in records if record.fields}
