"""A capture: the decoded events of containers with all that rules may ask about them, to be judged again later by any rules.

A capture is a sequence of records in the order in which the node learnt them. It begins with a `Header` and ends with an `End`; one without
`End` was cut (its recorder was killed) and holds everything up to there. As bytes: MAGIC, then parts, each length and CRC-32 of a zstd
frame of MessagePack records, so that a torn last part is told from a whole one. Environments of processes are in it: treat it as a secret.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

import msgspec
import zstandard

from shipwall.model.alert import Alert
from shipwall.model.container import Accounts, ContainerFacts, Process, ProcessDetails
from shipwall.model.digest import Digest
from shipwall.model.errors import InputError
from shipwall.model.event import AnyEvent, Event
from shipwall.runtime.facts import Context
from shipwall.runtime.rules.rule_set import RuleSet
from shipwall.runtime.watch import Watch

MAGIC = b"shipwall capture 1\n"
MAX_PART_BYTES = 16 * 1024 * 1024
PART_RECORDS = 2000

_HEAD = struct.Struct("<II")


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="capture"):
    """What was captured: `node`, from when, of which containers (empty: all), by which Shipwall."""

    version: str
    node: str
    began_ns: int
    containers: tuple[str, ...] = ()


class Known(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="known"):
    """Something the node learnt: facts and accounts of a container, processes that were there, details of a process, owners of files.

    `details` are of the process `pid` from its next event on.
    """

    container: ContainerFacts | None = None
    container_id: str = ""
    accounts: Accounts | None = None
    processes: tuple[Process, ...] = ()
    pid: int = 0
    details: ProcessDetails | None = None
    names: dict[str, tuple[str, ...]] | None = None
    owners: dict[str, str] | None = None
    image_digest: Digest | None = None


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    """The capture is whole. `events` in it, `lost` ones by class that the sensor could not deliver, and why it ended.

    `calls`: container → the names of every call it made, as the kernel counted them, delivered or not.
    """

    ended_ns: int
    events: int
    lost: dict[str, int] = {}
    reason: str = ""
    calls: dict[str, tuple[str, ...]] = {}


Record = Header | Known | End | AnyEvent

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])


def render_part(records: Iterable[Record], level: int = 3) -> bytes:
    """One part of a capture, holding `records`."""
    packed = zstandard.ZstdCompressor(level=level).compress(_encoder.encode(list(records)))
    return _HEAD.pack(len(packed), zlib.crc32(packed)) + packed


class Reader:
    """The records of a capture. After the iteration `end` says how it ended, None when it was cut, and `cut` why it stopped there.

    Total on hostile bytes: raises InputError when it is no capture at all; damage further on ends it and is told in `cut`.
    """

    def __init__(self, chunks: Iterable[bytes], name: str) -> None:
        self._chunks = iter(chunks)
        self._rest = bytearray()
        self._name = name
        self.end: End | None = None
        self.cut = ""
        if self._take(len(MAGIC)) != MAGIC:
            raise InputError(name, "is not a capture", "make one: shipwall capture --help")
        first = self._part()
        if not first or not isinstance(first[0], Header):
            raise InputError(name, f"has no beginning{': ' + self.cut if self.cut else ''}", "capture again")
        self.header = first[0]
        self._first = first[1:]

    def __iter__(self) -> Iterator[Record]:
        part: list[Record] | None = self._first
        while part is not None:
            for record in part:
                if isinstance(record, End):
                    self.end = record
                    return
                yield record
            part = self._part()
        self.cut = self.cut or "it was still being written, or its recorder was killed"

    def _take(self, count: int) -> bytes | None:
        """The next `count` bytes, None when there are fewer."""
        while len(self._rest) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                return None
            self._rest += chunk
        taken = bytes(self._rest[:count])
        del self._rest[:count]
        return taken

    def _part(self) -> list[Record] | None:
        head = self._take(_HEAD.size)
        if head is None:
            return None
        length, checksum = _HEAD.unpack(head)
        packed = self._take(length) if length <= MAX_PART_BYTES else b""
        if packed is None:
            return None
        try:
            if zlib.crc32(packed) != checksum:
                raise ValueError("a part does not have its checksum")
            frame = zstandard.get_frame_parameters(packed)
            if not 0 < frame.content_size <= 16 * MAX_PART_BYTES:
                raise ValueError("a part does not say its size")
            text = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(packed, max_output_size=frame.content_size)
            return _decoder.decode(text)
        except (ValueError, zstandard.ZstdError, msgspec.MsgspecError, RecursionError) as error:
            self.cut = f"it is damaged: {error}"
            return None


class Replay(Context):
    """Judges the records of a capture by `rules`, as the agent judges what the sensor tells."""

    def __init__(self, rules: RuleSet, node: str, *, first_match: bool = False) -> None:
        self.watch = Watch(rules, node, "replay", first_match=first_match)
        self.events = 0
        self._containers: dict[str, ContainerFacts] = {}
        self._accounts: dict[str, Accounts] = {}
        self._details: dict[int, ProcessDetails] = {}
        self._owners: dict[Digest | None, dict[str, str]] = {}
        self._names: dict[str, tuple[str, ...]] = {}

    def take(self, record: Record) -> list[Alert]:
        """The alerts of one record; learning raises none. The clock stands at the event's own time."""
        if isinstance(record, Event):
            self.events += 1
            return self.watch.handle(record, self, record.time_ns)
        if isinstance(record, Known):
            self._learn(record)
        return []

    def _learn(self, known: Known) -> None:
        if known.container is not None:
            self._containers[known.container.id] = known.container
        if known.accounts is not None:
            self._accounts[known.container_id] = known.accounts
        if known.details is not None:
            self._details[known.pid] = known.details
        if known.owners is not None:
            self._owners[known.image_digest] = known.owners
        if known.names is not None:
            self._names = known.names
        self.watch.processes.load(known.processes)

    # runtime.facts.Context

    def container(self, container_id: str) -> ContainerFacts | None:
        """What was known of a container at this place of the capture."""
        return self._containers.get(container_id)

    def package_of(self, image_digest: Digest | None, path: str) -> str:
        """The package that owns a file of the image."""
        return self._owners.get(image_digest, {}).get(path, "") if image_digest is not None else ""

    def details(self, process: Process) -> ProcessDetails | None:
        """What was read about the process when it last executed a program."""
        return self._details.get(process.pid)

    def accounts(self, container_id: str) -> Accounts | None:
        """Users and groups, as they were read."""
        return self._accounts.get(container_id)

    def names_of(self, address: str) -> tuple[str, ...]:
        """Names of hosts, as they were resolved."""
        return self._names.get(address, ())
