"""The wire form: what agent, command line and server say to each other over a unix socket.

A frame is a 4-byte big-endian length and that many bytes of MessagePack holding one of the structs below (tagged by `type`).
The server tells who speaks by SO_PEERCRED, never by what is said. Frames above MAX_FRAME_BYTES end the connection.
Every message from an agent that must not be lost carries `number` > 0 and is repeated until an `Ack` for it arrives.
"""

from __future__ import annotations

import struct

import msgspec

from shipwall.model.alert import Alert, Silence
from shipwall.model.container import ContainerFacts
from shipwall.model.digest import Digest
from shipwall.model.errors import InputError
from shipwall.model.event import AnyEvent
from shipwall.model.verdict import Reason, Verdict

MAX_FRAME_BYTES = 8 * 1024 * 1024
PROTOCOL = 1


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Any message. `number` 0: may be lost; otherwise to be acknowledged."""

    number: int = 0


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """First message of a connection. `role`: agent or cli."""

    role: str
    node: str
    version: str
    protocol: int = PROTOCOL


class Ack(Message, frozen=True, kw_only=True, tag="ack"):
    """Everything up to and including `of` is stored."""

    of: int


class ContainerSeen(Message, frozen=True, kw_only=True, tag="container"):
    """State of a container, now."""

    node: str
    time_ns: int
    container: ContainerFacts


class AlertRaised(Message, frozen=True, kw_only=True, tag="alert"):
    """An alert; sent again with the same id when later facts are attached (`stopped`, package)."""

    alert: Alert


class EventsSeen(Message, frozen=True, kw_only=True, tag="events"):
    """Events worth showing (those that belong to alerts, and execs of containers)."""

    node: str
    events: tuple[AnyEvent, ...]


class Health(Message, frozen=True, kw_only=True, tag="health"):
    """Sensor health. Counters since start; `filtered` by class: met in the kernel, of interest to no rule. `functions`: each function's
    mode (`observe`, `enforce`, `off`, `failed: why`).

    `cost_ns` mean nanoseconds in the sensor's kernel programs per system call of the whole host, watched or not, by the kernel's own
    statistics over the last sampled window; `cost_calls` how many calls that were (0: not measured); `cost_share` of all CPUs' time.
    `acts`: what was done for rules and policies (`kill`, `freeze`) and what would have been (`would kill`); `missed`: what should have been
    enforced and was not, with its cause (`kill: the process is gone`).
    """

    node: str
    time_ns: int
    started_ns: int
    delivered: int
    filtered: dict[str, int] = {}
    lost: dict[str, int] = {}
    helper_errors: dict[str, int] = {}
    containers: int = 0
    rss_bytes: int = 0
    cpu_ns: int = 0
    cost_ns: float = 0.0
    cost_calls: int = 0
    cost_share: float = 0.0
    ring_bytes: int = 0
    functions: dict[str, str] = {}
    acts: dict[str, int] = {}
    missed: dict[str, int] = {}


class ImageStep(Message, frozen=True, kw_only=True, tag="image-step"):
    """One step of an image's journey. `step`: built, listed, scanned, gated, rebuilt, signed, promoted, admitted, ...

    `allowed` None where the step is not a verdict. `facts` are small scalar facts shown beside it (counts, durations).
    """

    digest: Digest
    image: str
    step: str
    time_ns: int
    duration_ns: int = 0
    allowed: bool | None = None
    summary: str = ""
    reasons: tuple[Reason, ...] = ()
    facts: dict[str, str] = {}
    parent: Digest | None = None


class Admission(Message, frozen=True, kw_only=True, tag="admission"):
    """The engine asked, the agent answered. `subject` is the image or container the request was about."""

    node: str
    time_ns: int
    method: str
    uri: str
    subject: str
    verdict: Verdict
    image_digest: Digest | None = None


class ResponseStep(Message, frozen=True, kw_only=True, tag="response-step"):
    """One step of a response plan. `status`: planned, observed, waiting (for approval), begun, confirmed, failed, undone."""

    node: str
    plan: str
    alert: str
    container: str
    step: str
    status: str
    time_ns: int
    detail: str = ""


class EvidenceStored(Message, frozen=True, kw_only=True, tag="evidence"):
    """A bundle was sealed. `head` is the SHA-256 of the last record of its chain: what `evidence verify --expect` takes."""

    node: str
    bundle: str
    head: Digest
    records: int
    size_bytes: int
    path: str
    container: str
    alert: str
    image_digest: Digest | None
    time_ns: int


class SilenceSet(Message, frozen=True, kw_only=True, tag="silence"):
    """From the server: mute (or, with `until_ns` in the past, no longer mute) alerts."""

    silence: Silence


class Command(Message, frozen=True, kw_only=True, tag="command"):
    """To an agent: `action` freeze, thaw, destroy, capture on container `target`, or approve, reject of `plan` for it; `actor` asked, for
    `reason`."""

    id: str
    action: str
    target: str
    actor: str
    reason: str = ""
    plan: str = ""


class CommandResult(Message, frozen=True, kw_only=True, tag="command-result"):
    """What became of a command."""

    id: str
    done: bool
    detail: str


class Query(Message, frozen=True, kw_only=True, tag="query"):
    """From the command line: `what` one of alerts, containers, steps, evidence, health, admissions, responses, login-link, nodes.

    `where` filters by equality on the fields of the answer. `limit` newest rows.
    """

    what: str
    where: dict[str, str] = {}
    limit: int = 1000


class Follow(Message, frozen=True, kw_only=True, tag="follow"):
    """From the command line: send every alert as it arrives, beginning after position `after` (-1: with the next one).

    An Answer with that position comes first, then alerts as AlertRaised whose `number` is theirs. The connection is for nothing else.
    """

    after: int = -1


class Answer(Message, frozen=True, kw_only=True, tag="answer"):
    """Rows answering a query, oldest first, each as plain builtins; `error` is one line when it could not be answered."""

    rows: tuple[dict[str, object], ...] = ()
    error: str = ""


AnyMessage = (
    Hello
    | Ack
    | ContainerSeen
    | AlertRaised
    | EventsSeen
    | Health
    | ImageStep
    | Admission
    | ResponseStep
    | EvidenceStored
    | SilenceSet
    | Command
    | CommandResult
    | Query
    | Follow
    | Answer
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyMessage)


def render_message(message: Message) -> bytes:
    """The bytes of `message`: what `parse_message` reads."""
    return _encoder.encode(message)


def render_frame(message: Message) -> bytes:
    """The bytes of `message` with its length in front. Raises InputError above MAX_FRAME_BYTES."""
    body = render_message(message)
    if len(body) > MAX_FRAME_BYTES:
        raise InputError(f"message {type(message).__name__}", f"{len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return struct.pack(">I", len(body)) + body


def parse_length(header: bytes) -> int:
    """The length announced by the 4 bytes of `header`. Raises InputError above MAX_FRAME_BYTES."""
    (length,) = struct.unpack(">I", header)
    if length > MAX_FRAME_BYTES:
        raise InputError("wire frame", f"announces {length} bytes, over the limit of {MAX_FRAME_BYTES}")
    return int(length)


def parse_message(body: bytes) -> AnyMessage:
    """The message in `body`. Total: raises InputError on any other bytes."""
    try:
        message: AnyMessage = _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InputError("wire message", str(error)) from error
    return message
