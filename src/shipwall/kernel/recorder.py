"""The flight recorder, read: what a container did before anybody was alarmed. Kernel part: `bpf/recorder.h`.

Shares are given to cgroups and taken back here; the kernel part only writes. Reading changes nothing and may happen while it writes: what
is overwritten meanwhile is left out.
"""

from __future__ import annotations

import ctypes
import struct
from typing import NamedTuple

from shipwall.kernel.bpf import BpfObject
from shipwall.model.errors import InputError, UnsupportedError

GRANULE = 0x10000
RECORD_MAX = 0x2000
SHARES = 256
GRANULES = 227
DEFAULT_SHARE_GRANULES = 4
_FILLING = 1
_HEAD = struct.Struct("<QII")
_SHARE = struct.Struct("<QQQII")
_GRANULE_BYTES = GRANULE + RECORD_MAX + _HEAD.size


class Before(NamedTuple):
    """What a share held: whole records as the sensor made them, oldest first. `written` bytes since the share was given, `kept` of them.

    `left_out`: records that were too long; `torn`: places where a writer was at work, whose records are missing.
    """

    records: tuple[bytes, ...]
    written: int
    kept: int
    left_out: int
    torn: int


class Recorder:
    """The recorder of a loaded object that includes `recorder.h`. Close it before the object."""

    def __init__(self, loaded: BpfObject, granules: int = GRANULES) -> None:
        """`granules` as the map was resized to. Raises KernelError."""
        self._maps = [
            loaded.map("recorder_shares").mapped(_SHARE.size * SHARES),
            loaded.map("recorder_granules").mapped(_GRANULE_BYTES * granules),
        ]
        self._shares, self._bytes = (memoryview(mapped) for mapped in self._maps)
        self._free = set(range(granules))
        self._given: dict[int, tuple[int, range]] = {}

    def give(self, cgroup_id: int, granules: int = DEFAULT_SHARE_GRANULES) -> int:
        """The number of the share that records for this cgroup from now on (the sensor's `record_call` wants it).

        Raises UnsupportedError when no share or no run of so many granules is free: then nothing is recorded for it.
        """
        if granules < 2 or granules & (granules - 1):
            raise InputError(f"share of {granules} granules", "is not a power of two of at least 2")
        if cgroup_id in self._given:
            return self._given[cgroup_id][0]
        taken = {number for number, _ in self._given.values()}
        number = next((number for number in range(1, SHARES) if number not in taken), 0)
        first = next((at for at in sorted(self._free) if self._free.issuperset(range(at, at + granules))), -1)
        if not number or first < 0:
            raise UnsupportedError(
                f"flight recorder of cgroup {cgroup_id}", "no room is left", "give fewer containers a share, or smaller ones"
            )
        run = range(first, first + granules)
        for granule in run:  # the seals of whoever had it before would be taken for ours
            start = granule * _GRANULE_BYTES
            self._bytes[start : start + GRANULE] = bytes(GRANULE)
        # Positions start above 0, which is what empty memory bears; granules come last, because they begin the recording.
        struct.pack_into("<QQQI", self._shares, number * _SHARE.size, granules * GRANULE, cgroup_id, 0, first)
        struct.pack_into("<I", self._shares, number * _SHARE.size + 28, granules)
        self._free -= set(run)
        self._given[cgroup_id] = (number, run)
        return number

    def give_back(self, cgroup_id: int) -> None:
        """Record nothing more for this cgroup. First tell the sensor to name the share no more."""
        number, run = self._given.pop(cgroup_id, (0, range(0)))
        if number:
            struct.pack_into("<I", self._shares, number * _SHARE.size + 28, 0)
            self._free |= set(run)

    def take(self, cgroup_id: int) -> Before | None:
        """What the cgroup's share holds now; None when it has none."""
        if cgroup_id not in self._given:
            return None
        number, run = self._given[cgroup_id]
        share_bytes = len(run) * GRANULE
        written = self._written(number)
        found: list[tuple[int, bytes]] = []
        torn = 0
        current = written // GRANULE
        # The oldest granule is the one that is being written: what is left of its former lap cannot be found.
        for turn in range(max(current - len(run) + 1, len(run)), current + 1):
            base = (run.start + turn % len(run)) * _GRANULE_BYTES
            torn += not self._walk(base, turn * GRANULE, min(written, (turn + 1) * GRANULE), found)
        lapped = self._written(number) - share_bytes
        records = tuple(data for at, data in found if at >= lapped)
        _, _, left_out, _, _ = _SHARE.unpack_from(self._shares, number * _SHARE.size)
        return Before(records, written - share_bytes, sum(map(len, records)), left_out, torn)

    def _written(self, number: int) -> int:
        return ctypes.c_uint64.from_buffer(self._shares, number * _SHARE.size).value  # one load

    def _walk(self, base: int, start: int, end: int, found: list[tuple[int, bytes]]) -> bool:
        """Add the records sealed from position `start` to `end`, whose bytes begin at `base`; whether none was missing."""
        at = start
        while at < end:
            place = base + at - start
            seal, length, kind = _HEAD.unpack_from(self._bytes, place)
            if seal != at or at - start + _HEAD.size + length > GRANULE:
                return False
            if kind != _FILLING:
                found.append((at, bytes(self._bytes[place + _HEAD.size : place + _HEAD.size + length])))
            at += (length + _HEAD.size + 15) & ~15
        return True

    def close(self) -> None:
        """Give the memory back."""
        self._shares.release()
        self._bytes.release()
        for mapped in self._maps:
            mapped.close()
