"""The name guard: BPF LSM programs that refuse opening, making, removing, renaming and executing files by their names.

Only where they load (`shipwall doctor`: lsm). Nothing is pinned: what is refused ends with this process. Not used by the agent yet.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from shipwall.kernel.bpf import OBJECTS, BpfObject
from shipwall.model.errors import InputError

ACTS = {"open": 1, "create": 2, "remove": 4, "rename": 8, "exec": 16}
PROGRAMS = ("name_open", "name_create", "name_remove", "name_rename", "name_exec")
MAX_PATH = 248
_MONITOR = 0x100
_KEY = struct.Struct("<II248s")
_COUNTS = struct.Struct("<QQQ")


class NameCounts(NamedTuple):
    """Acts refused, acts that would have been (monitor), and acts on paths too long to be matched."""

    denied: int
    would: int
    too_long: int


class NameGuard:
    """The programs, attached from entering the context to leaving it."""

    def __init__(self, object_path: Path = OBJECTS / "names.bpf.o") -> None:
        """Raises KernelError where the kernel takes no LSM programs."""
        self._object = BpfObject(object_path)
        self._policies: dict[int, tuple[int, list[bytes]]] = {}
        try:
            for name in PROGRAMS:
                self._object.attach(name)
        except BaseException:
            self._object.close()
            raise

    def put(self, cgroup_id: int, refused: Mapping[str, frozenset[str]], *, monitor: bool = False) -> None:
        """Refuse in the cgroup: path → acts. A path that ends in `/` stands for all below it. Raises InputError, KernelError.

        A path is one inside its file system: for a container's root, as the container sees it.
        """
        self.release(cgroup_id)
        policy = len(self._policies) + 1
        while any(policy == taken for taken, _ in self._policies.values()):
            policy += 1
        keys = []
        for path, acts in refused.items():
            encoded = path.encode() + (b"" if path.endswith("/") else b"\0")
            if not path.startswith("/") or len(encoded) > MAX_PATH or b"\0" in path.encode():
                raise InputError(f"path {path[:80]!r}", f"is not absolute, or longer than {MAX_PATH} bytes")
            bits = sum(ACTS[act] for act in acts) | (_MONITOR if monitor else 0)
            key = _KEY.pack(32 + 8 * len(encoded), policy, encoded)
            self._object.map("names").update(key, bits.to_bytes(4, "little"))
            keys.append(key)
        self._object.map("name_counts").update(policy.to_bytes(4, "little"), bytes(_COUNTS.size))
        self._object.map("name_policies").update(cgroup_id.to_bytes(8, "little"), policy.to_bytes(4, "little"))
        self._policies[cgroup_id] = (policy, keys)

    def release(self, cgroup_id: int) -> None:
        """Refuse nothing in the cgroup any more."""
        policy, keys = self._policies.pop(cgroup_id, (0, []))
        if policy:
            self._object.map("name_policies").delete(cgroup_id.to_bytes(8, "little"))
            for key in keys:
                self._object.map("names").delete(key)
            self._object.map("name_counts").delete(policy.to_bytes(4, "little"))

    def counts(self, cgroup_id: int) -> NameCounts:
        """What was refused in the cgroup."""
        policy, _ = self._policies[cgroup_id]
        value = self._object.map("name_counts").lookup(policy.to_bytes(4, "little"), _COUNTS.size)
        return NameCounts._make(_COUNTS.unpack(value or bytes(_COUNTS.size)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._object.close()
