"""A record that is passed over undecoded is one that would have raised nothing and changed nothing; and it is kept."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shipwall.abi.call_numbers import NUMBERS
from shipwall.abi.schema import CALL_NAMES, HEADER, KIND_NUMBERS, RECORDS
from shipwall.agent.core import Core, Effect, Send
from shipwall.lang.condition import Field
from shipwall.model.container import ContainerFacts, Process, ProcessDetails
from shipwall.model.event import AnyEvent, Call, Duplicate, Module, Mount, Namespace, Open
from shipwall.model.wire import AlertRaised
from shipwall.runtime.decode import decode_record
from shipwall.runtime.facts import ASKED_LINEAGE, ASKED_MORE, ASKED_PROCESS, Context, Facts
from shipwall.runtime.fields import ARGUMENTS, KIND_OF, MEANINGS, bind_field
from shipwall.runtime.processes import ProcessTable
from shipwall.runtime.profile.learn import begin
from shipwall.runtime.quiet import TEACHING, WHAT, WHO
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.watch import Watch

# --- records in, alerts out: with and without passing over ---

CONDITIONS = [
    "evt.type in (openat, mkdir) and fd.name startswith /etc",
    "evt.type = openat and fd.name = /a and proc.name = sh",
    "evt.type = openat and proc.pname = sh",
    "evt.type = openat and proc.aname = cat and not fd.name = /b",
    "evt.type = openat and fd.name = /b and proc.pid = 3",
    "evt.type = openat and fd.name = /b and user.uid = 1 and container.image.repository = x",
    "evt.type = openat and fd.name = /b and user.name = other",
    "evt.type = openat and fd.name = /a and proc.tty = 7",
    "evt.type = openat and fd.name = /a and proc.sname = sh",
    "evt.type = mkdir and evt.arg.path = /b and proc.cmdline contains x",
    "evt.type = mkdir and evt.res = EPERM and proc.vpid = 2",
    "evt.type = unshare and evt.rawtime > 5",
    "evt.type = mkdir and proc.duration < 3",
    "evt.type = unshare and container.id = host",
    "evt.type in (execve, setuid) and proc.name = sh",
    "evt.type = openat and fd.name = /c and thread.tid = 4",
]
IDS = ("ab" * 32, "cd" * 32)
pids = st.integers(2, 5)
kinds = st.sampled_from(["open", "call", "namespace", "fork", "exit", "exec", "privilege", "connect"])
texts = st.sampled_from([b"/a", b"/b", b"/c", b"/etc/x"])
comms = st.sampled_from([b"sh", b"cat"])


@st.composite
def records(draw: st.DrawFn) -> bytes:
    kind = draw(kinds)
    pid = draw(pids)
    given: dict[str, Any] = {}
    strings, call = b"", 0
    if kind == "open":
        strings, call = draw(texts) + b"/q", NUMBERS["openat"]
        given = {"path_length": len(strings) - 2, "asked_length": 2, "resolved": 1}
    elif kind == "call":
        path = draw(texts)
        strings, call = b"/" + path, NUMBERS["mkdir"]
        given = {"first_start_length": 1, "first_length": len(path)}
    elif kind == "namespace":
        call, given = NUMBERS["unshare"], {"flags": draw(st.integers(0, 1))}
    elif kind == "fork":
        given = {"child_pid": draw(pids), "child_ns_pid": 2}
    elif kind == "exec":
        strings = b"/bin/sh" + draw(st.sampled_from([b"sh\0x\0", b"sh\0"]))
        given = {"path_length": 7, "argv_length": len(strings) - 7, "bits": 8, "session": draw(st.sampled_from([0, 2])), "tty": 7}
    elif kind == "privilege":
        call, given = NUMBERS["setuid"], {"new_uid": draw(st.integers(-1, 1))}
    elif kind == "connect":
        given = {"family": 2, "port": 5, "address": b"\x0a\0\0\1"}
    values: list[Any] = []
    for field in RECORDS[kind].fields:
        if not field.name.startswith("pad"):
            is_bytes = field.length > 1 and field.type in {"u8", "char"}
            value = given.get(field.name, b"" if is_bytes else 0)
            values += [value] if is_bytes or field.length == 1 else [0] * field.length
    fixed = RECORDS[kind].layout.pack(*values)
    ppid, tid = draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([pid, 4]))
    uid, ret = draw(st.sampled_from([0, 0, 1])), draw(st.sampled_from([0, 0, -1]))
    size = HEADER.size_bytes + len(fixed) + len(strings)
    head = (draw(st.integers(0, 9)), 1, pid, tid, ppid, pid - 1, draw(st.sampled_from([7, 7, 8])), ret, uid, 0)
    return HEADER.layout.pack(*head, size, 3, KIND_NUMBERS[kind], call, 0, draw(comms)) + fixed + strings


def _facts(number: int, uid: int) -> ContainerFacts:
    return ContainerFacts(
        id=IDS[number], name="c", image_ref="xy"[uid], image_config="sha256:" + "0" * 64, state="running", cgroup_id=7 + number
    )


steps = st.one_of(
    records(),
    records(),
    records(),
    st.tuples(st.just("facts"), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("cgroup"), st.integers(0, 1), st.integers(0, 1)),
)


class _Node:
    """A core that is fed as the sensor feeds it."""

    def __init__(self, *, skims: bool) -> None:
        text = "\n".join(
            f"- rule: r{number}\n  desc: d\n  condition: {condition}\n  output: o\n  priority: WARNING\n"
            for number, condition in enumerate(CONDITIONS)
        )
        self.core = Core("n", Watch(parse_rules(text, "r.yaml"), "n"), lambda _digest: None, self._details)
        self.skims = skims
        self.seq = 0
        self.decoded = 0
        self.alerts: list[tuple[str, int]] = []

    @staticmethod
    def _details(process: Process) -> ProcessDetails:
        return ProcessDetails(tty=process.pid, sid=2)

    def take(self, batch: list[bytes]) -> None:
        at = 0
        while at < len(batch):
            if self.skims:
                passed = self.core.skim(batch, at, self.seq, 0)
                self.seq += passed - at
                at = passed
                if at == len(batch):
                    return
            self.seq += 1
            self.decoded += 1
            self._note(self.core.handle_event(decode_record(batch[at], seq=self.seq, wall_offset_ns=0), 10))
            at += 1

    def act(self, step: tuple[str, int, int]) -> None:
        what, number, value = step
        if what == "facts":
            self._note(self.core.handle_container(_facts(number, value), 10))
        else:
            self.core.cgroup_known(7 + number, IDS[value])

    def _note(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, AlertRaised):
                alert = effect.message.alert
                self.alerts.append((alert.rule, alert.event.seq))  # type: ignore[union-attr]  # every alert here has one


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=4, max_size=30))
def test_the_same_alerts_and_the_same_last_events_whether_records_are_passed_over_or_not(stream: list[Any]) -> None:
    skimming, judging = _Node(skims=True), _Node(skims=False)
    for node in (skimming, judging):
        batch: list[bytes] = []
        for step in [*stream, *stream, *stream[::-1]]:  # what comes again is what can be passed over
            if isinstance(step, bytes):
                batch.append(step)
                continue
            node.take(batch)
            batch = []
            node.act(step)
        node.take(batch)
    assert skimming.alerts == judging.alerts
    for container in IDS:
        assert skimming.core.recorded(container, 0) == judging.core.recorded(container, 0)


def test_what_was_seen_is_passed_over_until_the_process_or_its_container_is_another() -> None:
    def opened(path: bytes, pid: int, seconds: int) -> bytes:
        fixed = RECORDS["open"].layout.pack(0, len(path), 0, 1)
        size = HEADER.size_bytes + len(fixed) + len(path)
        head = (seconds, 1, pid, pid, 1, pid, 7, 0, 0, 0, size, 3, KIND_NUMBERS["open"], NUMBERS["openat"], 0, b"cat")
        return HEADER.layout.pack(*head) + fixed + path

    def decoded(*batch: bytes) -> int:
        before = node.decoded
        node.take(list(batch))
        return node.decoded - before

    node = _Node(skims=True)
    node.core.watch.rules = parse_rules(
        "- rule: r\n  desc: d\n  condition: evt.type=openat and fd.name=/a and proc.name=sh\n  output: o\n  priority: INFO\n", "r"
    )
    # /b is decided by its path alone: the first time of each process is needed to meet the process
    assert decoded(opened(b"/b", 5, 1), opened(b"/b", 5, 2), opened(b"/b", 6, 3), opened(b"/b", 6, 4)) == 2
    # /a needs who acts
    assert decoded(opened(b"/a", 5, 5), opened(b"/a", 5, 6), opened(b"/a", 6, 7), opened(b"/a", 6, 8)) == 2
    fork = HEADER.layout.pack(9, 1, 6, 6, 1, 6, 7, 0, 0, 0, HEADER.size_bytes + 16, 3, KIND_NUMBERS["fork"], 0, 0, b"cat")
    assert decoded(fork + RECORDS["fork"].layout.pack(5, 5, 0)) == 1  # 5 is another process now
    assert decoded(opened(b"/a", 5, 10), opened(b"/b", 5, 11), opened(b"/a", 6, 12)) == 1
    node.core.cgroup_known(7, IDS[0])
    assert decoded(opened(b"/a", 6, 13), opened(b"/a", 6, 14)) == 1
    assert [event.time_ns for event in node.core.recorded(IDS[0], 0)] == [13, 14]
    image = "sha256:" + "1" * 64
    node.core.profiles.load({image: begin(image, "", ("/",))})  # an act is learnt, or new, whatever the rules say
    assert decoded(opened(b"/a", 6, 14), opened(b"/a", 6, 14)) == 2
    node.core.profiles.load({})
    assert decoded(opened(b"/a", 6, 14), opened(b"/a", 6, 14)) == 0
    node.core.watch.rules = parse_rules(
        "- rule: r\n  desc: d\n  condition: evt.type=openat\n  output: o\n  priority: INFO\n", "r"
    )
    assert decoded(opened(b"/a", 6, 15)) == 1
    assert node.alerts == [("r", node.seq)]


# --- what fields ask for ---


class _Known(Context):
    def container(self, container_id: str) -> ContainerFacts | None:
        return _facts(0, 0) if container_id else None

    def package_of(self, image_digest: object, path: str) -> str:
        return f"{path} of {image_digest}"


HEADERS = {
    "cgroup_id": st.just(1),
    "ret": st.sampled_from([0, 3, -1]),
    "uid": st.just(0),
    "gid": st.just(0),
    "comm": st.just("sh"),
    "container": st.just(IDS[0]),
    "syscall": st.just("openat"),
}
WHO_ACTED = {"seq": 1, "time_ns": 10**18, "pid": 2, "tid": 2, "ppid": 1, "ns_pid": 2}
events: st.SearchStrategy[AnyEvent] = st.one_of(
    st.builds(Open, **{name: st.just(value) for name, value in WHO_ACTED.items()}, **HEADERS, path=st.just("/a"), asked=st.just("/b"),
              flags=st.integers(0, 3), resolved=st.just(True)),
    st.builds(Duplicate, **{name: st.just(value) for name, value in WHO_ACTED.items()}, **HEADERS, old_fd=st.just(1), new_fd=st.just(2),
              address=st.sampled_from(["10.0.0.1", "/run/x"]), port=st.just(4)),
    st.builds(Namespace, **{name: st.just(value) for name, value in WHO_ACTED.items()}, **HEADERS, act=st.just("unshare"),
              flags=st.just(0)),
    st.builds(Mount, **{name: st.just(value) for name, value in WHO_ACTED.items()}, **HEADERS, act=st.just("mount")),
    st.builds(Module, **{name: st.just(value) for name, value in WHO_ACTED.items()}, **HEADERS, act=st.just("bpf"), name=st.just("x")),
    st.builds(Call, **{name: st.just(value) for name, value in WHO_ACTED.items()}, **{**HEADERS, "syscall": st.just("mkdir")},
              raw=st.just((1, 2, 3, 4, 5, 6)), asked=st.just(("/a",)), paths=st.just(("/a",))),
)  # fmt: skip
fields = st.sampled_from(
    [Field(name) for name, meaning in MEANINGS.items() if meaning.argument != "required"]
    + [Field(f"evt.arg.{name}") for name in sorted({name for of_kind in ARGUMENTS.values() for name in of_kind})]
    + [Field("proc.aname", "2"), Field("container.mount.dest", "*"), Field("proc.args", "0")]
)


def _value(event: AnyEvent, used: Field) -> tuple[object, int]:
    table = ProcessTable()
    for pid, parent in ((1, 0), (2, 1), (3, 1)):
        table.load([Process(pid=pid, ppid=parent, ns_pid=pid, start_ns=5, uid=0, gid=0, comm="sh", path="/x", argv=("a", "b"))])
    facts = Facts(event, table, _Known(), "n")
    return bind_field(used, KIND_OF[type(event)]).get(facts), facts.asked


@settings(deadline=None, max_examples=600)
@given(events, fields, st.sampled_from(["seq", "time_ns", "who"]))
def test_a_field_notes_what_it_takes_beyond_the_bytes_that_are_remembered(event: Any, used: Field, changed: str) -> None:
    new: dict[str, Any] = {"pid": 3, "tid": 4, "ppid": 9, "ns_pid": 8} if changed == "who" else {changed: 7 * 10**17}
    (value, asked), (other, _) = _value(event, used), _value(msgspec.structs.replace(event, **new), used)
    allowed = ASKED_MORE | (ASKED_PROCESS | ASKED_LINEAGE if changed == "who" else 0)
    assert value == other or asked & allowed, used


def test_nothing_that_may_change_lies_in_the_bytes_that_are_remembered() -> None:
    at = HEADER.offsets
    assert max(at["time_ns"], at["sequence"]) < WHO.start
    assert {name for name, place in at.items() if WHO.start <= place < WHAT.start} == {"pid", "tid", "ppid", "ns_pid"}
    assert WHO.start <= at["cgroup_id"] < WHO.stop
    assert all(
        place >= WHAT.start for name, place in at.items() if name not in {"time_ns", "sequence", "pid", "tid", "ppid", "ns_pid"}
    )
    assert CALL_NAMES
    assert len(TEACHING) == 7
