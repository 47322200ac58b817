"""The sensor: its programs in the kernel, which cgroups they watch, and the events that come back.

One thread polls; the other methods may be called from any thread. Nothing outlives the process: links and maps are not pinned.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from shipwall.abi.btf import parse_object_btf
from shipwall.abi.call_numbers import I386, NAMES, NUMBERS, SOCKET_CALLS, X32
from shipwall.abi.calls import CALLS, CALLS_BY_NAME, shape_of
from shipwall.abi.layouts import find_differences
from shipwall.abi.schema import (
    CONSTANTS,
    COUNTS,
    FAMILY_NUMBERS,
    HEADER,
    HELPERS,
    KIND_NUMBERS,
    KINDS,
    PARENT,
    PREFIX,
    PROGRAMS,
    SETTINGS,
    SHAPE,
    WATCH,
)
from shipwall.kernel.bpf import OBJECTS, BpfObject, RunStats, possible_cpus, run_stats
from shipwall.kernel.cgroups import checked_id, join, list_cgroups, list_descendants, read_id, unified_mount
from shipwall.kernel.cost import Cost, sample_cost
from shipwall.kernel.filter import FilterTables, put_words
from shipwall.kernel.ring import Ring
from shipwall.model.errors import InputError, KernelError
from shipwall.model.event import AnyEvent, Cgroup, Exec, Lost, Open
from shipwall.runtime.decode import decode_record, parse_header
from shipwall.runtime.lower import KernelFilter

EVENTS = CONSTANTS["WATCH_EVENTS"]
CHILDREN = CONSTANTS["WATCH_CHILDREN"]
KILL_DRIFT = CONSTANTS["WATCH_KILL_DRIFT"]
PARENT_OF_CONTAINERS = CONSTANTS["WATCH_PARENT"]
UNFILTERED = CONSTANTS["WATCH_UNFILTERED"]
_GONE = CONSTANTS["WATCH_GONE"]
_SLOTS = CONSTANTS["WATCH_SLOTS"]
_ATTACHED = ("on_cgroup_made", "on_cgroup_removed", "on_fork", "on_exit", "on_exec", "dispatch")
_WATCH_WORDS = WATCH.size_bytes // 8
_CONSUMED_WORD = WATCH.offsets["consumed_bytes"] // 8
_FLAGS_WORD = WATCH.offsets["flags"] // 8
_LOST_WORD = WATCH.offsets["lost"] // 8
_OVER_WORD = WATCH.offsets["over"] // 8
_FILTERED_WORD = WATCH.offsets["filtered"] // 8
_COUNTING_WORD = WATCH.offsets["counting"] // 8
_CGROUP = slice(HEADER.offsets["cgroup_id"], HEADER.offsets["cgroup_id"] + 8)
_NO_CALL = CONSTANTS["CALL_NONE"]
_FOREIGN = NUMBERS | {"send": NUMBERS["sendto"], "recv": NUMBERS["recvfrom"]}
_SWEEP_NS = 1_000_000_000
DEFAULT_CALLS = tuple(call.name for call in CALLS if "hot" not in call.options)
"""What is read when nobody asks for anything else."""
_TAKE, _TAKE_BYTES = 256, 128 * 1024  # records copied at once: few enough to stay in the processor's cache
_BATCH = 2_000  # a flood must not keep the caller from its other work, nor losses from being told
_CLASSES = dict(enumerate(KINDS, 1))
Skim = Callable[[Sequence[bytes], int, int, int], int]
"""Of records, from an index on, with the number of the last event and the clock's offset: the index of the first that is to be decoded."""


class Watched(NamedTuple):
    """One watched cgroup as the kernel keeps it: `lost`, `over`, `filtered` by number of class, `counting` its slot among the counters."""

    cgroup_id: int
    sequence: int
    flags: int
    counting: int
    lost: list[int]
    over: list[int]
    filtered: list[int]


class CallCount(NamedTuple):
    """How often a call was made, and how many of those failed."""

    calls: int
    errors: int


class Counters(NamedTuple):
    """Since start. `issued` is what the kernel programs met per cgroup still watched: delivered + lost + over budget + filtered + what
    waits.

    `lost` by class: there was no room in the ring; `over` by class: the cgroup had more than its share of it unread; `filtered` by class:
    no rule could match it. `*_by_cgroup` id → class → count (forgotten cgroups included, but for `filtered_by_cgroup`). `helper_errors`
    `program/helper` → count. `undecodable` records were delivered and not understood.
    """

    delivered: int
    undecodable: int
    lost: dict[str, int]
    lost_by_cgroup: dict[int, dict[str, int]]
    over: dict[str, int]
    over_by_cgroup: dict[int, dict[str, int]]
    delivered_by_cgroup: dict[int, int]
    issued: dict[int, int]
    helper_errors: dict[str, int]
    pending_bytes: int
    filtered: dict[str, int]
    filtered_by_cgroup: dict[int, dict[str, int]]


NOTHING_COUNTED = Counters(0, 0, {}, {}, {}, {}, {}, {}, {}, 0, {}, {})
"""Where no sensor runs."""


class Sensor:
    """The kernel part, running from `start` (or entering the context) to `close`.

    `ring_bytes` is a power of two of at least a page; one cgroup may hold at most `credit_bytes` unread in it (default a quarter).
    Raises KernelError (errno, program, verifier log), UnsupportedError.
    """

    def __init__(
        self, *, ring_bytes: int = 8 * 1024 * 1024, credit_bytes: int | None = None, object_path: Path = OBJECTS / "sensor.bpf.o"
    ) -> None:
        if ring_bytes < 4096 or ring_bytes & (ring_bytes - 1):
            raise InputError(f"ring of {ring_bytes} bytes", "is not a power of two of at least 4096")
        self.ring_bytes = ring_bytes
        self._credit_bytes = credit_bytes if credit_bytes is not None else ring_bytes // 4
        self._path = object_path
        self._object: BpfObject | None = None
        self._lock = threading.Lock()
        self._delivered = 0
        self._undecodable = 0
        self._seq = 0
        self._taken: list[bytes] = []
        self._next = 0
        self._pulse_id = 0
        self.pulse_seen_ns = 0
        """When (monotonic) the self-check's own act last came back; 0: never."""
        self._swept_ns = 0
        self._wall_offset_ns = 0
        self._reported: dict[int, tuple[list[int], list[int]]] = {}
        self._lost: dict[int, dict[str, int]] = {}
        self._over: dict[int, dict[str, int]] = {}
        self._filtered_before: dict[str, int] = {}  # of cgroups that are forgotten
        self._delivered_by_cgroup: dict[int, int] = {}
        self._prefixes: set[str] = set()
        self._parents: set[str] = set()
        self._calls: set[str] = set()

    # --- life ---

    def start(self) -> None:
        """Check the layouts, load, attach. On failure nothing stays loaded."""
        try:
            differences = find_differences(parse_object_btf(self._path.read_bytes()))
        except FileNotFoundError as error:
            raise KernelError(f"BPF object {self._path.name}", "is missing", "build it: make bpf") from error
        if differences:
            raise KernelError(
                f"BPF object {self._path.name}", f"was built for another Shipwall: {differences[0]}", "build it anew: make bpf"
            )
        loaded = BpfObject(self._path, {"ring": self.ring_bytes})
        stack = contextlib.ExitStack()
        with stack:
            stack.callback(loaded.close)
            settings_map = loaded.map("settings").mapped(SETTINGS.size_bytes)
            watches_map = loaded.map("watches").mapped(WATCH.size_bytes * _SLOTS)
            self._settings = memoryview(settings_map)
            self._watches = memoryview(watches_map).cast("Q")
            at = SETTINGS.offsets["asleep"]
            self._asleep = self._settings[at : at + 4].cast("I")
            self._ring = Ring(loaded.map("ring"), self.ring_bytes)
            self._maps = [settings_map, watches_map]
            self._object = loaded
            self._filter = FilterTables(self._settings, loaded.map)
            stack.callback(self._release)
            struct.pack_into("<Q", self._settings, SETTINGS.offsets["credit_bytes"], self._credit_bytes)
            self._describe_calls(loaded)
            self.set_calls(DEFAULT_CALLS)
            self._synchronise_clock()
            for process in ("self", "1"):
                with contextlib.suppress(OSError):  # /proc may hide the first process
                    self.leave_mount_namespace(Path(f"/proc/{process}/ns/mnt").stat().st_ino)
            for name in _ATTACHED:
                loaded.attach(name)
            stack.pop_all()

    def _describe_calls(self, loaded: BpfObject) -> None:
        """Tell the kernel part what each call's arguments are, and which number a foreign caller's call has."""
        table = loaded.map("shapes")
        for call in CALLS:
            shape = shape_of(call)
            table.update(call.number.to_bytes(4, "little"), SHAPE.layout.pack(*_flat(shape)))
        for name, start, size in (
            ("compat", 0, CONSTANTS["CALLS_MAX"]),
            ("x32", CONSTANTS["X32_FIRST"], 64),
            ("socket_calls", 0, 32),
        ):
            names = {"compat": I386, "x32": X32, "socket_calls": SOCKET_CALLS}[name]
            numbers = [_FOREIGN.get(names.get(start + index, ""), _NO_CALL) for index in range(size)]
            struct.pack_into(f"<{size}H", self._settings, SETTINGS.offsets[name], *numbers)

    def close(self) -> None:
        """Detach and unload. May be called twice."""
        loaded, self._object = self._object, None
        if loaded is not None:
            loaded.detach()
            self._release()
            loaded.close()

    def _release(self) -> None:
        self._object = None
        self._ring.close()
        self._asleep.release()
        self._settings.release()
        self._watches.release()
        for mapped in self._maps:
            mapped.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def _loaded(self) -> BpfObject:
        if self._object is None:
            raise KernelError("sensor", "is not running", "start it first")
        return self._object

    # --- what is watched ---

    def watch_parent(self, cgroup: int | Path, flags: int = EVENTS | CHILDREN) -> int:
        """Watch `cgroup` (id, or folder under the v2 mount), everything below it now, and whatever is made below it. Its id.

        The parent comes first: what is made while the others are listed is added by the kernel.
        """
        if isinstance(cgroup, int):
            self.set_flags(cgroup, flags)
            return cgroup
        cgroup_id = read_id(cgroup)
        for folder in list_descendants(cgroup):
            with contextlib.suppress(KernelError):  # gone meanwhile
                self.set_flags(read_id(folder), flags)
        self.set_flags(cgroup_id, flags)
        return cgroup_id

    def watch_containers(self, parents: Iterable[str], own: int, others: int) -> dict[str, int]:
        """Watch every container by the name of its cgroup: `own` flags below `parents`, `others` elsewhere. Container id → cgroup id now.

        `parents` are paths below the v2 mount (`/docker`) and need not exist yet. What is made from now on is watched by the kernel
        before anybody is in it. A path longer than the key is left to its containers' names.
        """
        wanted = {path for path in parents if 0 < len(path.encode()) < CONSTANTS["PARENT_MAX"]}
        start = SETTINGS.offsets["own_flags"]
        struct.pack_into("<II", self._settings, start, own, others)
        table = self._loaded.map("parents")
        for path in self._parents - wanted:
            table.delete(PARENT.layout.pack(path.encode()))
        for path in wanted - self._parents:
            table.update(PARENT.layout.pack(path.encode()), b"\1")
        self._parents = wanted
        found: dict[str, int] = {}
        for cgroup in list_cgroups(unified_mount(), wanted):
            with contextlib.suppress(KernelError):  # gone meanwhile
                if cgroup.container:
                    found[cgroup.container] = self.watch_parent(cgroup.folder, own if cgroup.is_own else others)
                else:
                    self.set_flags(read_id(cgroup.folder), PARENT_OF_CONTAINERS)
        return found

    def set_flags(self, cgroup_id: int, flags: int) -> None:
        """Set the flags of one cgroup (EVENTS, CHILDREN, KILL_DRIFT), watching it if it was not. Takes effect at once."""
        if not self._control(CONSTANTS["CONTROL_SET"], checked_id(cgroup_id), flags):
            raise KernelError(f"cgroup {cgroup_id}", "no place is left in the table of watched cgroups", "stop some containers")

    def flags(self, cgroup_id: int) -> int:
        """The flags with which a cgroup is watched; 0 when it is not."""
        return next((watched.flags for watched in self._watched() if watched.cgroup_id == cgroup_id), 0)

    def unwatch(self, cgroup_id: int) -> None:
        """Produce nothing more for this cgroup; what waits is still delivered, its counters stay until the next sweep."""
        if self._control(CONSTANTS["CONTROL_SET"], checked_id(cgroup_id), _GONE):
            self._swept_ns = 0

    def _control(self, operation: int, cgroup_id: int, flags: int) -> int:
        with self._lock:
            return self._loaded.run_raw("control", operation, cgroup_id, flags)

    def leave_mount_namespace(self, inum: int) -> None:
        """Kill nothing that starts in this mount namespace (inode of /proc/PID/ns/mnt): an engine starts containers from there."""
        self._loaded.map("left_namespaces").update(inum.to_bytes(4, "little"), b"\1")

    def set_open_prefixes(self, prefixes: Iterable[str]) -> None:
        """Report successful read-only opens of paths that start with one of these (`/` for all). Replaces the former set.

        A prefix is a string, not a folder: `/etc/shadow` covers `/etc/shadow-`. Those longer than the key are cut, so cover more.
        """
        wanted = {prefix for prefix in prefixes if prefix}
        table = self._loaded.map("prefixes")
        self._set_words(wanted | self._prefixes)
        for prefix in wanted - self._prefixes:
            table.update(_prefix_key(prefix), b"\1")
        kept = {_prefix_key(prefix) for prefix in wanted}
        for prefix in self._prefixes - wanted:
            if (key := _prefix_key(prefix)) not in kept:
                table.delete(key)
        self._prefixes = wanted
        self._set_words(wanted)

    def _set_words(self, prefixes: Iterable[str]) -> None:
        put_words(self._settings, 0, tuple(prefix.encode("utf-8", "surrogateescape") for prefix in prefixes))

    def set_filter(self, wanted: KernelFilter | None) -> None:
        """Deliver from now on only what `wanted` passes (everything for None), at once and without a gap; cgroups UNFILTERED excepted.

        While a filter is in force, it alone decides about read-only opens: the wanted prefixes do not count.
        """
        with self._lock:
            self._filter.put(wanted)

    def set_rules(self, wanted: KernelFilter, calls: Iterable[str]) -> None:
        """Change to the filter and the calls of another rule set. What both ask for is delivered at every moment."""
        names = set(calls)
        self.set_calls(names | self._calls)
        self.set_filter(wanted)
        self.set_calls(names)

    def set_calls(self, names: Iterable[str]) -> None:
        """Read exactly these system calls (names of `abi.calls.CALLS`) from now on. Raises InputError on another name.

        All others are still counted.
        """
        wanted = set(names)
        if unknown := wanted - set(CALLS_BY_NAME):
            raise InputError(f"system call {min(unknown)}", "is not among those the sensor can read")
        self._calls = wanted
        start = SETTINGS.offsets["families"]
        for call in CALLS:
            self._settings[start + call.number] = FAMILY_NUMBERS[call.family] if call.name in wanted else 0

    def follow_pulse(self, cgroup_id: int) -> None:
        """Keep the events of this cgroup to ourselves (0: of none): their coming shows that the sensor sees."""
        self._pulse_id = cgroup_id

    def set_environment(self, *, wanted: bool) -> None:
        """Whether the event of an exec carries the environment: off at start, because secrets are kept there."""
        bits = CONSTANTS["SETTING_ENVIRONMENT"] if wanted else 0
        struct.pack_into("<I", self._settings, SETTINGS.offsets["bits"], bits)

    def set_unhurried(self, kinds: Iterable[str], calls: Iterable[str] = ()) -> None:
        """Events of these kinds (`abi.schema.KINDS`), and described calls of these names, wait for the next other event, for the time of a
        `poll`, or until they are many.

        For what nobody acts upon at once: waking the reader costs the process that acts some 20 µs.
        """
        bits = sum(1 << KIND_NUMBERS[kind] for kind in set(kinds))
        numbers = sum(1 << CALLS_BY_NAME[call].number for call in set(calls))
        struct.pack_into("<I", self._settings, SETTINGS.offsets["unhurried"], bits)
        start, size = SETTINGS.offsets["unhurried_calls"], CONSTANTS["CALLS_MAX"] // 8
        self._settings[start : start + size] = numbers.to_bytes(size, "little")

    # --- what comes back ---

    def poll(self, timeout_ms: int, on_event: Callable[[AnyEvent], None], skim: Skim | None = None) -> int:
        """Hand every waiting event to `on_event`, oldest first; wait up to `timeout_ms` when none waits. How many were handed over.

        With `skim`, records that it passes over are neither decoded nor handed to `on_event`: it was.
        Losses found since the last sweep (at least each second) are handed over as `Lost`. An exception of `on_event` passes through;
        the event it was given counts as delivered, later ones wait.
        """
        self._loaded  # noqa: B018  raises when not running
        count = self._drain(on_event, skim)
        if not count and timeout_ms and self._sleep(timeout_ms):
            count = self._drain(on_event, skim)
        if time.monotonic_ns() - self._swept_ns > _SWEEP_NS:
            count += self._sweep(on_event)
        return count

    def _sleep(self, timeout_ms: int) -> bool:
        """Whether records wait after sleeping until one comes that hurries, or the time is over."""
        self._asleep[0] = 1
        try:
            self._ring.wait(timeout_ms)
        finally:
            self._asleep[0] = 0
        return self._ring.pending_bytes() > 0

    def _drain(self, on_event: Callable[[AnyEvent], None], skim: Skim | None) -> int:
        count = 0
        while count < _BATCH and self._has_taken():
            taken = self._taken
            while self._next < len(taken):
                if skim is not None:
                    passed = skim(taken, self._next, self._seq, self._wall_offset_ns) - self._next
                    self._next += passed
                    self._seq += passed
                    count += passed
                    if self._next == len(taken):
                        break
                self._next += 1  # before it is handed over: an exception leaves the later ones
                count += self._hand_over(taken[self._next - 1], on_event)
        return count

    def boot_ns(self, time_ns: int) -> int:
        """The boot-time clock at `time_ns` since 1970, the time of an event."""
        return time_ns - self._wall_offset_ns

    def _has_taken(self) -> bool:
        """Whether records wait to be handed over; takes some from the ring when none is left, giving their cgroups credit for them."""
        if self._next == len(self._taken):
            self._taken, runs = self._ring.take(_TAKE, _TAKE_BYTES, HEADER.offsets["slot"])
            self._next = 0
            self._delivered += len(self._taken)
            first = 0
            for slot, records, size in runs:
                if slot < _SLOTS:
                    at = slot * _WATCH_WORDS
                    self._watches[at + _CONSUMED_WORD] += size
                    self._count(self._watches[at], records)  # of a cgroup that was made: itself, not its maker
                else:  # these have no place: no credit is counted, and each is told by the record itself
                    for data in self._taken[first : first + records]:
                        self._count(int.from_bytes(data[_CGROUP], "little"), 1)
                first += records
        return self._next < len(self._taken)

    def _count(self, cgroup_id: int, records: int) -> None:
        self._delivered_by_cgroup[cgroup_id] = self._delivered_by_cgroup.get(cgroup_id, 0) + records

    def _hand_over(self, data: bytes, on_event: Callable[[AnyEvent], None]) -> int:
        try:
            header = parse_header(data)
            if header.cgroup_id == self._pulse_id:
                self.pulse_seen_ns = time.monotonic_ns()
                return 0
            self._seq += 1
            event = decode_record(data, seq=self._seq, wall_offset_ns=self._wall_offset_ns, header=header)
        except InputError:
            self._undecodable += 1
            return 0
        on_event(event)
        return 1

    def _synchronise_clock(self) -> None:
        self._wall_offset_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def _watched(self) -> list[Watched]:
        words = self._watches
        classes = CONSTANTS["CLASSES"]
        found = []
        for slot, cgroup_id in enumerate(words[::_WATCH_WORDS].tolist()):
            if cgroup_id:
                at = slot * _WATCH_WORDS
                lost = words[at + _LOST_WORD : at + _LOST_WORD + classes].tolist()
                over = words[at + _OVER_WORD : at + _OVER_WORD + classes].tolist()
                filtered = words[at + _FILTERED_WORD : at + _FILTERED_WORD + classes].tolist()
                low = 0xFFFFFFFF
                flags, counting = words[at + _FLAGS_WORD] & low, words[at + _COUNTING_WORD] & low
                found.append(Watched(cgroup_id, words[at + 1], flags, counting, lost, over, filtered))
        crowded = self._loaded.map("crowded")
        for key in crowded.keys(8):
            value = crowded.lookup(key, WATCH.size_bytes)
            if value is not None:
                cgroup_id, sequence, _, _, flags, _, _, _, counting, *by_class = WATCH.layout.unpack(value)
                groups = (by_class[at : at + classes] for at in range(0, 3 * classes, classes))
                found.append(Watched(cgroup_id, sequence, flags, counting, *groups))
        return found

    def _sweep(self, on_event: Callable[[AnyEvent], None]) -> int:
        """Report losses; forget cgroups that are gone once everything of theirs has been read."""
        self._swept_ns = time.monotonic_ns()
        self._synchronise_clock()
        drained = self._ring.pending_bytes() == 0 and self._next == len(self._taken)
        count = 0
        none = [0] * CONSTANTS["CLASSES"]
        for watched in self._watched():
            cgroup_id = watched.cgroup_id
            before = self._reported.get(cgroup_id, (none, none))
            if (watched.lost, watched.over) != before:
                for cause, now_all, then_all in zip(("ring", "budget"), (watched.lost, watched.over), before, strict=True):
                    for number, (now, then) in enumerate(zip(now_all, then_all, strict=True)):
                        if now > then:
                            self._seq += 1
                            on_event(self._lost_event(cgroup_id, _class_name(number), now - then, cause))
                            count += 1
                self._reported[cgroup_id] = (watched.lost, watched.over)
                self._lost[cgroup_id] = _by_class(watched.lost)
                self._over[cgroup_id] = _by_class(watched.over)
            if watched.flags & _GONE and drained:
                self._forget(watched)
        return count

    def _forget(self, watched: Watched) -> None:
        if watched.counting:  # the next container in this slot begins at nothing
            zero = bytes(COUNTS.size_bytes * possible_cpus())
            self._loaded.map("counts").update(watched.counting.to_bytes(4, "little"), zero)
        self._control(CONSTANTS["CONTROL_FORGET"], watched.cgroup_id, 0)
        self._filtered_before = _totals({0: self._filtered_before, 1: _by_class(watched.filtered)})
        self._reported.pop(watched.cgroup_id, None)
        self._delivered_by_cgroup.pop(watched.cgroup_id, None)

    def _lost_event(self, cgroup_id: int, kind: str, count: int, cause: str) -> Lost:
        return Lost(
            seq=self._seq,
            time_ns=time.time_ns(),
            cgroup_id=cgroup_id,
            pid=0,
            tid=0,
            ppid=0,
            ns_pid=0,
            uid=0,
            gid=0,
            comm="",
            of=kind,
            count=count,
            cause=cause,
        )

    # --- its own health ---

    def counters(self) -> Counters:
        """What was delivered, lost and failed up to now."""
        lost_by_cgroup = {cgroup_id: lost for cgroup_id, lost in self._lost.items() if lost}
        over_by_cgroup = {cgroup_id: over for cgroup_id, over in self._over.items() if over}
        filtered_by_cgroup = {}
        issued = {}
        for watched in self._watched():
            issued[watched.cgroup_id] = watched.sequence + sum(watched.filtered)
            if any(watched.filtered):
                filtered_by_cgroup[watched.cgroup_id] = _by_class(watched.filtered)
            if any(watched.lost):
                lost_by_cgroup[watched.cgroup_id] = _by_class(watched.lost)
            if any(watched.over):
                over_by_cgroup[watched.cgroup_id] = _by_class(watched.over)
        return Counters(
            delivered=self._delivered,
            undecodable=self._undecodable,
            lost=_totals(lost_by_cgroup),
            lost_by_cgroup=lost_by_cgroup,
            over=_totals(over_by_cgroup),
            over_by_cgroup=over_by_cgroup,
            delivered_by_cgroup=dict(self._delivered_by_cgroup),
            issued=issued,
            helper_errors=self._helper_errors(),
            pending_bytes=self._ring.pending_bytes(),
            filtered=_totals({0: self._filtered_before, **filtered_by_cgroup}),
            filtered_by_cgroup=filtered_by_cgroup,
        )

    def calls(self) -> dict[int, dict[str, CallCount]]:
        """Cgroup id → name of the call → how often: every call of every watched cgroup since it is watched, 32-bit ones by their equal.

        `other` are calls without a number here. What is counted under id 0 belongs to the cgroups for which no slot was left.
        """
        table = self._loaded.map("counts")
        places = {watched.counting: watched.cgroup_id for watched in self._watched() if watched.counting}
        found = {}
        for slot, cgroup_id in {0: 0, **places}.items():
            value = table.lookup(slot.to_bytes(4, "little"), COUNTS.size_bytes * possible_cpus())
            if value is not None and (counts := _sum_counts(value)):
                found[cgroup_id] = counts
        return found

    def uncounted(self) -> list[int]:
        """Watched cgroups whose calls are counted together, under id 0, because the slots were all taken."""
        return [watched.cgroup_id for watched in self._watched() if not watched.counting]

    def _helper_errors(self) -> dict[str, int]:
        table = self._loaded.map("failures")
        errors = {}
        for program_number, program in enumerate(PROGRAMS):
            for helper_number, helper in enumerate(HELPERS):
                value = table.lookup((program_number * len(HELPERS) + helper_number).to_bytes(4, "little"), 8)
                if value and any(value):
                    errors[f"{program}/{helper}"] = int.from_bytes(value, "little")
        return errors

    def cost(self, pause: Callable[[float], object] = time.sleep) -> Cost | None:
        """What the sensor costs now, measured for a moment (`kernel.cost`); None where the kernel counts nothing."""
        return sample_cost(self._run_stats, "dispatch", pause)

    def _run_stats(self) -> dict[str, RunStats]:
        return {name: run_stats(fd) for name, fd in self._loaded.programs().items()}

    def self_check(self, on_event: Callable[[AnyEvent], None], timeout_ms: int = 2000) -> bool:
        """Whether an act of our own comes back: a process in a fresh watched cgroup makes a file-write and an exec.

        Its events go nowhere; all others that arrive meanwhile are handed to `on_event`. Raises KernelError when no cgroup can be made.
        """
        mount = unified_mount()
        folder = mount / f"shipwall-check-{os.getpid()}-{time.monotonic_ns()}"
        try:
            folder.mkdir()
        except OSError as error:
            raise KernelError(f"cgroup {folder}", error.strerror or str(error), errno=error.errno or 0) from error
        seen = set()
        cgroup_id = read_id(folder)

        def sort(event: AnyEvent) -> None:
            if event.cgroup_id != cgroup_id and not (isinstance(event, Cgroup) and event.made_id == cgroup_id):
                on_event(event)
            elif isinstance(event, Exec | Open):
                seen.add(type(event))

        try:
            self.set_flags(cgroup_id, EVENTS | UNFILTERED)
            # The shell waits for a line, so it acts only once it is inside.
            script = "read line && echo shipwall > /proc/self/comm && exec true"
            with subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
                assert child.stdin is not None
                join(folder, child.pid)
                child.stdin.write(b"go\n")
                child.stdin.close()
                child.wait(timeout=timeout_ms / 1000)
            deadline = time.monotonic_ns() + timeout_ms * 1_000_000
            while seen != {Exec, Open} and time.monotonic_ns() < deadline:
                self.poll(50, sort)
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.unwatch(cgroup_id)
            with contextlib.suppress(OSError):
                folder.rmdir()
        return seen == {Exec, Open}


def _prefix_key(prefix: str) -> bytes:
    path = prefix.encode("utf-8", "surrogateescape")[: CONSTANTS["PREFIX_MAX"]]
    return PREFIX.layout.pack(len(path) * 8, path)


def _flat(shape: Iterable[int | tuple[int, ...]]) -> list[bytes | int]:
    """The members of a shape as its layout packs them: pairs are byte strings."""
    return [bytes(member) if isinstance(member, tuple) else member for member in shape]


def _class_name(number: int) -> str:
    return _CLASSES.get(number, f"class {number}")


def _by_class(counts: list[int]) -> dict[str, int]:
    return {_class_name(number): count for number, count in enumerate(counts) if count}


def _totals(by_cgroup: dict[int, dict[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for by_class in by_cgroup.values():
        for kind, count in by_class.items():
            totals[kind] = totals.get(kind, 0) + count
    return totals


def _sum_counts(value: bytes) -> dict[str, CallCount]:
    """The counts of all CPUs together."""
    many = CONSTANTS["CALLS_MAX"]
    words = memoryview(value).cast("Q")
    each = COUNTS.size_bytes // 8
    found: dict[str, CallCount] = {}
    for number in range(many):
        calls = sum(words[at + number] for at in range(0, len(words), each))
        if calls:
            errors = sum(words[at + many + number] for at in range(0, len(words), each))
            name = NAMES.get(number, "other")
            before = found.get(name, CallCount(0, 0))
            found[name] = CallCount(before.calls + calls, before.errors + errors)
    return found
