"""One meaning, several forms: the walked tree, the compiled function, the tree prepared for a kind of event, the explanation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.condition_trees import trees_of

from shipwall.adapters.rule_files import load_rules
from shipwall.lang.condition import And, Compare, Condition, Exists, Field, Not, Or, Value
from shipwall.model.alert import Why
from shipwall.model.container import ContainerFacts, Process
from shipwall.model.event import AnyEvent, Connect, Duplicate, Exec, Exit, Fork, Mount, Namespace, Open, Privilege
from shipwall.runtime.conditions import Bound, Explanation, Found, compile_condition, evaluate, specialise
from shipwall.runtime.facts import Context, Facts
from shipwall.runtime.fields import look_up
from shipwall.runtime.judge import MAX_IN_ONE, compile_judge
from shipwall.runtime.processes import MAX_LINEAGE, ProcessTable
from shipwall.runtime.rules import RuleSet
from shipwall.runtime.rules.paths import read_paths
from shipwall.runtime.watch import Watch

# --- conditions over four fields of known kinds ---

KINDS = {"f.text": ("text", False), "f.number": ("number", False), "f.flag": ("flag", False), "f.many": ("text", True)}
WORDS = ["a", "ab", "abc", "/a/b", "3", ""]
LITERALS = {"f.number": ["0", "3", "-1"], "f.flag": ["true", "false"]}


def _leaves() -> st.SearchStrategy[Condition]:
    def compare(name: str) -> st.SearchStrategy[Condition]:
        literals = st.sampled_from(LITERALS.get(name, WORDS)).map(lambda text: Value(text, True))
        others = {"f.number": ["<", "<=", ">", ">="], "f.flag": []}
        single = ["=", "==", "!=", *others.get(name, ["contains", "icontains", "startswith", "endswith", "glob"])]
        field = Field(name)
        return (
            st.builds(Compare, st.just(field), st.sampled_from(single), literals.map(lambda value: (value,)))
            | st.builds(Compare, st.just(field), st.sampled_from(["in", "intersects"]), st.lists(literals, max_size=3).map(tuple))
            | st.just(Exists(field))
        )

    return st.sampled_from(sorted(KINDS)).flatmap(compare)


trees = trees_of(_leaves(), 10)
found = st.fixed_dictionaries({
    "f.text": st.none() | st.sampled_from(WORDS),
    "f.number": st.none() | st.integers(-2, 4),
    "f.flag": st.none() | st.booleans(),
    "f.many": st.none() | st.lists(st.sampled_from(WORDS), max_size=3).map(tuple),
})  # fmt: skip


def _join(tree: Condition, whys: list[Why], *, negated: bool = False) -> bool:
    """The results of an explanation, joined as the tree joins its comparisons."""
    if isinstance(tree, And | Or):
        results = [_join(item, whys, negated=negated) for item in tree.items]
        return all(results) if isinstance(tree, And) != negated else any(results)
    if isinstance(tree, Not):
        return _join(tree.item, whys, negated=not negated)
    return whys.pop(0).result


@given(trees, found)
def test_every_form_says_the_same(tree: Condition, values: dict[str, Found]) -> None:
    def lookup(field: Field) -> Found:
        return values[field.name]

    truth = evaluate(tree, lookup)
    compiled: Any = compile_condition(tree, lambda field: Bound(*KINDS[field.name], lambda facts: facts[field.name]))
    assert compiled(values) is truth
    whys = list(Explanation(tree).of(lookup))
    assert _join(tree, whys) is truth
    assert not whys
    assert evaluate(Not(tree), lookup) is not truth


@given(st.lists(trees | st.booleans(), min_size=1, max_size=6), found)
def test_many_conditions_as_one_function_say_what_each_says(conditions: list[Condition | bool], values: dict[str, Found]) -> None:
    conditions = conditions + conditions[:1]  # one that is asked twice is decided once
    judge = compile_judge(conditions, lambda field: Bound(*KINDS[field.name], lambda _facts: values[field.name]))
    facts: Any = SimpleNamespace(event=None, process=None)
    expected = [tree if isinstance(tree, bool) else evaluate(tree, lambda field: values[field.name]) for tree in conditions]
    assert judge(facts) == [number for number, holds in enumerate(expected) if holds]


def test_hundreds_of_deep_conditions_become_functions() -> None:
    deep: Condition = Compare(Field("f.text"), "=", (Value("a"),))
    for number in range(90):
        deep = Or((And((deep, Compare(Field("f.number"), ">", (Value(str(number)),)))), Exists(Field("f.flag"))))
    count = 3 * MAX_IN_ONE + 1
    judge = compile_judge([deep, False, True] * (count // 3), lambda field: Bound(*KINDS[field.name], lambda _facts: None))
    facts: Any = SimpleNamespace(event=None, process=None)
    assert judge(facts) == list(range(2, count // 3 * 3, 3))


@given(trees, found, st.sets(st.sampled_from(sorted(KINDS))))
def test_what_is_known_beforehand_changes_nothing(tree: Condition, values: dict[str, Found], known: set[str]) -> None:
    def lookup(field: Field) -> Found:
        return values[field.name]

    def tell(leaf: Compare | Exists) -> bool | None:
        return evaluate(leaf, lookup) if isinstance(leaf.operand, Field) and leaf.operand.name in known else None

    left = specialise(tree, tell)
    assert (left if isinstance(left, bool) else evaluate(left, lookup)) is evaluate(tree, lookup)


@given(_leaves())
def test_a_missing_value_makes_every_comparison_false(leaf: Condition) -> None:
    assert evaluate(leaf, lambda _field: None) is False
    assert evaluate(Not(leaf), lambda _field: None) is True


# --- real rules over real events ---

RULES = load_rules()
CONTAINER = "ab" * 32
PATHS = [
    "/etc/shadow", "/root/.ssh/id_rsa", "/root/.ssh/authorized_keys", "/usr/bin/ls", "/tmp/x", "/home/u/.ssh/id_rsa", "/home/u/x",
    "/proc/sysrq-trigger", "/var/lib/dpkg/status", "/etc/ssh/ssh_host_rsa_key", "/run/secrets/token", "relative", "", "/etc/sudoers.d/x",
]  # fmt: skip
COMMS = ["sh", "bash", "nginx", "python3", "cat", "runc:[2:INIT]", "dpkg", "6"]
headers = {
    "seq": st.integers(0, 3),
    "time_ns": st.integers(0, 10**18),
    "cgroup_id": st.just(1),
    "pid": st.integers(1, 6),
    "tid": st.just(1),
    "ppid": st.integers(0, 6),
    "ns_pid": st.integers(1, 6),
    "uid": st.sampled_from([0, 1000]),
    "gid": st.just(0),
    "comm": st.sampled_from(COMMS),
    "ret": st.sampled_from([0, 1, 3, -1, -13, -30, -111]),
    "container": st.sampled_from([CONTAINER, ""]),
}
paths, comms, flags = st.sampled_from(PATHS), st.sampled_from(COMMS), st.sampled_from([0, 1, 2, 0o1101, 0o10000000, 0x10020000])
addresses = st.sampled_from(["10.0.0.1", "127.0.0.1", "::1", "2001:db8::1", "", "/run/docker.sock", "@x"])
origins = st.sampled_from(["image", "upper", "tmpfs", "memfd", "mount", "deleted", "unknown"])
opens = st.builds(Open, **headers, path=paths, asked=paths, flags=flags, resolved=st.booleans(), syscall=st.just("openat"))
events: st.SearchStrategy[AnyEvent] = st.one_of(
    st.builds(Exec, **headers, path=paths, asked=paths, argv=st.lists(paths, max_size=2).map(tuple), origin=origins,
              writable_mount=st.booleans(), old_uid=st.sampled_from([0, 1000]), parent_comm=comms, killed=st.booleans()),
    opens,
    st.builds(Connect, **headers, family=st.sampled_from(["ipv4", "ipv6", "unix", "netlink"]),
              protocol=st.sampled_from(["tcp", "udp", "unix"]), address=addresses, port=st.integers(0, 65535)),
    st.builds(Duplicate, **headers, old_fd=st.integers(0, 5), new_fd=st.integers(0, 2), address=addresses, port=st.integers(0, 65535)),
    st.builds(Privilege, **headers, act=st.sampled_from(["setuid", "setgid", "execve", "capset"]), new_uid=st.sampled_from([-1, 0, 5])),
    st.builds(Namespace, **headers, act=st.sampled_from(["unshare", "setns", "clone"]), flags=flags),
    st.builds(Mount, **headers, act=st.sampled_from(["mount", "chroot", "umount2"]), source=paths, target=paths),
    st.builds(Fork, **headers, child_pid=st.integers(1, 6), child_ns_pid=st.integers(1, 6)),
    st.builds(Exit, **headers),
)  # fmt: skip


class _Known(Context):
    def container(self, container_id: str) -> ContainerFacts | None:
        return ContainerFacts(id=container_id, name="c", image_ref="r/i:t", image_config="sha256:" + "0" * 64)

    def package_of(self, image_digest: str | None, path: str) -> str:
        return f"{path} of {image_digest}"


def _matching(rules: RuleSet, facts: Facts) -> list[str]:
    return [rule.name for rule in rules.rules if evaluate(rule.condition, look_up(facts))]


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150, deadline=None)
@given(st.lists(events, min_size=1, max_size=8))
def test_the_prepared_rules_fire_exactly_when_their_conditions_hold(stream: list[AnyEvent]) -> None:
    watch, context, table = Watch(RULES, "n"), _Known(), ProcessTable()
    for event in stream:
        table.before(event)
        expected = _matching(RULES, Facts(event, table, context, "n"))
        table.after(event)
        assert [alert.rule for alert in watch.handle(event, context, 1)] == expected


@settings(deadline=None)
@given(opens)
def test_the_kernel_is_asked_for_every_read_a_rule_wants(event: Open) -> None:
    table, wanted = ProcessTable(), read_paths(RULES)
    assert wanted.unbounded == ()
    table.before(event)
    is_read_only = event.flags & 3 == 0
    if is_read_only and _matching(RULES, Facts(event, table, _Known(), "n")):
        assert event.path.startswith(wanted.prefixes)


processes = st.builds(
    Process, pid=st.integers(1, 8), ppid=st.integers(0, 8), ns_pid=st.just(1), start_ns=st.just(0), uid=st.just(0), gid=st.just(0),
    comm=comms, path=paths, argv=st.just(()), container=st.sampled_from([CONTAINER, ""]),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(processes, max_size=10), st.lists(events, max_size=40), st.integers(1, 6))
def test_the_process_table_stays_bounded_and_lineages_end(snapshot: list[Process], stream: list[AnyEvent], limit: int) -> None:
    table = ProcessTable(limit)
    table.load(snapshot)
    for event in stream:
        table.before(event)
        lineage = table.lineage(event.pid)
        assert 1 <= len(lineage) <= MAX_LINEAGE
        assert lineage[0].pid == event.pid
        table.after(event)
        assert len(table) <= limit
