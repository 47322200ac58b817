"""The network guard: refusals of connects, binds and messages put at containers' cgroups, and what was refused.

What is put there stays when this process ends, however it ends: programs, tables and links are pinned. The next guard with the same
`folder` finds them again. `take_away` ends all of it. *On failure*: open: an act the guard could not be put before is not refused, and the
raised error says so.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import shutil
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from shipwall.abi.btf import parse_object_btf
from shipwall.abi.guard_schema import (
    ACT,
    ANSWER,
    CONSTANTS,
    COUNT,
    DECISION,
    HOOKS,
    MEMBERSHIP,
    NETWORK,
    PLACE,
    PORT,
    PROTOCOLS,
    enumerators,
    structs,
)
from shipwall.abi.layouts import find_differences
from shipwall.kernel.bpf import OBJECTS, BpfObject, Map
from shipwall.kernel.cgroups import find_path, read_id
from shipwall.kernel.pins import link_to_cgroup, mount_pins, open_pin, pin, unmount_pins, wait_for_programs
from shipwall.kernel.ring import Ring
from shipwall.model.errors import KernelError
from shipwall.runtime.network_tables import MAX_REFUSALS, Refusal, Tables, compile_tables

# Hook → its programs and where they attach (enum bpf_attach_type in include/uapi/linux/bpf.h).
_PROGRAMS = {
    "connect": {"guard_connect4": 10, "guard_connect6": 11},
    "bind": {"guard_bind4": 8, "guard_bind6": 9},
    "sendmsg": {"guard_sendmsg4": 14, "guard_sendmsg6": 15},
}
_MAPS = ("networks", "ports", "acts", "counts", "places", "decisions")
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_HALF = (1 << MAX_REFUSALS) - 1


class InForce(NamedTuple):
    """What is in force at a cgroup."""

    cgroup_id: int
    policy: int
    refusals: tuple[Refusal, ...]


class _Kept(msgspec.Struct, frozen=True):
    """The same as it is kept beside the pins."""

    cgroup_id: int
    policy: int
    refusals: list[dict[str, Any]]


class Decision(NamedTuple):
    """An act that was refused (`denied`) or, by refusals in mode monitor, would have been. `rules`: all it met, the counted one first.

    `time_ns` since boot; `address` as text, an IPv4 address inside IPv6 as the caller wrote it.
    """

    time_ns: int
    cgroup_id: int
    pid: int
    tid: int
    uid: int
    comm: str
    hook: str
    protocol: str
    address: str
    port: int
    denied: bool
    rules: tuple[str, ...]


class NetworkGuard:
    """The guard of an installation, its traces in `folder` (on the host's own mounts). Close it, or leave `with`: what it refuses stays."""

    def __init__(self, folder: Path, object_path: Path = OBJECTS / "guard.bpf.o") -> None:
        """Find the guard in `folder`, or load one. Raises KernelError (errno, program, verifier log), UnsupportedError."""
        self._pins = folder / "pins"
        self._kept = folder / "policies"
        data = _checked(object_path)
        self._version = hashlib.sha256(data).hexdigest()[:16]
        mount_pins(self._pins)
        self._kept.mkdir(exist_ok=True, mode=0o700)
        here = self._pins / self._version
        if not here.exists():
            self._load(object_path)
        self._fds = {path.name: _must_open(path) for path in here.iterdir() if path.name != "links"}
        self._maps = {name: Map(name, self._fds[name]) for name in _MAPS}
        self._ring = Ring(self._maps["decisions"], CONSTANTS["RING_BYTES"])
        self._in_force = dict(self._read_kept())

    def _load(self, object_path: Path) -> None:
        """Load, and pin under a name that says nothing yet; the rename makes it whole at once."""
        fresh = self._pins / f"new-{os.getpid()}"
        fresh.mkdir(mode=0o700)
        (fresh / "links").mkdir(mode=0o700)
        with BpfObject(object_path) as loaded:
            for name, fd in loaded.programs().items():
                pin(fd, fresh / name)
            for name in _MAPS:
                pin(loaded.map(name).fd, fresh / name)
        fresh.rename(self._pins / self._version)

    # --- what is in force ---

    def apply(self, cgroup: Path, refusals: tuple[Refusal, ...]) -> None:
        """Put `refusals` in force at the container's cgroup, in the place of what was: with one write, never neither. Empty: `release`.

        Raises KernelError (the cgroup is gone, a table is full), InputError (too many refusals).
        """
        if not refusals:
            self.release(read_id(cgroup))
            return
        cgroup_id = read_id(cgroup)
        before = self._in_force.get(cgroup_id)
        tables = compile_tables(refusals)
        policy = secrets.randbelow((1 << 32) - 1) + 1
        entries = list(_entries(tables, len(refusals), policy))
        written: list[tuple[str, bytes]] = []
        try:
            for name, key, value in entries:
                self._maps[name].update(key, value)
                written.append((name, key))
            now = InForce(cgroup_id, policy, refusals)
            self._attach(cgroup, cgroup_id, {hook for refusal in refusals for hook in refusal.hooks})
            self._keep(now)
            self._switch(cgroup_id, policy)
        except BaseException:
            self._forget_entries(written)
            raise
        self._in_force[cgroup_id] = now
        self._detach_others(cgroup_id, {hook for refusal in refusals for hook in refusal.hooks})
        if before is not None and before.policy != policy:
            self._retire(before)

    def release(self, cgroup_id: int) -> None:
        """Refuse nothing at the cgroup any more; it may be gone."""
        before = self._in_force.pop(cgroup_id, None)
        with suppress(KernelError):  # gone, or never attached
            self._switch(cgroup_id, 0)
        self._detach_others(cgroup_id, set())
        if before is not None:
            self._retire(before)
        (self._kept / f"{cgroup_id}.json").unlink(missing_ok=True)

    def sweep(self) -> list[int]:
        """Forget cgroups that are gone; their ids."""
        gone = [cgroup_id for cgroup_id in self._in_force if find_path(cgroup_id) is None]
        for cgroup_id in gone:
            self.release(cgroup_id)
        return gone

    def in_force(self) -> dict[int, tuple[Refusal, ...]]:
        """What is in force, by cgroup id: also what an earlier process put there."""
        return {cgroup_id: found.refusals for cgroup_id, found in self._in_force.items()}

    def is_attached(self, cgroup_id: int) -> bool:
        """Whether the cgroup's programs are attached and its policy is the one kept: read from the kernel."""
        found = self._in_force.get(cgroup_id)
        value = self._maps["places"].lookup(_U64.pack(cgroup_id), PLACE.size_bytes)
        if found is None or value is None or PLACE.layout.unpack(value)[1] != found.policy:
            return False
        hooks = {hook for refusal in found.refusals for hook in refusal.hooks}
        return all(self._link(cgroup_id, program).exists() for hook in hooks for program in _PROGRAMS[hook])

    # --- what happened ---

    def counts(self, cgroup_id: int) -> tuple[list[int], int]:
        """How often each refusal in force was the one an act was counted for, and how many of those acts could not be told."""
        found = self._in_force.get(cgroup_id)
        if found is None:
            return [], 0
        numbers = [*range(len(found.refusals)), CONSTANTS["UNTOLD"]]
        values = [self._maps["counts"].lookup(COUNT.layout.pack(found.policy, number), 8) for number in numbers]
        *each, untold = [_U64.unpack(value)[0] if value else 0 for value in values]
        return each, untold

    def decisions(self, limit: int = 10_000) -> Iterator[Decision]:
        """The acts refused since the last call, oldest first, at most `limit`."""
        by_policy = {found.policy: found for found in self._in_force.values()}
        records, _ = self._ring.take(limit, CONSTANTS["RING_BYTES"], 0)
        for record in records:
            yield _decision(record, by_policy)

    def close(self) -> None:
        """Let go; what is in force stays in force."""
        self._ring.close()
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- inside ---

    def _link(self, cgroup_id: int, program: str) -> Path:
        return self._pins / self._version / "links" / f"{cgroup_id}-{program}"

    def _attach(self, cgroup: Path, cgroup_id: int, hooks: set[str]) -> None:
        for hook in hooks:
            for program, attach_type in _PROGRAMS[hook].items():
                path = self._link(cgroup_id, program)
                if path.exists():
                    continue
                fd = link_to_cgroup(self._fds[program], cgroup, attach_type)
                try:
                    pin(fd, path)
                finally:
                    os.close(fd)

    def _detach_others(self, cgroup_id: int, hooks: set[str]) -> None:
        """Take away links of other hooks than `hooks`, and all those of other versions."""
        kept = {self._link(cgroup_id, program) for hook in hooks for program in _PROGRAMS[hook]}
        for path in self._pins.glob(f"*/links/{cgroup_id}-*"):
            if path not in kept:
                path.unlink()
        for folder in self._pins.iterdir():
            if folder.is_dir() and folder.name != self._version and not any((folder / "links").glob("*")):
                shutil.rmtree(folder)  # an older version that nothing rests on any more

    def _switch(self, cgroup_id: int, policy: int) -> None:
        self._maps["places"].update(_U64.pack(cgroup_id), PLACE.layout.pack(cgroup_id, policy))

    def _keep(self, now: InForce) -> None:
        path = self._kept / f"{now.cgroup_id}.json"
        fresh = path.with_suffix(".new")
        fresh.write_bytes(
            msgspec.json.encode(
                _Kept(now.cgroup_id, now.policy, [msgspec.to_builtins(one, enc_hook=str) for one in now.refusals])
            )
        )
        fresh.replace(path)

    def _read_kept(self) -> Iterator[tuple[int, InForce]]:
        for path in self._kept.glob("*.json"):
            with suppress(
                msgspec.MsgspecError, KeyError, TypeError, ValueError, OSError
            ):  # cut short by a crash: the links are still found by `release`
                found = msgspec.json.decode(path.read_bytes(), type=_Kept)
                refusals = tuple(_refusal(one) for one in found.refusals)
                yield found.cgroup_id, InForce(found.cgroup_id, found.policy, refusals)

    def _retire(self, before: InForce) -> None:
        """Remove the tables of a policy, after the last program that may read them has ended."""
        wait_for_programs()
        entries = _entries(compile_tables(before.refusals), len(before.refusals), before.policy)
        self._forget_entries([(name, key) for name, key, _ in entries])

    def _forget_entries(self, written: list[tuple[str, bytes]]) -> None:
        for name, key in written:
            self._maps[name].delete(key)


def take_away(folder: Path) -> list[str]:
    """Lines saying what was taken away: nothing of the guard in `folder` is in force afterwards. Right also when half of it is there."""
    said = []
    pins = folder / "pins"
    if pins.exists():
        links = len(list(pins.glob("*/links/*")))
        for path in pins.glob("*/links/*"):  # before the lazy unmount, which another user of the mount would outlive
            path.unlink()
        if unmount_pins(pins):
            said.append(f"took {links} links of the network guard off")
    if folder.exists():
        shutil.rmtree(folder)
    return said


def _checked(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KernelError(f"BPF object {path.name}", "is missing", "build it: make bpf", errno=error.errno or 0) from error
    if differences := find_differences(parse_object_btf(data), structs(), enumerators()):
        raise KernelError(
            f"BPF object {path.name}", f"was built for another Shipwall: {differences[0]}", "build it anew: make bpf"
        )
    return data


def _must_open(path: Path) -> int:
    fd = open_pin(path)
    if fd is None:
        raise KernelError(f"BPF pin {path.name}", "has gone", "run: shipwall cleanup")
    return fd


def _refusal(kept: dict[str, Any]) -> Refusal:
    """Raises KeyError, TypeError, ValueError when it is none."""
    within, outside = (tuple(ipaddress.ip_network(text) for text in kept[name]) for name in ("within", "outside"))
    return Refusal(
        rule=str(kept["rule"]),
        mode=str(kept["mode"]),
        hooks=frozenset(kept["hooks"]),
        protocols=frozenset(kept["protocols"]),
        families=frozenset(kept["families"]),
        within=within,
        outside=outside,
        ports=tuple((int(low), int(high)) for low, high in kept["ports"]),
    )


def _entries(tables: Tables, refusals: int, policy: int) -> Iterator[tuple[str, bytes, bytes]]:
    """(map, key, value) of everything a policy needs."""
    for number in (*range(refusals), CONSTANTS["UNTOLD"]):
        yield "counts", COUNT.layout.pack(policy, number), _U64.pack(0)
    for (family, address, bits), members in tables.networks.items():
        key = NETWORK.layout.pack(CONSTANTS["FAMILY_BITS"] + bits, policy, family, address)
        yield "networks", key, MEMBERSHIP.layout.pack(members & _HALF, members >> MAX_REFUSALS)
    for (port, bits), members in tables.ports.items():
        yield "ports", PORT.layout.pack(CONSTANTS["POLICY_BITS"] + bits, policy, port.to_bytes(2, "big")), _U64.pack(members)
    for (hook, family, protocol), members in tables.acts.items():
        key = ACT.layout.pack(policy, HOOKS.index(hook), family, PROTOCOLS.index(protocol))
        yield "acts", key, ANSWER.layout.pack(members, tables.deny)


def _decision(record: bytes, by_policy: dict[int, InForce]) -> Decision:
    time_ns, hits, cgroup_id, policy, pid, tid, uid, refusal, hook, family, protocol, denied, port, address, comm = (
        DECISION.layout.unpack_from(record)
    )
    found = by_policy.get(policy)
    numbers = [refusal, *(number for number in range(MAX_REFUSALS) if hits >> number & 1 and number != refusal)]
    rules = tuple(found.refusals[number].rule for number in numbers) if found is not None else ()
    return Decision(
        time_ns, cgroup_id, pid, tid, uid, comm.rstrip(b"\0").decode(errors="replace"), HOOKS[hook], PROTOCOLS[protocol],
        str(ipaddress.ip_address(address[:4] if family == 4 else address)), int.from_bytes(port, "big"), bool(denied),
        tuple(dict.fromkeys(rules)),
    )  # fmt: skip
