"""The kernel filter against the rules' own meaning: it loses no event, and with it the alerts are the same as without."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.condition_trees import trees_of

from shipwall.abi.call_numbers import NUMBERS
from shipwall.abi.calls import CALLS_BY_NAME
from shipwall.adapters.rule_files import load_rules
from shipwall.lang.condition import And, Compare, Condition, Exists, Field, Not, Or, Value, render_condition
from shipwall.model.container import ContainerFacts, Process
from shipwall.model.event import (
    AnyEvent,
    Call,
    Cgroup,
    Connect,
    Duplicate,
    Exec,
    Exit,
    Fork,
    Lost,
    Mount,
    Namespace,
    Open,
    Privilege,
)
from shipwall.runtime.conditions import evaluate
from shipwall.runtime.decode import _joined
from shipwall.runtime.facts import Context, Facts
from shipwall.runtime.fields import look_up
from shipwall.runtime.lower import DELIVER, DROP, KernelFilter, lower
from shipwall.runtime.lower.automaton import Builder
from shipwall.runtime.lower.clauses import MAX_OF_CONDITION, Variables, clauses_of
from shipwall.runtime.lower.simulate import passes, view_of
from shipwall.runtime.lower.string_patterns import Source, patterns_of
from shipwall.runtime.processes import ProcessTable
from shipwall.runtime.rules import RuleSet, parse_rules
from shipwall.runtime.watch import Watch

CONTAINER = "ab" * 32
WORDS = ["/etc/shadow", "/etc/", "/etc", "/root/.ssh/id_rsa", "/root/.ssh", "/.ssh/", "id_rsa", "../", "x", "/", "shadow", "/tmp/x", ".pem",
         "a*b", "/home/*/.ssh/*", "*../*", "/e?c/*", "[ab]*", "ü", "/tmp/ü"]  # fmt: skip
PATHS = ["/etc/shadow", "/etc/shadow-", "/etc", "/etc//shadow", "/root/.ssh/id_rsa", "/home/u/.ssh/id_rsa", "/tmp/x", "/tmp/ü/x", "x", "",
         "/", "/x", "/a/../etc/shadow", "../etc/shadow", "/etc/./shadow", "/tmp/x.pem", "/axb", "a*b", "/tmp/x/", "b"]  # fmt: skip
TEXT = ["=", "!=", "contains", "icontains", "startswith", "endswith", "glob", "in", "pmatch"]
NUMBER = ["=", "!=", "<", "<=", ">", ">=", "in"]
VOCABULARY: dict[str, tuple[list[str], list[str]]] = {
    **dict.fromkeys(
        ["fd.name", "fd.directory", "fd.filename", "fd.nameraw", "evt.arg.name", "evt.arg.target", "evt.arg.oldpath", "evt.arg.newpath",
         "evt.arg.filename", "evt.arg.linkpath", "evt.arg.path", "proc.name"], (TEXT, WORDS)),
    **dict.fromkeys(["evt.rawres", "fd.num", "user.uid", "fd.port", "fd.sport", "proc.vpid"],
                    (NUMBER, ["0", "-1", "3", "-13", "0x1", "443"])),
    **dict.fromkeys(["evt.is_open_read", "evt.is_open_write", "evt.is_open_create", "evt.failed", "shipwall.denied"],
                    (["=", "!="], ["true", "false"])),
    **dict.fromkeys(["fd.ip", "fd.net", "fd.snet"],
                    (["=", "!=", "in"], ["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "0.0.0.0/0"])),
    "evt.res": (TEXT[:6], ["SUCCESS", "EACCES", "E", "EPERM", "S"]),
    "evt.arg.flags": (["contains", "=", "startswith"], ["O_CREAT", "O_R", "O_", "CLONE_NEW", "CLONE_NEWUSER", "0", "AT_"]),
    "evt.arg.request": (["contains", "="], ["PTRACE_ATTACH", "PTRACE_", "3", "ATTACH"]),
    "evt.arg.mode": (["contains"], ["S_ISUID", "S_I", "0"]),
    "evt.arg.uid": (["=", "in"], ["0", "1000", "-1"]),
    "evt.arg.domain": (["contains", "="], ["AF_PACKET", "AF_INET", "17"]),
    "fd.typechar": (["=", "!=", "in"], ["f", "d", "4", "6", "u"]),
    "fd.type": (["=", "in"], ["file", "directory", "ipv4", "unix"]),
    "fd.l4proto": (["=", "!=", "in"], ["tcp", "udp"]),
    "evt.type": (["=", "!=", "in"], ["openat", "open", "connect", "symlinkat", "link", "ptrace", "unshare", "socket", "chmod", "dup2"]),
    "container.id": (["=", "!="], ["host"]),
}  # fmt: skip


def _compare(name: str) -> st.SearchStrategy[Condition]:
    operators, literals = VOCABULARY[name]

    def of(operator: str) -> st.SearchStrategy[Condition]:
        values = st.sampled_from(literals).map(lambda text: Value(text, operator[0] not in "<>"))
        many = st.lists(values, min_size=1, max_size=3 if operator in {"in", "pmatch"} else 1)
        return st.builds(Compare, st.just(Field(name)), st.just(operator), many.map(tuple))

    return st.sampled_from(operators).flatmap(of) | st.just(Exists(Field(name)))


trees = trees_of(st.sampled_from(sorted(VOCABULARY)).flatmap(_compare), 8)

# Each process is who it is: a name that changes without an exec is met by its first event, whichever that is.
PROCESSES = {
    pid: Process(pid=pid, ppid=pid // 2, ns_pid=pid, start_ns=0, uid=0, gid=0, comm=comm, path="", argv=(), container=CONTAINER)
    for pid, comm in enumerate(["sh", "nginx", "x", "shadow"], 1)
}


def _header(name: str | st.SearchStrategy[str]) -> dict[str, st.SearchStrategy[object]]:
    return {
        "seq": st.integers(0, 3),
        "time_ns": st.integers(0, 10**18),
        "cgroup_id": st.just(1),
        "tid": st.just(1),
        "uid": st.sampled_from([0, 1000]),
        "gid": st.just(0),
        "ret": st.sampled_from([0, 1, 3, -1, -13, -30, -115, -111, -5000]),
        "container": st.just(CONTAINER),
        "syscall": st.just(name) if isinstance(name, str) else name,
    }


def _made(struct: type, name: str | st.SearchStrategy[str], **members: st.SearchStrategy[object]) -> st.SearchStrategy[AnyEvent]:
    def make(values: dict[str, object], pid: int) -> AnyEvent:
        known = PROCESSES[pid]
        event: AnyEvent = struct(**values, pid=pid, ppid=known.ppid, ns_pid=pid, comm=known.comm)
        return event

    return st.builds(make, st.fixed_dictionaries(_header(name) | members), st.sampled_from(sorted(PROCESSES)))


def _call(name: str, strings: int) -> st.SearchStrategy[AnyEvent]:
    described = CALLS_BY_NAME[name].of_kind("path", "text")
    raw = st.tuples(*[st.sampled_from([0, 1, 2, 3, 16, 17, 1000, 0o4755, 0xFFFFFFFF, (1 << 64) - 100])] * 6)

    def whole(asked: list[str], start: str) -> dict[str, object]:
        joined = tuple(
            _joined(start.encode(), text.encode()) if one.kind == "path" and text else ""
            for text, one in zip(asked, described, strict=False)
        )
        return {"asked": tuple(asked), "paths": joined}

    named = st.builds(
        whole, st.lists(st.sampled_from(PATHS), min_size=strings, max_size=strings), st.sampled_from(["/", "/etc", ""])
    )
    return st.builds(
        _with,
        _made(Call, name, raw=raw),
        named if strings else st.just({"asked": (), "paths": ()}),
    )


def _with(event: AnyEvent, extra: dict[str, object]) -> AnyEvent:
    return msgspec.structs.replace(event, **extra)


paths = st.sampled_from(PATHS)
flags = st.sampled_from([0, 1, 2, 3, 0o1101, 0o10000000, 0o200000, 0x10020000, 0o20200002])
ports = st.sampled_from([0, 3, 443])
ends = st.sampled_from(
    [("ipv4", "10.0.0.1"), ("ipv4", "127.0.0.1"), ("ipv6", "::1"), ("ipv6", "10.0.0.1"), ("unix", "/run/x"), ("unix", "")]
)
connects = st.builds(
    lambda event, end: _with(event, {"family": end[0], "address": end[1], "port": event.port if end[0] != "unix" else 0,
                                     "protocol": event.protocol if end[0] != "unix" else "unix"}),
    _made(Connect, "connect", family=st.just(""), protocol=st.sampled_from(["tcp", "udp", "other"]), address=st.just(""), port=ports,
          local=st.just(""), local_port=ports), ends,
)  # fmt: skip
names = ["fd.name", "fd.name", "fd.directory", "fd.filename", "fd.nameraw", "evt.arg.name"]
BY_KIND: dict[str, tuple[list[str], st.SearchStrategy[AnyEvent]]] = {
    "open": (
        [*names, "evt.is_open_read", "evt.is_open_write", "fd.num", "evt.res", "evt.arg.flags", "fd.typechar", "user.uid", "proc.name"],
        _made(Open, st.sampled_from(["openat", "open", "creat"]), path=paths, asked=paths, flags=flags, resolved=st.booleans()),
    ),
    "connect": (["fd.ip", "fd.net", "fd.snet", "fd.sport", "fd.l4proto", "fd.typechar", "evt.rawres", "evt.res", "fd.name"], connects),
    "symlinkat": (["evt.arg.target", "evt.arg.linkpath", "evt.rawres", "user.uid"], _call("symlinkat", 2)),
    "link": (["evt.arg.oldpath", "evt.arg.newpath", "evt.failed"], _call("link", 2)),
    "chmod": (["evt.arg.filename", "evt.arg.mode"], _call("chmod", 1)),
    "ptrace": (["evt.arg.request", "evt.res", "proc.vpid"], _call("ptrace", 0)),
    "socket": (["evt.arg.domain", "evt.rawres"], _call("socket", 0)),
    "chown": (["evt.arg.uid", "evt.arg.path", "evt.arg.newpath"], _call("chown", 1)),
    "unshare": (["evt.arg.flags", "evt.rawres"], _made(Namespace, "unshare", act=st.just("unshare"), flags=flags)),
    "mount": (["evt.rawres", "shipwall.denied", "fd.name"], _made(Mount, "mount", act=st.just("mount"), source=paths, target=paths)),
    "dup2": (["evt.rawres", "fd.ip", "evt.type"],
             _made(Duplicate, "dup2", old_fd=st.integers(0, 5), new_fd=st.integers(0, 2), address=st.just("10.0.0.1"), port=ports)),
}  # fmt: skip
"""By kind of event: the fields that rules about it ask, and such events."""


def _typical(fields: list[str]) -> st.SearchStrategy[Condition]:
    """What rules look like: several things at once, some of them with alternatives and exceptions."""
    leaf = st.sampled_from(fields).flatmap(_compare)
    some = st.lists(leaf, min_size=2, max_size=4).map(lambda items: Or(tuple(items)))
    item = leaf | some | leaf.map(Not) | some.map(Not)
    return st.lists(item, min_size=2, max_size=4).map(lambda items: And(tuple(items))) | trees_of(leaf, 8)


judged = st.one_of(*(strategy for _, strategy in BY_KIND.values()))
others: st.SearchStrategy[AnyEvent] = st.one_of(
    _made(Exec, "execve", path=paths, asked=paths, argv=st.lists(paths, max_size=2).map(tuple)),
    _made(Privilege, "setuid", act=st.just("setuid"), new_uid=st.sampled_from([-1, 0, 5])),
    _made(Fork, "clone", child_pid=st.integers(1, 4), child_ns_pid=st.integers(1, 4)),
)
events = judged | others


def _scenes() -> st.SearchStrategy[tuple[list[Condition], list[AnyEvent]]]:
    """Rules about one kind of event, and such events; or any rules and any events."""
    any_scene = st.tuples(st.lists(trees, min_size=1, max_size=3), st.lists(events, min_size=1, max_size=8))
    of_kind = st.sampled_from(sorted(BY_KIND)).flatmap(
        lambda kind: st.tuples(
            st.lists(_typical(BY_KIND[kind][0]), min_size=1, max_size=3),
            st.lists(BY_KIND[kind][1] | BY_KIND[kind][1] | others, min_size=1, max_size=12),
        )
    )
    return of_kind | of_kind | of_kind | any_scene


ALWAYS = (Exec, Privilege, Fork, Exit, Cgroup, Lost)


class _Known(Context):
    def container(self, container_id: str) -> ContainerFacts | None:
        return ContainerFacts(id=container_id, name="c", image_ref="r/i:t", image_config="sha256:" + "0" * 64)

    def package_of(self, image_digest: object, path: str) -> str:  # noqa: ARG002
        return ""


def _rules(conditions: list[Condition]) -> RuleSet:
    each = [
        {
            "rule": f"R{at}",
            "desc": "d",
            "condition": render_condition(tree),
            "output": "o",
            "priority": "INFO",
            "warn_evttypes": False,
        }
        for at, tree in enumerate(conditions)
    ]
    return parse_rules(json.dumps(each).encode(), "generated")


def _table() -> ProcessTable:
    table = ProcessTable()
    table.load(PROCESSES.values())
    return table


def _is_delivered(found: KernelFilter, event: AnyEvent) -> bool:
    return isinstance(event, ALWAYS) or passes(found, view_of(event))


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(_scenes())
def test_no_event_is_lost_that_a_rule_matches(scene: tuple[list[Condition], list[AnyEvent]]) -> None:
    conditions, stream = scene
    rules = _rules(conditions)
    found = lower(rules)
    for event in stream:
        facts = Facts(event, _table(), _Known(), "n")
        if any(evaluate(rule.condition, look_up(facts)) for rule in rules.rules):
            assert _is_delivered(found, event), (found.programs, view_of(event))


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40, deadline=None)
@given(_scenes())
def test_what_passes_and_is_judged_raises_the_same_alerts(scene: tuple[list[Condition], list[AnyEvent]]) -> None:
    conditions, stream = scene
    rules = _rules(conditions)
    found = lower(rules)
    _same_alerts(rules, found, stream)


def _same_alerts(rules: RuleSet, found: KernelFilter, stream: list[AnyEvent]) -> None:
    alerts = []
    for is_filtered in (False, True):
        watch = Watch(rules, "n")
        watch.processes.load(PROCESSES.values())
        said = [
            (at, alert.rule, alert.output)
            for at, event in enumerate(stream)
            if not is_filtered or _is_delivered(found, event)
            for alert in watch.handle(event, _Known(), 1)
        ]
        alerts.append(said)
    assert alerts[0] == alerts[1]


@settings(suppress_health_check=list(HealthCheck), max_examples=3, deadline=None)
@given(st.lists(_typical(BY_KIND["open"][0]), min_size=20, max_size=30), st.lists(BY_KIND["open"][1], min_size=10, max_size=20))
def test_no_event_is_lost_among_many_rules(conditions: list[Condition], stream: list[AnyEvent]) -> None:
    """So many that clauses are joined and literals left out."""
    rules = _rules([And((tree, Compare(Field("user.uid"), "=", (Value(str(at), True),)))) for at, tree in enumerate(conditions)])
    found = lower(rules)
    for event in stream:
        facts = Facts(event, _table(), _Known(), "n")
        if any(evaluate(rule.condition, look_up(facts)) for rule in rules.rules):
            assert _is_delivered(found, event)


def test_too_many_paths_are_asked_for_by_their_beginnings() -> None:
    count, tail = 160, "x" * 400
    rules = _rules([
        And((Compare(Field("evt.is_open_read"), "=", (Value("true", True),)),
             Compare(Field("fd.name"), "=", (Value(f"/data/{at}/{tail}"),)))) for at in range(count)
    ])  # fmt: skip
    found = lower(rules)
    assert len(found.widened) == count
    event = Open(seq=1, time_ns=1, cgroup_id=1, pid=1, tid=1, ppid=1, ns_pid=1, uid=0, gid=0, comm="x", ret=3, syscall="openat",
                 path=f"/data/77/{tail}", asked="", flags=0, resolved=True)  # fmt: skip
    assert passes(found, view_of(event))
    assert not passes(found, view_of(_with(event, {"path": "/usr/lib/libc.so"})))
    assert not passes(found, view_of(_with(event, {"flags": 1})))


FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance")) / "falco"
SHIPPED = load_rules()
SHIPPED_FILTER = lower(SHIPPED)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40, deadline=None)
@given(st.lists(events, min_size=1, max_size=12))
def test_the_shipped_rules_raise_the_same_alerts(stream: list[AnyEvent]) -> None:
    _same_alerts(SHIPPED, SHIPPED_FILTER, stream)


def test_the_shipped_rules_leave_nothing_out_and_drop_what_no_rule_names() -> None:
    assert SHIPPED_FILTER.widened == ()
    assert SHIPPED_FILTER.calls[NUMBERS["accept4"]] == DROP
    assert SHIPPED_FILTER.calls[NUMBERS["mount"]] == DELIVER
    assert SHIPPED_FILTER.calls[NUMBERS["openat"]] > DROP
    assert NUMBERS["execve"] not in SHIPPED_FILTER.calls  # processes are followed whatever the rules say


@pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")
def test_the_public_stable_rules_are_lowered_as_far_as_they_should() -> None:
    found = lower(parse_rules((FOLDER / "falco_rules.yaml").read_bytes(), "falco_rules.yaml"))
    dull = Open(seq=1, time_ns=1, cgroup_id=1, pid=1, tid=1, ppid=1, ns_pid=1, uid=0, gid=0, comm="cc1", ret=3, syscall="openat",
                path="/etc/ld.so.cache", asked="/etc/ld.so.cache", flags=0o2000000, resolved=True)  # fmt: skip
    assert not passes(found, view_of(dull))
    assert passes(found, view_of(_with(dull, {"asked": "/tmp/../etc/../etc/ld.so.cache"})))
    assert passes(found, view_of(_with(dull, {"path": "/etc/shadow", "asked": "x"})))
    assert found.calls[NUMBERS["sendto"]] == DROP  # `fd.l4proto != tcp and ... fd.l4proto = tcp` cannot be


def test_what_is_not_certain_forbids_nothing() -> None:
    """A path of bytes beyond ASCII, one that user space normalises or that starts in another root, and none at all."""
    opened = Open(seq=1, time_ns=1, cgroup_id=1, pid=1, tid=1, ppid=1, ns_pid=1, uid=0, gid=0, comm="x", ret=3, syscall="openat",
                  path="/tmp/\u00fc/x", asked="", flags=0, resolved=True)  # fmt: skip
    header = ("seq", "time_ns", "cgroup_id", "pid", "tid", "ppid", "ns_pid", "uid", "gid", "comm")
    linked = Call(
        **{name: getattr(opened, name) for name in header},
        syscall="link",
        raw=(0,) * 6,
        asked=("/etc/../tmp/x", "y"),
        paths=("/tmp/x", "/y"),
    )
    jailed = _with(linked, {"asked": ("/shadow", "/y"), "paths": ("/etc/shadow", "/etc/y")})  # after chroot to /etc
    for condition, event in (
        ("evt.type = link and evt.arg.oldpath = /etc/shadow", jailed),
        ("evt.type = link and not evt.arg.oldpath startswith /shadow", jailed),
        ("evt.is_open_read = true and not fd.name endswith .pem", opened),
        ("evt.is_open_read = true and not fd.name endswith .pem", _with(opened, {"path": "", "asked": "x.pem"})),
        ("evt.type = link and not evt.arg.oldpath startswith /etc", linked),
    ):
        rules = parse_rules(
            json.dumps([{"rule": "R", "desc": "d", "condition": condition, "output": "o", "priority": "INFO"}]), "r"
        )
        assert evaluate(rules.rules[0].condition, look_up(Facts(event, ProcessTable(), _Known(), "n")))
        assert passes(lower(rules), view_of(event)), condition


def test_a_name_of_bytes_that_are_no_text_is_not_dropped_by_its_beginning() -> None:
    """User space writes the byte 255 as `\\xff`, and a rule may ask for that."""
    opened = Open(seq=1, time_ns=1, cgroup_id=1, pid=1, tid=1, ppid=1, ns_pid=1, uid=0, gid=0, comm="x", ret=3, syscall="openat",
                  path=r"/t\xff", asked="", flags=0, resolved=True)  # fmt: skip
    rules = _rules([Compare(Field("fd.name"), "startswith", (Value(r"/t\xf", True),))])
    assert evaluate(rules.rules[0].condition, look_up(Facts(opened, ProcessTable(), _Known(), "n")))
    assert passes(lower(rules), view_of(opened)._replace(strings=(None, None, b"/t\xff")))


# --- the parts ---


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["whole", "directory", "filename"]), st.sampled_from(TEXT), st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    st.sampled_from(PATHS) | st.text("/.aetcxs*ü\n", max_size=12),
)  # fmt: skip
def test_an_automaton_says_what_the_comparison_says(part: str, operator: str, words: list[str], path: str) -> None:
    field = {"whole": "fd.name", "directory": "fd.directory", "filename": "fd.filename"}[part]
    leaf = Compare(
        Field(field), operator, tuple(Value(word, True) for word in (words if operator in {"in", "pmatch"} else words[:1]))
    )
    patterns = patterns_of(leaf, Source(2, part))
    if patterns is None:
        return
    builder = Builder()
    builder.add((0, pattern) for pattern in patterns)
    automaton, (state,) = builder.build()
    may = must = 0
    for byte in path.encode() + b"\0":
        cell = automaton.cells[state * automaton.width + automaton.classes[byte]]
        state = cell >> 1
        may |= automaton.may[state] if cell & 1 else 0
        must |= automaton.must[state] if cell & 1 else 0
    event = Open(seq=1, time_ns=1, cgroup_id=1, pid=1, tid=1, ppid=1, ns_pid=1, uid=0, gid=0, comm="x", path=path, asked="", flags=0,
                 resolved=True)  # fmt: skip
    holds = evaluate(leaf, look_up(Facts(event, ProcessTable(), _Known(), "n")))
    if state == 0:
        assert not path.isascii()
    elif holds:
        assert may
    elif path:
        assert not must
        if all(pattern.exact for pattern in patterns) and part == "whole":
            assert not may


@settings(max_examples=100, deadline=None)
@given(trees_of(st.integers(0, 9).map(lambda at: Compare(Field("f.n"), "=", (Value(str(at)),))), 40), st.integers(0, 1023))
def test_clauses_hold_whenever_the_condition_does(tree: Condition, values: int) -> None:
    """Over comparisons that are true or false each for itself, as far as the condition knows."""
    variables = Variables(lambda _leaf: None)
    clauses, is_widened = clauses_of(tree, variables)
    assert len(clauses) <= MAX_OF_CONDITION
    truth = {
        number: any(values >> int(leaf.values[0].text) & 1 for leaf in leaves if isinstance(leaf, Compare))
        for number, leaves in enumerate(variables.leaves())
    }
    true = sum(1 << number for number, holds in truth.items() if holds)
    said = any(clause.true & ~true == 0 and clause.false & true == 0 for clause in clauses)
    holds = _value(tree, values)
    assert said or not holds
    if not is_widened:
        assert said == holds


def _value(tree: Condition, values: int) -> bool:
    if isinstance(tree, And):
        return all(_value(item, values) for item in tree.items)
    if isinstance(tree, Or):
        return any(_value(item, values) for item in tree.items)
    if isinstance(tree, Not):
        return not _value(tree.item, values)
    assert isinstance(tree, Compare)
    return bool(values >> int(tree.values[0].text) & 1)
