"""Collects the evidence of a frozen container into one sealed bundle.

Order: what is small and cannot be had again first (alert, plan, processes, sockets), then files, then memory up to its budget. Records:
`alert` `plan` `receipts` `container` `image` `events` `processes` `process` `maps` `environment` `sockets` `mounts` `files` `file`
`memory` `skipped`, each JSON but for raw `maps`, `environment`, `file` and `memory`. What is not in the bundle is in `skipped`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from shipwall.adapters.evidence import EvidenceStore
from shipwall.kernel import capture
from shipwall.kernel.rootfs import FileFact, MountPoint, RootFolder, readable
from shipwall.lang.rfc3339 import parse_rfc3339
from shipwall.model.alert import Alert
from shipwall.model.digest import Digest, ImageIdentity, digest_of
from shipwall.model.errors import InputError, KernelError, StorageError, TrustError
from shipwall.model.event import AnyEvent
from shipwall.model.package import Skipped
from shipwall.response.evidence import START, Report, Seal, Writer, parse_statement, read_bundle, verify_bundle
from shipwall.response.plan import Plan
from shipwall.supply.dsse import PublicKeys, Signer, parse_envelope, render_envelope, sign_envelope, verify_envelope

SEAL_TYPE = "application/vnd.in-toto+json"
KEY_NAME = "evidence"

_CHANGES = {0: "changed", 1: "added", 2: "deleted"}
_EVENT_BATCH = 2_000

Sign = Callable[[bytes], bytes]


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about the incident that is not read from the container. `container`: the engine's inspect record from before the cut;
    `changes`: what the engine says differs from the image; `receipts`: the plan's journal so far."""

    plan: Plan
    alert: Alert | None
    events: tuple[AnyEvent, ...]
    container: dict[str, Any]
    image: dict[str, Any]
    identity: ImageIdentity | None
    changes: tuple[dict[str, Any], ...]
    receipts: tuple[Any, ...]
    skipped: tuple[Skipped, ...] = ()


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed bundle and what it holds, counted."""

    bundle: str
    head: Digest
    records: int
    size_bytes: int
    path: str
    processes: int = 0
    files: int = 0
    memory_bytes: int = 0
    skipped: int = 0


def seal_with(signer: Signer) -> Sign:
    """What puts a statement into an envelope signed by `signer`."""
    return lambda payload: sign_envelope(SEAL_TYPE, payload, signer)


def open_with(keys: PublicKeys) -> Callable[[bytes], tuple[bytes, str]]:
    """What gives the payload of an envelope signed by exactly one of `keys` (from outside the bundle), and the key's name.

    An envelope has one form only: another spelling of the same JSON, or a second signature nobody checks, is refused.
    """

    def open_seal(envelope: bytes) -> tuple[bytes, str]:
        verified = verify_envelope(envelope, keys, SEAL_TYPE)
        parsed = parse_envelope(envelope)
        if render_envelope(parsed) != envelope or len(parsed.signatures) != 1:
            raise TrustError("evidence seal", "is not in its one form", "do not rely on it")
        return verified.payload, verified.signers[0].name

    return open_seal


def verify_evidence(path: Path, keys: PublicKeys, expected: dict[str, str] | None = None) -> Report:
    """What the sound bundle at `path` holds. Raises TrustError naming the step that failed, StorageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return verify_bundle(file, open_with(keys), expected)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "name a bundle: shipwall evidence list") from error


def collect(
    scene: Scene, pids: Sequence[int], store: EvidenceStore, sign: Sign, now_ns: Callable[[], int] = time.time_ns
) -> Sealed:
    """Seal a bundle about the frozen processes `pids` (root namespace) in `store`; its id is the plan's.

    *Raises*: StorageError when the disk does not take it (nothing is left of it then).
    """
    bundle = scene.plan.id
    with store.writing(bundle) as file:
        return _Collector(scene, file).run(bundle, list(pids), str(store.path(bundle)), sign, now_ns)


class _Collector:
    """One collection in progress."""

    def __init__(self, scene: Scene, file: BinaryIO) -> None:
        self.scene = scene
        self.writer = Writer(file)
        self.skipped: list[Skipped] = list(scene.skipped)
        self.file_budget = scene.plan.file_bytes
        self.memory_bytes = 0
        self.files: list[FileFact] = []

    def run(self, bundle: str, pids: list[int], path: str, sign: Sign, now_ns: Callable[[], int]) -> Sealed:
        scene, plan = self.scene, self.scene.plan
        if scene.alert is not None:
            self._json("alert", "alert.json", scene.alert)
        self._json("plan", "plan.json", plan)
        self._json("receipts", "receipts.json", scene.receipts)
        self._json("container", "container.json", scene.container)
        self._json("image", "image.json", {"engine": scene.image, "identity": scene.identity, "reference": plan.image})
        self.writer.add_parts("events", "events.jsonl", _lines(scene.events))
        if not pids:
            self.skip(Skipped(what="processes, files and memory", reason="no process of the container is left"))
        processes = self._processes(pids)
        root_pid = _choose_root(processes)
        mounts = self._files(root_pid) if root_pid else []
        self._deleted(processes)
        self._memory(processes, mounts)
        self._json("skipped", "skipped.json", self.skipped)
        seal: Seal = self.writer.seal(
            sign,
            bundle=bundle,
            node=plan.node,
            container=plan.container,
            alert=plan.alert,
            plan=plan.id,
            image_digest=plan.image_digest,
            sealed_ns=now_ns(),
        )
        return Sealed(
            bundle=bundle,
            head=seal.head,
            records=seal.records,
            size_bytes=self.writer.size_bytes,
            path=path,
            processes=len(processes),
            files=len(self.files),
            memory_bytes=self.memory_bytes,
            skipped=len(self.skipped),
        )

    def skip(self, what: Skipped) -> None:
        self.skipped.append(what)

    def _json(self, kind: str, name: str, value: Any) -> None:
        self.writer.add(kind, name, msgspec.json.encode(value))

    # -- processes ------------------------------------------------------------------------------------------------------

    def _processes(self, pids: list[int]) -> list[capture.ProcessState]:
        found = [state for pid in pids if (state := capture.read_process(pid, self.skip)) is not None]
        self._json("processes", "processes.json", found)
        for state in found:
            folder = Path(f"/proc/{state.pid}")
            for kind, name in (
                ("maps", "maps"),
                ("process", "status"),
                ("process", "stat"),
                ("process", "cgroup"),
                ("process", "limits"),
            ):
                data = capture.read_small(folder / name, f"{name} of {state.pid}", self.skip)
                self.writer.add(kind, f"process/{state.pid}/{name}", data)
            for name in ("cmdline", "environ"):
                data = capture.read_small(folder / name, f"{name} of {state.pid}", self.skip)
                self.writer.add("environment", f"process/{state.pid}/{name}", data)
        self._json("sockets", "sockets.json", capture.read_sockets(found, self.skip))
        return found

    # -- files ----------------------------------------------------------------------------------------------------------

    def _files(self, pid: int) -> list[MountPoint]:
        try:
            with RootFolder(pid) as root:
                mounts = root.mounts()
                self._json("mounts", "mounts.json", mounts)
                for change in self.scene.changes:
                    path, kind = str(change.get("Path", "")), _CHANGES.get(change.get("Kind", -1), "unknown")
                    if path.startswith("/"):
                        self._file(root, path, "/", kind)
                born_ns = parse_rfc3339(str(self.scene.container.get("Created", "")))
                seen = set()
                for mount in mounts:
                    if mount.path == "/" or not mount.is_readable or mount.path in seen:
                        continue
                    seen.add(mount.path)
                    self._mount(root, mount, born_ns)
                for mount in mounts:
                    if not mount.is_readable and mount.kind.startswith(("fuse", "nfs", "cifs", "9p", "ceph")):
                        self.skip(Skipped(what=f"mount {mount.path}", reason=f"{mount.kind} may not answer while frozen"))
        except (KernelError, OSError) as error:
            self.skip(Skipped(what="files of the container", reason=str(error)))
            mounts = []
        self._json("files", "files.json", self.files)
        return mounts

    def _mount(self, root: RootFolder, mount: MountPoint, born_ns: int) -> None:
        """All of a tmpfs; of other mounts what changed since the container was made (its maker put the rest there)."""
        older = 0
        for path in root.walk(mount.path, self.skip):
            try:
                if mount.kind != "tmpfs" and root.look(path, mount.path, "present").changed_ns < born_ns:
                    older += 1
                    continue
            except OSError as error:
                self.skip(Skipped(what=f"file {readable(path)}", reason=error.strerror or str(error)))
                continue
            self._file(root, path, mount.path, "added" if mount.kind == "tmpfs" else "changed")
        if older:
            self.skip(Skipped(what=f"{older} files of mount {mount.path}", reason="older than the container"))

    def _file(self, root: RootFolder, path: str, mount: str, change: str) -> None:
        """Note the file; a regular one with its hash, and its bytes while the budget lasts."""
        try:
            fact = root.look(path, mount, change)
            if fact.kind == "file" and change != "deleted":
                fact = msgspec.structs.replace(fact, sha256=self._content(root, path, fact))
        except OSError as error:
            self.skip(Skipped(what=f"file {readable(path)}", reason=error.strerror or str(error)))
            return
        self.files.append(fact)

    def _content(self, root: RootFolder, path: str, fact: FileFact) -> Digest:
        if fact.size > self.file_budget:
            self.skip(Skipped(what=f"content of {fact.path} ({fact.size} bytes)", reason="over the budget for files"))
            return root.hash(path)
        taken = [0]
        digest = self.writer.add_parts("file", f"files{fact.path}", _within(root.read(path), self.file_budget, taken))
        self.file_budget -= taken[0]
        if taken[0] < fact.size:
            self.skip(Skipped(what=f"content of {fact.path}", reason=f"cut at {taken[0]} of {fact.size} bytes"))
        return digest

    def _deleted(self, processes: Iterable[capture.ProcessState]) -> None:
        """Open files and programs that have no name any more, each content once."""
        seen: set[object] = set()
        for state in processes:
            if state.exe.endswith(" (deleted)") and state.exe_sha256 not in seen:
                seen.add(state.exe_sha256)
                self._nameless(f"program of {state.pid}", f"deleted/{state.pid}/exe", partial(capture.read_exe, state.pid))
            for one in state.descriptors:
                is_nameless = one.target.endswith(" (deleted)") or one.target.startswith("/memfd:")
                if is_nameless and (one.target, one.mount, one.inode) not in seen:
                    seen.add((one.target, one.mount, one.inode))
                    name = f"deleted/{state.pid}/{one.fd}"
                    self._nameless(f"{one.target} of {state.pid}", name, partial(capture.read_descriptor, state.pid, one.fd))

    def _nameless(self, what: str, name: str, read: Callable[[], Iterator[bytes]]) -> None:
        taken = [0]
        try:
            self.writer.add_parts("file", name, _within(read(), self.file_budget, taken))
        except OSError as error:
            self.skip(Skipped(what=what, reason=error.strerror or str(error)))
        if taken[0] >= self.file_budget:
            self.skip(Skipped(what=what, reason=f"cut at {taken[0]} bytes: over the budget for files"))
        self.file_budget -= taken[0]

    # -- memory ---------------------------------------------------------------------------------------------------------

    def _memory(self, processes: list[capture.ProcessState], mounts: list[MountPoint]) -> None:
        """Runs of pages, the process of the alert first; what the budget does not cover is told run by run."""
        unsafe = frozenset(
            hexadecimal(mount.device)
            for mount in mounts
            if not mount.is_readable and mount.kind.startswith(("fuse", "nfs", "cifs", "9p"))
        )
        guilty = self.scene.alert.event.pid if self.scene.alert is not None else 0
        for state in sorted(processes, key=lambda one: (one.pid != guilty, one.pid)):
            for run in capture.find_runs(state.pid, self.skip, unsafe):
                size = run.end - run.start
                if self.memory_bytes + size > self.scene.plan.memory_bytes:
                    what = f"memory of {state.pid} at {run.start:x}-{run.end:x} {run.mapping.name}".rstrip()
                    self.skip(Skipped(what=what, reason=f"{size} bytes over the budget for memory"))
                    continue
                name = f"memory/{state.pid}/{run.start:x}-{run.end:x}"
                try:
                    self.writer.add_parts("memory", name, capture.read_run(state.pid, run, self.skip))
                except OSError as error:
                    self.skip(Skipped(what=f"memory of {state.pid}", reason=error.strerror or str(error)))
                    break
                self.memory_bytes += size


def hexadecimal(device: str) -> str:
    """`253:0` of mountinfo as `fd:00` of maps."""
    major, _, minor = device.partition(":")
    return f"{int(major):02x}:{int(minor):02x}"


def _choose_root(processes: Iterable[capture.ProcessState]) -> int:
    """The process whose view of the files is the container's: its first; 0 when there is none."""
    ordered = sorted(processes, key=lambda state: (state.ns_pid != 1, state.pid))
    return ordered[0].pid if ordered else 0


def _lines(events: Iterable[AnyEvent]) -> Iterator[bytes]:
    """The events as lines of JSON, in parts."""
    batch: list[bytes] = []
    for event in events:
        batch.append(msgspec.json.encode(event) + b"\n")
        if len(batch) >= _EVENT_BATCH:
            yield b"".join(batch)
            batch.clear()
    if batch:
        yield b"".join(batch)


def _within(parts: Iterable[bytes], budget: int, taken: list[int]) -> Iterator[bytes]:
    """`parts` up to `budget` bytes; `taken[0]` counts them. A file that grows meanwhile (on a shared volume) cannot overrun it.

    A read that fails after the first byte ends the item there: the caller sees it in the count.
    """
    iterator = iter(parts)
    while taken[0] < budget:
        try:
            part = next(iterator, b"")
        except OSError:
            if taken[0]:
                return
            raise
        if not part:
            return
        part = part[: budget - taken[0]]
        taken[0] += len(part)
        yield part


def describe_bundle(path: Path) -> Sealed:
    """What the bundle at `path` calls itself. Its chain is checked; who signed it is not (`verify_evidence` does that).

    *Raises*: TrustError, StorageError.
    """
    head, count = START, 0
    seal: Seal | None = None
    try:
        with path.open("rb") as file:
            for item in read_bundle(file):
                if isinstance(item, bytes):
                    seal = parse_statement(parse_envelope(item).payload)
                else:
                    head, count = digest_of(msgspec.json.encode(item[0])), count + 1
        size = path.stat().st_size
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "name a bundle: shipwall evidence list") from error
    except InputError as error:
        raise TrustError(str(path), error.line(), "do not rely on it") from error
    if seal is None or seal.head != head or seal.records != count:
        raise TrustError(str(path), "its seal is not about its records", "do not rely on it")
    return Sealed(bundle=seal.bundle, head=head, records=count, size_bytes=size, path=str(path))
